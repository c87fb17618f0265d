"""What a plot shows, as plain numbers and words; the files in ``plots`` draw it and know nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.render.charts.serving_panels import CurvePanel, TornadoPanel

if TYPE_CHECKING:
    from pamprof.records import Interval
    from pamprof.render.arms import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderBar:
    """One rung. ``start`` and the cumulative median are multiples of the baseline's cost; ``role`` is its colour."""

    label: str
    detail: str
    role: str
    start: float
    factor: Interval
    cumulative: Interval
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderPanel:
    """The rungs of one point; the first is the baseline."""

    title: str
    bars: tuple[LadderBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One arm on a line: its best execution with interval, and the medians of the slower ones."""

    arm: Arm
    label: str
    value: Interval
    text: str
    slower: tuple[float, ...]
    sample_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DotPanel:
    """Arms at one point; panels with the same ``axis_group`` share their axis."""

    title: str
    axis_group: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One arm over an axis of sizes."""

    arm: Arm
    xs: tuple[float, ...]
    values: tuple[Interval, ...]
    measured: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A named place on the axis of sizes, such as a crossover."""

    x: Interval
    text: str
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePanel:
    """Lines over batch size or context; ``note`` stands under the title, such as why there is no crossover."""

    title: str
    x_label: str
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBar:
    """Stacked bytes of one arm: (component, bytes) from left to right."""

    arm: Arm
    label: str
    parts: tuple[tuple[str, int], ...]
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPanel:
    """Arms at one point."""

    title: str
    bars: tuple[MemoryBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineDot:
    """Achieved FLOP/s at an arithmetic intensity (FLOP per byte)."""

    arm: Arm
    intensity: float
    flops_per_second: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePanel:
    """Points of one phase under the device's ceilings (FLOP/s and byte/s); ``ceiling`` says what kind they are."""

    title: str
    dots: tuple[RooflineDot, ...]
    peak_flops_per_second: float
    bandwidth_bytes_per_second: float
    ceiling: str


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


Panels = (
    tuple[LadderPanel, ...]
    | tuple[DotPanel, ...]
    | tuple[LinePanel, ...]
    | tuple[MemoryPanel, ...]
    | tuple[RooflinePanel, ...]
    | tuple[Strip, ...]
    | tuple[TrendPanel, ...]
    | tuple[CurvePanel, ...]
    | tuple[TornadoPanel, ...]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture.

    Attributes:
        name: File name without ending; also its id in the page.
        kind: Which file of ``plots`` draws it.
        title: The finding, as a sentence without full stop.
        subtitle: Device and date, for the picture on its own.
        axis: Quantity and unit of the value axis.
        caption: What is shown and how to read it; units, n and interval named.
        source: Source line of the picture on its own.
        alt: The finding in words for a reader who cannot see it.
        panels: What is drawn; empty where ``reason`` says why there is nothing to draw.
        reason: Why there is no picture; empty where there is one.
    """

    name: str
    kind: str
    title: str
    subtitle: str
    axis: str
    caption: str
    source: str
    alt: str
    panels: Panels
    reason: str = ""
