"""The median of the logarithms of autocorrelated samples, with a standard error from a moving-block bootstrap.

Consecutive samples are correlated, so circular blocks of them are resampled. The block length follows the
autocorrelation of the data (``autocorrelation``). Blocks of finite length miss a part of the variance; a first-order
model adds it. The interval is symmetric in the logarithm, with Student's t at one degree of freedom fewer than there
are whole blocks. The result is deterministic.

What the intervals cover is measured by ``benchmarks/coverage.py``. Strong correlation cannot be seen in few samples:
at a correlation of 0.8 an interval from fewer than 40 pairs covers 87 to 93 %.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt
from typing import TYPE_CHECKING

from pamprof.statistics.autocorrelation import block_length, correlation_of, kept_by_blocks, variance_growth
from pamprof.statistics.log_estimate import LogEstimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES = 500
_SEED = 20_261_122


@lru_cache(maxsize=2048)
def median_estimate(samples: tuple[float, ...], reference: tuple[float, ...] | None) -> LogEstimate:
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
        return LogEstimate(value=median, standard_error=0.0, freedom=0.0, effective_samples=float(count))
    correlation = correlation_of((values.tolist(),))
    length = block_length(count, correlation)
    spread = float(np.median(values[_resample_indices(count, length)], axis=1).std(ddof=1))
    # Resampling n values from n shrinks the spread by (n - block)/n, and blocks of finite length miss the correlation
    # across their ends. Both are corrected.
    shrinkage = count / max(1, count - length)
    whole = variance_growth(correlation)
    error = spread * sqrt(shrinkage * whole / kept_by_blocks(correlation, length))
    if length > 1:
        # Where samples alternate between two values, all blocks have the same median. The error is therefore at least
        # that of independent samples.
        independent = float(np.median(values[_resample_indices(count, 1)], axis=1).std(ddof=1))
        error = max(error, independent * sqrt(count / (count - 1)))
    return LogEstimate(
        value=median,
        standard_error=error,
        freedom=float(max(1, count // length - 1)),
        effective_samples=count / whole,
    )


@lru_cache(maxsize=256)
def _resample_indices(count: int, length: int) -> NDArray[np.int64]:
    """Indices [RESAMPLES, count] of circular blocks of ``length``."""
    import numpy as np

    starts = np.random.default_rng(_SEED).integers(0, count, size=(RESAMPLES, ceil(count / length)))
    blocks = (starts[:, :, None] + np.arange(length)) % count
    indices: NDArray[np.int64] = blocks.reshape(RESAMPLES, -1)[:, :count]
    return indices
