"""A stretch of somebody's training loop: its step times, and what one step beside them was made of."""

from __future__ import annotations

from dataclasses import dataclass

from pamprof.records.environment import Environment
from pamprof.records.memory import Memory
from pamprof.records.monitor import Monitor
from pamprof.records.price import PriceQuote
from pamprof.records.run import FlopCount, Unknown
from pamprof.records.workload import Dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProfile:
    """What a profiled loop did. A step ends with the optimizer's; statistics are recomputed from the times.

    Attributes:
        session_id: Its own.
        started_at: UTC, ISO 8601, when the loop began.
        environment: Where.
        tokens_per_step: Tokens of one optimizer step, all micro-batches together; None where nobody said.
        accumulation: Micro-batches of one optimizer step.
        dtype: What most saved activations are kept in, float16 taken for bfloat16; None where no step was counted.
        step_seconds: Wall time from the end of a step to the end of the next, in order, loading of data included; on
            CUDA between events. The first step and the counted one are left out.
        untimed_steps: Steps before the first time.
        parameter_count: Real scalars of the models that the optimizer trains; None where no step was seen.
        compiled: Whether torch.compile had compiled something; FLOPs are then those of the eager code.
        flops: Of the counted step; None where none was counted.
        memory: Of the counted step; on CUDA its peak is the allocator's over the timed steps. None likewise.
        monitor: The device during the timed steps; None without any.
        quote: The price of the device; None where it has none.
        quote_unknown_reason: Why.
        unknowns: The reason for every None above.
    """

    session_id: str
    started_at: str
    environment: Environment
    tokens_per_step: int | None
    accumulation: int
    dtype: Dtype | None
    step_seconds: tuple[float, ...]
    untimed_steps: int
    parameter_count: int | None
    compiled: bool
    flops: FlopCount | None
    memory: Memory | None
    monitor: Monitor | None
    quote: PriceQuote | None
    quote_unknown_reason: str | None
    unknowns: tuple[Unknown, ...]
