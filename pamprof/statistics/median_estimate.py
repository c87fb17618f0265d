"""The median of the logarithms of autocorrelated samples, with a standard error from a moving-block bootstrap.

Consecutive samples are correlated, so circular blocks of them are resampled. The block length follows the
autocorrelation of the data (first-order plug-in of Carlstein 1986, doi:10.1214/aos/1176350057). Blocks of finite length
miss a part of the variance; the same first-order model adds it. The interval is symmetric in the logarithm, with
Student's t at one degree of freedom fewer than there are whole blocks. The result is deterministic.

A correlation estimated from few samples is too small more often than not. The upper end of its 80 % interval therefore
replaces the estimate, and below 40 samples a minimum is assumed. In return, the interval for independent noise is wider
than theory asks for, most of all below 20 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, floor, pi, sqrt, tan
from statistics import NormalDist
from typing import TYPE_CHECKING

from pamprof.records import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 500
_SEED = 20_261_122
_LARGEST_LOGARITHM = 700.0  # exp() of it is 1e304
_LONGEST_CORRELATION = 0.95
_PRESUMED_CORRELATION = 0.8
_PRESUMED_UNTIL_SAMPLES = 40
_CORRELATION_ERRORS = NormalDist().inv_cdf(0.9)  # standard errors from the estimate to the bound that is used


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianEstimate:
    """A median of logarithms, its standard error, and the degrees of freedom of that error (0 for a single sample).

    ``effective_samples`` is the number of independent samples with the same standard error.
    """

    median: float
    standard_error: float
    freedom: float
    effective_samples: float

    def interval(self, confidence: float) -> Interval:
        """The interval of the median, as a ratio and not as a logarithm; confidence 0 for a single sample."""
        if self.freedom <= 0:
            value = _exp(self.median)
            return Interval(low=value, median=value, high=value, confidence=0.0)
        reach = student_quantile(0.5 + confidence / 2, self.freedom) * self.standard_error
        return Interval(
            low=_exp(self.median - reach),
            median=_exp(self.median),
            high=_exp(self.median + reach),
            confidence=confidence,
        )

    def minus(self, other: MedianEstimate) -> MedianEstimate:
        """The difference of two independent estimates, degrees of freedom by Welch and Satterthwaite."""
        if self.freedom <= 0 or other.freedom <= 0:
            return MedianEstimate(
                median=self.median - other.median, standard_error=0.0, freedom=0.0, effective_samples=1.0
            )
        mine, theirs = self.standard_error**2, other.standard_error**2
        spread = mine**2 / self.freedom + theirs**2 / other.freedom
        return MedianEstimate(
            median=self.median - other.median,
            standard_error=sqrt(mine + theirs),
            freedom=(mine + theirs) ** 2 / spread if spread > 0 else self.freedom + other.freedom,
            effective_samples=min(self.effective_samples, other.effective_samples),
        )


@lru_cache(maxsize=2048)
def median_estimate(samples: tuple[float, ...], reference: tuple[float, ...] | None) -> MedianEstimate:
    """Estimate of the median of ``ln(samples)``, or of ``ln(samples / reference)`` pair by pair.

    Args:
        samples: At least one positive number.
        reference: As many, or None.
    """
    import numpy as np

    values = np.log(np.asarray(samples))
    if reference is not None:
        values = values - np.log(np.asarray(reference))
    count = len(values)
    median = float(np.median(values))
    if count < 2:
        return MedianEstimate(median=median, standard_error=0.0, freedom=0.0, effective_samples=float(count))
    correlation = _correlation(values)
    length = _block_length(count, correlation)
    spread = float(np.median(values[_resample_indices(count, length)], axis=1).std(ddof=1))
    # Resampling n values from n shrinks the spread by (n - block)/n, and blocks of finite length miss the correlation
    # across their ends. Both are corrected.
    shrinkage = count / max(1, count - length)
    kept = 1 + 2 * sum((1 - lag / length) * correlation**lag for lag in range(1, length))
    whole = (1 + correlation) / (1 - correlation)
    error = spread * sqrt(shrinkage * whole / kept)
    if length > 1:
        # Where samples alternate between two values, all blocks have the same median. The error is therefore at least
        # that of independent samples.
        independent = float(np.median(values[_resample_indices(count, 1)], axis=1).std(ddof=1))
        error = max(error, independent * sqrt(count / (count - 1)))
    return MedianEstimate(
        median=median,
        standard_error=error,
        freedom=float(max(1, floor(count / length) - 1)),
        effective_samples=count / whole,
    )


def _correlation(values: NDArray[np.float64]) -> float:
    """Upper 90 % bound of the first-order autocorrelation, within 0..0.95.

    The estimate is first corrected for its bias towards negative values in short series. The bound keeps the number of
    effective samples at 1 or more: ``count * (1 - correlation) / (1 + correlation) >= 1``.
    """
    count = len(values)
    centred = values - values.mean()
    total = float((centred * centred).sum())
    observed = float((centred[1:] * centred[:-1]).sum()) / total if total > 0 else 0.0
    corrected = observed + (1 + 4 * max(observed, 0.0)) / count
    error = sqrt((1 - min(max(corrected, 0.0), _LONGEST_CORRELATION) ** 2) / count)
    presumed = _PRESUMED_CORRELATION * max(0.0, 1 - count / _PRESUMED_UNTIL_SAMPLES)
    bound = min(corrected + _CORRELATION_ERRORS * error, (count - 1) / (count + 1))
    return min(max(bound, presumed, 0.0), _LONGEST_CORRELATION)


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


def student_quantile(probability: float, freedom: float) -> float:
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


def _exp(logarithm: float) -> float:
    """The exponential, clamped to normal floats, so that extreme samples give a wide interval and not an error or 0."""
    return exp(min(max(logarithm, -_LARGEST_LOGARITHM), _LARGEST_LOGARITHM))
