"""From which context length one arm serves cheaper than another on the same device, read off their curves.

At every length both arms are put at their own best batch within the limits; the ratio of what they then need falls (or
rises) through 1 at the crossover, which is bracketed on a grid and then bisected to the token. The ends of the ratio's
interval are followed in the same way. Outside the lengths given nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pamprof.analysis.comparison.results import Basis, least_sure
from pamprof.analysis.serving import sentences
from pamprof.analysis.serving.operating_point import OperatingPoint, first_true, operating_point
from pamprof.analysis.serving.terms import Curve, Limits, Traffic, quotient
from pamprof.errors import PamprofError
from pamprof.records import Interval, Phase
from pamprof.units import tokens

Ratio = Callable[[int], tuple[Interval, Basis] | None]

CHEAPER_ABOVE = "cheaper above"
ALWAYS_CHEAPER = "always cheaper"
ALWAYS_MORE_EXPENSIVE = "always more expensive"
UNKNOWN_DIRECTION = "unknown"
# Lengths tried between two measured ones, so that a curve that crosses twice between them is still seen.
STEPS_BETWEEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Where a ratio falls through 1.

    Attributes:
        tokens: First length at which the subject is not more expensive, with the lengths at which the ends of the
            ratio's interval cross; an end that crosses nowhere lies at the end of the lengths examined. None without
            crossing.
        direction: ``cheaper above``, ``always cheaper``, ``always more expensive`` or ``unknown``, of the subject.
        first, last: Lengths examined, tokens; None where none could be.
        basis: That of the less sure of the two arms at the lengths beside the crossing, interpolated at best, since it
            lies between them; without a crossing, that of the least sure answer at any length examined.
    """

    tokens: Interval | None
    direction: str
    first: int | None
    last: int | None
    basis: Basis

    @property
    def sentence(self) -> str:
        """In words, with the range it holds in."""
        if self.first is None or self.last is None:
            return sentences.NO_SHARED_LENGTH
        return sentences.DIRECTION_AND_RANGE.format(
            direction=self.direction, first=tokens(self.first), last=tokens(self.last)
        )


def request_ratio(subject: Curve, rival: Curve, traffic: Traffic, limits: Limits) -> Ratio:
    """Device time of a whole request, subject over rival, by prompt length; generated tokens stay as they are."""

    def at(prompt_length: int) -> tuple[Interval, Basis] | None:
        request = replace(traffic, input_tokens=prompt_length)
        ours, theirs = (operating_point(curve, request, limits) for curve in (subject, rival))
        if not (isinstance(ours, OperatingPoint) and isinstance(theirs, OperatingPoint)):
            return None
        return quotient(ours.device_seconds, theirs.device_seconds), least_sure(ours.basis, theirs.basis)

    return at


def decode_ratio(subject: Curve, rival: Curve, limits: Limits) -> Ratio:
    """Device time of one decoded token, subject over rival, by context; each at its best batch, prefill left out."""

    def at(context: int) -> tuple[Interval, Basis] | None:
        ours, theirs = (_decoding(curve, context, limits) for curve in (subject, rival))
        if ours is None or theirs is None:
            return None
        return quotient(ours.decode_seconds, theirs.decode_seconds), least_sure(ours.basis, theirs.basis)

    return at


def capacity_ratio(subject: Curve, rival: Curve) -> Ratio:
    """Sequences the rival's device holds over the subject's, by context; below 1 the subject holds more."""

    def at(context: int) -> tuple[Interval, Basis] | None:
        try:
            ours, theirs = (curve.maximum_batch(context) for curve in (subject, rival))
        except PamprofError:
            return None
        if ours.value < 1 or theirs.value < 1:
            return None
        return Interval.exact(theirs.value / ours.value), least_sure(ours.basis, theirs.basis)

    return at


def lengths_of(*curves: Curve, phases: Sequence[Phase] = (Phase.DECODE,)) -> tuple[int, ...]:
    """Contexts (or prompts) measured by any of the curves, sorted, with steps between them in equal ratios."""
    measured = sorted(
        {run.workload.sequence_length for curve in curves for run in curve.runs if run.workload.phase in phases}
    )
    between = {
        round(low * (high / low) ** (step / STEPS_BETWEEN))
        for low, high in pairwise(measured)
        for step in range(STEPS_BETWEEN)
    }
    return tuple(sorted({*between, *measured}))


def crossing(ratio: Ratio, lengths: Sequence[int]) -> Crossing:
    """Where ``ratio`` comes down through 1 among ``lengths``; it must do so once, and never come up again."""
    known = [(length, found) for length in lengths if (found := ratio(length)) is not None]
    if not known:
        return Crossing(tokens=None, direction=UNKNOWN_DIRECTION, first=None, last=None, basis=Basis.MODELLED)
    first, last = known[0][0], known[-1][0]
    basis = least_sure(*(found[1] for _, found in known))

    def say(direction: str, at: Interval | None = None, basis: Basis = basis) -> Crossing:
        return Crossing(tokens=at, direction=direction, first=first, last=last, basis=basis)

    if all(found[0].median <= 1 for _, found in known):
        return say(ALWAYS_CHEAPER if all(found[0].high < 1 for _, found in known) else UNKNOWN_DIRECTION)
    if all(found[0].median > 1 for _, found in known):
        return say(ALWAYS_MORE_EXPENSIVE if all(found[0].low > 1 for _, found in known) else UNKNOWN_DIRECTION)
    medians = [found[0].median for _, found in known]
    turns = [(before > 1) != (after > 1) for before, after in pairwise(medians)]
    if medians[0] <= 1 or sum(turns) != 1:
        return say(UNKNOWN_DIRECTION)
    at = Interval(
        low=_fall(ratio, known, lambda found: found.low, otherwise=first),
        median=_fall(ratio, known, lambda found: found.median, otherwise=last),
        high=_fall(ratio, known, lambda found: found.high, otherwise=last),
        confidence=min(found[0].confidence for _, found in known),
    )
    turn = turns.index(True)
    return say(CHEAPER_ABOVE, at, least_sure(Basis.INTERPOLATED, known[turn][1][1], known[turn + 1][1][1]))


def _fall(
    ratio: Ratio, known: Sequence[tuple[int, tuple[Interval, Basis]]], end: Callable[[Interval], float], otherwise: int
) -> float:
    """The first length at which one end of the ratio is at most 1 after having been above it."""
    for (low, before), (high, after) in pairwise(known):
        if end(before[0]) > 1 >= end(after[0]):
            return float(first_true(lambda length: _is_below(ratio, length, end), low, high)[1])
    return float(otherwise)


def _is_below(ratio: Ratio, length: int, end: Callable[[Interval], float]) -> bool:
    found = ratio(length)
    return found is None or end(found[0]) <= 1


def _decoding(curve: Curve, context: int, limits: Limits) -> OperatingPoint | None:
    """One token decoded at a context that is already there."""
    token = Traffic(input_tokens=context, output_tokens=1)
    point = operating_point(curve, token, limits, prefilled=True)
    return point if isinstance(point, OperatingPoint) else None
