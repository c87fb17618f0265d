"""What a sensor says: a reading that is a value or the reason there is none, and the protocol the sampler polls.

Everything that watches a measurement (NVML, the host, a recorded run) is a ``Probe``; the sampler knows nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Unknown

Value_co = TypeVar("Value_co", covariant=True)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Reading(Generic[Value_co]):
    """One value read from hardware, or None with the reason; exactly one of the two is set."""

    value: Value_co | None
    reason: str | None

    def map(self, change: Callable[[Value_co], Result]) -> Reading[Result]:
        """The reading in another unit; an unknown stays unknown for the same reason."""
        if self.value is None:
            return Reading(None, self.reason)
        return Reading(change(self.value), None)


def known(value: Result) -> Reading[Result]:
    """A reading that succeeded."""
    return Reading(value, None)


def unknown(reason: str) -> Reading[Result]:
    """A reading that failed, with the reason in words fit for a report."""
    return Reading(None, reason)


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of a signal: its name with the unit last, who measured it, ``perf_counter`` seconds, and the value."""

    signal: str
    source: str
    clock_seconds: float
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a probe saw at one poll; empty fields mean that it did not look.

    Attributes:
        samples: Points of signals, in any order.
        energy_readings: (``perf_counter`` seconds, joules since an arbitrary start) of an energy counter.
        throttle_reasons: Reasons the clocks are held down; empty tuple when looked at and none.
        other_process_count: Other processes on the device.
        unknowns: What could not be read and why; ``field`` is a path inside the run.
    """

    samples: tuple[Sample, ...] = ()
    energy_readings: tuple[tuple[float, float], ...] = ()
    throttle_reasons: tuple[str, ...] | None = None
    other_process_count: int | None = None
    unknowns: tuple[Unknown, ...] = ()


class Probe(Protocol):
    """A source of observations around and during a monitored window."""

    @property
    def interval_seconds(self) -> float:
        """Least time between two polls."""
        ...

    def start(self) -> Observation:
        """Called once when the window opens, by the measuring thread."""
        ...

    def poll(self) -> Observation:
        """Called during the window by the sampler thread; must not touch the device's queue."""
        ...

    def finish(self) -> Observation:
        """Called once after the last step is synchronised; no poll runs at the same time or later."""
        ...
