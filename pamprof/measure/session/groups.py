"""Groups of a comparison as data, and the one function that measures them: here, on a cluster's node, in a job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pamprof.measure.session.paced import PacedRunner
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.settings import Settings
from pamprof.records import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.session.further import FurtherPoints
    from pamprof.measure.session.pace import Pace
    from pamprof.measure.session.runner import RecordSink, Reporter, SessionOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsTask:
    """What one machine is to measure.

    Attributes:
        session_id: Written into every record.
        device: As the worker opens it.
        groups: In order; single workloads, or whole points for a fresh worker each.
        done: Keys of workloads that need no measurement.
        settings: Sampling rules.
        expected_seconds: Of each workload by key.
        monitor_seconds: Monitored window by key, where it is not that of ``settings``.
        references: What workloads are paired with at points that earlier records hold.
        fresh_processes: How many workers of its own measure each point, which is then a group; None where one worker
            visits single workloads.
        compiled_ahead: Workloads that other processes compile while earlier ones are measured.
        checkpoints: Files of weights, by what the arms' sizes call them.
        ceilings: Whether the device's ceilings are measured first.
        substitutes: Whether a step that cannot be compiled or captured is measured in an execution without that.
    """

    session_id: str
    device: str
    groups: tuple[tuple[Workload, ...], ...]
    done: tuple[str, ...] = ()
    settings: Settings
    expected_seconds: dict[str, float]
    monitor_seconds: dict[str, float] = field(default_factory=dict)
    references: tuple[Workload, ...] = ()
    fresh_processes: int | None = None
    compiled_ahead: tuple[Workload, ...] = ()
    checkpoints: dict[str, str] = field(default_factory=dict)
    ceilings: bool = True
    substitutes: bool = False


def measure_groups(
    task: GroupsTask,
    *,
    store: RecordSink,
    reporter: Reporter,
    pace: Pace,
    first_worker: WorkerProcess | None = None,
    spawn: Callable[[], WorkerProcess] = WorkerProcess,
    further: FurtherPoints | None = None,
) -> SessionOutcome:
    """Measure ``task`` on this machine; every outcome is in ``store`` when this returns.

    Args:
        task: What to measure.
        store: Where outcomes go.
        reporter: Who hears of progress.
        pace: Expected times, and the budget.
        first_worker: A worker started early.
        spawn: Starts a worker.
        further: Decides, after each outcome, about points to add.
    """
    runner = PacedRunner(
        session_id=task.session_id,
        device=task.device,
        settings=task.settings,
        store=store,
        reporter=reporter,
        first_worker=first_worker,
        spawn=spawn,
        checkpoints=task.checkpoints,
        ceilings=task.ceilings,
        pace=pace,
        references={workload.point: workload for workload in task.references},
        monitor_seconds=task.monitor_seconds,
        compiled_ahead=task.compiled_ahead,
        fresh_processes=task.fresh_processes,
        further=further,
        substitutes=task.substitutes,
    )
    return runner.run(task.groups, frozenset(task.done))
