"""The noise floor of a comparison: how far from 1 the reference against itself can be told, on the machine that ran it.

Every group of a comparison begins with its reference, sampled against itself like any other arm; that A-against-A run
is stored with its raw samples (its ``reference`` is its own workload), and the floor is computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.doubts import ratio_half_width
from pamprof.analysis.comparison.pairing import is_reference, reference_ratio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.records import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFloor:
    """The noisiest A-against-A run; differences smaller than ``half_width`` mean nothing at its point.

    Attributes:
        point: Where it was taken.
        half_width: Relative half width of the reference's ratio to itself.
        median_deviation: That ratio's median less 1, signed: what a comparison of equals came out off by.
        samples: Pairs it was taken from.
        measured_points: Points with an A-against-A run.
        smallest_half_width: Half width at the quietest of them.
    """

    point: Point
    half_width: float
    median_deviation: float
    samples: int
    measured_points: int
    smallest_half_width: float


def noise_floor(points: Iterable[PointAnalysis]) -> NoiseFloor | None:
    """The floor of ``points`` together; None where no reference was sampled against itself at least twice."""
    found = [
        (ratio_half_width(summary.run), summary)
        for point in points
        for summary in point.summaries
        if is_reference(summary.run) and summary.sample_count >= 2
    ]
    if not found:
        return None
    half_width, worst = max(found, key=lambda pair: pair[0])
    return NoiseFloor(
        point=worst.workload.point,
        half_width=half_width,
        median_deviation=reference_ratio(worst.run).median - 1,
        samples=worst.sample_count,
        measured_points=len({summary.workload.point for _, summary in found}),
        smallest_half_width=min(width for width, _ in found),
    )
