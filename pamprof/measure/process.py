"""The worker process as its parent holds it: started early, given one group, killed when it hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import OutputError
from pamprof.measure.wire import GroupRequest, encode_request

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES = 1 << 16
_EXIT_SECONDS = 30.0
_LOG_TAIL_BYTES = 4000
_LOG_LIMIT_BYTES = 64 << 20


class WorkerHung(Exception):  # noqa: N818 - a condition, caught by the session, not an error for users
    """The worker reported nothing for longer than allowed."""


class WorkerProcess:
    """A fresh interpreter that measures one group.

    What the worker and the layers in it print goes to a temporary file, never into the records or the terminal. The
    process has its own process group, so that Ctrl-C reaches the parent alone and the parent decides.

    Args:
        module: Run as ``python -m``; given the number of the descriptor it writes to.

    Raises:
        OutputError: There is no room for a temporary file.
    """

    def __init__(self, module: str = "pamprof.measure.worker") -> None:
        try:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process, closed by close()
        except OSError as exc:
            raise OutputError(
                f"cannot make a temporary file for what the worker prints: {exc.strerror}; "
                "free some disk, or point TMPDIR at a folder with room"
            ) from exc
        self._read_end, write_end = os.pipe()
        environment = dict(os.environ)
        package_parent = str(Path(__file__).resolve().parents[2])
        search_path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = package_parent + (os.pathsep + search_path if search_path else "")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(write_end,),
            env=environment,
            start_new_session=True,
        )
        os.close(write_end)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, request: GroupRequest) -> None:
        """Give the worker its group."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; lines() ends and the session reads why
            self._process.stdin.write(encode_request(request))
            self._process.stdin.close()

    def lines(self, timeout_seconds: float) -> Iterator[bytes]:
        """Lines as the worker writes them, until it closes its end.

        Raises:
            WorkerHung: No line came for ``timeout_seconds``.
        """
        pending = b""
        while True:
            ready, _, _ = select.select([self._read_end], [], [], timeout_seconds)
            if not ready:
                raise WorkerHung
            chunk = os.read(self._read_end, _READ_BYTES)
            if not chunk:
                return
            *complete, pending = (pending + chunk).split(b"\n")
            for line in complete:
                yield line + b"\n"
            if os.fstat(self._log.fileno()).st_size > _LOG_LIMIT_BYTES:
                self._log.truncate(0)

    def kill(self) -> None:
        """End the worker and everything it started; nothing where it has ended, as its number may be another's now."""
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> tuple[int, str]:
        """Wait for the end and free everything.

        Returns:
            The exit status (negative: the signal that ended it) and the last line it printed.
        """
        try:
            status = self._process.wait(timeout=_EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it has said everything and hangs on its way out
            self.kill()
            status = self._process.wait()
        size = os.fstat(self._log.fileno()).st_size
        self._log.seek(max(0, size - _LOG_TAIL_BYTES))
        printed = self._log.read().decode("utf-8", "replace").strip().splitlines()
        self._log.close()
        os.close(self._read_end)
        return status, printed[-1] if printed else ""
