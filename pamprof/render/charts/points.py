"""What dots show: arms at one point of a comparison, and arms under the ceilings of a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Interval
    from pamprof.render.arms import Arm


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
class RooflineDot:
    """Achieved FLOP/s at an arithmetic intensity (FLOP per byte)."""

    arm: Arm
    intensity: float
    flops_per_second: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineSlope:
    """A ceiling of memory, bytes per second, by name."""

    label: str
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePanel:
    """Points of one phase under the device's peak (FLOP/s) and the ceilings of memory that their traffic has.

    ``ceiling`` says whether they are measured.
    """

    title: str
    dots: tuple[RooflineDot, ...]
    peak_flops_per_second: float
    slopes: tuple[RooflineSlope, ...]
    ceiling: str
