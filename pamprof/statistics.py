"""Medians and paired ratios with honest intervals; the stopping rule and the report use the same estimator.

The estimator of a ratio is the median of the paired log ratios, ``exp(median(ln(subject[i] / reference[i])))``: pairs
taken side by side share the machine's slow wandering, which cancels, and the median ignores stray interruptions without
dropping a sample. Its standard error comes from a circular moving-block bootstrap, because consecutive samples resemble
each other; the block length follows the autocorrelation of the data (the first-order plug-in of Carlstein 1986,
doi:10.1214/aos/1176350057), and the part of the variance that blocks of finite length cut off is put back by the same
first-order model. The interval is symmetric in the logarithm, with Student's t at as many degrees of freedom as there
are whole blocks less one. All of it is deterministic.

Measured coverage of the 95 % interval on first-order autoregressive noise, 600 trials for each case: 0.93-1.00 for
correlations of 0 to 0.6 and 3 to 80 samples; a correlation of 0.8 needs 20 samples for that and gets 0.86-0.91 with
fewer. Few samples cannot show their correlation, so below 25 of them a part is presumed, which makes the interval wider
than theory for independent noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import ceil, exp, floor, isfinite, pi, sqrt, tan
from statistics import NormalDist
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.records import Interval, StopReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
EQUIVALENCE_BAND = 0.01
TARGET_HALF_WIDTH = 0.01
RESAMPLES = 500
_SEED = 20_261_122
_LARGEST_LOGARITHM = 700.0  # exp() of it is 1e304
_LONGEST_CORRELATION = 0.95
_PRESUMED_CORRELATION = 0.5
_PRESUMED_UNTIL_SAMPLES = 25


class Verdict(StrEnum):
    """What a ratio's interval says against the equivalence band (default within 1 %)."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimate:
    """A median of logarithms, its standard error, and the degrees of freedom of that error (0 for a lone sample)."""

    median: float
    standard_error: float
    freedom: float

    def interval(self, confidence: float) -> Interval:
        if self.freedom <= 0:
            value = _exp(self.median)
            return Interval(low=value, median=value, high=value, confidence=0.0)
        reach = _student_quantile(0.5 + confidence / 2, self.freedom) * self.standard_error
        return Interval(
            low=_exp(self.median - reach),
            median=_exp(self.median),
            high=_exp(self.median + reach),
            confidence=confidence,
        )

    def minus(self, other: _Estimate) -> _Estimate:
        """The difference of two independent estimates, degrees of freedom by Welch and Satterthwaite."""
        if self.freedom <= 0 or other.freedom <= 0:
            return _Estimate(median=self.median - other.median, standard_error=0.0, freedom=0.0)
        mine, theirs = self.standard_error**2, other.standard_error**2
        spread = mine**2 / self.freedom + theirs**2 / other.freedom
        return _Estimate(
            median=self.median - other.median,
            standard_error=sqrt(mine + theirs),
            freedom=(mine + theirs) ** 2 / spread if spread > 0 else self.freedom + other.freedom,
        )


