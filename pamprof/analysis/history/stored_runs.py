"""Which runs of a file of records are compared, and what is said about those left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.comparison.joined import has_windows, join_windows, takes_precedence
from pamprof.analysis.history.process_spread import repeats_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import Interval, Run
    from pamprof.records.store import RecordFile

# An interval wider than this comes from samples that are not times, not from scatter.
_WIDEST_RATIO = 1e12


def latest_runs(runs: Iterable[Run]) -> dict[str, Run]:
    """The run of each workload that started last, by its key, in the order the workloads first appear.

    Runs of windows come before others of the same workload.
    """
    latest: dict[str, Run] = {}
    for run in runs:
        known = latest.get(run.workload.key)
        if known is None or takes_precedence(run, known):
            latest[run.workload.key] = run
    return latest


def joined_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """As ``latest_runs``; those of windows stand for all processes that measured the workload in the same way."""
    latest = latest_runs(runs)
    alike = [repeat for run in latest.values() if has_windows(run) for repeat in repeats_of(run, runs)]
    return {key: join_windows(run, alike, []) if has_windows(run) else run for key, run in latest.items()}


def is_ratio(interval: Interval) -> bool:
    """Whether the interval of a ratio is narrow enough to come from times."""
    return interval.high <= _WIDEST_RATIO * interval.low


def file_notes(file: RecordFile, used: Sequence[Run], name: str) -> list[str]:
    """A sentence on lines of ``file`` that could not be read and on runs beside those ``used``; without a full stop."""
    notes = []
    if file.damage is not None:
        notes.append(f"{name}: {file.damage}")
    earlier = len(file.runs) - len(used)
    if earlier:
        notes.append(f"{name}: {earlier} earlier run{'s' if earlier > 1 else ''} of workloads measured again left out")
    return notes
