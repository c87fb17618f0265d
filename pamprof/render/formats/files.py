"""Puts finished files into a folder, each as a whole, so that a failure leaves the old one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pamprof.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def write_files(
    folder: Path, contents: Iterable[tuple[str, bytes]], *, option: str = "--output-dir"
) -> tuple[Path, ...]:
    """Write (name, bytes) into ``folder``, made if missing; the paths in the same order.

    ``option`` is what chooses the folder.

    Raises:
        OutputError: The folder cannot be made or a file in it not written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(_replace(folder / name, content) for name, content in contents)
    except OSError as exc:
        raise OutputError(
            f"cannot write {exc.filename or folder}: {exc.strerror}; choose another folder with {option}"
        ) from exc


def _replace(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
    return path
