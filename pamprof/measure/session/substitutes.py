"""What is measured in the place of an execution in which a step could not be compiled, or not be captured.

A session decides it as soon as a step fails; one that goes on with its records, and a fleet that lost a machine between
the failure and the measurement, decide the same from the stored skip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.records import Execution, ExecutionStage, SkipKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pamprof.records import Run, Skip, Workload

_WITHOUT = {
    (Execution.COMPILED_GRAPH, ExecutionStage.COMPILE): Execution.GRAPH,
    (Execution.COMPILED_GRAPH, ExecutionStage.CAPTURE): Execution.COMPILED,
    (Execution.COMPILED, ExecutionStage.COMPILE): Execution.EAGER,
    (Execution.GRAPH, ExecutionStage.CAPTURE): Execution.EAGER,
}


def substitute_of(skip: Skip) -> Workload | None:
    """What is measured in the place of the skipped workload; None where its execution is not what failed.

    A compiler that never ends has failed, too.
    """
    stage = ExecutionStage.COMPILE if skip.kind is SkipKind.TIMEOUT else skip.failed_stage
    execution = None if stage is None else _WITHOUT.get((skip.workload.execution, stage))
    return None if execution is None else replace(skip.workload, execution=execution)


def with_substitute(group: Sequence[Workload], failed: Workload, other: Workload) -> tuple[Workload, ...]:
    """``group`` with ``other`` in the place of ``failed``, each workload once."""
    if other in group:
        return tuple(member for member in group if member != failed)
    return tuple(other if member == failed else member for member in group)


def stored_substitutes(
    workloads: Iterable[Workload], runs: Iterable[Run], skips: Iterable[Skip]
) -> Iterator[tuple[Workload, Workload]]:
    """Which of ``workloads`` failed in their execution when last tried, each with what takes its place, in turn.

    Args:
        workloads: What would be measured.
        runs: Earlier measurements; one later than a failure outdates it.
        skips: Earlier failures.
    """
    measured = {run.workload.key: run.started_at for run in runs}
    others = {
        skip.workload.key: other
        for skip in skips
        if (other := substitute_of(skip)) is not None and measured.get(skip.workload.key, "") <= skip.started_at
    }
    for workload in workloads:
        failed = workload
        while (other := others.get(failed.key)) is not None:
            yield failed, other
            failed = other
