"""A process that runs layers: reads a request a line, answers on a pipe, and does not outlive its parent."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

from pamprof.measure.imports import never_collected
from pamprof.measure.session.compile_ahead import kill_standing_still

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TimeIsUp(BaseException):
    """Raised in a layer's code, which cannot take it for an error of its own."""


class Pipe:
    """The worker's end of the line to its parent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._process_id = os.getpid()

    def send(self, line: bytes) -> None:
        """Write one whole line; a child that a layer forked ends here, as its parent reports the same."""
        if os.getpid() != self._process_id:
            os._exit(1)
        view = memoryview(line)
        while view:
            view = view[os.write(self._descriptor, view) :]


def end_with_parent(descriptor: int) -> None:
    """Kill this process group once nobody reads ``descriptor``, so that a killed comparison measures no further.

    A worker in the middle of a long point would write to its parent minutes later only, one that hangs never would;
    until then it would hold the device and disturb the comparison that goes on. The thread sleeps in the kernel.

    Args:
        descriptor: Write end of the pipe to the parent.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)
        poll.poll()  # returns for an error alone, and the pipe's only error is a reader that is gone
        kill_standing_still()
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def answer_lines(handle: Callable[[bytes, Pipe], None]) -> None:
    """Read requests from standard input until it ends; answers go to the descriptor named on the command line.

    What a layer prints goes where standard output and error lead. The current folder is importable, after everything
    else: a file in it must not stand in for a module that pamprof or torch imports.
    """
    descriptor = int(sys.argv[1])
    end_with_parent(descriptor)
    pipe = Pipe(descriptor)
    sys.path.append(os.getcwd())
    with never_collected():  # loaded while the parent is still planning
        import torch._dynamo  # noqa: F401 - every count of operators brings it

    with contextlib.suppress(BrokenPipeError):  # the parent is gone; nobody is left to tell
        for line in sys.stdin.buffer:
            handle(line, pipe)


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, where this is the main thread of a process.

    Raises:
        TimeIsUp: It did, where it was at that time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        del number, frame
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
