"""Where memory ends: the largest batch of a context, predicted from bytes and then found by trying.

The state's bytes are known exactly; what a step needs besides is taken from the peaks measured so far. The prediction
is mostly within a few percent, so that the bisection needs a handful of tries, each an allocation and one step.
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
    from pamprof.records import Workload
    from pamprof.workloads.base import LayerDefinition, SequenceModel

_PRECISION = 0.02  # of the batch
_WIDEN = 1.04
_CPU_SHARE = 0.5  # of the free host memory


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
        now = device.memory()
        self._free_bytes = now.total_bytes - now.used_bytes
        self._weight_bytes = now.allocated_bytes or 0

    def sized(self, workload: Workload, batch_size: int) -> Workload:
        """The workload at another batch."""
        return replace(workload, batch_size=batch_size)

    def allows(self, workload: Workload, peaks: Mapping[int, int]) -> bool:
        """Whether ``workload`` should fit, by its bytes; on a CPU into half of the free memory, as others need some."""
        share = _CPU_SHARE if self._device.kind == "cpu" else 1.0
        return self._needed_bytes(workload, peaks) <= share * self._free_bytes

    def search(self, workload: Workload, known: int, peaks: Mapping[int, int]) -> tuple[int, int]:
        """The largest batch that fits and the smallest found that does not, at most 2 % or one sequence apart.

        Args:
            workload: Of the line; its batch does not matter.
            known: A batch that fits.
            peaks: Measured peaks of the line's steps, by batch.
        """
        low, high = known, 0
        guess = max(known + 1, int(self._free_bytes / self._needed_bytes_each(workload, peaks)))
        while high == 0 or high - low > max(1, int(_PRECISION * low)):
            if self._fits(self.sized(workload, guess)):
                low = guess
                guess = max(low + 1, int(low * _WIDEN)) if high == 0 else (low + high) // 2
            else:
                high = guess
                near = int(high / _WIDEN)
                guess = near if near > low and high - low > 2 * (high - near) else (low + high) // 2
        return low, high

    def _needed_bytes(self, workload: Workload, peaks: Mapping[int, int]) -> float:
        return workload.batch_size * self._needed_bytes_each(workload, peaks)

    def _needed_bytes_each(self, workload: Workload, peaks: Mapping[int, int]) -> float:
        """State of one sequence, and what the largest measured step needed besides weights and states, per sequence."""
        kept = self._definition.state_byte_count(
            workload.spec,
            scope=workload.scope,
            batch_size=1,
            context=workload.sequence_length + 1,
            dtype=workload.dtype,
        )
        if not peaks or self._device.kind == "cpu":
            return kept
        largest = max(peaks)
        return kept + max(0.0, (peaks[largest] - self._weight_bytes) / largest - kept)

    def _fits(self, workload: Workload) -> bool:
        """Allocate the state and run one step as the workload executes it, short of compiling it.

        The plain step keeps every intermediate that a compiled one fuses away; what holds it holds the other.
        """
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
