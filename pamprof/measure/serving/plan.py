"""Where a serving sweep may go: prompts, contexts and batches rising by a factor, and the rule by which it stops early.

A sweep is asked for as groups of workloads like any comparison, one group an arm, so that records, workers and
resuming are the same. The group holds every batch that may be visited; the worker visits those that tell something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.records import Execution, Phase, Scope, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.records import Dtype

# A line ends where two doublings of the batch together gain less than this in tokens per second.
LEAST_GAIN = 0.03
_DOUBLINGS = 4  # two of them

# It also ends where a step takes longer than anybody waits for one token: more sequences only make it slower.
SLOWEST_STEP_SECONDS = 1.0

# Compiling for one more batch takes longer than measuring at it.
_BATCH_FACTORS = {
    Execution.EAGER: 2,
    Execution.GRAPH: 2,
    Execution.COMPILED: 4,
    Execution.COMPILED_GRAPH: 4,
}

# A fixed state cannot tell contexts apart; a few batches at a second context show that it does not.
CHECKED_BATCHES = (1, 16, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepAxes:
    """What to sweep: contexts of decode, lengths of prompts (tokens), the largest batch, fixed states' own contexts."""

    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    largest_batch: int

    def __post_init__(self) -> None:
        if not self.contexts or self.largest_batch < 1:
            raise UsageError("a sweep needs at least one context and a largest batch of 1 or more")

    def batches(self, execution: Execution) -> tuple[int, ...]:
        """Up to the largest batch, powers of two, or of four where each is compiled for."""
        factor = _BATCH_FACTORS[execution]
        found = [1]
        while found[-1] * factor <= self.largest_batch:
            found.append(found[-1] * factor)
        return tuple(found)


def candidates(
    arm: PlannedArm, axes: SweepAxes, *, implementation: str, execution: Execution, dtype: Dtype
) -> tuple[Workload, ...]:
    """Every place that may be visited of one arm: prompts first, then the contexts, rising batches in each."""

    def workload(phase: Phase, batch_size: int, length: int) -> Workload:
        return Workload(
            spec=arm.spec,
            implementation=implementation,
            execution=execution,
            phase=phase,
            scope=Scope.MODEL,
            batch_size=batch_size,
            sequence_length=length,
            dtype=dtype,
        )

    batches = axes.batches(execution)
    prompts = tuple(workload(Phase.PREFILL, 1, length) for length in sorted(axes.prompts))
    contexts = sorted(axes.contexts)
    if arm.definition.fixed_state:
        first = tuple(workload(Phase.DECODE, batch, contexts[0]) for batch in batches)
        checked = [batch for batch in CHECKED_BATCHES if batch <= axes.largest_batch] if len(contexts) > 1 else []
        return (*prompts, *first, *(workload(Phase.DECODE, batch, contexts[-1]) for batch in checked))
    return (*prompts, *(workload(Phase.DECODE, batch, context) for context in contexts for batch in batches))


def alternatives_of(workloads: Iterable[Workload]) -> tuple[tuple[Workload, ...], ...]:
    """A group by implementation, in the order in which they are to be tried."""
    found: dict[str, list[Workload]] = {}
    for workload in workloads:
        found.setdefault(workload.implementation, []).append(workload)
    return tuple(tuple(each) for each in found.values())


def lines_of(workloads: Iterable[Workload]) -> dict[int, tuple[Workload, ...]]:
    """The decode workloads by context, in the order in which the ends of the range are known first.

    A sweep whose time runs out half way has then spanned its range coarsely rather than a part of it finely.
    """
    lines: dict[int, list[Workload]] = {}
    for workload in workloads:
        if workload.phase is Phase.DECODE:
            lines.setdefault(workload.sequence_length, []).append(workload)
    rising = sorted(lines)
    ends_first = [rising[0], *reversed(rising[1:])] if rising else []
    return {context: tuple(sorted(lines[context], key=lambda each: each.batch_size)) for context in ends_first}


def is_flat(tokens_per_second: Mapping[int, float]) -> bool:
    """Whether the largest batch gains less than 3 % over every batch two doublings or more below it."""
    if not tokens_per_second:
        return False
    largest = max(tokens_per_second)
    below = [rate for batch, rate in tokens_per_second.items() if batch * _DOUBLINGS <= largest]
    return bool(below) and tokens_per_second[largest] < (1 + LEAST_GAIN) * max(below)
