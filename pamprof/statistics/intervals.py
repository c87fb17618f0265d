"""The interval of a median, its relative half width, and the checks that every sample passes."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.statistics.median_estimate import median_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Interval

CONFIDENCE = 0.95  # of every interval


def median_interval(samples: Sequence[float]) -> Interval:
    """The median of positive ``samples`` with its 95 % interval, in their unit; confidence 0 for a single sample.

    Raises:
        RecordError: No sample, or one that is not a positive number.
    """
    return median_estimate(checked_samples(samples, "sample"), None).interval(CONFIDENCE)


def half_width(interval: Interval) -> float:
    """Relative half width: half the interval over its median."""
    return (interval.high - interval.low) / (2 * interval.median)


def checked_samples(samples: Sequence[float], name: str) -> tuple[float, ...]:
    """``samples`` as a tuple; ``name`` is what a message calls one of them.

    Raises:
        RecordError: No sample, or one that is not a positive number.
    """
    if not samples:
        raise RecordError(f"no {name} to take a median of; measure the point again")
    for index, value in enumerate(samples):
        if not (isfinite(value) and value > 0):
            raise RecordError(f"{name} {index} is {value}; a time is a positive number, measure the point again")
    return tuple(samples)
