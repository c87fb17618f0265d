"""What a user waits for on a device in full use: the time per output token and the time to the first one.

A batch of B sequences generates O tokens each, so that B / O prompts of ``prefill`` seconds join at every step. Bursts,
and a queue of those that find no place in the batch, are in neither time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.serving.terms import summed
from pamprof.records import Interval

if TYPE_CHECKING:
    from pamprof.analysis.serving.terms import Answer, Limits, Traffic

FIRST_TOKEN_RULE = (
    "Time to first token (modelled): on a device in full use a request that comes as a step begins waits for that step "
    "with the prompts in it, then for the prompts that joined meanwhile, its own the last of them; at less demand it "
    "waits less, down to its prompt alone on an idle device"
)


def interval_of(answer: Answer) -> Interval:
    """The answer's interval, without width where it has none."""
    return answer.interval if answer.interval is not None else Interval.exact(answer.value)


def seconds_per_output_token(prefill: Answer | None, step: Answer, batch_size: int, traffic: Traffic) -> Interval:
    """Mean time between tokens: the step and the prompts in it, ``step + B / O x prefill``."""
    if prefill is None:
        return interval_of(step)
    return summed(interval_of(step), interval_of(prefill).scaled(batch_size / traffic.output_tokens))


def seconds_to_first_token(prefill: Answer | None, step: Answer, batch_size: int, traffic: Traffic) -> Interval | None:
    """By ``FIRST_TOKEN_RULE``: ``step + B / O x prefill + max(1, B / O) x prefill``; None without a prompt."""
    if prefill is None:
        return None
    joined = interval_of(prefill).scaled(max(1.0, batch_size / traffic.output_tokens))
    return summed(seconds_per_output_token(prefill, step, batch_size, traffic), joined)


def is_late(prefill: Answer | None, step: Answer, batch_size: int, traffic: Traffic, limits: Limits) -> bool:
    """Whether the time to first token exceeds its limit."""
    first = seconds_to_first_token(prefill, step, batch_size, traffic)
    return first is not None and first.median > limits.seconds_to_first_token
