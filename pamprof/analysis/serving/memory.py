"""Bytes of serving: what a sequence keeps, what a step needs besides, and how many sequences a device holds.

The state is counted exactly. What a step needs besides is the measured peak less weights and state: something whatever
the batch, something for each sequence (logits, activations) and, where a step copies from a cache what it could read in
place, something for each token held.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import floor
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


# Where nothing tells how much of it tensors can fill: the last percents are lost to blocks that do not fit the holes.
_LOST_RATIO = 0.04
# A batch that takes this much of what there is has reached the end of memory, and so has one that a batch larger by no
# more than this factor did not fit beside.
_FULL_RATIO = 0.9
_TIGHT_FACTOR = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingMemory:
    """Memory of decode steps by batch and context.

    Attributes:
        state: Bytes one sequence keeps, and for each token held what a step copies of it.
        constant_bytes: Weights, and what a step needs whatever the batch.
        step_bytes_per_sequence: What a step needs besides, for each sequence whatever its context.
        capacity_bytes: What the device has for tensors: the most that was seen to fit where batches were raised to the
            end of memory, else its memory less what the driver and other processes hold and 4 %, and less than whatever
            was seen not to fit.
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


def memory_ends(decode: Sequence[Run], refused: Mapping[int, int]) -> tuple[tuple[int, int, int], ...]:
    """Where batches were raised to the end of memory: context, largest batch that ran and smallest that cannot fit.

    The latter did not fit when it was tried; where the largest batch fills the memory and none was tried beyond it, it
    is the first that would not if its tensors lay without a hole.

    Args:
        decode: Decode runs of one arm on one device.
        refused: The smallest batch that did not fit, by context.
    """
    if not decode:
        return ()
    room = _free_bytes(decode)
    found = []
    for context in sorted({run.workload.sequence_length for run in decode}):
        largest = max(
            (run for run in decode if run.workload.sequence_length == context), key=lambda run: run.workload.batch_size
        )
        batch, peak = largest.workload.batch_size, largest.memory.peak_bytes
        failed = refused.get(context)
        if failed is not None and batch < failed <= max(batch + 1, _TIGHT_FACTOR * batch):
            found.append((context, batch, failed))
        elif peak and max(peak, largest.memory.reserved_bytes or 0) >= _FULL_RATIO * room:
            beyond = max(batch, floor(batch * room / peak)) + 1
            found.append((context, batch, beyond if failed is None or failed <= batch else min(beyond, failed)))
    return tuple(found)


def fit_memory(runs: Sequence[Run], limits: Sequence[Run], refused: Mapping[int, int]) -> ServingMemory:
    """Memory of the decode ``runs`` of one arm.

    Args:
        runs: All of them.
        limits: Those of them at the end of memory.
        refused: The smallest batch that did not fit, by context.
    """
    state = state_bytes_of(runs)
    weights = median(run.memory.parameter_bytes for run in runs)
    measured = [run for run in runs if run.memory.peak_bytes is not None]
    constant, each, each_token = _needs(measured, weights)
    memory = ServingMemory(
        state=replace(state, bytes_per_token=state.bytes_per_token + each_token),
        constant_bytes=weights + constant,
        step_bytes_per_sequence=each,
        capacity_bytes=(1 - _LOST_RATIO) * _free_bytes(runs),
        error=None,
    )
    peaks = [float(run.memory.peak_bytes or 0) for run in measured]
    at_limits = [float(run.memory.peak_bytes) for run in limits if run.memory.peak_bytes is not None]
    too_much = [memory.bytes_of(batch, context) - 1 for context, batch in refused.items()]
    errors = [
        abs(memory.bytes_of(run.workload.batch_size, run.workload.sequence_length) / run.memory.peak_bytes - 1)
        for run in measured
        if run.memory.peak_bytes
    ]
    return replace(
        memory,
        capacity_bytes=median(at_limits)
        if at_limits
        else max(min(memory.capacity_bytes, *too_much) if too_much else memory.capacity_bytes, *peaks, 0.0),
        error=max(errors, default=None),
    )


def _needs(runs: Sequence[Run], weights: float) -> tuple[float, float, float]:
    """Bytes of a step besides weights and state: whatever the batch, for each sequence and for each token of its cache.

    Least squares of bytes, of what is not negative: the large steps decide, as it is they that fill a memory.
    """
    if not runs:
        return 0.0, 0.0, 0.0
    import numpy as np

    batches = np.array([run.workload.batch_size for run in runs], dtype=float)
    held = np.array([run.workload.sequence_length + 1 for run in runs], dtype=float)
    besides = np.array([(run.memory.peak_bytes or 0) - weights - run.memory.state_bytes for run in runs], dtype=float)
    cached = all(run.memory.state_kind == "kv-cache" for run in runs)
    columns = np.stack((np.ones(len(runs)), batches, batches * held), axis=1)
    # A number that the places cannot tell from the others is left out.
    told = (True, bool(np.ptp(batches) > 0), cached and bool(np.ptp(held) > 0))
    best, least = np.zeros(3), float((besides**2).sum())
    for chosen in product(*((False, True) if each else (False,) for each in told)):
        mask = np.array(chosen)
        if not mask.any():
            continue
        found = np.zeros(3)
        found[mask] = np.linalg.lstsq(columns[:, mask], besides, rcond=None)[0]
        error = float(((columns @ found - besides) ** 2).sum())
        if (found >= 0).all() and error < least:
            best, least = found, error
    return float(best[0]), float(best[1]), float(best[2])


def _free_bytes(runs: Sequence[Run]) -> float:
    """The device's memory less what does not belong to the measured process's tensors, where that can be told."""
    total = float(runs[0].environment.device_memory_bytes)
    taken = [
        run.memory.device_used_bytes - run.memory.reserved_bytes
        for run in runs
        if run.memory.device_used_bytes is not None and run.memory.reserved_bytes is not None
    ]
    return total - max(0.0, float(median(taken))) if taken else total
