"""The arms of a sweep: which implementation and execution of each is swept, and a group of workloads for it.

A sweep prices what would be deployed: on a GPU every arm runs in its fastest known execution. Hand-written kernels
leave a compiler nothing to fuse and are captured in a graph as they are; everything else is compiled first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.measure.serving.plan import candidates
from pamprof.measure.session.matched_arms import check_implementations
from pamprof.records import Dtype, Execution, Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.measure.serving.plan import SweepAxes
    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.records import Workload

_HAND_WRITTEN = "fused"
_CUDA_PREFERENCES = (_HAND_WRITTEN, "planar")
_CPU_PREFERENCES = ("planar",)


def sweep_groups(
    arms: Sequence[PlannedArm],
    axes: SweepAxes,
    *,
    implementations: Sequence[str],
    execution: Execution | None,
    dtype: Dtype,
    cuda: bool,
) -> tuple[tuple[Workload, ...], ...]:
    """A group for each arm and implementation asked for, those with the fewest places first.

    Where none is asked for, the group of an arm holds the implementations to try in order, best first: the worker
    sweeps the first that the device can run. Of a time budget, what the short sweeps leave is there for the long ones.

    Args:
        arms: Matched, a state dtype in the spec of each.
        axes: Where to go.
        implementations: Names to keep; a layer that has none of them is swept in its best.
        execution: Of all arms; None for the best of each.
        dtype: Precision policy.
        cuda: Whether the device is a GPU.

    Raises:
        UsageError: An implementation that no layer has.
    """
    check_implementations(arms, implementations)
    groups = [
        tuple(
            workload
            for name in alternatives
            for workload in candidates(
                arm, axes, implementation=name, execution=execution or best_execution(name, cuda=cuda), dtype=dtype
            )
        )
        for arm in arms
        for alternatives in _alternatives(arm, implementations, cuda=cuda)
    ]
    return tuple(sorted(groups, key=len))


def best_execution(implementation: str, *, cuda: bool) -> Execution:
    """The fastest known way of running ``implementation``; eager on a CPU, where a sweep has seconds."""
    if not cuda:
        return Execution.EAGER
    return Execution.GRAPH if implementation == _HAND_WRITTEN else Execution.COMPILED_GRAPH


def served_implementation(arm: PlannedArm, wanted: Sequence[str], *, cuda: bool) -> str:
    """The one that serves: the first of those asked for that the layer has, else the best of the device."""
    return _alternatives(arm, wanted, cuda=cuda)[0][0]


def with_state_dtypes(arm: PlannedArm, state_dtypes: Sequence[Dtype], *, context: int) -> list[PlannedArm]:
    """The arm once for each dtype of its state; float32 is what an arm that says nothing has.

    Args:
        arm: With a fixed state; any other is returned as it is.
        state_dtypes: What to keep it in.
        context: Tokens the state bytes of the arm's facts refer to.
    """
    if not arm.definition.fixed_state or arm.spec.source is not None:  # somebody's module keeps what it keeps
        return [arm]
    found = []
    for dtype in dict.fromkeys(state_dtypes):
        spec = replace(arm.spec, state_dtype=None if dtype is Dtype.FLOAT32 else dtype)
        state_bytes = arm.definition.state_byte_count(
            spec, scope=Scope.MODEL, batch_size=1, context=context, dtype=dtype
        )
        found.append(replace(arm, spec=spec, facts=replace(arm.facts, spec=spec, state_bytes=state_bytes)))
    return found


def _alternatives(arm: PlannedArm, wanted: Sequence[str], *, cuda: bool) -> list[list[str]]:
    """Each implementation asked for, alone; else one list, of those preferred or of the layer's first."""
    offered = arm.definition.implementations
    asked = [[name] for name in offered if name in wanted]
    preferred = [name for name in (_CUDA_PREFERENCES if cuda else _CPU_PREFERENCES) if name in offered]
    return asked or [preferred or list(offered[:1])]
