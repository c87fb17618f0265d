"""The ratios of a comparison that was run several times: each run, their spread, and what changed between runs.

A ratio is to the reference of the same run, sampled beside it, so a machine that became slower as a whole changes no
ratio. A run is a file of records here; of a workload measured more than once in it, the latest measurement counts, or
all processes together that measured it in windows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.doubts import ratio_half_width
from pamprof.analysis.comparison.joined import processes_of
from pamprof.analysis.comparison.pairing import is_reference, reference_ratio
from pamprof.analysis.history.conditions import DifferingCondition, conditions, differing_conditions
from pamprof.analysis.history.reference_drift import moved_references
from pamprof.analysis.history.stored_runs import file_notes, has_several_devices, is_ratio, joined_runs, skip_reasons
from pamprof.analysis.history.trend_results import RunAgreement, Trend, TrendRun, TrendSeries, TrendValue
from pamprof.errors import RecordError
from pamprof.statistics import half_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import Interval, Run, Workload
    from pamprof.records.store import RecordFile


def trend_of(files: Sequence[tuple[str, RecordFile]], *, within: float | None = None) -> Trend:
    """The trend over named files, each with at least one run, put in order of time.

    Args:
        files: Name and records of each run.
        within: How far the median ratios of a workload may lie apart, largest over smallest minus 1.
    """
    by_device = has_several_devices(file for _, file in files)
    dated = [(name, file, joined_runs(file.runs, by_device=by_device)) for name, file in files]
    dated.sort(key=lambda one: _started_at(one[2].values()))
    tables = [latest for _, _, latest in dated]
    skips = [skip_reasons(file, by_device=by_device) for _, file, _ in dated]
    found = (
        _series(key, [table.get(key) for table in tables], [skipped.get(key) for skipped in skips], tables, within)
        for key in _in_order_of_points(tables)
    )
    series = tuple(replace(one, device_name=_device_of(one.key, tables)) if by_device else one for one in found)
    runs = tuple(
        _trend_run(name, latest, [one.values[number].changes for one in series])
        for number, (name, _, latest) in enumerate(dated)
    )
    notes = [note for name, file, latest in dated for note in file_notes(file, _measured(latest), name)]
    first_name, _, first = dated[0]
    for name, _, latest in dated[1:]:
        pairs = [(run, latest[key]) for key, run in first.items() if key in latest]
        moved = moved_references(pairs, _measured(first), _measured(latest))
        notes += [f"{name} over {first_name} as BASE: {sentence}" for sentence in moved]
    return Trend(runs=runs, series=series, within=within, notes=tuple(notes))


def _device_of(key: str, tables: Sequence[dict[str, Run]]) -> str:
    return next(table[key].environment.device_name for table in tables if key in table)


def _measured(table: dict[str, Run]) -> tuple[Run, ...]:
    """The runs of a table, process by process."""
    return tuple(one for run in table.values() for one in processes_of(run))


def _in_order_of_points(tables: Sequence[dict[str, Run]]) -> list[str]:
    """Keys of the series, grouped by point; a workload that is only the reference is left out."""
    followed: dict[str, Workload] = {}
    for table in tables:
        for key, run in table.items():
            if not is_reference(run):
                followed.setdefault(key, run.workload)
    points = list(dict.fromkeys(workload.point for workload in followed.values()))
    return sorted(followed, key=lambda key: points.index(followed[key].point))


def _series(
    key: str,
    measured: Sequence[Run | None],
    skips: Sequence[str | None],
    tables: Sequence[dict[str, Run]],
    within: float | None,
) -> TrendSeries:
    values: list[TrendValue] = []
    before: Run | None = None
    for run, skip, table in zip(measured, skips, tables, strict=True):
        values.append(_value(run, before, skip, table.values()))
        before = run or before
    ratios = [value.ratio for value in values if value.ratio is not None]
    references = {value.reference_key for value in values if value.reference_key is not None}
    reason = _undecided(values, len(references))
    comparable = len(ratios) > 1 and len(references) == 1
    medians = [ratio.median for ratio in ratios]
    spread = max(medians) / min(medians) - 1 if comparable else None
    agreement = None
    if within is not None:
        agreement = RunAgreement.UNDECIDED if reason else RunAgreement.WITHIN
        if spread is not None and spread > within:
            agreement = RunAgreement.OUTSIDE
    return TrendSeries(
        key=key,
        workload=next(run.workload for run in measured if run is not None),
        values=tuple(values),
        spread=spread,
        widest_half_width=max((half_width(ratio) for ratio in ratios), default=None),
        agreement=agreement,
        reason=reason,
    )


def _undecided(values: Sequence[TrendValue], reference_count: int) -> str | None:
    if reference_count > 1:
        return "the runs paired it with different references"
    missing = [value for value in values if value.ratio is None]
    if not missing:
        return None
    return f"no ratio in {len(missing)} of {len(values)} runs ({missing[0].reason})"


def _value(run: Run | None, before: Run | None, skip: str | None, others: Iterable[Run]) -> TrendValue:
    if run is None:
        return TrendValue(
            ratio=None, reference_key=None, noise_half_width=None, changes=(), reason=skip or "not measured"
        )
    ratio: Interval | None = None
    reason: str | None = None
    if is_reference(run):
        reason = "it is the reference itself"
    else:
        try:
            ratio = reference_ratio(run)
        except RecordError as exc:
            reason = str(exc)
    if ratio is not None and not is_ratio(ratio):
        ratio, reason = None, "the samples lie too far apart for a ratio; measure it again"
    return TrendValue(
        ratio=ratio,
        reference_key=run.reference.key,
        noise_half_width=_noise(run, others),
        changes=_changes(before, run),
        reason=reason,
    )


def _changes(before: Run | None, run: Run) -> tuple[DifferingCondition, ...]:
    if before is None:
        return ()
    found = differing_conditions([(before, run)])
    if before.reference.key == run.reference.key:
        return found
    return (*found, DifferingCondition(name="reference", base=before.reference.key, head=run.reference.key))


def _noise(run: Run, others: Iterable[Run]) -> float | None:
    """The noise of the reference that ``run`` was paired with, under the same conditions; None where it is unknown."""
    for other in others:
        if is_reference(other) and other.workload.key == run.reference.key and conditions(other) == conditions(run):
            if len(other.timing.wall_time_seconds) < 2:
                return None
            try:
                return ratio_half_width(other)
            except RecordError:
                return None
    return None


def _trend_run(name: str, latest: dict[str, Run], changes: Iterable[tuple[DifferingCondition, ...]]) -> TrendRun:
    runs = tuple(sorted(latest.values(), key=lambda run: run.started_at))
    commits = (run.environment.git_commit for run in runs)
    distinct = {(change.name, change.base, change.head): change for some in changes for change in some}
    return TrendRun(
        name=name,
        started_at=_started_at(runs),
        commits=tuple(dict.fromkeys(commit for commit in commits if commit is not None)),
        device_names=tuple(dict.fromkeys(run.environment.device_name for run in runs)),
        workload_count=len(runs),
        changes=tuple(distinct.values()),
    )


def _started_at(runs: Iterable[Run]) -> str:
    return min(run.started_at for run in runs)
