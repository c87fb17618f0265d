"""A layer's closed forms of one workload beside what was counted: a claim that does not hold costs itself alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.measure.memory.storage_tracker import held_bytes
from pamprof.records import Phase, RefusedClaim
from pamprof.workloads.closed_forms import (
    checked_claim,
    counted_parameter_count,
    matrix_flops_of,
    real_scalar_count,
    refused_claim,
)

if TYPE_CHECKING:
    from pamprof.records import FlopCount, Workload
    from pamprof.workloads.base import ClosedForm, LayerDefinition
    from pamprof.workloads.steps import PreparedStep


def claimed_matrix_flop_count(workload: Workload, layer: LayerDefinition) -> int | str | None:
    """Matrix FLOPs of a step by the implementation's formula; in words what it gave where that is no count."""

    def form() -> ClosedForm | None:
        return layer.implementation_flop_count(
            workload.spec,
            implementation=workload.implementation,
            phase=workload.phase,
            scope=workload.scope,
            batch_size=workload.batch_size,
            sequence_length=workload.sequence_length,
            dtype=workload.dtype,
        )

    return checked_claim(lambda: matrix_flops_of(form()))


def flop_refusal(claimed: int | str | None, flops: FlopCount) -> RefusedClaim | None:
    """The refusal of a formula for matrix FLOPs; a count that is not complete, or found none, contradicts no number."""
    known = (flops.complete and flops.matrix_flop_count > 0) or isinstance(claimed, str)
    return refused_claim("matrix_flop_count", claimed, flops.matrix_flop_count) if known else None


def checked_parameter_count(
    workload: Workload, layer: LayerDefinition, step: PreparedStep
) -> tuple[int, RefusedClaim | None]:
    """The formula's count where it agrees with the parameters of a model on the meta device; else their count."""
    if workload.spec.source is not None:  # counted on what its factory made
        return layer.parameter_count(workload.spec, workload.scope), None
    claimed = checked_claim(lambda: layer.parameter_count(workload.spec, workload.scope))
    try:
        counted = counted_parameter_count(layer, workload.spec, workload.implementation, workload.scope)
    except Exception:  # noqa: BLE001 - a foreign layer need not build on meta; the model at hand has them too
        counted = real_scalar_count(step.module)
        if isinstance(claimed, int):
            return claimed, None  # a position table made longer, or weights fused for inference, are no contradiction
    refused = refused_claim("parameter_count", claimed, counted)
    return (claimed if isinstance(claimed, int) and refused is None else counted), refused


def state_refusal(workload: Workload, layer: LayerDefinition, step: PreparedStep) -> RefusedClaim | None:
    """The refusal of a formula for bytes of state or cache that the step's own state contradicts."""
    if step.state is None or workload.spec.source is not None:
        return None
    claimed = checked_claim(
        lambda: layer.state_byte_count(
            workload.spec,
            scope=workload.scope,
            batch_size=workload.batch_size,
            context=workload.sequence_length + (workload.phase is Phase.DECODE),
            dtype=workload.dtype,
        ),
        least=0,
    )
    return refused_claim("state_byte_count", claimed, held_bytes(step.state))
