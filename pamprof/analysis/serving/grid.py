"""Interpolation of step times over batch and context, in the logarithms of all three, inside what was measured.

Times follow power laws piece by piece (constant while weights are read, proportional to the batch and to batch x
context once states or caches are), so that straight lines in the logarithm follow them closely. Each context has a line
of batches; between two contexts both lines are asked. The larger context ends earlier, where memory does: beyond that
end the ratio of the two lines is carried on, up to the straight edge between the two ends and no further.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    def at(self, batch: float) -> Interval | None:
        """The time at ``batch``, None outside the line."""
        first = self.points[0]
        if batch == first[0]:
            return first[1]
        for (low, before), (high, after) in pairwise(self.points):
            if low < batch <= high:
                return _between(before, after, log(batch / low) / log(high / low))
        return None


def interpolate(lines: Sequence[Line], batch: int, context: int) -> Interval | None:
    """The step time at ``batch`` and ``context``; None outside the measured hull.

    Args:
        lines: By rising context, each context once.
        batch: Sequences.
        context: Tokens.
    """
    for line in lines:
        if line.context == context:
            return line.at(batch)
    for below, above in pairwise(lines):
        if below.context < context < above.context:
            return _across(below, above, batch, log(context / below.context) / log(above.context / below.context))
    return None


def is_measured(lines: Sequence[Line], batch: int, context: int) -> bool:
    """Whether this very place was measured."""
    return any(line.context == context and any(point[0] == batch for point in line.points) for line in lines)


def largest_left_out_error(lines: Sequence[Line]) -> float | None:
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


def _across(below: Line, above: Line, batch: int, fraction: float) -> Interval | None:
    """``fraction`` of the way, in the logarithm of the context, from one line to the next."""
    shared = min(batch, below.largest, above.largest)
    low, high = below.at(shared), above.at(shared)
    if low is None or high is None:
        return None
    between = _between(low, high, fraction)
    if batch == shared:
        return between
    edge = exp((1 - fraction) * log(below.largest) + fraction * log(above.largest))
    longer, at_end = (below, low) if below.largest > above.largest else (above, high)
    beyond = longer.at(batch)
    if batch > edge * (1 + 1e-12) or beyond is None:
        return None
    factor = between.median / at_end.median
    return beyond.scaled(factor)


def _between(before: Interval, after: Interval, fraction: float) -> Interval:
    def middle(first: float, second: float) -> float:
        return exp((1 - fraction) * log(first) + fraction * log(second))

    return Interval(
        low=middle(before.low, after.low),
        median=middle(before.median, after.median),
        high=middle(before.high, after.high),
        confidence=min(before.confidence, after.confidence),
    )
