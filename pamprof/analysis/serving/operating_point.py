"""The batch at which one device serves requests within its limits, or why there is none: serving curves without money.

A request is a prompt of I tokens and O generated ones. A device in full use decodes a batch of B sequences and prefills
the prompts of those that join: in the time in which each of B sequences receives its O tokens, B prompts are read. So a
request takes ``prefill(I) + O x step(B) / B`` seconds of the device, the sum that input and output are priced by. Steps
are taken at the mean context for the cost and at the longest, I + O - 1, for the limits (``service_times``).

What is interpolated is worked out twice, in the logarithms and affine, each with the batch it leads to; intervals hold
both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis, least_sure
from pamprof.analysis.serving import sentences
from pamprof.analysis.serving.changed_curve import affine_curve
from pamprof.analysis.serving.service_times import (
    interval_of,
    is_late,
    seconds_per_output_token,
    seconds_to_first_token,
)
from pamprof.analysis.serving.terms import Answer, Curve, Limits, Traffic, summed
from pamprof.errors import PamprofError
from pamprof.records import Interval
from pamprof.units import seconds, tokens

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = "memory"
TIME_PER_OUTPUT_TOKEN = "time per output token"
TIME_TO_FIRST_TOKEN = "time to first token"
LARGEST_BATCH_KNOWN = "largest batch known"
GAINS_NOTHING = "no gain from a larger batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """One device in full use at one batch.

    Attributes:
        batch_size: Sequences a decode step carries.
        maximum_batch: Sequences that fit at the longest context.
        prefill_seconds: Device time of one request's prompt.
        decode_seconds: Device time of one request's generated tokens.
        seconds_per_output_token: What a user sees on average, prompts of others included, at the longest context.
        seconds_to_first_token: By ``FIRST_TOKEN_RULE``, at the longest context; None without a prompt. Always modelled.
        bound: What keeps the batch from growing, or that a larger one gains nothing.
        basis: Of the dollars and of the time per output token: that of their least sure part.
        error: Largest error the model made where it was measured, a ratio; None where nothing is modelled.
    """

    batch_size: int
    maximum_batch: int
    prefill_seconds: Interval
    decode_seconds: Interval
    seconds_per_output_token: Interval
    seconds_to_first_token: Interval | None
    bound: str
    basis: Basis
    error: float | None

    @property
    def device_seconds(self) -> Interval:
        """Device time of one request; ends are added, so that the interval holds whatever the two have in common."""
        return summed(self.prefill_seconds, self.decode_seconds)

    @property
    def idle_seconds_to_first_token(self) -> Interval | None:
        """The prompt alone on a device that does nothing else; None without a prompt."""
        return None if self.seconds_to_first_token is None else self.prefill_seconds

    def holding(self, other: OperatingPoint) -> OperatingPoint:
        """This point with intervals that hold those of ``other``, too."""
        first, others = self.seconds_to_first_token, other.seconds_to_first_token
        return replace(
            self,
            prefill_seconds=self.prefill_seconds.holding(other.prefill_seconds),
            decode_seconds=self.decode_seconds.holding(other.decode_seconds),
            seconds_per_output_token=self.seconds_per_output_token.holding(other.seconds_per_output_token),
            seconds_to_first_token=first if first is None or others is None else first.holding(others),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no operating point.

    Attributes:
        limit: ``memory``, ``time per output token`` or ``time to first token`` where infeasible; None where unknown.
        sentence: ``infeasible: …`` or ``unknown: …`` with the binding number.
    """

    limit: str | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """A batch and its step times, at the longest and at the mean context."""

    batch_size: int
    longest: Answer
    mean: Answer


def operating_point(
    curve: Curve, traffic: Traffic, limits: Limits, *, prefilled: bool = False
) -> OperatingPoint | Refusal:
    """The batch of the least device time per request among those that fit the memory and both limits.

    With ``prefilled`` the prompts are already read when the request comes, and take no time.

    The largest batch allowed is found by bisection, since a step only takes longer with a larger batch; it competes
    with the powers of two below it, because throughput may stop growing earlier.
    """
    found = _best_point(curve, traffic, limits, prefilled=prefilled)
    if isinstance(found, OperatingPoint) and found.basis is not Basis.MEASURED:
        other = _best_point(affine_curve(curve), traffic, limits, prefilled=prefilled)
        return found.holding(other) if isinstance(other, OperatingPoint) else found
    return found


def _best_point(curve: Curve, traffic: Traffic, limits: Limits, *, prefilled: bool) -> OperatingPoint | Refusal:
    try:
        prefill = None if prefilled else _prefill(curve, traffic)
        fits = curve.maximum_batch(traffic.longest_context)
        alone = curve.decode_seconds(1, traffic.longest_context) if fits.value >= 1 else None
    except PamprofError as exc:
        return Refusal(limit=None, sentence=sentences.UNKNOWN.format(reason=exc))
    refusal = _refusal(prefill, alone, traffic, limits)
    if refusal is not None:
        return refusal
    maximum = int(fits.value)
    largest, bound = _largest_batch(curve, prefill, traffic, limits, maximum)
    steps = [step for batch in _candidates(largest) if (step := _step(curve, batch, traffic)) is not None]
    if not steps:
        reason = sentences.NO_STEP_KNOWN.format(context=tokens(traffic.mean_context))
        return Refusal(limit=None, sentence=sentences.UNKNOWN.format(reason=reason))
    best = min(steps, key=_cautious_cost)
    return _point(best, prefill, fits, traffic, bound if best.batch_size == largest else GAINS_NOTHING)


