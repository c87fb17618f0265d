"""Where memory ends: the largest batch of a context, predicted from the memory of measured steps, else found by trying.

The state's bytes are known exactly. What a step needs besides grows with the batch, and of a compiled step with the
context as well: it may copy what a plain one reads in place. So the line through the two largest measured batches of a
context tells where memory ends, to within a few percent; contexts without two borrow from those that have them. Only
where nothing was measured is the batch bisected, each try an allocation and one step that is not compiled: for a
compiled step an upper bound alone.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.records import Execution
from pamprof.workloads.execution import capture_graph
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.hardware.device import Device
    from pamprof.records import Run, Workload
    from pamprof.workloads.base import LayerDefinition, SequenceModel

_PRECISION = 0.02  # of the batch
_WIDEN = 1.04
_CPU_SHARE = 0.5  # of the free host memory

# Of the device's memory: the last percents are lost to blocks that do not fit the holes, and a step that has to ask
# the driver for memory again and again is no longer timed evenly.
_MARGIN = 0.04


class MemoryLimit:
    """Predicts and finds the largest batch that fits beside one model.

    Attributes:
        tried: The batch tried last.
    """

    def __init__(self, device: Device, model: SequenceModel, definition: LayerDefinition, *, seed: int) -> None:
        self._device = device
        self._model = model
        self._definition = definition
        self._seed = seed
        self.tried = 0
        device.empty_cache()
        # Of each context what the steps measured so far needed, bytes by batch.
        self._needs: dict[int, dict[int, int]] = {}

    def note(self, run: Run) -> None:
        """Learn from a measured decode step; what the allocator had to reserve counts where it is known.

        It is more than the peak of the tensors: it holds what preparing the step took, and the holes between blocks.
        """
        needed = max(run.memory.peak_bytes or 0, run.memory.reserved_bytes or 0)
        if needed:
            self._needs.setdefault(run.workload.sequence_length, {})[run.workload.batch_size] = needed

    def sized(self, workload: Workload, batch_size: int) -> Workload:
        """The workload at another batch."""
        return replace(workload, batch_size=batch_size)

    def allows(self, workload: Workload) -> bool:
        """Whether ``workload`` should fit, by its bytes; on a CPU into half of the free memory, as others need some."""
        if self._device.kind == "cpu":
            now = self._device.memory()
            return workload.batch_size * self._kept(workload) <= _CPU_SHARE * (now.total_bytes - now.used_bytes)
        return workload.batch_size <= self.predicted(workload)

    def predicted(self, workload: Workload) -> int:
        """The largest batch of the workload's context that should fit and leave a margin of 4 % of the device."""
        now = self._device.memory()
        reserved = now.reserved_bytes or 0
        foreign = max(0, now.used_bytes - reserved)
        room = (1 - _MARGIN) * now.total_bytes - foreign
        each = self._each(workload)
        found = self._needs.get(workload.sequence_length, {})
        fixed = max(0.0, found[max(found)] - each * max(found)) if len(found) > 1 else float(now.allocated_bytes or 0)
        return max(0, int((room - fixed) / each))

    def basis(self, workload: Workload) -> str | None:
        """What the prediction of the workload's context rests on; None where two batches were measured nowhere."""
        own = self._needs.get(workload.sequence_length, {})
        if len(own) > 1:
            low, high = sorted(own)[-2:]
            return f"the memory of {low:,} and {high:,} sequences"
        return "the memory of other contexts" if any(len(found) > 1 for found in self._needs.values()) else None

    def search(self, workload: Workload, known: int) -> tuple[int, int]:
        """The largest batch that fits and the smallest found that does not, at most 2 % or one sequence apart.

        Args:
            workload: Of the line; its batch does not matter.
            known: A batch that fits.
        """
        low, high = known, 0
        guess = max(known + 1, self.predicted(workload))
        while high == 0 or high - low > max(1, int(_PRECISION * low)):
            if self._fits(self.sized(workload, guess)):
                low = guess
                guess = max(low + 1, int(low * _WIDEN)) if high == 0 else (low + high) // 2
            else:
                high = guess
                near = int(high / _WIDEN)
                guess = near if near > low and high - low > 2 * (high - near) else (low + high) // 2
        return low, high

    def _each(self, workload: Workload) -> float:
        """Bytes that one more sequence needs: its state, known exactly, and what a step needs for it besides."""
        kept = float(self._kept(workload))
        own = _slope(self._needs.get(workload.sequence_length, {}))
        if own is not None:
            return max(kept, own)
        others = {
            self._kept(replace(workload, sequence_length=context)): slope
            for context, found in self._needs.items()
            if (slope := _slope(found)) is not None
        }
        if not others:
            return kept
        # Both the state and what a step copies of it are proportional to the context: so is the one to the other.
        nearest = min(others, key=lambda bytes_kept: max(bytes_kept / kept, kept / bytes_kept))
        return max(kept, others[nearest] * kept / nearest)

    def _kept(self, workload: Workload) -> int:
        """Bytes of the state of one sequence, with room for the token that a step adds."""
        return self._definition.state_byte_count(
            workload.spec,
            scope=workload.scope,
            batch_size=1,
            context=workload.sequence_length + 1,
            dtype=workload.dtype,
        )

    def _fits(self, workload: Workload) -> bool:
        """Allocate the state and run one step as the workload executes it, short of compiling it."""
        self.tried = workload.batch_size
        try:
            step = PreparedStep(
                workload,
                self._definition,
                device=self._device.torch_device,
                seed=self._seed,
                model=self._model,
            )
            replayed = workload.execution in (Execution.GRAPH, Execution.COMPILED_GRAPH)
            run = capture_graph(step.eager) if replayed else step.eager
            run()
            self._device.synchronise()
        except Exception as exc:
            if not self._device.is_out_of_memory(exc):
                raise
            return False
        else:
            return True
        finally:
            step = run = None  # type: ignore[assignment]  # the next try needs the room
            gc.collect()
            self._device.empty_cache()


def _slope(needs: Mapping[int, int]) -> float | None:
    """Bytes for each sequence between the two largest batches; None with fewer than two."""
    if len(needs) < 2:
        return None
    low, high = sorted(needs)[-2:]
    return (needs[high] - needs[low]) / (high - low)
