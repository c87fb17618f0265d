"""The command that is running: what it was asked for, which of it a file said where, and what came of it."""

from __future__ import annotations

import re
import shlex
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pamprof.cli.configuration.files import FileSweep, FileText

running: ContextVar[Invocation | None] = ContextVar("running", default=None)


@dataclass(slots=True, kw_only=True)
class Invocation:
    """One run of a command.

    Attributes:
        words: The command line that asks for the same, without paths of this machine.
        file: Where options were written.
        sweep: Which of the file's.
        used: Flags whose value is the file's, by parameter.
        folder: Of all sweeps of the file; None where it is one run.
        sentence: What came of it.
        page: What there is to open.
    """

    words: tuple[str, ...]
    file: FileText | None = None
    sweep: FileSweep | None = None
    used: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    sentence: str = ""
    page: Path | None = None

    def located(self, told: str) -> str:
        """``told`` with the file, the line and the key that it is about, where it is about one of the file's."""
        if self.file is None or self.sweep is None:
            return told
        flags = re.findall(r"--[a-z][a-z-]*", told)
        for name, flag in sorted(self.used.items(), key=lambda item: flags.index(item[1]) if item[1] in flags else 99):
            value = self.sweep.values[name]
            said = value if isinstance(value, list) else [value]
            if flag in flags or any(isinstance(each, str) and repr(each) in told for each in said):
                return f"{self.file.at(self.sweep.places[name])}: {told}"
        return told


def recorded_command() -> str:
    """The command line that reproduces what is running, kept with its records."""
    invocation = running.get()
    return shlex.join(("pamprof",) if invocation is None else invocation.words)


def located(told: str) -> str:
    """``Invocation.located`` of what is running."""
    invocation = running.get()
    return told if invocation is None else invocation.located(told)


def folder_to_resume(own: Path) -> Path:
    """What ``--output-dir`` has to be to go on: the folder of all sweeps, where there are several, else ``own``."""
    invocation = running.get()
    return own if invocation is None or invocation.folder is None else invocation.folder


def note_result(sentence: str, page: Path) -> None:
    """Keep what came of the running command, for the summary of several."""
    invocation = running.get()
    if invocation is not None:
        invocation.sentence, invocation.page = sentence, page
