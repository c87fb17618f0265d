"""A cost study as sentences and tables: what is decided, what each arm costs, where they cross, what moves the bill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.analysis.serving.service_times import FIRST_TOKEN_RULE
from pamprof.pricing.serving.defaults import SEED
from pamprof.render.formats.markdown_table import escape, render_table_markdown
from pamprof.render.formats.table_view import TableView
from pamprof.render.serving import sentences
from pamprof.render.serving.bill_table import bill_table, money, replica_words
from pamprof.render.serving.detail_tables import (
    crossover_table,
    formula_table,
    front_table,
    quality_table,
    sensitivity_table,
)
from pamprof.render.serving.load_table import load_sentence, load_table
from pamprof.render.text import cleaned, device_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.pricing.serving.study import Request, ServingStudy, SizeClass, StudyArm

ARM_COLUMNS = (
    "arm",
    "batch",
    "held back by",
    "per output token",
    "to first token (modelled)",
    "prompt alone on an idle device",
    "in",
    "out",
    "blended",
    "with idle time",
    "replicas",
    "busy",
    "a month",
    "basis",
)
LEFT_ARM_COLUMNS = (0, 2, 13)
MODELLED_ARM_COLUMNS = (4,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingView:
    """What is shown: a heading, what was asked for, doubts, the decisions, the tables, and how it was made."""

    title: str
    asked: str
    alerts: tuple[str, ...]
    decisions: tuple[str, ...]
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]


def serving_view(study: ServingStudy, alerts: Sequence[str] = ()) -> ServingView:
    """The whole answer, clean of acting characters; ``alerts`` are doubts about records and rates."""
    request = study.request
    tables: list[TableView] = []
    for found in study.classes:
        name = _class_name(found)
        tables += [
            table
            for table in (
                _arms(found, request, name),
                load_table(found, request, name),
                bill_table(found, request, name),
                crossover_table(found, name),
                formula_table(found, name),
                front_table(found, request.currency, name),
                sensitivity_table(found, request.currency, name),
            )
            if table is not None
        ]
    quality = quality_table(study)
    return cleaned(
        ServingView(
            title="What serving costs",
            asked=_asked(request),
            alerts=tuple(alerts),
            decisions=tuple(_decision(found, request) for found in study.classes),
            tables=(*tables, *((quality,) if quality is not None else ())),
            notes=_notes(study),
        )
    )


def render_serving_markdown(view: ServingView) -> str:
    """The view for a CI job's summary."""
    head = [f"# {escape(view.title)}", "", escape(view.asked), ""]
    head += [line for alert in view.alerts for line in (f"> **{escape(alert)}**", "")]
    head += [line for decision in view.decisions for line in (f"**{escape(decision)}**", "")]
    made = ["## How it was made", "", *(f"- {escape(note)}" for note in view.notes), ""]
    return "\n".join((*head, *(render_table_markdown(table) for table in view.tables), *made))


def _asked(request: Request) -> str:
    demand, limits = request.demand, request.limits
    duty = "" if demand.duty == 1 else f", replicas planned to {units.percent(demand.duty)} at the peak"
    return (
        f"{units.si(demand.tokens_per_day)} tokens a day, input and output together: requests of "
        f"{units.tokens(demand.input_tokens)} input and {units.tokens(demand.output_tokens)} output tokens, "
        f"{units.si(demand.requests_per_day)} a day, peak {units.ratio(demand.peak_factor)} the mean{duty}; at most "
        f"{units.seconds(limits.seconds_per_output_token)} per output token and "
        f"{units.seconds(limits.seconds_to_first_token)} to the first."
    )


def _class_name(found: SizeClass) -> str:
    return f"{units.si(found.parameter_counts[1], digits=2)} parameters on {device_label(found.environment)}"


def _decision(found: SizeClass, request: Request) -> str:
    if found.decision is None:
        return f"{_class_name(found)}: {sentences.NOTHING_TO_DECIDE}"
    return f"{_class_name(found)}: {found.decision.sentence}{load_sentence(found, request)}"


def _arms(found: SizeClass, request: Request, name: str) -> TableView:
    currency = request.currency
    return TableView(
        title=f"Arms, {name}",
        summary=(
            f"{currency.code} per million tokens of working time, [interval]; with idle time in the column after. "
            "Cheapest first."
        ),
        columns=arm_columns(request),
        right=frozenset(range(len(ARM_COLUMNS))) - frozenset(LEFT_ARM_COLUMNS),
        rows=tuple(_arm_row(arm, request) for arm in found.arms),
        modelled=frozenset(MODELLED_ARM_COLUMNS),
        notes=(
            FIRST_TOKEN_RULE if request.percentile is None else _load_rule(found),
            *(
                f"{arm.deployment.curve.title}: {arm.deployment.point.sentence}"
                for arm in found.arms
                if isinstance(arm.deployment.point, Refusal)
            ),
        ),
    )


