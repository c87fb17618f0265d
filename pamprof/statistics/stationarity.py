"""Whether a series has settled: step times, power, clocks, or ratios in the order they were taken.

The first third is compared with the last one. The change between them counts when it is larger than ``tolerance`` and
larger than noise explains: Student's t at 95 %, with the scatter around a straight line through the series, and
widened by the series' first-order autocorrelation (``autocorrelation``), so that slow wandering is not taken for a
trend. ``benchmarks/coverage.py`` measures how often it finds a transient, and how often it finds one in steady series.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from pamprof.statistics.autocorrelation import correlation_of, variance_growth
from pamprof.statistics.log_estimate import student_quantile
from pamprof.units import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST_VALUES = 10
TOLERANCE_RATIO = 0.01
_CONFIDENCE = 0.95
# A curve that is not straight leaves residuals that look correlated. More than this is therefore taken for a curve.
_MOST_CORRELATION = 0.5
_FEWEST_FREEDOM = 2.0


class StationarityVerdict(StrEnum):
    """Whether a series has settled."""

    STATIONARY = "stationary"
    NOT_STATIONARY = "not stationary"
    TOO_SHORT = "too short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stationarity:
    """The verdict on a series.

    Attributes:
        verdict: Settled, not settled, or too short to tell.
        change_ratio: Mean of the last third over that of the first, minus 1; None where the series is too short.
        resolution_ratio: The smallest change that noise could not explain, relative; None likewise. A warm-up that
            needs to know a change of 1 % goes on until this is at most 0.01.
        reason: One sentence without a full stop.
    """

    verdict: StationarityVerdict
    change_ratio: float | None
    resolution_ratio: float | None
    reason: str


def stationarity(values: Sequence[float], *, tolerance_ratio: float = TOLERANCE_RATIO) -> Stationarity:
    """Judge a series in the order it was taken.

    Args:
        values: Numbers of one unit with a positive mean, such as seconds, watts, hertz, or ratios.
        tolerance_ratio: Change between the first and the last third that is never called one.
    """
    count = len(values)
    mean = fmean(values) if values else 0.0
    if count < FEWEST_VALUES or mean <= 0:
        few = f"{count} values are too few to tell, {FEWEST_VALUES} are needed"
        return Stationarity(
            verdict=StationarityVerdict.TOO_SHORT,
            change_ratio=None,
            resolution_ratio=None,
            reason=few if count < FEWEST_VALUES else "the mean is not positive, so that no change is relative to it",
        )
    relative = [value / mean for value in values]
    third = count // 3
    first, last = fmean(relative[:third]), fmean(relative[-third:])
    residuals = _around_a_line(relative)
    variance = sum(value * value for value in residuals) / (count - 2)
    growth = variance_growth(min(correlation_of((residuals,)), _MOST_CORRELATION))
    freedom = max(_FEWEST_FREEDOM, count / growth - 2)
    resolution = student_quantile(0.5 + _CONFIDENCE / 2, freedom) * sqrt(variance * growth * 2 / third)
    change = last / first - 1 if first > 0 else 0.0
    words = f"the last third is {percent(abs(change))} {'above' if change >= 0 else 'below'} the first"
    moved = abs(last - first) > resolution and abs(change) > tolerance_ratio
    if moved:
        reason = f"{words}, and noise explains {percent(resolution)}"
    elif abs(change) <= tolerance_ratio:
        reason = f"{words}, within {percent(tolerance_ratio)}"
    else:
        reason = f"{words}, and noise explains as much as {percent(resolution)}"
    return Stationarity(
        verdict=StationarityVerdict.NOT_STATIONARY if moved else StationarityVerdict.STATIONARY,
        change_ratio=change,
        resolution_ratio=resolution,
        reason=reason,
    )


def _around_a_line(values: Sequence[float]) -> list[float]:
    """What is left of ``values`` after the straight line of least squares."""
    centre = (len(values) - 1) / 2
    mean = fmean(values)
    slope = sum((index - centre) * value for index, value in enumerate(values)) / sum(
        (index - centre) ** 2 for index in range(len(values))
    )
    return [value - mean - slope * (index - centre) for index, value in enumerate(values)]
