"""What a worker finds out once about an implementation: its error, its FLOPs, and where the compiler gave up."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import PamprofError
from pamprof.measure.flops.counter import count_flops
from pamprof.measure.session.claims import claimed_matrix_flop_count, flop_refusal
from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.records import Dtype, Execution, FlopCount, Gate, GraphBreaks, OperatorCount, Phase, RefusedClaim, Workload
from pamprof.workloads.base import ChoosesKernels
from pamprof.workloads.execution import compiler_counts, first_graph_break
from pamprof.workloads.registry import definition

if TYPE_CHECKING:
    from pamprof.hardware.device import Device
    from pamprof.workloads.steps import PreparedStep

# Relative rms error against the float64 oracle; above it an implementation is wrong, not imprecise.
_GATE_TOLERANCE = {Dtype.FLOAT32: 1e-5, Dtype.BFLOAT16: 2e-2}

_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)


class ArmChecks:
    """Remembers what was found for every arm of a worker.

    Args:
        device: Where arms run.
        seed: Of the oracle's inputs and weights.
    """

    def __init__(self, device: Device, *, seed: int) -> None:
        self._device = device
        self._seed = seed
        self._gates: dict[tuple[str, ...], Gate] = {}
        self._flops: dict[str, tuple[FlopCount, RefusedClaim | None]] = {}
        self._breaks: dict[tuple[str, str, Phase], GraphBreaks] = {}

    def gate(self, workload: Workload) -> Gate:
        """The gate of an implementation, once per worker.

        The oracle sees the block with dropout off; dropout is a random mask that no oracle can share.
        """
        dtype = workload.dtype if workload.spec.state_dtype is None else workload.spec.state_dtype
        key: tuple[str, ...] = (workload.spec.layer, workload.implementation, workload.phase, workload.dtype, dtype)
        layer = definition(workload.spec.layer)
        if isinstance(layer, ChoosesKernels) and self._device.kind != "cpu":
            key = (*key, workload.key)
        if key not in self._gates:
            if isinstance(layer, ChoosesKernels):
                error, oracle = layer.chosen_oracle_error(workload, self._device.torch_device, self._seed)
            else:
                error, oracle = layer.oracle_error(
                    workload.spec,
                    implementation=workload.implementation,
                    phase=workload.phase,
                    device=self._device.torch_device,
                    dtype=workload.dtype,
                    seed=self._seed,
                )
            self._gates[key] = Gate(relative_error=error, tolerance=_tolerance(workload), oracle=oracle)
        gate = self._gates[key]
        if not gate.relative_error <= gate.tolerance:
            raise PamprofError(
                f"{workload.spec.layer} {workload.implementation} differs from {gate.oracle} by "
                f"{gate.relative_error:.1e} relative, more than {gate.tolerance:.0e}; a wrong result is not timed"
            )
        return gate

    def flops(self, workload: Workload, step: PreparedStep) -> tuple[FlopCount, RefusedClaim | None]:
        """FLOPs of the plain step, once per worker: how a step is executed does not change what it computes."""
        key = replace(workload, execution=Execution.EAGER).key
        if key not in self._flops:
            claimed = claimed_matrix_flop_count(workload, definition(workload.spec.layer))
            step.reset()
            formula = claimed if isinstance(claimed, int) else None
            try:
                flops = count_flops(step.eager, closed_form_matrix_flop_count=formula)
            except Exception as exc:
                if self._device.is_out_of_memory(exc):
                    raise
                # What the counter cannot follow costs the count, not the times.
                flops = FlopCount(
                    matrix_flop_count=0,
                    matrix_dense_flop_count=0,
                    elementwise_flop_count=0,
                    closed_form_matrix_flop_count=formula,
                    operator_count=0,
                    uncounted_operators=(OperatorCount(operator=fault_sentence(workload.spec.layer, exc), count=1),),
                    complete=False,
                )
            self._flops[key] = flops, flop_refusal(claimed, flops)
        return self._flops[key]

    def graph_breaks(self, workload: Workload, known: tuple[int, int], known_reasons: int) -> GraphBreaks | None:
        """Those that compiling this arm met; where all its code was compiled before, those that were met then."""
        if workload.execution not in _COMPILED:
            return None
        frames, breaks = (now - before for now, before in zip(compiler_counts(), known, strict=True))
        key = (workload.spec.layer, workload.implementation, workload.phase)
        if frames:
            reason = first_graph_break(known_reasons) if breaks else None
            self._breaks[key] = GraphBreaks(count=breaks, first_reason=reason)
        return self._breaks.get(key)


def _tolerance(workload: Workload) -> float:
    """That of the coarser of the two: the precision policy, or the dtype the state is kept in between steps."""
    kept = workload.spec.state_dtype
    return max(_GATE_TOLERANCE[workload.dtype], 0.0 if kept is None else _GATE_TOLERANCE[kept])
