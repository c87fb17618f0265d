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


def has_several_devices(files: Iterable[RecordFile]) -> bool:
    """Whether one of ``files`` has runs on more than one kind of device, each of which is then compared by itself."""
    return any(len({run.environment.device_name for run in file.runs}) > 1 for file in files)


def latest_runs(runs: Iterable[Run], *, by_device: bool = False) -> dict[str, Run]:
    """The run of each workload that started last, by its key, in the order the workloads first appear.

    Runs of windows come before others of the same workload.

    Args:
        runs: Of one file.
        by_device: Tell devices apart, and name them in the keys.
    """
    latest: dict[str, Run] = {}
    for run in runs:
        key = device_key(run.workload.key, run.environment.device_name if by_device else None)
        known = latest.get(key)
        if known is None or takes_precedence(run, known):
            latest[key] = run
    return latest


def joined_runs(runs: Sequence[Run], *, by_device: bool = False) -> dict[str, Run]:
    """As ``latest_runs``; those of windows stand for all processes that measured the workload in the same way."""
    latest = latest_runs(runs, by_device=by_device)
    alike = [repeat for run in latest.values() if has_windows(run) for repeat in repeats_of(run, runs)]
    return {key: join_windows(run, alike, []) if has_windows(run) else run for key, run in latest.items()}


def device_key(key: str, device_name: str | None) -> str:
    """A workload's key, with the device where devices are told apart."""
    return key if device_name is None else f"{key} on {device_name}"


def skip_reasons(file: RecordFile, *, by_device: bool) -> dict[str, str]:
    """Why workloads of ``file`` have no number, by keys as those of ``latest_runs``.

    A skip is of the device of its session; where that measured nothing, of every device of the file.
    """
    devices = {run.session_id: run.environment.device_name for run in file.runs}
    reasons = {}
    for skip in file.skips:
        of_skip = {devices[skip.session_id]} if skip.session_id in devices else set(devices.values())
        for device in of_skip if by_device else (None,):
            reasons[device_key(skip.workload.key, device)] = f"{skip.kind}: {skip.reason}"
    return reasons


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
