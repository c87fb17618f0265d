"""The report view: records, conclusions and price become the words and numbers that every format shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis import analyse
from pamprof.analysis.comparison.machines import other_environments, told_part
from pamprof.analysis.comparison.narrative import effort_sentence, headline
from pamprof.pricing.rates.rate_words import USER, machine, rate_per_hour, standing
from pamprof.records import SkipKind
from pamprof.render.arms import arm_key
from pamprof.render.capacity.view import latest_capacity
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
from pamprof.render.comparison.family import family_table
from pamprof.render.comparison.inputs import ReportInputs, gather
from pamprof.render.comparison.kernel_table import kernel_table
from pamprof.render.comparison.machine_table import machine_table
from pamprof.render.comparison.method import method, noise, roof_shares
from pamprof.render.comparison.metrics import columns
from pamprof.render.comparison.model import ReportView
from pamprof.render.comparison.rows import doubt_words, kernel_words, launch_words, rows, skipped, trace_links
from pamprof.render.comparison.tiles import tiles
from pamprof.render.scaling.view import scaling_view
from pamprof.render.text import cleaned, listed, plural
from pamprof.render.training.report import training_views

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.story import Analysis
    from pamprof.records import PriceQuote, Workload
    from pamprof.records.store import RecordFile
    from pamprof.render.serving.page_view import ServingPageView

__all__ = ["ReportView", "build_view"]


def build_view(
    records: RecordFile,
    *,
    quote: PriceQuote | None = None,
    quote_unknown_reason: str | None = None,
    analysis: Analysis | None = None,
    serving: ServingPageView | None = None,
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
    inputs = gather(records, concluded, quote=quote, quote_reason=quote_unknown_reason, beside=beside)
    session = inputs.session
    measured = {arm_key(run.workload) for run in records.runs}
    return cleaned(
        ReportView(
            title=_title(inputs),
            price=_price(inputs),
            effort=effort_sentence(concluded.story),
            alerts=_alerts(inputs),
            sentences=headline(concluded.story),
            tiles=tiles(inputs),
            arms=tuple(arm for key, arm in inputs.arms.items() if key in measured),
            charts=(
                ladder_chart(inputs),
                cost_chart(inputs),
                context_chart(inputs),
                ratio_chart(inputs),
                throughput_chart(inputs),
                memory_chart(inputs),
                roofline_chart(inputs),
                strip_chart(inputs),
            ),
            ladders=ladder_tables(inputs),
            cost=cost_table(inputs),
            columns=columns(inputs),
            rows=rows(inputs),
            skipped=skipped(inputs),
            kernels=kernel_words(inputs),
            launches=launch_words(inputs),
            traces=trace_links(inputs),
            doubts=doubt_words(inputs),
            fairness=fairness(inputs),
            method=method(inputs),
            noise=noise(inputs),
            roof_shares=roof_shares(inputs),
            command=session.command if session is not None else "",
            serving=serving,
            capacity=latest_capacity(
                records.capacities,
                quote=quote,
                device_name=None if inputs.environment is None else inputs.environment.device_name,
            ),
            loops=training_views(records.profiles),
            kernel_table=kernel_table(inputs),
            family=family_table(_environments(inputs)),
            machines=machine_table(records, inputs.environment, quote=quote, quote_reason=quote_unknown_reason),
            scaling=scaling_view(records.ranked, records.skips, inputs.story.names, quote=inputs.quote),
        )
    )


def _environments(inputs: ReportInputs) -> list[ReportInputs]:
    """The report's machine, then the same device model with another driver, CUDA or torch; at the report's price."""
    told = told_part(inputs.records)
    if len(told.runs) == len(inputs.records.runs):
        return [replace(inputs, records=told)]
    return [
        gather(part, analyse(part), quote=inputs.quote, quote_reason=inputs.quote_reason or None)
        for part in (told, *other_environments(inputs.records))
    ]


def _title(inputs: ReportInputs) -> str:
    session = inputs.session
    preset = (session.preset or "") if session is not None else ""
    size = f" {preset.upper() if preset[:1].isdigit() else preset}" if preset else ""
    names, roles = inputs.story.names, inputs.story.roles
    measured = {run.workload.spec.layer for run in inputs.records.runs}
    references = [layer for layer in roles.references if layer in measured] or [roles.reference]
    titles = (inputs.story.subject_title, *(names.title(layer) for layer in roles.other_subjects))
    subjects, against = (
        listed(tuple(f"{title}{size}" for title in group))
        for group in (titles, tuple(names.title(layer) for layer in references))
    )
    return f"{subjects} against {against} · {inputs.device} · {inputs.date}"


def _price(inputs: ReportInputs) -> str:
    if inputs.quote is None:
        return f"No dollars: {inputs.quote_reason}. Costs are given in device-hours."
    rate = inputs.quote.chosen
    if rate.provider == USER:
        where = machine(rate)
    elif rate.used_vcpu_count is None:
        where = f"{rate.provider}, {rate.instance}, {rate.region}"
    else:
        where = f"{machine(rate)}; {rate.region}"
    option = "" if rate.purchase_option == rate.provider else f", {rate.purchase_option}"
    dated = f", read {rate.observed_text}" if rate.observed_text else ", of unknown date"
    place = standing(inputs.quote)
    return f"Priced at {rate_per_hour(rate)} ({where}{option}{dated}{f'; {place}' if place else ''})"


def _budget(inputs: ReportInputs) -> str:
    seconds = None if inputs.session is None else inputs.session.time_budget_seconds
    return "" if seconds is None else f" (time budget: {units.rough_seconds(seconds)})"


def _go_on(inputs: ReportInputs) -> str:
    command = "" if inputs.session is None else inputs.session.command
    return f"`{command} --output-dir THIS-FOLDER --resume`" if command else "the same command with --resume"


def _alerts(inputs: ReportInputs) -> tuple[str, ...]:
    records = inputs.records
    # No header plans what ranks share, which follows from what one device measured; skips tell what was not reached.
    by_ranks = [skip for skip in records.skips if skip.workload.layout is not None]
    cut = [skip for skip in by_ranks if skip.kind is SkipKind.INTERRUPTED]
    done = {run.workload.key for run in records.runs} | {run.workload.key for run in records.ranked}
    done |= {skip.workload.key for skip in records.skips if skip not in cut}
    shared = [run.workload.key for run in records.ranked] + [skip.workload.key for skip in by_ranks]
    planned = dict.fromkeys([*(key for session in records.sessions for key in session.planned), *shared])
    open_points = tuple(key for key in planned if key not in done)
    alerts = []
    if open_points:
        alerts.append(
            f"Incomplete: {len(open_points)} of {plural(len(planned), 'planned point')} were not reached"
            f"{_budget(inputs)}. What was measured before stands below; {_go_on(inputs)} measures the rest."
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
    if records.damage is not None:
        alerts.append(f"{records.damage}. Any workload may be in them.")
    alerts += [problem for problem in inputs.analysis.problems if problem not in records.problems]
    return tuple(alerts)
