"""Pictures of ratios over stored runs: one picture a point, one panel a workload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.render.arms import arm_key, execution_label
from pamprof.render.charts import Chart, TrendPanel
from pamprof.render.history.workload_labels import place_label
from pamprof.render.text import day, days, listed, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.analysis.history.trend_results import Trend, TrendRun, TrendSeries
    from pamprof.records import Point
    from pamprof.render.arms import Arm

_COMMIT_LETTERS = 7
_MOST_NAMED = 2
_MOST_LISTED = 6


def trend_charts(trend: Trend, arms: Mapping[str, Arm], labels: Mapping[str, tuple[str, str]]) -> tuple[Chart, ...]:
    """A picture of every point at which a workload has ratios in two runs or more.

    Args:
        trend: What is drawn.
        arms: Looks of the arms by their key.
        labels: Name and place of each workload by its key.
    """
    points: dict[Point, list[TrendSeries]] = {}
    for series in trend.series:
        if sum(value.ratio is not None for value in series.values) > 1:
            points.setdefault(series.workload.point, []).append(series)
    return tuple(_chart(trend, point, shown, arms, labels) for point, shown in points.items())


def run_labels(runs: tuple[TrendRun, ...]) -> tuple[tuple[str, ...], ...]:
    """The label of each run on an axis, in lines: day, time of day where two runs share a day, commit where known."""
    dates = [day(run.started_at) for run in runs]
    labels = []
    for run, date in zip(runs, dates, strict=True):
        lines = [date.rsplit(" ", 1)[0] if all(d.endswith(date[-4:]) for d in dates) else date]
        if dates.count(date) > 1:
            lines.append(run.started_at[11:16])
        lines.append(commits_in_words(run))
        labels.append(tuple(line for line in lines if line))
    return tuple(labels)


def commits_in_words(run: TrendRun) -> str:
    """The run's commits, such as ``a1b2c3d and 9f8e7d6``; empty where none is known."""
    return listed(tuple(short_commit(commit) for commit in run.commits))


def short_commit(commit: str) -> str:
    """``a1b2c3d``, with a plus sign where the checkout had changes."""
    return commit[:_COMMIT_LETTERS] + ("+" if commit.endswith("-dirty") else "")


def _chart(
    trend: Trend,
    point: Point,
    shown: list[TrendSeries],
    arms: Mapping[str, Arm],
    labels: Mapping[str, tuple[str, str]],
) -> Chart:
    place = place_label(point)
    finding = _finding(shown, labels)
    changes = changes_in_words(trend)
    count = plural(len(trend.runs), "run")
    return Chart(
        name=f"trend-{point.phase}-{point.scope}-b{point.batch_size}-t{point.sequence_length}-{point.dtype}",
        kind="trend",
        title=f"{place}: {finding}",
        subtitle=" · ".join(
            (
                " and ".join(dict.fromkeys(name for run in trend.runs for name in run.device_names)),
                days_in_words(trend),
                count,
            )
        ),
        axis=(
            "step time over the reference's in the same run (logarithmic, every panel with its own range; "
            "at its right: how far the runs lie apart)"
        ),
        caption=(
            "Dot: median of the paired ratios; whisker: 95 % interval; band: the noise floor, by which the reference "
            "differs from itself, around the first run. "
            + (f"Dashed upright: something changed. {changes} " if changes else "")
            + (f"{listed_runs(trend)}." if len(trend.runs) <= _MOST_LISTED else "")
        ).strip(),
        source=_source(trend),
        alt=f"{place}, {count}: {finding}. {changes}".strip(),
        panels=tuple(_panel(trend, one, arms, labels) for one in shown),
    )


def _finding(shown: list[TrendSeries], labels: Mapping[str, tuple[str, str]]) -> str:
    spreads = [(one.spread, labels[one.key][0]) for one in shown if one.spread is not None]
    if not spreads:
        return "the runs paired with different references, so their ratios do not compare"
    widest, name = max(spreads)
    apart = f"{units.percent(round(widest, 6))} apart"
    return f"ratios lie {apart}" if len(spreads) == 1 else f"ratios lie at most {apart} ({name})"


def _panel(
    trend: Trend, series: TrendSeries, arms: Mapping[str, Arm], labels: Mapping[str, tuple[str, str]]
) -> TrendPanel:
    arm = arms[arm_key(series.workload)]
    first, noise = series.first_ratio, series.noise_half_width
    title = f"{arm.label} · {execution_label(series.workload)}"
    title += "" if series.device_name is None else f" · {series.device_name}"
    return TrendPanel(
        arm=arm,
        title=title if labels[series.key][0] != series.key else series.key,
        text=units.UNKNOWN if series.spread is None else units.percent(round(series.spread, 6)),
        runs=run_labels(trend.runs),
        values=tuple(value.ratio for value in series.values),
        changes=tuple(
            (number, _names(tuple(dict.fromkeys(change.name for change in value.changes))))
            for number, value in enumerate(series.values)
            if value.changes
        ),
        noise=None if noise is None or first is None else (first.median / (1 + noise), first.median * (1 + noise)),
    )


def _names(changed: tuple[str, ...]) -> str:
    more = len(changed) - _MOST_NAMED
    return ", ".join(changed[:_MOST_NAMED]) + (f" +{more}" if more > 0 else "")


def changes_in_words(trend: Trend) -> str:
    """Such as ``Before run 2: torch 2.11.0 → 2.13.0.``, one sentence a run; empty where nothing changed."""
    return " ".join(
        f"Before run {number}: " + ", ".join(f"{c.name} {c.base} → {c.head}" for c in run.changes) + "."
        for number, run in enumerate(trend.runs, start=1)
        if run.changes
    )


def days_in_words(trend: Trend) -> str:
    """The runs' days, as ``days`` says them."""
    return days(run.started_at for run in trend.runs)


def listed_runs(trend: Trend) -> str:
    """``Run 1: base, run 2: head``."""
    words = tuple(f"run {number}: {run.name}" for number, run in enumerate(trend.runs, start=1))
    return f"R{listed(words)[1:]}"


def _source(trend: Trend) -> str:
    commits = [commits_in_words(run) or units.UNKNOWN for run in trend.runs]
    known = ""
    if any(run.commits for run in trend.runs):
        known = ", ".join(commits) if len(commits) <= _MOST_LISTED else f"{commits[0]} to {commits[-1]}"
        known = f", commits {known}"
    return f"Source: pamprof trend, paired samples of {plural(len(trend.runs), 'stored run')}{known}."
