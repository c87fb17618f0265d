"""The cost page as words, pictures and data: the study's tables, what was measured, and what the live inputs need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.serving.curve import LARGEST_MODEL_ERROR
from pamprof.analysis.serving.service_times import FIRST_TOKEN_RULE
from pamprof.records import Phase
from pamprof.render.formats.table_view import TableView
from pamprof.render.serving.bill_charts import bill_chart, front_chart
from pamprof.render.serving.chart_facts import chart_facts_of
from pamprof.render.serving.context_charts import capacity_chart, context_cost_chart
from pamprof.render.serving.script_data import page_data, script_json
from pamprof.render.serving.sensitivity_chart import tornado_chart
from pamprof.render.serving.view import ARM_COLUMNS, LEFT_ARM_COLUMNS, serving_view
from pamprof.render.text import cleaned, day, device_label, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.roofline import Fit
    from pamprof.pricing.rates.hourly_rates import Rate
    from pamprof.pricing.serving.study import Request, ServingStudy
    from pamprof.records import Session, Workload
    from pamprof.render.charts import Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPageView:
    """Everything shown on the cost page.

    Attributes:
        heading: What, in short.
        title: What, on what, when.
        price: The rates of the page's own numbers.
        asked: The demand they hold for.
        alerts: Doubts about records and rates.
        decisions: One sentence a class of sizes.
        charts: The pictures.
        measured: What of each arm was measured and what a model answers.
        tables: The study.
        notes: How it was made.
        arm_columns: Headings of the table of arms that the script fills.
        left_columns: Places of those that are set left.
        first_token_rule: What the time to first token in that table is.
        live_rule: What the live inputs are answered for, and how the page's own numbers may differ.
        currency: ISO code amounts are shown in.
        data: What the script computes from, JSON that may stand inside a ``<script>``.
    """

    heading: str
    title: str
    price: str
    asked: str
    alerts: tuple[str, ...]
    decisions: tuple[str, ...]
    charts: tuple[Chart, ...]
    measured: TableView
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]
    arm_columns: tuple[str, ...]
    left_columns: tuple[int, ...]
    first_token_rule: str
    live_rule: str
    currency: str
    data: str


def serving_page_view(
    study: ServingStudy,
    curves: Sequence[ServingCurve],
    *,
    offered: Mapping[str, Sequence[Rate]] | None = None,
    sessions: Iterable[Session] = (),
    alerts: Sequence[str] = (),
    beside: Iterable[Workload] = (),
) -> ServingPageView:
    """The page of ``study``, clean of acting characters.

    Args:
        study: The answer for the demand that was asked for.
        curves: The curves it was made from.
        offered: Further rates the page offers, by the device's reported name.
        sessions: Give layers their names for people.
        alerts: Doubts to show on top.
        beside: Workloads shown on the same page, whose colours are taken.
    """
    material = chart_facts_of(study, sessions, beside=beside)
    told = serving_view(study, alerts)
    names = [
        f"{units.si(found.parameter_counts[1], digits=2)} parameters on {device_label(found.environment)}"
        for found in study.classes
    ]
    return cleaned(
        ServingPageView(
            heading=told.title,
            title=f"{told.title} · {material.subtitle}",
            price=material.price,
            asked=told.asked,
            alerts=told.alerts,
            decisions=told.decisions,
            charts=(
                context_cost_chart(material),
                capacity_chart(material),
                front_chart(material),
                bill_chart(material),
                tornado_chart(material),
            ),
            measured=_measured_table(curves),
            tables=told.tables,
            notes=told.notes,
            arm_columns=ARM_COLUMNS,
            left_columns=LEFT_ARM_COLUMNS,
            first_token_rule=FIRST_TOKEN_RULE,
            live_rule=_live_rule(study.request),
            currency=study.request.currency.code,
            data=script_json(page_data(study, curves, offered or {}, names)),
        )
    )


def _live_rule(request: Request) -> str:
    answered = "These inputs are answered for a steady batch: every device is always full, and nobody waits."
    if request.percentile is None:
        return answered
    return (
        f"{answered} The page's own sentences, tables and pictures are simulated, with requests that arrive at random "
        f"and {request.percentile:g} % of them within the limits, so that they may need more replicas; the table "
        "“Under load and in a steady batch” has both, and why they differ."
    )


def _measured_table(curves: Sequence[ServingCurve]) -> TableView:
    return TableView(
        title="What was measured of each arm, and how far its model was off there",
        summary=(
            "Contexts and batches of the decode steps, prompts read one at a time. A model's error is the largest at "
            f"the measured places; above {units.percent(LARGEST_MODEL_ERROR)} it is not used."
        ),
        columns=(
            "arm",
            "measured",
            "contexts",
            "batches",
            "prompts",
            "where memory ends",
            "decode model",
            "prompt model",
        ),
        right=frozenset(),
        rows=tuple(_measured_row(curve) for curve in curves),
        notes=(),
    )


def _measured_row(curve: ServingCurve) -> tuple[str, ...]:
    decode = [run for run in curve.runs if run.workload.phase is Phase.DECODE]
    prompts = sorted({run.workload.sequence_length for run in curve.runs if run.workload.phase is Phase.PREFILL})
    days = tuple(dict.fromkeys(day(started) for started in sorted(run.started_at for run in curve.runs)))
    return (
        curve.title,
        listed(days),
        _span(sorted({run.workload.sequence_length for run in decode})),
        _span(sorted({run.workload.batch_size for run in decode})),
        _span(prompts),
        "measured" if curve.limits else "computed from bytes (modelled)",
        _fit(None if curve.decode_model is None else curve.decode_model.fit),
        _fit(None if curve.prefill_model is None else curve.prefill_model.fit),
    )


def _span(values: Sequence[int]) -> str:
    if not values:
        return f"{units.UNKNOWN} (none)"
    if len(values) <= 3:
        return listed(tuple(units.tokens(value) for value in values))
    return f"{units.tokens(values[0])} to {units.tokens(values[-1])}, {len(values)} of them"


def _fit(fit: Fit | None) -> str:
    if fit is None:
        return "none, too few places"
    off = f"off by up to {units.percent(fit.largest_error)} at {fit.places} places"
    return off if fit.largest_error <= LARGEST_MODEL_ERROR else f"not used, {off}"
