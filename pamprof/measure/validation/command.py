"""Runs another program with a limit of time, in a process group that ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """A program's output and exit status."""

    status: int
    text: str
    errors: str

    def last_words(self) -> str:
        """The last line on standard error."""
        lines = [line.strip() for line in self.errors.splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"


def run_command(command: Sequence[str], timeout_seconds: float) -> CommandOutput:
    """Run a program that can import this package; whatever happens, nothing it started is left behind.

    Raises:
        UnsupportedError: It cannot be run.
        TimeoutError: It was not done in time, and was ended.
    """
    search_path = [str(Path(__file__).resolve().parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path)},
                start_new_session=True,
            )
        except OSError as exc:
            raise UnsupportedError(f"{command[0]} cannot be run: {exc.strerror}") from exc
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError from exc
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        texts = []
        for stream in (out, errors):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
    return CommandOutput(process.returncode, texts[0], texts[1])
