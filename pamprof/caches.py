"""Folders for caches: the user's own, or a private temporary one where there is no home or it cannot be written."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

_LOG = logging.getLogger(__name__)


def home_folder() -> Path | None:
    """The user's home; None where HOME is empty or relative, or unset while the user is in no list of accounts."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home if home.is_absolute() and os.environ.get("HOME") != "" else None


def base_folder(variable: str, under_home: str) -> Path | None:
    """A folder of the XDG base directory specification, which has a relative path ignored; None without a home.

    Args:
        variable: Such as ``XDG_CACHE_HOME``.
        under_home: Where it lies by default, such as ``.cache``.
    """
    given = Path(os.environ.get(variable, ""))
    if given.is_absolute():
        return given
    home = home_folder()
    return None if home is None else home / under_home


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in ``folder``, which need not exist yet; tried, as rights alone do not tell."""
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return os.access(folder, os.R_OK)
    except OSError:
        return False


def cache_folder(wanted: Path | None, name: str) -> Path | None:
    """``wanted`` where it can be written, else the folder ``name`` among temporary files; None where there is neither.

    What is chosen instead is said once, as a warning of the logger ``pamprof.caches``.
    """
    if wanted is not None and can_be_written(wanted):
        return wanted
    root = _temporary_root()
    _say_once(
        "the user has no home folder" if wanted is None else f"{wanted} cannot be written",
        "nothing is cached" if root is None else f"caches are kept in {root}",
    )
    return None if root is None else root / name


@cache
def _temporary_root() -> Path | None:
    """A folder of this user alone among temporary files, the same at every call of the program."""
    try:
        folder = Path(tempfile.gettempdir()) / f"pamprof-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    # Whoever made it first could put other kernels or prices into it.
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if private else None


_said: set[str] = set()


def _say_once(why: str, instead: str) -> None:
    if instead not in _said:
        _said.add(instead)
        _LOG.warning("%s; %s", why, instead)
