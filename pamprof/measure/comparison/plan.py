"""From a request to workloads: arms matched in size, crossed with implementations, executions and points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.records import ArmFacts, Dtype, Execution, LayerSpec, Point, Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.workloads.base import LayerDefinition

_STEADIEST_EXECUTIONS = (Execution.COMPILED_GRAPH, Execution.GRAPH, Execution.EAGER, Execution.COMPILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One architecture of the comparison: its definition, matched sizes and facts."""

    definition: LayerDefinition
    spec: LayerSpec
    facts: ArmFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session will do.

    Attributes:
        arms: The reference layer first.
        groups: One per point; its first workload is what the others are paired with.
    """

    arms: tuple[Arm, ...]
    groups: tuple[tuple[Workload, ...], ...]

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """All planned workloads, in order."""
        return tuple(workload for group in self.groups for workload in group)


def build_plan(
    arms: Sequence[Arm],
    *,
    points: Sequence[Point],
    implementations: Sequence[str],
    executions: Sequence[Execution],
) -> Plan:
    """Cross arms, implementations and executions at every point.

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
    groups = tuple(
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
            for implementation in _implementations(arm.definition, implementations, point.dtype)
            for execution in (_steadiest_first(executions) if arm is arms[0] else executions)
        )
        for point in points
    )
    return Plan(arms=tuple(arms), groups=groups)


def check_implementations(arms: Iterable[Arm], names: Iterable[str]) -> None:
    """Raise ``UsageError`` for an implementation that none of ``arms`` has."""
    known = {name for arm in arms for name in arm.definition.implementations}
    for name in names:
        if name not in known:
            raise UsageError(f"no layer has an implementation {name!r}; there are {', '.join(sorted(known))}")


def _steadiest_first(executions: Sequence[Execution]) -> list[Execution]:
    """Replays first: the host's jitter in an eager reference would widen the interval of every arm paired with it."""
    return sorted(executions, key=_STEADIEST_EXECUTIONS.index)


def _implementations(definition: LayerDefinition, wanted: Sequence[str], dtype: Dtype) -> Iterable[str]:
    chosen = [name for name in definition.implementations if name in wanted]
    if chosen:
        return chosen
    return [name for name in definition.implementations if definition.supports(name, dtype)]
