"""Splits stored records into those of comparisons and those of serving sweeps."""

from __future__ import annotations

from dataclasses import replace

from pamprof.records.session import SessionKind
from pamprof.records.store import RecordFile


def split_sweeps(records: RecordFile) -> tuple[RecordFile, RecordFile]:
    """The records of comparisons, and those of serving sweeps.

    The points of a sweep are not paired with a reference; they become serving curves and not rows of a comparison.
    Where only sweeps were measured, both parts hold every record, so that there is something to compare.
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
