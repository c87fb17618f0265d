"""Points measured in several fresh processes, in random order, and which of them earlier sessions have measured.

What a fresh process moves (where memory lies, what a compiler chose) is in no interval of one process. Random order
keeps a drift of the machine from being taken for a difference between points.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from pamprof.records import SkipKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Effort, Point, Workload
    from pamprof.records.store import RecordFile

_FOR_GOOD = 1_000_000


def missing_repetitions(
    visits: Sequence[Workload], earlier: RecordFile | None, *, processes: int, effort: Effort, seed: int
) -> tuple[tuple[Workload, ...], ...]:
    """One group for each point and process still to be measured, in random order.

    Args:
        visits: Workloads; at each point the first is what the others are paired with.
        earlier: Records to go on with. A workload that failed in a process is not tried there again; the first of a
            point is measured in every process, because the others are paired with it.
        processes: Fresh processes for each point.
        effort: Only runs of this effort count.
        seed: Of the order; sessions that go on continue with another order.
    """
    tried = _attempts(earlier, effort)
    by_point: dict[Point, list[Workload]] = {}
    for workload in visits:
        by_point.setdefault(workload.point, []).append(workload)
    groups: list[tuple[Workload, ...]] = []
    for workloads in by_point.values():
        possible = [workload for workload in workloads if tried[workload.key] < _FOR_GOOD]
        if not possible:
            continue
        first, *others = possible
        missing = {workload.key: max(0, processes - tried[workload.key]) for workload in (first, *others)}
        for number in range(max(missing.values())):
            wanted = tuple(workload for workload in others if missing[workload.key] > number)
            groups.append((first, *wanted))
    Random(f"{seed} {0 if earlier is None else len(earlier.sessions)}").shuffle(groups)
    return tuple(groups)


def _attempts(earlier: RecordFile | None, effort: Effort) -> Counter[str]:
    """How often each key was measured or tried with ``effort``; without end where no attempt can succeed here."""
    counts: Counter[str] = Counter()
    if earlier is None:
        return counts
    sessions = {session.session_id for session in earlier.sessions if session.effort is effort}
    counts.update(run.workload.key for run in earlier.runs if run.session_id in sessions)
    for skip in earlier.skips:
        if skip.session_id in sessions and skip.kind is not SkipKind.INTERRUPTED:
            counts[skip.workload.key] += 1 if skip.kind.worth_another_try else _FOR_GOOD
    return counts
