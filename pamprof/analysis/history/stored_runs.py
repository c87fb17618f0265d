"""Which runs of a file of records are compared, which are a sweep's, and what is said about those left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.records import SessionKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import Interval, Run
    from pamprof.records.store import RecordFile

# An interval this wide says that the samples are no times, not that they scatter.
_WIDEST_RATIO = 1e12


def latest_runs(runs: Iterable[Run]) -> dict[str, Run]:
    """The run of each workload that started last, by its key, in the order the workloads first appear."""
    latest: dict[str, Run] = {}
    for run in runs:
        known = latest.get(run.workload.key)
        if known is None or run.started_at >= known.started_at:
            latest[run.workload.key] = run
    return latest


def parted(records: RecordFile) -> tuple[RecordFile, RecordFile]:
    """The records of comparisons, and those of serving sweeps.

    The points of a sweep are paired with nothing and would drown a comparison's; they make curves instead. Where
    nothing but sweeps was measured, a comparison is made of what there is, and both parts hold every record.
    """
    swept = {session.session_id for session in records.sessions if session.kind is SessionKind.SWEEP}
    swept -= {session.session_id for session in records.sessions if session.kind is not SessionKind.SWEEP}
    if not swept:
        return records, _of_sessions(records, swept, inside=True)
    if all(run.session_id in swept for run in records.runs):
        return records, records
    return _of_sessions(records, swept, inside=False), _of_sessions(records, swept, inside=True)


def _of_sessions(records: RecordFile, identifiers: set[str], *, inside: bool) -> RecordFile:
    return replace(
        records,
        sessions=tuple(each for each in records.sessions if (each.session_id in identifiers) is inside),
        runs=tuple(each for each in records.runs if (each.session_id in identifiers) is inside),
        skips=tuple(each for each in records.skips if (each.session_id in identifiers) is inside),
        ceilings=tuple(each for each in records.ceilings if (each.session_id in identifiers) is inside),
    )


def is_ratio(interval: Interval) -> bool:
    """Whether the interval of a ratio says anything, unlike one of samples that are no times."""
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
