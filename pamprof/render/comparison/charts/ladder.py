"""The ladder of each phase as picture and as table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.render.charts import Chart, LadderBar, LadderPanel
from pamprof.render.comparison.charts.common import panel_title, samples_and_confidence, source, subtitle
from pamprof.render.comparison.charts.cost import price_note, unit_of, value_of, written
from pamprof.render.comparison.model import LadderRow, LadderTable
from pamprof.render.text import PHASE_NAMES, brackets, with_brackets

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Ladder, LadderStep, PointAnalysis
    from pamprof.records import Interval
    from pamprof.render.comparison.inputs import ReportInputs

_ARITHMETIC_ROLE = "plain1"


def _points(inputs: ReportInputs) -> tuple[PointAnalysis, ...]:
    chosen = (told.point for told in inputs.story.phases)
    return tuple(p for p in chosen if p.ladder is not None and len(p.ladder.steps) > 1)


def _role(inputs: ReportInputs, step: LadderStep) -> str:
    if step.workload is None:
        return _ARITHMETIC_ROLE
    return inputs.arm(step.workload).role


def _price(inputs: ReportInputs, point: PointAnalysis, step: LadderStep) -> Interval:
    """Cost of a million tokens after a rung: the arm's own, or the baseline's times what was counted."""
    summary = next((s for s in point.summaries if s.workload == step.workload), None)
    if summary is not None:
        return value_of(inputs, summary)
    # The baseline's own spread is left out: a rung is a multiple of it.
    return step.cumulative.scaled(value_of(inputs, point.baseline).median)


def _bars(inputs: ReportInputs, point: PointAnalysis, ladder: Ladder) -> tuple[LadderBar, ...]:
    bars = []
    before = 1.0
    unit = "/M tokens" if inputs.quote is not None else " device-hours/M tokens"
    for step in ladder.steps:
        detail = inputs.full_label(step.workload) if step.workload is not None else "counted, at equal efficiency"
        bars.append(
            LadderBar(
                label=step.label,
                detail=f"{detail} · {written(inputs, _price(inputs, point, step).median)}{unit}",
                role=_role(inputs, step),
                start=before,
                factor=step.factor,
                cumulative=step.cumulative,
                measured=step.basis is Basis.MEASURED,
            )
        )
        before = step.cumulative.median
    return tuple(bars)


def _finding(inputs: ReportInputs, points: tuple[PointAnalysis, ...]) -> str:
    """The best code first, as in the opening sentence; then the published code, eager and at equal execution."""
    told = next((told for told in inputs.story.phases if told.point is points[0]), None)
    if told is None or told.best is None:
        return "The overhead, decomposed"
    best, published, eager = told.best, told.published, told.eager
    reference = inputs.story.names.title(best.baseline.spec.layer)
    finding = (
        f"{PHASE_NAMES[told.phase]}: {inputs.full_label(best.subject)} costs {units.ratio(best.time_ratio.median)} the "
        f"{reference}"
    )
    own = reference if published is None else inputs.story.names.title(published.baseline.spec.layer)
    against_own, against = ("", "") if own == reference else (f" the {own}", f" the {reference}")
    if published is not None and published.subject != best.subject:
        finding += f"; as published at equal execution {units.ratio(published.time_ratio.median)}{against_own}"
    if eager is not None:
        finding += f", eager {units.ratio(eager.time_ratio.median)}{against}"
    return finding


def ladder_chart(inputs: ReportInputs) -> Chart:
    """The waterfall: one panel a phase, at the point that sums the phase up."""
    points = _points(inputs)
    ladders = [(p, p.ladder) for p in points if p.ladder is not None]
    missing = tuple(dict.fromkeys(m for p in inputs.story.points if p.ladder is not None for m in p.ladder.missing))
    return Chart(
        name="ladder",
        kind="ladder",
        title=_finding(inputs, points) if points else "No ladder could be built",
        subtitle=subtitle(inputs),
        axis="cost per token relative to the first rung (factor, logarithmic axis)",
        caption=(
            "Each bar is credited to one cause and multiplies the cost so far by the factor beside it; the bold number "
            "is the cost after it. "
            "Filled bars are measured, outlined ones are counted from FLOPs. Arms run on one device at one rate, so "
            f"the factors hold for time and for money. {price_note(inputs)} "
            f"{samples_and_confidence(s for p in points for s in p.summaries)}."
        ),
        source=source(inputs),
        alt=" ".join(_described(p, ladder) for p, ladder in ladders) or "No ladder.",
        panels=tuple(LadderPanel(title=panel_title(p), bars=_bars(inputs, p, ladder)) for p, ladder in ladders),
        reason="" if points else " ".join(missing) or "the arms a ladder needs were not measured at any point",
    )


def _described(point: PointAnalysis, ladder: Ladder) -> str:
    rungs = ", ".join(f"{s.label} {units.ratio(s.cumulative.median)}" for s in ladder.steps[1:])
    return f"{panel_title(point)}: relative to {ladder.steps[0].label}, {rungs}."


def _price_text(inputs: ReportInputs, price: Interval) -> str:
    money = units.usd if inputs.quote is not None else units.significant
    return f"{money(price.median)} {brackets(price, lambda x: money(x).replace('$', ''))}".rstrip()


def ladder_tables(inputs: ReportInputs) -> tuple[LadderTable, ...]:
    """Every point's ladder as a table."""
    return tuple(
        LadderTable(
            title=panel_title(point),
            unit=unit_of(inputs),
            rows=tuple(
                LadderRow(
                    label=step.label,
                    explanation=step.explanation,
                    factor=with_brackets(step.factor, units.significant) + "×"
                    if not brackets(step.factor)
                    else f"{units.ratio(step.factor.median)} {brackets(step.factor)}",
                    cumulative=f"{units.ratio(step.cumulative.median)} {brackets(step.cumulative)}".rstrip(),
                    price=_price_text(inputs, _price(inputs, point, step)),
                    basis=step.basis.value,
                )
                for step in point.ladder.steps
            ),
            missing=point.ladder.missing,
        )
        for point in inputs.story.points
        if point.ladder is not None
    )
