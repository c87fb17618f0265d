"""Which points of a sweep need no second visit, by the records of an earlier one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from pamprof.measure.serving.plan import is_flat
from pamprof.records import Phase, SkipKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Workload
    from pamprof.records.store import RecordFile


def finished_keys(
    earlier: RecordFile | None, groups: Sequence[tuple[Workload, ...]], *, finds_memory_end: bool
) -> frozenset[str]:
    """Keys that need no second visit: measured, without room, or beyond the end of a line that has one.

    A line has an end where memory ran out, where a batch off the grid was measured, which is only ever the one that
    memory was predicted to end at, or, on a device whose end of memory is not sought, where its last doublings gained
    nothing.
    """
    if earlier is None:
        return frozenset()
    grid = {workload.key for group in groups for workload in group}
    done = {run.workload.key for run in earlier.runs}
    rates: dict[str, dict[int, float]] = defaultdict(dict)
    for run in earlier.runs:
        if run.workload.phase is Phase.DECODE:
            step = median(run.timing.wall_time_seconds)
            rates[_line_key(run.workload)][run.workload.batch_size] = run.workload.batch_size / step
    full = {_line_key(skip.workload) for skip in earlier.skips if skip.kind is SkipKind.OUT_OF_MEMORY}
    if finds_memory_end:
        full |= {_line_key(run.workload) for run in earlier.runs if run.workload.key not in grid}
    done |= {skip.workload.key for skip in earlier.skips if skip.kind in (SkipKind.OUT_OF_MEMORY, SkipKind.UNSUPPORTED)}
    for group in groups:
        for workload in group:
            key = _line_key(workload)
            found = rates.get(key, {})
            ended = key in full or (not finds_memory_end and is_flat(found))
            if workload.phase is Phase.DECODE and ended and workload.batch_size > max(found, default=0):
                done.add(workload.key)
    return frozenset(done)


def _line_key(workload: Workload) -> str:
    return replace(workload, batch_size=1).key
