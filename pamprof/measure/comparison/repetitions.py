"""Points measured in several fresh processes, in random order, and which of them earlier sessions have measured.

What a fresh process moves (where memory lies, what a compiler chose) is in no interval of one process. Random order
keeps a drift of the machine from being taken for a difference between points.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Effort, Point, Workload
    from pamprof.records.store import RecordFile


def missing_repetitions(
    visits: Sequence[Workload], earlier: RecordFile | None, *, processes: int, effort: Effort, seed: int
) -> tuple[tuple[Workload, ...], ...]:
    """One group for each point and process still to be measured, in random order.

    Args:
        visits: Workloads; at each point the first is what the others are paired with.
        earlier: Records to go on with. A point counts as measured as often as the least measured of its workloads.
        processes: Fresh processes for each point.
        effort: Only runs of this effort count.
        seed: Of the order; sessions that go on continue with another order.
    """
    counts = _run_counts(earlier, effort)
    by_point: dict[Point, list[Workload]] = {}
    for workload in visits:
        by_point.setdefault(workload.point, []).append(workload)
    groups: list[tuple[Workload, ...]] = []
    for workloads in by_point.values():
        measurable = [w for w in workloads if counts[w.key] >= 0]
        measured = min((counts[w.key] for w in measurable), default=processes)
        groups += [tuple(measurable)] * max(0, processes - measured)
    Random(f"{seed} {0 if earlier is None else len(earlier.sessions)}").shuffle(groups)
    return tuple(groups)


def _run_counts(earlier: RecordFile | None, effort: Effort) -> Counter[str]:
    """How often each key was measured with ``effort``; -1 for one that cannot be measured here."""
    counts: Counter[str] = Counter()
    if earlier is None:
        return counts
    sessions = {session.session_id for session in earlier.sessions if session.effort is effort}
    counts.update(run.workload.key for run in earlier.runs if run.session_id in sessions)
    for skip in earlier.skips:
        if skip.session_id in sessions and not skip.kind.worth_another_try and skip.workload.key not in counts:
            counts[skip.workload.key] = -1
    return counts
