"""What is shown over time: device signals during a session, and one workload over stored runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Interval
    from pamprof.render.arms import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of the strip, in seconds on the joined time axis, in which one arm ran alone."""

    start: float
    end: float
    phase: str
    arm: Arm
    execution: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One row of the strip; ``segments`` holds (times, values) of each window, so that gaps stay gaps."""

    label: str
    unit: str
    top: float
    segments: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Signals over the windows, joined end to end."""

    windows: tuple[Window, ...]
    signals: tuple[Signal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPanel:
    """One workload over stored runs.

    Attributes:
        arm: Its colour and shape.
        title: Arm and execution.
        text: What its runs come to, such as how far they lie apart.
        runs: The lines of each run's label, oldest first.
        values: Ratio to the reference in each run; None where there is none.
        changes: Number of the run before which conditions changed, and their names.
        noise: Ends of the band in which differences are noise; None where the noise was not measured.
    """

    arm: Arm
    title: str
    text: str
    runs: tuple[tuple[str, ...], ...]
    values: tuple[Interval | None, ...]
    changes: tuple[tuple[int, str], ...]
    noise: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingStrip:
    """What one server did over some seconds, in equal slots of time.

    Attributes:
        arm: Its colour and shape.
        title: Arm and rate.
        seconds: How long all slots are together.
        reading, decoding: Share of each slot in which prompts were read and tokens decoded, 0 to 1.
        running, waiting: Sequences that decoded and requests without a first token, means of each slot.
        most: The most at one moment of either.
    """

    arm: Arm
    title: str
    seconds: float
    reading: tuple[float, ...]
    decoding: tuple[float, ...]
    running: tuple[float, ...]
    waiting: tuple[float, ...]
    most: int
