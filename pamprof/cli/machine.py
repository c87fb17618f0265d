"""Which failures are the machine's rather than the request's, in one sentence: a package, a disk, a folder."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not 1, which is a verdict of diff and trend.
MACHINE_FAULT = 2

# Where a package comes from, if not from pip by the name of its module.
_SOURCES = {
    "torch": "it from https://pytorch.org/get-started",
    # An old distribution called pynvml hides the module of nvidia-ml-py, and lacks half of it.
    "pynvml": "with pip uninstall pynvml and pip install --force-reinstall nvidia-ml-py",
}


def machine_fault(error: BaseException) -> str | None:
    """What is wrong with the machine, and the remedy; None where ``error`` says something else."""
    for each in _with_causes(error):
        package = _package_at_fault(each)
        if package == "torch" or (package is not None and each is error):
            return _broken(package, each)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror or error}; check that it can be read and written, or name another place"
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # the words of pathlib
        return "there is no home folder; set HOME to one"
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from: a layer that cannot be loaded says so, and torch may be why."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _package_at_fault(error: BaseException) -> str | None:
    """The foreign package that cannot be imported, or lacks what is imported from it."""
    if isinstance(error, ImportError) and error.name is not None:
        package = error.name.partition(".")[0]
        return None if package == "pamprof" else package
    if isinstance(error, AttributeError) and getattr(error.obj, "__name__", "") == "pynvml":
        return "pynvml"
    for frame, _ in traceback.walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package not in ("pamprof", "__main__"):
            return package
    return None


def _broken(package: str, error: BaseException) -> str:
    source = _SOURCES.get(package, f"with pip install --force-reinstall {package}")
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
        return f"{package} is not installed; install {source}"
    told = str(error).strip().splitlines()
    return f"{package} cannot be imported ({type(error).__name__}: {told[0] if told else ''}); reinstall {source}"
