"""The clock that is read at the end of every step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device

# Steps whose events may be open at once; each pair of events holds some memory of the driver.
_MOST_OPEN = 4096


class StepClock:
    """Times between the ends of steps: on a CPU of the clock, on CUDA between events, which wait for nothing.

    Attributes:
        last_seconds: ``perf_counter`` at the end of the last step.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._times: list[float] = []
        self._open: list[Callable[[], float]] = []
        self._mark = device.start_timer()
        self.last_seconds = time.perf_counter()

    def mark(self) -> None:
        """A step ends."""
        now = time.perf_counter()
        elapsed = self._device.stop_timer(self._mark)
        if elapsed is None:
            self._times.append(now - self.last_seconds)
        else:
            self._open.append(elapsed)
            if len(self._open) >= _MOST_OPEN:
                self._read()
        self.last_seconds = now
        self._mark = self._device.start_timer()

    def _read(self) -> None:
        self._device.synchronise()
        self._times += [elapsed() for elapsed in self._open]
        self._open.clear()

    def times(self) -> tuple[float, ...]:
        """Seconds of every step so far, in order."""
        self._read()
        return tuple(self._times)
