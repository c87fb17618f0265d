"""First-order autocorrelation of short series, and the block length that it asks for."""

from __future__ import annotations

from itertools import pairwise
from math import ceil, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_CORRELATION = 0.95
CAUTIOUS_ERRORS = 0.7


def correlation_of(series: Sequence[Sequence[float]], *, errors: float = CAUTIOUS_ERRORS) -> float:
    """The autocorrelation that equally correlated ``series`` share, within 0..0.95.

    The estimate is corrected for its bias towards negative values in short series (Marriott and Pope 1954,
    doi:10.1093/biomet/41.3-4.390).

    Args:
        series: One or more, together of at least two values.
        errors: Standard errors to add. A correlation that comes out too small makes an interval too narrow, one that
            comes out too large makes it too wide. For a single series 0.7 covers best at the least width
            (``benchmarks/coverage.py``); three or more series need none.
    """
    total = product = 0.0
    for values in series:
        mean = sum(values) / len(values)
        centred = [value - mean for value in values]
        total += sum(value * value for value in centred)
        product += sum(a * b for a, b in pairwise(centred))
    count = sum(len(values) for values in series)
    observed = product / total if total > 0 else 0.0
    corrected = observed + (1 + 4 * max(observed, 0.0)) * len(series) / count
    error = sqrt((1 - min(max(corrected, 0.0), LONGEST_CORRELATION) ** 2) / count)
    # (count - 1) / (count + 1) leaves one effective sample.
    return max(0.0, min(corrected + errors * error, (count - 1) / (count + 1), LONGEST_CORRELATION))


def block_length(count: int, correlation: float) -> int:
    """Samples in one block of a bootstrap, at most a quarter (Carlstein 1986, doi:10.1214/aos/1176350057)."""
    plug_in = ceil((sqrt(6) * correlation / (1 - correlation**2)) ** (2 / 3) * count ** (1 / 3))
    return int(min(max(1, plug_in), max(1, count // 4)))


def variance_growth(correlation: float) -> float:
    """How many times larger the variance of a mean is than that of independent samples: (1 + r) / (1 - r)."""
    return (1 + correlation) / (1 - correlation)


def kept_by_blocks(correlation: float, length: int) -> float:
    """What blocks of ``length`` keep of ``variance_growth``: correlation across their ends is lost."""
    return 1 + 2 * sum((1 - lag / length) * correlation**lag for lag in range(1, length))
