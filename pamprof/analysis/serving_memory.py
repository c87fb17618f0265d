"""Bytes of serving: what a sequence keeps, what a step needs besides, and how many sequences a device holds.

The state is counted exactly. What a step needs besides (logits, activations, workspaces) is the measured peak less
weights and state, and grows in proportion to the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBytes:
    """What one sequence keeps: ``fixed_bytes`` whatever the context, ``bytes_per_token`` for each token held."""

    fixed_bytes: float
    bytes_per_token: float

    def kept_bytes(self, context: int) -> float:
        """With ``context`` tokens held and room for the one a step adds."""
        return self.fixed_bytes + self.bytes_per_token * (context + 1)

    def moved_bytes(self, context: int) -> float:
        """Read, and where it is rewritten as a whole written, by one step."""
        return 2 * self.fixed_bytes + self.bytes_per_token * (context + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingMemory:
    """Memory of decode steps by batch and context.

    Attributes:
        state: Bytes one sequence keeps.
        constant_bytes: Weights, and what a step needs whatever the batch.
        step_bytes_per_sequence: What a step needs besides, for each sequence.
        capacity_bytes: What the device has for tensors: the most that was ever seen to fit where batches were raised
            until they did not, else its memory less what the driver and other processes hold.
        error: Largest relative error at the measured peaks, a ratio; None where no peak was measured.
    """

    state: StateBytes
    constant_bytes: float
    step_bytes_per_sequence: float
    capacity_bytes: float
    error: float | None

    def bytes_of(self, batch_size: int, context: int) -> float:
        """Peak of a step of ``batch_size`` sequences."""
        return self.constant_bytes + batch_size * (self.state.kept_bytes(context) + self.step_bytes_per_sequence)

    def sequences_that_fit(self, context: int) -> int:
        """The largest batch whose peak the capacity holds; 0 where not even one sequence fits."""
        room = self.capacity_bytes - self.constant_bytes
        return max(0, floor(room / (self.state.kept_bytes(context) + self.step_bytes_per_sequence)))


def state_bytes_of(runs: Sequence[Run]) -> StateBytes:
    """What a sequence of these decode runs keeps, by the bytes they allocated."""
    caches = [run for run in runs if run.memory.state_kind == "kv-cache"]
    if caches:
        each = [
            run.memory.state_bytes / (run.workload.batch_size * (run.workload.sequence_length + 1)) for run in caches
        ]
        return StateBytes(fixed_bytes=0.0, bytes_per_token=median(each))
    each = [run.memory.state_bytes / run.workload.batch_size for run in runs]
    return StateBytes(fixed_bytes=median(each), bytes_per_token=0.0)


def fit_memory(runs: Sequence[Run], limits: Sequence[Run]) -> ServingMemory:
    """Memory of the decode ``runs`` of one arm; ``limits`` are those of them that no larger batch of fitted beside."""
    state = state_bytes_of(runs)
    weights = median(run.memory.parameter_bytes for run in runs)
    measured = [run for run in runs if run.memory.peak_bytes is not None]
    constant, each = _needs(measured, weights)
    at_limits = [float(run.memory.peak_bytes) for run in limits if run.memory.peak_bytes is not None]
    memory = ServingMemory(
        state=state,
        constant_bytes=weights + constant,
        step_bytes_per_sequence=each,
        capacity_bytes=median(at_limits) if at_limits else _free_bytes(runs),
        error=None,
    )
    errors = [
        abs(memory.bytes_of(run.workload.batch_size, run.workload.sequence_length) / run.memory.peak_bytes - 1)
        for run in measured
        if run.memory.peak_bytes
    ]
    return ServingMemory(
        state=state,
        constant_bytes=memory.constant_bytes,
        step_bytes_per_sequence=each,
        capacity_bytes=memory.capacity_bytes,
        error=max(errors, default=None),
    )


def _needs(runs: Sequence[Run], weights: float) -> tuple[float, float]:
    """Bytes of a step besides weights and state: whatever the batch, and for each sequence; from the measured peaks."""
    if not runs:
        return 0.0, 0.0
    import numpy as np

    batches = np.array([run.workload.batch_size for run in runs], dtype=float)
    besides = np.array([(run.memory.peak_bytes or 0) - weights - run.memory.state_bytes for run in runs], dtype=float)
    if np.ptp(batches) == 0:
        return max(0.0, float(np.median(besides))), 0.0
    slope, base = np.polyfit(batches, besides, 1)
    each = max(0.0, float(slope))
    return max(0.0, float(base) if slope > 0 else float(np.median(besides))), each


def _free_bytes(runs: Sequence[Run]) -> float:
    """The device's memory less what does not belong to the measured process's tensors, where that can be told."""
    total = float(runs[0].environment.device_memory_bytes)
    taken = [
        run.memory.device_used_bytes - run.memory.reserved_bytes
        for run in runs
        if run.memory.device_used_bytes is not None and run.memory.reserved_bytes is not None
    ]
    return total - max(0.0, float(median(taken))) if taken else total
