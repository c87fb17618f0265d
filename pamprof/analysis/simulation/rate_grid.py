"""Times over the rate of one server at the rates that were simulated, read between them, and how far off that is.

Between two rates times follow a power of the rate. How far off that can be is known at every rate inside: each is read
off its neighbours, which lie twice as far apart, and compared with its own simulation.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, isclose, isfinite, log
from typing import TYPE_CHECKING

from pamprof.analysis.serving.operating_point import TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN
from pamprof.analysis.simulation.highest_rate import THROUGHPUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.serving.terms import Limits
    from pamprof.analysis.simulation.arm import LoadedArm
    from pamprof.analysis.simulation.highest_rate import HighestRate
    from pamprof.analysis.simulation.metrics import LoadMetrics

# Shares of the highest rate that are simulated besides those that the search for it tried.
SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975)
# Two rates nearer to each other than this are one: of their times only the noise would be compared.
_APART = 1.005
# Rates that are typed and printed have six digits.
_SAME_WITHIN = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLine:
    """One time over the rate.

    Attributes:
        values: Seconds at each rate.
        errors: Relative distance of each from what its neighbours say of it; 0 at both ends.
    """

    values: tuple[float, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateGrid:
    """One arm's times at the level's percentile.

    Attributes:
        rates: Requests a second of one server, rising.
        first: To the first token.
        each: Per output token; None where answers have one token.
    """

    rates: tuple[float, ...]
    first: TimeLine
    each: TimeLine | None

    def at(self, line: TimeLine, rate: float) -> float | None:
        """Seconds at ``rate``; that of the lowest rate below it, None above the highest."""
        found = _read(self.rates, line.values, rate)
        return None if rate > self.rates[-1] else found

    def error_at(self, line: TimeLine, rate: float) -> float:
        """How far off ``at`` may be: the larger error of the rates on both sides, nothing at a rate itself."""
        if any(isclose(rate, each, rel_tol=_SAME_WITHIN) for each in self.rates):
            return 0.0
        above = min(bisect_left(self.rates, rate), len(self.rates) - 1)
        return max(line.errors[max(0, above - 1)], line.errors[above])

    def highest_within(self, limits: Limits) -> tuple[float | None, str, float]:
        """The highest rate within ``limits``, what is missed beyond it, and how far off the rate may be, relative.

        None where nothing is within them.
        """
        found = [(*self._crossing(self.first, limits.seconds_to_first_token), TIME_TO_FIRST_TOKEN)]
        if self.each is not None:
            found.append((*self._crossing(self.each, limits.seconds_per_output_token), TIME_PER_OUTPUT_TOKEN))
        rate, error, bound = min(found, key=lambda each: each[0])
        if not rate:
            return None, bound, 0.0
        return (self.rates[-1], THROUGHPUT, 0.0) if rate == inf else (rate, bound, error)

    def _crossing(self, line: TimeLine, limit: float) -> tuple[float, float]:
        """The rate at which a time first passes its limit, and how far off; 0 where at once, infinite where never.

        A time that is off by a share moves the rate by that over the steepness, at most from one rate to the next.
        """
        if line.values[0] > limit:
            return 0.0, 0.0
        for number in range(1, len(self.rates)):
            if line.values[number] > limit:
                rates, values = (of[number - 1 : number + 1] for of in (self.rates, line.values))
                rate, apart = _read(values, rates, limit), log(rates[1] / rates[0])
                steepness = log(values[1] / values[0]) / apart if values[1] > values[0] else 0.0
                moved = self.error_at(line, rate) / steepness if steepness > 0 else inf
                return rate, min(moved, apart)
        return inf, 0.0


def rate_grid(loaded: LoadedArm, highest: HighestRate, own: LoadMetrics | None = None) -> RateGrid | None:
    """The times at all rates that the search tried and at shares of what it found; None where it found none.

    Args:
        loaded: The arm.
        highest: Its highest rate, at the medians of the step times.
        own: What is told of one rate elsewhere, which the grid then says, too.
    """
    best = highest.requests_per_second
    if best is None:
        return None
    simulated = [loaded.metrics(share * best) for share in SHARES]
    others = (*simulated, *highest.tried)
    if own is None:
        return grid_of(others)
    rate = own.requests_per_second
    return grid_of((own, *(each for each in others if not rate / _APART < each.requests_per_second < rate * _APART)))


def grid_of(simulated: Sequence[LoadMetrics]) -> RateGrid | None:
    """The grid of these rates; None of fewer than three."""
    kept: list[LoadMetrics] = []
    for metrics in sorted(simulated, key=lambda each: each.requests_per_second):
        first = metrics.level_seconds_to_first_token
        apart = not kept or metrics.requests_per_second >= _APART * kept[-1].requests_per_second
        if apart and first is not None and isfinite(first) and first > 0:
            kept.append(metrics)
    if len(kept) < 3:
        return None
    rates = tuple(metrics.requests_per_second for metrics in kept)
    each = [metrics.level_seconds_per_output_token for metrics in kept]
    known = [value for value in each if value is not None and isfinite(value) and value > 0]
    return RateGrid(
        rates=rates,
        first=_line(rates, [metrics.level_seconds_to_first_token or 0.0 for metrics in kept]),
        each=_line(rates, known) if len(known) == len(kept) else None,
    )


def grid_through(rates: Sequence[float], first: Sequence[float], each: Sequence[float] | None) -> RateGrid | None:
    """The grid of measured rates, rising, and their times; None of fewer than two different ones, or without a time."""
    values = (*first, *(each or ()))
    if len(rates) < 2 or min(values, default=0.0) <= 0 or any(high <= low for low, high in pairwise(rates)):
        return None
    return RateGrid(
        rates=tuple(rates), first=_line(rates, first), each=None if each is None else _line(rates, list(each))
    )


def _line(rates: Sequence[float], values: Sequence[float]) -> TimeLine:
    inside = range(1, len(rates) - 1)
    errors = [
        abs(_read((rates[at - 1], rates[at + 1]), (values[at - 1], values[at + 1]), rates[at]) / values[at] - 1)
        for at in inside
    ]
    return TimeLine(values=tuple(values), errors=(0.0, *errors, 0.0))


def _read(places: Sequence[float], values: Sequence[float], place: float) -> float:
    """The value at ``place``, straight between two logarithms; that of the first or last outside of them."""
    above = bisect_left(places, place)
    if above == 0 or above == len(places):
        return values[min(above, len(places) - 1)]
    low, high = places[above - 1], places[above]
    if high == low:
        return values[above]
    fraction = log(place / low) / log(high / low)
    return exp((1 - fraction) * log(values[above - 1]) + fraction * log(values[above]))
