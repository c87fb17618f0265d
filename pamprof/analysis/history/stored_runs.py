"""Which runs of a file of records are compared, and what is said about those left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import Interval, Run
    from pamprof.records.store import RecordFile

# An interval wider than this comes from samples that are not times, not from scatter.
_WIDEST_RATIO = 1e12


def latest_runs(runs: Iterable[Run]) -> dict[str, Run]:
    """The run of each workload that started last, by its key, in the order the workloads first appear."""
    latest: dict[str, Run] = {}
    for run in runs:
        known = latest.get(run.workload.key)
        if known is None or run.started_at >= known.started_at:
            latest[run.workload.key] = run
    return latest


def is_ratio(interval: Interval) -> bool:
    """Whether the interval of a ratio is narrow enough to come from times."""
    return interval.high <= _WIDEST_RATIO * interval.low


def file_notes(file: RecordFile, used: Sequence[Run], name: str) -> list[str]:
    """A sentence on lines of ``file`` that could not be read and on runs beside those ``used``; without a full stop."""
    notes = []
    if file.problems:
        count = len(file.problems)
        notes.append(f"{name}: {count} unreadable line{'s' if count > 1 else ''} left out; first: {file.problems[0]}")
    earlier = len(file.runs) - len(used)
    if earlier:
        notes.append(f"{name}: {earlier} earlier run{'s' if earlier > 1 else ''} of workloads measured again left out")
    return notes