def arm_columns(request: Request) -> tuple[str, ...]:
    """The headings: under load the first token is that of the simulation."""
    if request.percentile is None:
        return ARM_COLUMNS
    simulated = f"to first token, p{request.percentile:g} (simulated)"
    return tuple(simulated if place in MODELLED_ARM_COLUMNS else name for place, name in enumerate(ARM_COLUMNS))


def _load_rule(found: SizeClass) -> str:
    """What is simulated for the replicas and first tokens of these arms."""
    question = next(arm.question for arm in found.arms if arm.question is not None)
    requests = question.requests
    return (
        f"Replicas, bills and time to first token are simulated: {units.significant(requests.per_second)} requests a "
        f"second, a Poisson stream at the peak's rate, served with continuous batching and chunked prefill, "
        f"{units.whole(len(requests))} of them at each rate (seed {SEED}). Batch, time per output token and dollars of "
        "working time are those of a device in full use; busy is the share of the rented time that full batches would "
        "take"
    )


def _arm_row(arm: StudyArm, request: Request) -> tuple[str, ...]:
    currency = request.currency
    deployment = arm.deployment
    point, bill = deployment.feasible, deployment.bill
    if point is None or bill is None:
        why = _short(deployment.point) if isinstance(deployment.point, Refusal) else units.UNKNOWN
        return (deployment.curve.title, units.UNKNOWN, why, *[units.UNKNOWN] * (len(ARM_COLUMNS) - 3))
    served, confidence = bill.served, point.device_seconds.confidence
    modelled, idle = (
        None if found is None else found.median
        for found in (point.seconds_to_first_token, point.idle_seconds_to_first_token)
    )
    metrics = None if arm.load is None else arm.load.metrics
    return (
        deployment.curve.title,
        units.whole(point.batch_size),
        point.bound,
        units.seconds(point.seconds_per_output_token.median),
        units.seconds(modelled if metrics is None else metrics.level_seconds_to_first_token),
        units.seconds(idle),
        currency.text(served.usage.input_usd_per_million_tokens),
        currency.text(served.usage.output_usd_per_million_tokens),
        money(bill.interval(lambda s: s.usage.blended_usd_per_million_tokens, confidence), currency),
        currency.text(served.allocation.blended_usd_per_million_tokens),
        replica_words(bill),
        units.percent(served.busy_ratio),
        currency.text(served.usd_per_month),
        basis_words(point.basis, point.error),
    )


def _short(refusal: Refusal) -> str:
    if refusal.limit is None:
        return sentences.REFUSED_UNKNOWN
    return sentences.REFUSED_INFEASIBLE.format(limit=refusal.limit)


def basis_words(basis: Basis, error: float | None) -> str:
    """``interpolated``, or ``modelled (error up to 12 %)``."""
    if basis is not Basis.MODELLED or error is None:
        return basis.value
    return sentences.BASIS_WITH_ERROR.format(basis=basis.value, error=units.percent(error))


def carried_words(arm: StudyArm) -> str | None:
    """``25.2G tokens a day with Llama · graph (interpolated)``; None where the arm does not serve."""
    point, carried = arm.deployment.feasible, arm.deployment.capacity_tokens_per_day
    if point is None:
        return None
    return sentences.CARRIED.format(demand=units.si(carried), arm=arm.deployment.curve.title, basis=point.basis)


def _notes(study: ServingStudy) -> tuple[str, ...]:
    curves = [arm.deployment.curve for found in study.classes for arm in found.arms]
    sessions = sorted({run.session_id for curve in curves for run in curve.runs})
    days = sorted({run.started_at[:10] for curve in curves for run in curve.runs})
    equal = [
        f"{_class_name(found)}: {decision.subject} and {decision.rival} cost the same up to "
        f"{units.si(decision.equal_bills_tokens_per_day)} tokens a day ({decision.basis})"
        for found in study.classes
        if (decision := found.decision) is not None and decision.equal_bills_tokens_per_day is not None
    ]
    carried = [
        f"{_class_name(found)}: at the peak asked for one device carries {'; '.join(arms)}"
        for found in study.classes
        if (arms := [words for arm in found.arms if (words := carried_words(arm)) is not None])
    ]
    currency = [study.request.currency.sentence] if study.request.currency.sentence else []
    return (
        *equal,
        *carried,
        *currency,
        f"Measured {days[0]}{f' to {days[-1]}' if days[-1] != days[0] else ''}, sessions {', '.join(sessions)}",
        "A device in full use prefills the prompts of those that join between decode steps, so the time per output "
        "token includes prompts of others; prompts are read one at a time, and bursts of requests are in neither limit "
        "of a steady batch",
        "Measured: at the very batch and length; interpolated: between measured ones, with an interval that holds both "
        "logarithmic and affine interpolation; modelled: by a formula",
        "Input and output are priced by the device time each takes: input tokens x their rate + output tokens x theirs "
        "= device seconds x rate",
        "Spot machines can be taken away; what their interruptions cost is not in here",
    )
