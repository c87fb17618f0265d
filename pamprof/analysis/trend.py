"""The ratios of a comparison that was run several times: run by run, how far they lie apart, and what changed between.

A ratio is always to the reference of the same run, sampled beside it, so a machine that got slower as a whole moves
none. Run means a file of records here; of a workload measured more than once in it, the latest measurement counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.analysis.conditions import DifferingCondition, conditions, differing_conditions
from pamprof.analysis.doubts import noise_half_width
from pamprof.analysis.pairing import is_reference
from pamprof.analysis.reference_drift import moved_references
from pamprof.analysis.stored_runs import file_notes, latest_runs
from pamprof.errors import RecordError
from pamprof.statistics import half_width, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.records import Interval, Run, Workload
    from pamprof.records.store import RecordFile

# An interval this wide says that the samples are no times, not that they scatter.
_WIDEST_RATIO = 1e12


class Agreement(StrEnum):
    """Whether the ratios of one workload lie together in all runs."""

    WITHIN = "within"
    OUTSIDE = "outside"
    UNDECIDED = "undecided"  # a run has no ratio of it, or one to another reference


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendRun:
    """One run.

    Attributes:
        name: As the caller calls it, usually a path.
        started_at: When the first of its measurements that count started; UTC, ISO 8601.
        commit: Of pamprof's own checkout; None where it was installed without one.
        device_names: What it measured on; more than one only where a file mixes machines.
        workload_count: Workloads that have a measurement, references included.
        changes: Conditions that differ from the measurement before, over all workloads.
    """

    name: str
    started_at: str
    commit: str | None
    device_names: tuple[str, ...]
    workload_count: int
    changes: tuple[DifferingCondition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendValue:
    """One workload in one run.

    Attributes:
        ratio: Its time over the reference's; None with ``reason``.
        reference_key: What it was paired with; None where it was not measured.
        noise_half_width: Relative half width of that reference against itself in the same run; None where it was not
            measured.
        changes: Conditions, the reference among them, that differ from the measurement before.
        reason: Why there is no ratio; None where there is one.
    """

    ratio: Interval | None
    reference_key: str | None
    noise_half_width: float | None
    changes: tuple[DifferingCondition, ...]
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSeries:
    """One workload over all runs.

    Attributes:
        key: Its full key.
        workload: What was measured.
        values: One for each run, in order.
        spread: Largest median ratio over the smallest, minus 1; None with fewer than two, or different references.
        widest_half_width: The largest relative half width of the intervals; None without any.
        agreement: Against the limit; None without a limit.
        reason: What keeps the spread from being one over all runs; None where nothing does.
    """

    key: str
    workload: Workload
    values: tuple[TrendValue, ...]
    spread: float | None
    widest_half_width: float | None
    agreement: Agreement | None
    reason: str | None

    @property
    def noise_half_width(self) -> float | None:
        """The largest noise of its runs; None where none measured it."""
        return max((v.noise_half_width for v in self.values if v.noise_half_width is not None), default=None)

    @property
    def first_ratio(self) -> Interval | None:
        """The ratio in the first run that has one; None without any."""
        return next((value.ratio for value in self.values if value.ratio is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """All runs, oldest first, and every workload that is not its own reference in all of them.

    ``within`` is the limit asked for, a ratio such as 0.01; None without one.
    """

    runs: tuple[TrendRun, ...]
    series: tuple[TrendSeries, ...]
    within: float | None
    notes: tuple[str, ...]

    def count(self, agreement: Agreement) -> int:
        """Workloads with this agreement."""
        return sum(one.agreement is agreement for one in self.series)


def trend_of(files: Sequence[tuple[str, RecordFile]], *, within: float | None = None) -> Trend:
    """The trend over named files, each with at least one run, put in order of time.

    Args:
        files: Name and records of each run.
        within: How far the median ratios of a workload may lie apart, largest over smallest minus 1.
    """
    dated = [(name, file, latest_runs(file.runs)) for name, file in files]
    dated.sort(key=lambda one: _started_at(one[2].values()))
    tables = [latest for _, _, latest in dated]
    skips = [{skip.workload.key: f"{skip.kind}: {skip.reason}" for skip in file.skips} for _, file, _ in dated]
    series = tuple(
        _series(key, [table.get(key) for table in tables], [skipped.get(key) for skipped in skips], tables, within)
        for key in _in_order_of_points(tables)
    )
    runs = tuple(
        _trend_run(name, latest, [one.values[number].changes for one in series])
        for number, (name, _, latest) in enumerate(dated)
    )
    notes = [note for name, file, latest in dated for note in file_notes(file, tuple(latest.values()), name)]
    first_name, _, first = dated[0]
    for name, _, latest in dated[1:]:
        pairs = [(run, latest[key]) for key, run in first.items() if key in latest]
        moved = moved_references(pairs, tuple(first.values()), tuple(latest.values()))
        notes += [f"{name} over {first_name} as BASE: {sentence}" for sentence in moved]
    return Trend(runs=runs, series=series, within=within, notes=tuple(notes))


def _in_order_of_points(tables: Sequence[dict[str, Run]]) -> list[str]:
    """Keys to follow, those of one point together; a workload that is nothing but the reference is left out."""
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
        agreement = Agreement.UNDECIDED if reason else Agreement.WITHIN
        if spread is not None and spread > within:
            agreement = Agreement.OUTSIDE
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
            ratio = ratio_interval(run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds)
        except RecordError as exc:
            reason = str(exc)
    if ratio is not None and ratio.high > _WIDEST_RATIO * ratio.low:
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
                return noise_half_width(other)
            except RecordError:
                return None
    return None


def _trend_run(name: str, latest: dict[str, Run], changes: Iterable[tuple[DifferingCondition, ...]]) -> TrendRun:
    runs = tuple(latest.values())
    newest = max(runs, key=lambda run: run.started_at)
    distinct = {(change.name, change.base, change.head): change for some in changes for change in some}
    return TrendRun(
        name=name,
        started_at=_started_at(runs),
        commit=newest.environment.git_commit,
        device_names=tuple(dict.fromkeys(run.environment.device_name for run in runs)),
        workload_count=len(runs),
        changes=tuple(distinct.values()),
    )


def _started_at(runs: Iterable[Run]) -> str:
    return min(run.started_at for run in runs)
