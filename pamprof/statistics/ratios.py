"""Medians and paired ratios with honest intervals; the stopping rule and the report use the same estimator.

The estimator of a ratio is the median of the paired log ratios, ``exp(median(ln(subject[i] / reference[i])))``: pairs
taken side by side share the machine's slow wandering, which cancels, and the median ignores stray interruptions without
dropping a sample. Its interval comes from ``median_estimate``.

Sampling that stops on a narrow interval picks the moments at which a short correlated series looks calmer than it is;
therefore precision ends it only once the samples are worth ten independent ones. ``benchmarks/calibration.py`` measures
coverage, false alarms and found slowdowns, the stopping rule included.
"""

from __future__ import annotations

from enum import StrEnum
from math import isfinite
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.records import Interval, StopReason
from pamprof.statistics.median_estimate import Estimate, estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
EQUIVALENCE_BAND = 0.01
TARGET_HALF_WIDTH = 0.01
_FEWEST_EFFECTIVE_SAMPLES = 10


class Verdict(StrEnum):
    """What a ratio's interval says against the equivalence band (default within 1 %)."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The median of positive ``samples``, in their unit; a single sample has an interval of confidence 0.

    Raises:
        RecordError: No sample, or one that is not a positive number.
    """
    return estimate(_checked(samples, "sample"), None).interval(confidence)


def ratio_interval(subject: Sequence[float], reference: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Subject over reference, paired by index.

    Raises:
        RecordError: No sample, unequal lengths, or a value that is not a positive number.
    """
    return _paired(subject, reference).interval(confidence)


def chained_ratio_interval(
    subject: Sequence[float],
    subject_reference: Sequence[float],
    baseline: Sequence[float],
    baseline_reference: Sequence[float],
    confidence: float = CONFIDENCE,
) -> Interval:
    """(subject / its reference) / (baseline / its reference): two arms compared through what both were paired with.

    The two paired ratios come from different moments and count as independent.

    Raises:
        RecordError: As ``ratio_interval``.
    """
    chained = _paired(subject, subject_reference).minus(_paired(baseline, baseline_reference))
    return chained.interval(confidence)


def unpaired_ratio_interval(
    subject: Sequence[float], baseline: Sequence[float], confidence: float = CONFIDENCE
) -> Interval:
    """The ratio of two medians whose samples share nothing; drift between the two is not in the interval.

    Raises:
        RecordError: As ``median_interval``.
    """
    mine, theirs = _checked(subject, "subject sample"), _checked(baseline, "baseline sample")
    return estimate(mine, None).minus(estimate(theirs, None)).interval(confidence)


def half_width(interval: Interval) -> float:
    """Relative half width: half the interval over its median."""
    return (interval.high - interval.low) / (2 * interval.median)


def verdict(interval: Interval, band: float = EQUIVALENCE_BAND) -> Verdict:
    """The subject's verdict from the interval of subject time over baseline time.

    ``EQUIVALENT`` when the whole interval lies within ``1/(1 + band)`` and ``1 + band``, ``FASTER`` or ``SLOWER`` when
    all of it lies beyond the band on one side, ``INCONCLUSIVE`` otherwise and for an interval of confidence 0.
    """
    if interval.confidence <= 0:
        return Verdict.INCONCLUSIVE
    lower, upper = 1 / (1 + band), 1 + band
    if lower <= interval.low and interval.high <= upper:
        return Verdict.EQUIVALENT
    if interval.high < lower:
        return Verdict.FASTER
    if interval.low > upper:
        return Verdict.SLOWER
    return Verdict.INCONCLUSIVE


def should_stop(
    subject: Sequence[float],
    reference: Sequence[float],
    *,
    target_half_width: float = TARGET_HALF_WIDTH,
    minimum_samples: int = 10,
    maximum_samples: int = 200,
) -> StopReason | None:
    """Whether to stop sampling, to be asked after every pair; None to go on.

    The interval is evaluated at ``minimum_samples`` and from then on at every tenth part more, so that a look costs
    little. Precision is not believed before the samples are worth ten independent ones (at least 22 of them), because
    among many looks at a short correlated series one is narrow by chance.
    """
    count = len(subject)
    if count >= maximum_samples:
        return StopReason.SAMPLE_COUNT
    if count < max(2, minimum_samples) or (count - minimum_samples) % max(1, count // 10):
        return None
    found = _paired(subject, reference)
    narrow = half_width(found.interval(CONFIDENCE)) <= target_half_width
    return StopReason.PRECISION if narrow and found.effective_samples >= _FEWEST_EFFECTIVE_SAMPLES else None


def _checked(samples: Sequence[float], name: str) -> tuple[float, ...]:
    if not samples:
        raise RecordError(f"no {name} to take a median of; measure the point again")
    for index, value in enumerate(samples):
        if not (isfinite(value) and value > 0):
            raise RecordError(f"{name} {index} is {value}; a time is a positive number, measure the point again")
    return tuple(samples)


def _paired(subject: Sequence[float], reference: Sequence[float]) -> Estimate:
    if len(subject) != len(reference):
        raise RecordError(
            f"{len(subject)} samples are paired with {len(reference)} of the reference; pairs need equal counts"
        )
    return estimate(_checked(subject, "sample"), _checked(reference, "reference sample"))
