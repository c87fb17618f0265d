"""Interpolation of step times over batch and context inside what was measured, in two ways that bound each other.

Times are a constant (weights are read) and what grows with the batch and with batch x context (states or caches are).
Straight lines in the logarithms of all three follow the stretches on which one of the two outweighs the other, straight
lines in the numbers themselves (``affine``) those on which both count. Each context has a line of batches; between two
contexts both lines are asked. The larger context ends earlier, where memory does: beyond that end the ratio of the two
lines is carried on, up to the straight edge between the logarithms of the two ends and no further.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING

from pamprof.records import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Measured step times at one context: ``(batch, seconds)``, batches rising, at least one."""

    context: int
    points: tuple[tuple[int, Interval], ...]

    @property
    def largest(self) -> int:
        """The largest batch."""
        return self.points[-1][0]

    def at(self, batch: float, *, affine: bool = False) -> Interval | None:
        """The time at ``batch``, in the logarithms or ``affine``; None outside the line."""
        exact = next((found for at, found in self.points if at == batch), None)
        if exact is not None:
            return exact
        for (low, before), (high, after) in pairwise(self.points):
            if low < batch < high:
                return _between((low, before), (high, after), batch, affine=affine)
        return None


def interpolate(lines: Sequence[Line], batch: int, context: int, *, affine: bool = False) -> Interval | None:
    """The step time at ``batch`` and ``context``; None outside the measured hull.

    Args:
        lines: By rising context, each context once.
        batch: Sequences.
        context: Tokens.
        affine: Straight lines in the numbers themselves instead of in their logarithms.
    """
    for line in lines:
        if line.context == context:
            return line.at(batch, affine=affine)
    for below, above in pairwise(lines):
        if below.context < context < above.context:
            return _across(below, above, batch, context, affine=affine)
    return None


def measured_at(lines: Sequence[Line], batch: int, context: int) -> Interval | None:
    """What was measured at this very place; None where nothing was."""
    return next((found for line in lines if line.context == context for at, found in line.points if at == batch), None)


@lru_cache(maxsize=64)
def largest_left_out_error(lines: tuple[Line, ...]) -> float | None:
    """Largest relative error of a line at a measured batch that it was not told; None where no line has three.

    Left out, a point lies in a gap twice as wide as those the interpolation is used in: an upper bound for smooth
    curves.
    """
    errors = []
    for line in lines:
        for position in range(1, len(line.points) - 1):
            batch, measured = line.points[position]
            rest = Line(context=line.context, points=line.points[:position] + line.points[position + 1 :])
            guess = rest.at(batch)
            if guess is not None:
                errors.append(abs(guess.median / measured.median - 1))
    return max(errors, default=None)


def _across(below: Line, above: Line, batch: int, context: int, *, affine: bool) -> Interval | None:
    """From one line to the next, at a context between theirs."""
    shared = min(batch, below.largest, above.largest)
    low, high = below.at(shared, affine=affine), above.at(shared, affine=affine)
    if low is None or high is None:
        return None
    between = _between((below.context, low), (above.context, high), context, affine=affine)
    if batch == shared:
        return between
    fraction = log(context / below.context) / log(above.context / below.context)
    edge = exp((1 - fraction) * log(below.largest) + fraction * log(above.largest))
    longer, at_end = (below, low) if below.largest > above.largest else (above, high)
    beyond = longer.at(batch, affine=affine)
    if batch > edge * (1 + 1e-12) or beyond is None:
        return None
    factor = between.median / at_end.median
    return beyond.scaled(factor)


def _between(first: tuple[int, Interval], last: tuple[int, Interval], place: float, *, affine: bool) -> Interval:
    """At ``place`` on the straight line between two places, in the numbers or in their logarithms."""
    (low, before), (high, after) = first, last
    fraction = (place - low) / (high - low) if affine else log(place / low) / log(high / low)

    def middle(first: float, second: float) -> float:
        if affine:
            return (1 - fraction) * first + fraction * second
        return exp((1 - fraction) * log(first) + fraction * log(second))

    return Interval(
        low=middle(before.low, after.low),
        median=middle(before.median, after.median),
        high=middle(before.high, after.high),
        confidence=min(before.confidence, after.confidence),
    )
