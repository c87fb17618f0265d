"""Ratios of paired samples with intervals.

The estimator of a ratio is the median of the paired log ratios, ``exp(median(ln(subject[i] / reference[i])))``: pairs
taken side by side share the slow drift of the machine, which cancels, and the median ignores single interruptions
without dropping a sample. Its interval comes from ``median_estimate``. Stopping rule and report use the same estimator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.statistics.intervals import CONFIDENCE, checked_samples
from pamprof.statistics.median_estimate import median_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Interval
    from pamprof.statistics.log_estimate import LogEstimate


def ratio_interval(subject: Sequence[float], reference: Sequence[float]) -> Interval:
    """Subject over reference, paired by index.

    Raises:
        RecordError: No sample, unequal lengths, or a value that is not a positive number.
    """
    return paired_estimate(subject, reference).interval(CONFIDENCE)


def chained_ratio_interval(
    subject: Sequence[float],
    subject_reference: Sequence[float],
    baseline: Sequence[float],
    baseline_reference: Sequence[float],
) -> Interval:
    """(subject / its reference) / (baseline / its reference): two arms compared through what both were paired with.

    The two paired ratios come from different moments and count as independent.

    Raises:
        RecordError: As ``ratio_interval``.
    """
    chained = paired_estimate(subject, subject_reference).minus(paired_estimate(baseline, baseline_reference))
    return chained.interval(CONFIDENCE)


def unpaired_ratio_interval(subject: Sequence[float], baseline: Sequence[float]) -> Interval:
    """The ratio of two medians whose samples share nothing; drift between the two is not in the interval.

    Raises:
        RecordError: As ``median_interval``.
    """
    return unpaired_estimate(subject).minus(unpaired_estimate(baseline, "baseline sample")).interval(CONFIDENCE)


def unpaired_estimate(samples: Sequence[float], name: str = "subject sample") -> LogEstimate:
    """The estimate of ``ln(samples)``; ``name`` is what a message calls one of them.

    Raises:
        RecordError: As ``median_interval``.
    """
    return median_estimate(checked_samples(samples, name), None)


def paired_estimate(subject: Sequence[float], reference: Sequence[float]) -> LogEstimate:
    """The estimate of ``ln(subject / reference)``, paired by index.

    Raises:
        RecordError: As ``ratio_interval``.
    """
    if len(subject) != len(reference):
        raise RecordError(
            f"{len(subject)} samples are paired with {len(reference)} of the reference; pairs need equal counts"
        )
    return median_estimate(checked_samples(subject, "sample"), checked_samples(reference, "reference sample"))
