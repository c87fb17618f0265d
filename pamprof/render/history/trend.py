"""The trend over stored runs as text and charts: agreement of workloads, list of runs, what changed."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.history.trend_results import RunAgreement
from pamprof.render.arms import assign_arms, layer_titles
from pamprof.render.formats.table_view import TableView
from pamprof.render.history.trend_charts import changes_in_words, commits_in_words, days_in_words, trend_charts
from pamprof.render.history.workload_labels import workload_labels
from pamprof.render.text import cleaned, day, listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.history.trend_results import Trend, TrendRun, TrendSeries
    from pamprof.records import Interval, Session
    from pamprof.render.charts import Chart

_RATIO_DIGITS = 4
_MOST_COLUMNS = 8
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendView:
    """Everything shown of a trend.

    Attributes:
        alerts: What must be known before anything else: lines of the records that could not be read.
        table: Title, summary, the agreement of every workload with two ratios or more, and notes.
        run_columns: Headings of ``runs``.
        runs: One row a run, oldest first.
        charts: One picture a point.
    """

    alerts: tuple[str, ...]
    table: TableView
    run_columns: tuple[str, ...]
    runs: tuple[tuple[str, ...], ...]
    charts: tuple[Chart, ...]


def trend_view(trend: Trend, sessions: Iterable[Session] = (), alerts: Iterable[str] = ()) -> TrendView:
    """The trend as text and charts, free of control characters; ``sessions`` hold the titles of layers."""
    titles = layer_titles(sessions)
    labels = workload_labels(trend.series)
    arms = assign_arms((series.workload for series in trend.series), titles)
    shown = tuple(one for one in trend.series if sum(value.ratio is not None for value in one.values) > 1)
    left_out = tuple(one for one in trend.series if one not in shown)
    return cleaned(
        TrendView(
            alerts=tuple(alerts),
            table=TableView(
                title=f"pamprof trend: {plural(len(trend.runs), 'run')}, {_finding(trend, shown)}",
                summary=_summary(trend, shown, labels),
                columns=_columns(trend),
                right=frozenset(range(2, _columns(trend).index("spread") + 2)),
                rows=tuple(_row(trend, one, labels) for one in shown),
                notes=_notes(trend, shown, left_out, labels),
            ),
            run_columns=("run", "records", "started", "commit", "device", "workloads", "changed since the run before"),
            runs=tuple(_run_row(number, run) for number, run in enumerate(trend.runs, start=1)),
            charts=trend_charts(trend, arms, labels),
        )
    )


def _finding(trend: Trend, shown: tuple[TrendSeries, ...]) -> str:
    if trend.within is None:
        return f"ratios of {plural(len(shown), 'workload')} to the reference of their run"
    limit = _limit(trend.within)
    outside, undecided = trend.count(RunAgreement.OUTSIDE), trend.count(RunAgreement.UNDECIDED)
    if outside:
        return f"{outside} of {plural(len(trend.series), 'workload')} apart by more than {limit}"
    if undecided:
        return f"{undecided} of {plural(len(trend.series), 'workload')} not decided against {limit}"
    return f"all {plural(len(trend.series), 'workload')} agree within {limit}"


def _summary(trend: Trend, shown: tuple[TrendSeries, ...], labels: Mapping[str, tuple[str, str]]) -> str:
    devices = tuple(dict.fromkeys(name for run in trend.runs for name in run.device_names))
    text = f"{listed(devices)}, {days_in_words(trend)}."
    spreads = [(one.spread, one.key) for one in shown if one.spread is not None]
    if spreads:
        widest, key = max(spreads)
        text += (
            f" Spread of the median ratios: {_percent(median(spread for spread, _ in spreads))} in the middle, "
            f"{_percent(widest)} at most ({', '.join(labels[key])})."
        )
    if trend.within is not None:
        counts = ", ".join(f"{trend.count(agreement)} {agreement}" for agreement in RunAgreement)
        text += f" Against {_limit(trend.within)}: {counts}."
    return text


def _columns(trend: Trend) -> tuple[str, ...]:
    runs = tuple(f"run {number}" for number in range(1, len(trend.runs) + 1))
    if len(runs) > _MOST_COLUMNS:
        runs = ("first", "lowest", "middle", "highest", "last")
    limit = () if trend.within is None else (f"within {_limit(trend.within)}",)
    return ("workload", "where", *runs, "spread", "widest interval", *limit)


def _row(trend: Trend, series: TrendSeries, labels: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    ratios = [value.ratio for value in series.values]
    if len(ratios) > _MOST_COLUMNS:
        known = sorted((ratio for ratio in ratios if ratio is not None), key=lambda ratio: ratio.median)
        ratios = [ratios[0], known[0], known[len(known) // 2], known[-1], ratios[-1]]
    width = series.widest_half_width
    return (
        *labels[series.key],
        *(_ratio(ratio) for ratio in ratios),
        _percent(series.spread),
        units.UNKNOWN if width is None else f"±{_percent(width)}",
        *(() if series.agreement is None else (series.agreement.value,)),
    )


def _percent(value: float | None) -> str:
    """A relative difference; below a millionth it is rounding error of floats and becomes 0."""
    return units.UNKNOWN if value is None else units.percent(round(value, 6))


def _ratio(ratio: Interval | None) -> str:
    return units.UNKNOWN if ratio is None else units.ratio(ratio.median, _RATIO_DIGITS)


def _run_row(number: int, run: TrendRun) -> tuple[str, ...]:
    clock = run.started_at[11:16]
    return (
        str(number),
        run.name,
        f"{day(run.started_at)} {clock}".strip(),
        commits_in_words(run) or units.UNKNOWN,
        listed(run.device_names),
        str(run.workload_count),
        ", ".join(f"{change.name} {change.base} → {change.head}" for change in run.changes)
        or ("nothing" if number > 1 else units.UNKNOWN),
    )


def _commits(run: TrendRun) -> str:
    if not run.commits:
        return "no commit known"
    return f"commit{'s' if len(run.commits) > 1 else ''} {commits_in_words(run)}"


def _notes(
    trend: Trend,
    shown: tuple[TrendSeries, ...],
    left_out: tuple[TrendSeries, ...],
    labels: Mapping[str, tuple[str, str]],
) -> tuple[str, ...]:
    notes = [
        f"Run {number}: {run.name}, {day(run.started_at)} {run.started_at[11:16]}, "
        f"{_commits(run)}, "
        f"{plural(run.workload_count, 'workload')}."
        for number, run in enumerate(trend.runs, start=1)
    ]
    references = tuple(
        dict.fromkeys(
            value.reference_key.split(" ")[0]
            for one in shown
            for value in one.values
            if value.reference_key is not None
        )
    )
    if references:
        notes.append(f"Reference: {listed(references)}, sampled beside every workload.")
    notes.append(
        "A ratio is the workload's step time over the reference's in the same run: the median of paired samples, or of "
        "windows the ratio of means over fresh processes. Spread: the largest of these over the smallest, minus 1. "
        "Widest interval: half width of the widest 95 % interval; a smaller spread may be chance."
    )
    changed = changes_in_words(trend)
    if changed:
        notes.append(changed)
    apart = sorted((o for o in shown if o.agreement is RunAgreement.OUTSIDE), key=lambda one: -(one.spread or 0.0))
    if apart and trend.within is not None:
        notes.append(f"Further apart than {_limit(trend.within)}: {_some(apart, labels)}.")
    by_reason: dict[str, list[TrendSeries]] = {}
    for one in shown:
        if one.reason is not None:
            by_reason.setdefault(one.reason, []).append(one)
    notes += [f"Not comparable in all runs, {reason}: {_some(ones, labels)}." for reason, ones in by_reason.items()]
    if left_out:
        notes.append(f"Without two ratios to compare: {_some(left_out, labels)}.")
    notes += [f"{note}." for note in trend.notes]
    return tuple(dict.fromkeys(notes))


def _some(series: Sequence[TrendSeries], labels: Mapping[str, tuple[str, str]]) -> str:
    named = tuple(", ".join(labels[one.key]) for one in series[:_MOST_NAMED])
    more = len(series) - len(named)
    return "; ".join(named) + (f" and {plural(more, 'more workload')}" if more else "")


def _limit(within: float) -> str:
    return f"{within * 100:g} %"
