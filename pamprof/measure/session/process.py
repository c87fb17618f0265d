"""The parent's handle of a worker process: started early, given groups, killed when it hangs."""

from __future__ import annotations

import contextlib
import getpass
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pamprof.caches import cache_folder, home_folder
from pamprof.hardware.host import cpu_core_count
from pamprof.measure.session.output_tail import PrintedTail

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES = 1 << 16
_EXIT_SECONDS = 30.0
_LOAD = Path("/proc/loadavg")
_LOOKS = 10
_LOOK_SECONDS = 0.01
_BUSY_RATIO = 0.25


class WorkerHung(Exception):  # noqa: N818 - a condition, caught by the session, not an error for users
    """The worker reported nothing for longer than allowed."""


@cache
def others_keep_busy() -> bool:
    """Whether other processes occupy more than a quarter of the CPUs, asked once, before this one starts any.

    Linux tells how many tasks run at the moment; a few looks within a tenth of a second are averaged. Elsewhere, no.
    """
    try:
        seen = []
        for _ in range(_LOOKS):
            seen.append(int(_LOAD.read_text().split()[3].split("/")[0]) - 1)  # this process runs as well
            time.sleep(_LOOK_SECONDS)
    except (OSError, ValueError, IndexError):
        return False
    return sum(seen) / len(seen) > _BUSY_RATIO * cpu_core_count()


def worker_environment() -> dict[str, str]:
    """Environment of a process that measures or compiles for a session.

    Triton's cache lies where it does by default: Inductor would move it once it has compiled something, and what one
    process compiled another would not find. Where a cache cannot be written, it lies among temporary files; a user
    without a name gets one, which torch before 2.13 needs for Inductor's.

    Where others keep the machine busy, OpenMP threads sleep while they wait for one another. By default they spin, and
    hold a core that the thread they wait for needs: beside one busy process on two cores a training step of the tiny
    transformer took 70 ms, and 35 ms with threads that sleep; on an idle machine 20 and 31 ms.
    """
    environment = dict(os.environ)
    package_parent = str(Path(__file__).resolve().parents[3])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package_parent, environment.get("PYTHONPATH"))))
    environment.update(compiler_caches())
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # a layer that prints × must not fail by the locale
    if "GOMP_SPINCOUNT" not in environment and others_keep_busy():
        environment.setdefault("OMP_WAIT_POLICY", "passive")
    return environment


def compiler_caches() -> dict[str, str]:
    """Variables that tell Triton and Inductor where to cache, and torch what the user is called."""
    found = {}
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        user = found["USER"] = f"uid_{os.getuid()}"
    given = os.environ.get("TRITON_CACHE_DIR")
    home = Path(os.environ["TRITON_HOME"]).absolute() if os.environ.get("TRITON_HOME") else home_folder()
    wanted = Path(given).absolute() if given else None if home is None else home / ".triton" / "cache"
    folder = cache_folder(wanted, "triton")
    if folder is not None:
        found["TRITON_CACHE_DIR"] = str(folder)
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    wanted = Path(given).absolute() if given else Path(tempfile.gettempdir()) / f"torchinductor_{user}"
    folder = cache_folder(wanted, "inductor")
    if folder not in (None, wanted):
        found["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return found


class WorkerProcess:
    """A fresh interpreter that runs layers: it measures one group after another, or answers questions about them.

    What the worker and the layers in it print never gets into the records or the terminal; only its last line is kept,
    for the reason of a crash. The process has its own process group, so that Ctrl-C reaches the parent alone and the
    parent decides.

    Args:
        module: Run as ``python -m``; given the number of the descriptor it writes to (``answering.answer_lines``).
    """

    def __init__(self, module: str = "pamprof.measure.session.worker") -> None:
        self._printed = PrintedTail()
        self._is_closed = False
        self._read_end, write_end = os.pipe()
        environment = worker_environment()
        try:
            self._process = subprocess.Popen(
                # -P: what lies in the current folder must not stand in for a module that pamprof itself imports.
                [sys.executable, "-P", "-m", module, str(write_end)],
                stdin=subprocess.PIPE,
                stdout=self._printed.write_end,
                stderr=self._printed.write_end,
                pass_fds=(write_end,),
                env=environment,
                start_new_session=True,
            )
        finally:
            self._printed.hand_over()
            os.close(write_end)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, request: object, *, last: bool = True) -> None:
        """Give the worker a request, as a line of JSON; after the ``last`` one it ends by itself."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once; lines() ends and the session reads why
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
            if last:
                self._process.stdin.close()

    def lines(self, timeout_seconds: float) -> Iterator[bytes]:
        """Lines as the worker writes them, until it closes its end or the caller has read enough.

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
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # one that waits for another group ends by this
        try:
            status = self._process.wait(timeout=_EXIT_SECONDS)
        except subprocess.TimeoutExpired:  # it has said everything and hangs on its way out
            self.kill()
            status = self._process.wait()
        os.close(self._read_end)
        self._is_closed = True
        return status, self._printed.last_line()
