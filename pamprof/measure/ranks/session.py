"""The second part of a comparison's session: what one device measured, once more by all ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.measure.ranks.plan import ranked_groups
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.runner import SessionOutcome, SessionRunner, utc_now
from pamprof.records import Skip, SkipKind
from pamprof.records.store import read_records

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.measure.ranks.plan import RankPlan
    from pamprof.measure.session.groups import GroupsTask
    from pamprof.measure.session.runner import Reporter
    from pamprof.records.store import RunStore

_WORKER = "pamprof.measure.ranks.worker"


def run_shared(
    plan: RankPlan,
    task: GroupsTask,
    *,
    store: RunStore,
    reporter: Reporter,
    path: Path,
    time_budget_seconds: float | None,
) -> SessionOutcome:
    """Measure every arm that one device has measured with all ranks.

    What an interruption or the budget's end leaves out is recorded as interrupted: no header plans these points, which
    depend on what the first part found fastest.

    Args:
        plan: Who shares a step, and how.
        task: Of the first part.
        store: Where outcomes go.
        reporter: Who hears of progress.
        path: File of the records, which hold that part.
        time_budget_seconds: Left for this part, shared equally among its arms and points; None for no end.
    """
    try:
        records = read_records(path)
    except RecordError:
        return SessionOutcome(measured=0, skipped=0, interrupted=False)
    groups = ranked_groups(records.runs, plan)
    done = {run.workload.key for run in records.ranked}
    done |= {skip.workload.key for skip in records.skips if not skip.kind.worth_another_try}
    done |= {group[0].key for group in groups}  # measured by one device, or beside the ranks
    left = tuple(group for group in groups if any(workload.key not in done for workload in group))
    if not left:
        return SessionOutcome(measured=0, skipped=0, interrupted=False)
    layout = plan.layout
    reporter.message(f"{layout.ranks} ranks share every arm by {layout.parallel}, in turn with one device")
    runner = SessionRunner(
        session_id=task.session_id,
        device=task.device,
        settings=task.settings,
        store=store,
        reporter=reporter,
        spawn=lambda: WorkerProcess(_WORKER),
        checkpoints=task.checkpoints,
        time_budget_seconds=time_budget_seconds,
        keeps_worker=True,
    )
    outcome = runner.run(left, frozenset(done))
    if outcome.interrupted or outcome.left_out:
        records = read_records(path)
        done |= {run.workload.key for run in records.ranked}
        done |= {skip.workload.key for skip in records.skips if skip.session_id == task.session_id}
        why = "Ctrl-C came" if outcome.interrupted else "the time budget ended"
        for workload in (workload for group in left for workload in group if workload.key not in done):
            store.append(
                Skip(
                    session_id=task.session_id,
                    started_at=utc_now(),
                    workload=workload,
                    kind=SkipKind.INTERRUPTED,
                    reason=f"{why} before ranks measured it; go on with --resume",
                )
            )
    return outcome
