"""The interval of a share that was counted in clusters, such as retrievals from one memory a seed."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from pamprof.records import Interval
from pamprof.statistics.intervals import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Sequence


def clustered_proportion(successes: Sequence[int], trials: int) -> Interval:
    """The share of successes over clusters of equal size, with Wilson's interval for as many independent trials.

    Trials of one cluster share what they are drawn from, so they say less than independent ones: the design effect
    (Kish 1965), the variance between clusters over that of independent trials, divides their number, and is taken as 1
    where it is less. Wilson's interval keeps its width at shares of 0 and 1, where a bootstrap over clusters has none.

    Args:
        successes: One count a cluster, two clusters or more.
        trials: Of each cluster.
    """
    clusters = len(successes)
    total = clusters * trials
    share = sum(successes) / total
    between = sum((count / trials - share) ** 2 for count in successes) / (clusters - 1)
    independent = share * (1 - share) / trials
    count = total / max(1.0, between / independent) if independent > 0 else total
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(
        low=0.0 if share == 0 else middle - reach,
        median=share,
        high=1.0 if share == 1 else middle + reach,
        confidence=CONFIDENCE,
    )
