"""What arms are called in conclusions, and which layers the story is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import Execution, Phase
from pamprof.units import tokens

if TYPE_CHECKING:
    from pamprof.records import Point, Workload

TRANSFORMER = "transformer"
TWIN = "real_pam"
PAM = "pam"
LLAMA = "llama"
PUBLISHED = "published"
PLANAR = "planar"
FUSED = "fused"

_TITLES = {TRANSFORMER: "transformer", TWIN: "real twin", PAM: "PAM", LLAMA: "Llama"}
_EXECUTIONS = {
    Execution.EAGER: "eager",
    Execution.COMPILED: "compiled",
    Execution.GRAPH: "graph",
    Execution.COMPILED_GRAPH: "compiled + graph",
}


def layer_title(layer: str) -> str:
    """A layer's name for people; its registry name where it has no other."""
    return _TITLES.get(layer, layer)


def execution_label(execution: Execution) -> str:
    """How the step reached the device, in words."""
    return _EXECUTIONS[execution]


def implementation_label(workload: Workload) -> str:
    """An arm without its execution: ``PAM planar``; the implementation is left out where a layer has only one.

    A state in a dtype of its own is named: ``PAM planar (bfloat16 state)``.
    """
    title = layer_title(workload.spec.layer)
    name = title if workload.spec.layer in {TRANSFORMER, TWIN, LLAMA} else f"{title} {workload.implementation}"
    return name if workload.spec.state_dtype is None else f"{name} ({workload.spec.state_dtype} state)"


def arm_label(workload: Workload) -> str:
    """An arm with its execution: ``PAM planar · compiled``."""
    return f"{implementation_label(workload)} · {execution_label(workload.execution)}"


def unique_labels(workloads: tuple[Workload, ...]) -> tuple[str, ...]:
    """Labels of the arms of one point; where two would be alike, the implementation or the sizes tell them apart."""
    plain = [arm_label(workload) for workload in workloads]
    named = [
        label if plain.count(label) == 1 else f"{label} ({workload.implementation})"
        for label, workload in zip(plain, workloads, strict=True)
    ]
    return tuple(
        label if named.count(label) == 1 else f"{label} D={workload.spec.model_dim} L={workload.spec.depth}"
        for label, workload in zip(named, workloads, strict=True)
    )


def point_phrase(point: Point) -> str:
    """Where a point lies, in the middle of a sentence: ``training at 2k tokens, batch 18``."""
    place = f"{tokens(point.sequence_length)} tokens"
    batch = f"batch {point.batch_size}"
    match point.phase:
        case Phase.TRAIN:
            return f"training at {place}, {batch}"
        case Phase.PREFILL:
            return f"prefill of {place}, {batch}"
        case Phase.DECODE:
            return f"decode at {place} of context, {batch}"
