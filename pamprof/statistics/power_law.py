"""A power law y = a x^b through means over seeds, with the interval of its exponent and of its factor."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING

from pamprof.records import Interval
from pamprof.statistics.intervals import CONFIDENCE
from pamprof.statistics.log_estimate import student_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST_PLACES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """y = ``factor`` · x^``exponent``.

    Attributes:
        exponent: With its interval over seeds.
        factor: Likewise.
        places: How many x the line goes through.
    """

    exponent: Interval
    factor: Interval
    places: int


def power_law(places: Sequence[float], samples: Sequence[Sequence[float]]) -> PowerLaw | None:
    """The line through the logarithms of the means, errors by leaving out one seed at a time (jackknife).

    Leaving out a seed takes its values at every place, so errors that a seed makes at all places alike are in the
    interval. None where there are too few places or seeds, or a mean is 0.

    Args:
        places: x, positive.
        samples: For each place one value a seed, in the same order, 0 or more; what some places have more is left out.
    """
    seeds = min((len(values) for values in samples), default=0)
    if len(places) < FEWEST_PLACES or seeds < 2:
        return None
    samples = [values[:seeds] for values in samples]
    sums = [sum(values) for values in samples]
    without = [
        [(total - values[seed]) / (seeds - 1) for total, values in zip(sums, samples, strict=True)]
        for seed in range(seeds)
    ]
    means = [total / seeds for total in sums]
    if any(mean <= 0 for row in (means, *without) for mean in row):
        return None
    slope, level = _line(places, means)
    lines = [_line(places, row) for row in without]
    reach = student_quantile(0.5 + CONFIDENCE / 2, seeds - 1)
    slope_reach = reach * _jackknife([each for each, _ in lines])
    level_reach = reach * _jackknife([each for _, each in lines])
    return PowerLaw(
        exponent=Interval(low=slope - slope_reach, median=slope, high=slope + slope_reach, confidence=CONFIDENCE),
        factor=Interval(
            low=exp(level - level_reach), median=exp(level), high=exp(level + level_reach), confidence=CONFIDENCE
        ),
        places=len(places),
    )


def _line(places: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the least squares through the logarithms."""
    xs, ys = [log(x) for x in places], [log(y) for y in values]
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)
    return slope, y_mean - slope * x_mean


def _jackknife(estimates: Sequence[float]) -> float:
    """Standard error from the estimates that leave one out."""
    count = len(estimates)
    mean = sum(estimates) / count
    return sqrt((count - 1) / count * sum((each - mean) ** 2 for each in estimates))
