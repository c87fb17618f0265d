"""The report view: records, conclusions and price become the words and numbers that every format shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis import analyse
from pamprof.analysis.comparison.narrative import headline
from pamprof.render.arms import arm_key
from pamprof.render.comparison.charts.context import context_chart
from pamprof.render.comparison.charts.cost import cost_chart
from pamprof.render.comparison.charts.ladder import ladder_chart, ladder_tables
from pamprof.render.comparison.charts.memory import memory_chart
from pamprof.render.comparison.charts.ratio import ratio_chart
from pamprof.render.comparison.charts.roofline import roofline_chart
from pamprof.render.comparison.charts.throughput import throughput_chart
from pamprof.render.comparison.charts.utilisation import strip_chart
from pamprof.render.comparison.cost_table import cost_table
from pamprof.render.comparison.fairness import fairness
from pamprof.render.comparison.material import Material, gather
from pamprof.render.comparison.method import method, noise
from pamprof.render.comparison.model import ReportView
from pamprof.render.comparison.rows import columns, doubt_words, kernel_words, launch_words, rows, skipped
from pamprof.render.comparison.tiles import tiles
from pamprof.render.text import cleaned, listed, plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.results import Analysis
    from pamprof.records import PriceQuote, Workload
    from pamprof.records.store import RecordFile
    from pamprof.render.serving.page_view import CostPageView

__all__ = ["ReportView", "build_view"]


def build_view(
    records: RecordFile,
    *,
    quote: PriceQuote | None = None,
    quote_unknown_reason: str | None = None,
    analysis: Analysis | None = None,
    serving: CostPageView | None = None,
    beside: Iterable[Workload] = (),
) -> ReportView:
    """Everything a report shows, from records alone.

    Args:
        records: What was measured.
        quote: Price to use; without one, the price the latest session stored.
        quote_unknown_reason: Why there is no price, when the session's own must not be used either.
        analysis: Conclusions already drawn from ``records``; drawn here when None.
        serving: The section on serving, where there were sweeps.
        beside: What that section shows, whose colours are taken.
    """
    concluded = analyse(records) if analysis is None else analysis
    material = gather(records, concluded, quote=quote, quote_reason=quote_unknown_reason, beside=beside)
    session = material.session
    measured = {arm_key(run.workload) for run in records.runs}
    return cleaned(
        ReportView(
            title=_title(material),
            price=_price(material),
            alerts=_alerts(material),
            sentences=headline(concluded),
            tiles=tiles(material),
            arms=tuple(arm for key, arm in material.arms.items() if key in measured),
            charts=(
                ladder_chart(material),
                cost_chart(material),
                context_chart(material),
                ratio_chart(material),
                throughput_chart(material),
                memory_chart(material),
                roofline_chart(material),
                strip_chart(material),
            ),
            ladders=ladder_tables(material),
            cost=cost_table(material),
            columns=columns(material),
            rows=rows(material),
            skipped=skipped(material),
            kernels=kernel_words(material),
            launches=launch_words(material),
            doubts=doubt_words(material),
            fairness=fairness(material),
            method=method(material),
            noise=noise(material),
            command=session.command if session is not None else "",
            serving=serving,
        )
    )


def _title(material: Material) -> str:
    session = material.session
    preset = (session.preset or "") if session is not None else ""
    size = f" {preset.upper() if preset[:1].isdigit() else preset}" if preset else ""
    subject, reference = material.title_of(material.subject_layer), material.title_of(material.reference_layer)
    return f"{subject}{size} against {reference}{size} · {material.device} · {material.date}"


def _price(material: Material) -> str:
    if material.quote is None:
        return f"No dollars: {material.quote_reason}. Costs are given in device-hours."
    rate = material.quote.chosen
    where = "your own rate" if rate.provider == "user" else f"{rate.provider}, {rate.instance}, {rate.region}"
    option = "" if rate.purchase_option == rate.provider else f", {rate.purchase_option}"
    dated = f", read {rate.observed_text}" if rate.observed_text else ", of unknown date"
    return f"Priced at {units.usd(float(rate.usd_per_device_hour))} per device-hour ({where}{option}{dated})"


def _alerts(material: Material) -> tuple[str, ...]:
    records = material.records
    done = {run.workload.key for run in records.runs} | {skip.workload.key for skip in records.skips}
    planned = dict.fromkeys(key for session in records.sessions for key in session.planned)
    open_points = tuple(key for key in planned if key not in done)
    alerts = []
    if open_points:
        alerts.append(
            f"Incomplete: {len(open_points)} of {plural(len(planned), 'planned point')} were not reached. What was "
            "measured before stands below; the same command with --resume measures the rest."
        )
    if not records.sessions:
        alerts.append("The records hold no session header: what was planned, matched and priced is unknown.")
    if not records.runs:
        alerts.append("Nothing was measured: every planned point was skipped or lost.")
    devices = tuple(dict.fromkeys(run.environment.device_name for run in records.runs))
    if len(devices) > 1:
        alerts.append(
            f"The records mix {plural(len(devices), 'device')} ({listed(devices)}); ratios hold only within one."
        )
    if records.problems:
        alerts.append(f"{plural(len(records.problems), 'line')} could not be read: {'; '.join(records.problems[:3])}.")
    alerts += [problem for problem in material.analysis.problems if problem not in alerts]
    return tuple(alerts)
