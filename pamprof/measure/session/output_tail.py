"""What a worker prints: taken from it as it comes, all but the end thrown away, so that no amount of it does harm."""

from __future__ import annotations

import os
import threading

_READ_BYTES = 1 << 16
_TAIL_BYTES = 4000
_LONGEST_LINE = 500
# What the process wrote before it ended is in the pipe; longer waits only for a child of its own that still holds it.
_WAIT_SECONDS = 1.0


class PrintedTail:
    """A pipe for a process's standard output and error, drained by a thread that keeps the last few thousand bytes.

    Nothing reaches a disk or the terminal, with or without line ends, and the process never waits for long.

    Attributes:
        write_end: Descriptor for the process; ``hand_over`` closes it here once the process has it.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self._tail = b""
        self._thread = threading.Thread(target=self._drain, name="pamprof worker output", daemon=True)

    def hand_over(self) -> None:
        """Begin to read; to be called when the process holds ``write_end``, or will never be started."""
        os.close(self.write_end)
        self._thread.start()

    def last_line(self) -> str:
        """The last line printed that is not empty, its end alone where it is long; waits for what is on its way."""
        self._thread.join(_WAIT_SECONDS)
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        last = lines[-1].strip() if lines else ""
        return last if len(last) <= _LONGEST_LINE else f"…{last[1 - _LONGEST_LINE :]}"

    def _drain(self) -> None:
        while chunk := os.read(self._read_end, _READ_BYTES):
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
        os.close(self._read_end)