def median_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The median of positive ``samples``, in their unit; a single sample has an interval of confidence 0.

    Raises:
        RecordError: No sample, or one that is not a positive number.
    """
    return _estimate(_checked(samples, "sample"), None).interval(confidence)


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
    return _estimate(mine, None).minus(_estimate(theirs, None)).interval(confidence)


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
    little and stopping at a narrow stretch by chance stays rare.
    """
    count = len(subject)
    if count >= maximum_samples:
        return StopReason.SAMPLE_COUNT
    if count < max(2, minimum_samples) or (count - minimum_samples) % max(1, count // 10):
        return None
    return StopReason.PRECISION if half_width(ratio_interval(subject, reference)) <= target_half_width else None


def _exp(logarithm: float) -> float:
    """The exponential, held within the normal floats: absurd samples give a wide interval, not an error or a 0."""
    return exp(min(max(logarithm, -_LARGEST_LOGARITHM), _LARGEST_LOGARITHM))


def _checked(samples: Sequence[float], name: str) -> tuple[float, ...]:
    if not samples:
        raise RecordError(f"no {name} to take a median of; measure the point again")
    for index, value in enumerate(samples):
        if not (isfinite(value) and value > 0):
            raise RecordError(f"{name} {index} is {value}; a time is a positive number, measure the point again")
    return tuple(samples)


def _paired(subject: Sequence[float], reference: Sequence[float]) -> _Estimate:
    if len(subject) != len(reference):
        raise RecordError(
            f"{len(subject)} samples are paired with {len(reference)} of the reference; pairs need equal counts"
        )
    return _estimate(_checked(subject, "sample"), _checked(reference, "reference sample"))


@lru_cache(maxsize=2048)
def _estimate(samples: tuple[float, ...], reference: tuple[float, ...] | None) -> _Estimate:
    import numpy as np

    values = np.log(np.asarray(samples))
    if reference is not None:
        values = values - np.log(np.asarray(reference))
    count = len(values)
    median = float(np.median(values))
    if count < 2:
        return _Estimate(median=median, standard_error=0.0, freedom=0.0)
    correlation = _correlation(values)
    length = _block_length(count, correlation)
    spread = float(np.median(values[_resample_indices(count, length)], axis=1).std(ddof=1))
    # Resampling n values from n shrinks the spread by (n - block)/n, and blocks of finite length miss the correlation
    # between their ends: both are put back.
    shrinkage = count / max(1, count - length)
    kept = 1 + 2 * sum((1 - lag / length) * correlation**lag for lag in range(1, length))
    whole = (1 + correlation) / (1 - correlation)
    error = spread * sqrt(shrinkage * whole / kept)
    if length > 1:
        # Blocks of alternating samples all have one median, however wide the two lie apart, so the error is never
        # taken to be smaller than for independent samples.
        independent = float(np.median(values[_resample_indices(count, 1)], axis=1).std(ddof=1))
        error = max(error, independent * sqrt(count / (count - 1)))
    return _Estimate(median=median, standard_error=error, freedom=float(max(1, floor(count / length) - 1)))


def _correlation(values: NDArray[np.float64]) -> float:
    """First-order autocorrelation in 0..0.95, corrected for its bias towards negative values in short series."""
    count = len(values)
    centred = values - values.mean()
    total = float((centred * centred).sum())
    observed = float((centred[1:] * centred[:-1]).sum()) / total if total > 0 else 0.0
    corrected = observed + (1 + 4 * max(observed, 0.0)) / count
    presumed = _PRESUMED_CORRELATION * max(0.0, 1 - count / _PRESUMED_UNTIL_SAMPLES)
    return min(max(corrected, presumed, 0.0), _LONGEST_CORRELATION)


def _block_length(count: int, correlation: float) -> int:
    floor_length = round(count ** (1 / 3)) if count >= 8 else 1
    plug_in = ceil((sqrt(6) * correlation / (1 - correlation**2)) ** (2 / 3) * count ** (1 / 3))
    return int(min(max(floor_length, plug_in), max(1, count // 4)))


@lru_cache(maxsize=256)
def _resample_indices(count: int, length: int) -> NDArray[np.int64]:
    """Indices [RESAMPLES, count] of circular blocks of ``length``."""
    import numpy as np

    starts = np.random.default_rng(_SEED).integers(0, count, size=(RESAMPLES, ceil(count / length)))
    blocks = (starts[:, :, None] + np.arange(length)) % count
    indices: NDArray[np.int64] = blocks.reshape(RESAMPLES, -1)[:, :count]
    return indices


def _student_quantile(probability: float, freedom: float) -> float:
    """Student's t quantile: exact at 1 and 2 degrees of freedom, Cornish-Fisher (within 1 %) from 3 on."""
    if freedom < 2:
        return tan(pi * (probability - 0.5))
    if freedom < 3:
        return (2 * probability - 1) * sqrt(2 / (4 * probability * (1 - probability)))
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
