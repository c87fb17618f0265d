"""The highest rate of requests at which a server holds its service level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.serving.operating_point import TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.analysis.simulation.metrics import Level, LoadMetrics
    from pamprof.analysis.simulation.outcome import Outcome

THROUGHPUT = "throughput"
MEMORY_REFUSES = "requests too long for the memory"
# The rate is known to this ratio.
WITHIN = 0.01
# The search leaves the rate it begins at by this factor, and by the square of the last one at each further step.
_FIRST_STEP = 1.04
# Below this share of the rate that a server in full use sustains no rate is looked for.
_LEAST_SHARE = 2.0**-12


@dataclass(frozen=True, slots=True, kw_only=True)
class HighestRate:
    """Where the level ends.

    Attributes:
        requests_per_second: The highest rate at which it was seen to hold; None where it holds at none.
        sustained_per_second: What the server completes when requests never cease; beyond it queues only grow.
        bound: What is missed first beyond it; ``throughput`` where the level holds up to the sustained rate.
        tried: Every rate that was simulated, rising.
    """

    requests_per_second: float | None
    sustained_per_second: float
    bound: str
    tried: tuple[LoadMetrics, ...]


def highest_rate(
    simulated: Callable[[float], Outcome],
    measured: Callable[[Outcome], LoadMetrics],
    level: Level,
    *,
    overload_per_second: float,
    near: float | None = None,
) -> HighestRate:
    """Bisect the rate to 1 % between one at which the level holds and one at which it does not.

    Args:
        simulated: The same requests served at a rate.
        measured: How an outcome is judged.
        level: The level.
        overload_per_second: A rate far beyond what the server can do.
        near: Where the rate is expected, so that the search begins close; None for anywhere.
    """
    sustained = sustained_rate(simulated(overload_per_second))
    tried: dict[float, LoadMetrics] = {}

    def at(rate: float) -> LoadMetrics:
        if rate not in tried:
            tried[rate] = measured(simulated(rate))
        return tried[rate]

    def found(rate: float | None, bound: str) -> HighestRate:
        return HighestRate(
            requests_per_second=rate,
            sustained_per_second=sustained,
            bound=bound,
            tried=tuple(tried[rate] for rate in sorted(tried)),
        )

    if not sustained:
        return found(None, MEMORY_REFUSES)
    bad = sustained
    if at(bad).holds:
        return found(bad, THROUGHPUT)
    good, step = (bad, _FIRST_STEP) if near is None or near >= bad else (near * _FIRST_STEP, _FIRST_STEP)
    while True:
        good /= step
        if at(good).holds:
            break
        bad, step = good, step * step
        if good < sustained * _LEAST_SHARE:
            return found(None, missed(at(bad), level))
    while good * step < bad and at(good * step).holds:
        good *= step
    bad = min(bad, good * step)
    while bad / good > 1 + WITHIN:
        middle = (good * bad) ** 0.5
        good, bad = (middle, bad) if at(middle).holds else (good, middle)
    return found(good, missed(at(bad), level))


def sustained_rate(overloaded: Outcome) -> float:
    """Requests a second that a server in full use completes: those of the middle, neither filling nor emptying it."""
    import numpy as np

    done = np.sort(overloaded.finish_seconds[np.isfinite(overloaded.finish_seconds)])
    if len(done) < 2:
        return 0.0 if not len(done) else 1 / float(done[0])
    first, last = len(done) // 4, max(len(done) // 4 + 1, 3 * len(done) // 4)
    span = float(done[last] - done[first])
    return (last - first) / span if span > 0 else len(done) / float(done[-1])


def missed(metrics: LoadMetrics, level: Level) -> str:
    """Which limit these metrics miss."""
    first, each = metrics.level_seconds_to_first_token, metrics.level_seconds_per_output_token
    if first == float("inf"):
        return MEMORY_REFUSES
    if each is not None and each > level.limits.seconds_per_output_token:
        return TIME_PER_OUTPUT_TOKEN
    if first is not None and first > level.limits.seconds_to_first_token:
        return TIME_TO_FIRST_TOKEN
    return THROUGHPUT