def pareto(curve: Curve, traffic: Traffic, limits: Limits) -> tuple[OperatingPoint, ...]:
    """Batches no other beats in both device time per request and time per output token, fastest first.

    The limit on the time per output token is left out, so that the whole front is shown; the others stay. Empty where
    they are missed or nothing is known.
    """
    try:
        prefill = _prefill(curve, traffic)
        fits = curve.maximum_batch(traffic.longest_context)
    except PamprofError:
        return ()
    if fits.value < 1:
        return ()
    front: list[OperatingPoint] = []
    least = inf
    for batch in _candidates(int(fits.value)):
        step = _step(curve, batch, traffic)
        if step is None or is_late(prefill, step.longest, batch, traffic, limits):
            continue
        if _cautious_cost(step) < least:
            least = step.mean.value / step.batch_size
            bound = MEMORY if batch == int(fits.value) else TIME_PER_OUTPUT_TOKEN
            front.append(_point(step, prefill, fits, traffic, bound))
    return tuple(front)


def _point(step: _Step, prefill: Answer | None, fits: Answer, traffic: Traffic, bound: str) -> OperatingPoint:
    parts = [step.mean, step.longest, *([prefill] if prefill is not None else [])]
    if step.batch_size == int(fits.value):
        # Where the memory holds the batch back, the dollars rest on how many sequences were said to fit.
        parts.append(fits)
    errors = [part.error for part in parts if part.basis is Basis.MODELLED and part.error is not None]
    return OperatingPoint(
        batch_size=step.batch_size,
        maximum_batch=int(fits.value),
        prefill_seconds=interval_of(prefill) if prefill is not None else Interval.exact(0.0),
        decode_seconds=interval_of(step.mean).scaled(traffic.output_tokens / step.batch_size),
        seconds_per_output_token=seconds_per_output_token(prefill, step.longest, step.batch_size, traffic),
        seconds_to_first_token=seconds_to_first_token(prefill, step.longest, step.batch_size, traffic),
        bound=bound,
        basis=least_sure(*(part.basis for part in parts)),
        error=max(errors, default=None),
    )


def _cautious_cost(step: _Step) -> float:
    """Device time of a token, a model's error added: a modelled batch is chosen where it gains more than it may err."""
    doubt = step.mean.error or 0.0 if step.mean.basis is Basis.MODELLED else 0.0
    return step.mean.value / step.batch_size * (1 + doubt)


def _refusal(prefill: Answer | None, alone: Answer | None, traffic: Traffic, limits: Limits) -> Refusal | None:
    """The limit that one sequence by itself already misses; ``alone`` is its step, None where it does not fit."""
    if prefill is not None and prefill.value > limits.seconds_to_first_token:
        return _infeasible(
            TIME_TO_FIRST_TOKEN,
            sentences.PROMPT_TOO_SLOW.format(
                seconds=seconds(prefill.value),
                prompt=tokens(traffic.input_tokens),
                allowed=seconds(limits.seconds_to_first_token),
            ),
        )
    if alone is None:
        return _infeasible(MEMORY, sentences.NOTHING_FITS.format(context=tokens(traffic.longest_context)))
    pace = seconds_per_output_token(prefill, alone, 1, traffic).median
    if pace > limits.seconds_per_output_token:
        return _infeasible(
            TIME_PER_OUTPUT_TOKEN,
            sentences.SEQUENCE_TOO_SLOW.format(seconds=seconds(pace), allowed=seconds(limits.seconds_per_output_token)),
        )
    first = seconds_to_first_token(prefill, alone, 1, traffic)
    if first is not None and is_late(prefill, alone, 1, traffic, limits):
        return _infeasible(
            TIME_TO_FIRST_TOKEN,
            sentences.FIRST_TOKEN_TOO_LATE.format(
                seconds=seconds(first.median), allowed=seconds(limits.seconds_to_first_token)
            ),
        )
    return None


def _infeasible(limit: str, detail: str) -> Refusal:
    return Refusal(limit=limit, sentence=sentences.INFEASIBLE.format(limit=limit, detail=detail))


def _prefill(curve: Curve, traffic: Traffic) -> Answer | None:
    return curve.prefill_seconds(traffic.input_tokens) if traffic.input_tokens else None


def _step(curve: Curve, batch_size: int, traffic: Traffic) -> _Step | None:
    try:
        return _Step(
            batch_size=batch_size,
            longest=curve.decode_seconds(batch_size, traffic.longest_context),
            mean=curve.decode_seconds(batch_size, traffic.mean_context),
        )
    except PamprofError:
        return None


def _largest_batch(
    curve: Curve, prefill: Answer | None, traffic: Traffic, limits: Limits, maximum: int
) -> tuple[int, str]:
    """The largest batch up to ``maximum`` that is known and fast enough, and what stops the next one."""

    def fault(batch: int) -> str | None:
        step = _step(curve, batch, traffic)
        if step is None:
            return LARGEST_BATCH_KNOWN
        if seconds_per_output_token(prefill, step.longest, batch, traffic).median > limits.seconds_per_output_token:
            return TIME_PER_OUTPUT_TOKEN
        return TIME_TO_FIRST_TOKEN if is_late(prefill, step.longest, batch, traffic, limits) else None

    if fault(maximum) is None:
        return maximum, MEMORY
    good, bad = first_true(lambda batch: fault(batch) is not None, 1, maximum)
    return good, fault(bad) or MEMORY


def first_true(test: Callable[[int], bool], low: int, high: int) -> tuple[int, int]:
    """Neighbours ``(n, n + 1)`` between which ``test`` turns from false to true, given it holds at ``high`` only."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle, high)
    return low, high


def _candidates(largest: int) -> tuple[int, ...]:
    """1, 2, 4, … below ``largest``, and ``largest``."""
    return (*(1 << exponent for exponent in range(largest.bit_length()) if 1 << exponent < largest), largest)
