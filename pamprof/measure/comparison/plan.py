"""The groups of a comparison: arms matched in size, crossed with implementations, executions and points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.measure.session.matched_arms import check_implementations
from pamprof.records import Dtype, Execution, Point, Workload
from pamprof.workloads.base import phases_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.workloads.base import LayerDefinition

STEADIEST_EXECUTIONS = (Execution.COMPILED_GRAPH, Execution.GRAPH, Execution.EAGER, Execution.COMPILED)


def plan_groups(
    arms: Sequence[PlannedArm],
    *,
    points: Sequence[Point],
    implementations: Sequence[str],
    executions: Sequence[Execution],
) -> tuple[tuple[Workload, ...], ...]:
    """Cross arms, implementations and executions at every point: one group for each point.

    Args:
        arms: Matched arms, the reference layer first.
        points: Where to measure.
        implementations: Names to keep; a layer that has none of them keeps all of its own. Empty keeps everything that
            the dtype allows.
        executions: In order; of the reference layer, replays come first.

    Raises:
        UsageError: An implementation that no layer has.
    """
    check_implementations(arms, implementations)
    return tuple(
        tuple(
            Workload(
                spec=arm.spec,
                implementation=implementation,
                execution=execution,
                phase=point.phase,
                scope=point.scope,
                batch_size=point.batch_size,
                sequence_length=point.sequence_length,
                dtype=point.dtype,
            )
            for arm in arms
            if point.phase in phases_of(arm.definition)
            for implementation in _implementations(arm.definition, implementations, point.dtype)
            for execution in (_steadiest_first(executions) if arm is arms[0] else executions)
        )
        for point in points
    )


def _steadiest_first(executions: Sequence[Execution]) -> list[Execution]:
    """Replays first: the host's jitter in an eager reference would widen the interval of every arm paired with it."""
    return sorted(executions, key=STEADIEST_EXECUTIONS.index)


def _implementations(definition: LayerDefinition, wanted: Sequence[str], dtype: Dtype) -> Iterable[str]:
    chosen = [name for name in definition.implementations if name in wanted]
    if chosen:
        return chosen
    return [name for name in definition.implementations if definition.supports(name, dtype)]
