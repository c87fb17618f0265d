"""The ladder of each phase as picture and as table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis, StepKind
from pamprof.records import Phase
from pamprof.render.charts import Chart, LadderBar, LadderPanel
from pamprof.render.comparison.charts.common import panel_title, samples_and_confidence, source, subtitle
from pamprof.render.comparison.charts.cost import price_note, unit_of, value_of, written
from pamprof.render.comparison.model import LadderRow, LadderTable
from pamprof.render.text import brackets, with_brackets

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Ladder, LadderStep, PointAnalysis
    from pamprof.records import Interval
    from pamprof.render.comparison.material import Material

BASIS_WORDS = {Basis.MEASURED: "measured", Basis.COUNTED: "counted", Basis.MODEL: "modelled"}
_ROLES = {StepKind.ARCHITECTURE: "real", StepKind.PUBLISHED: "published", StepKind.ARITHMETIC: "planar"}


def _points(material: Material) -> tuple[PointAnalysis, ...]:
    chosen = (material.headline_point(phase) for phase in Phase)
    return tuple(p for p in chosen if p is not None and p.ladder is not None and len(p.ladder.steps) > 1)


def _role(material: Material, step: LadderStep) -> str:
    if step.kind is StepKind.ARITHMETIC or step.workload is None:
        return _ROLES.get(step.kind, "rule")
    return material.arm(step.workload).role


def _price(material: Material, point: PointAnalysis, step: LadderStep) -> Interval:
    """Cost of a million tokens after a rung: the arm's own, or the baseline's times what was counted."""
    summary = next((s for s in point.summaries if s.workload == step.workload), None)
    if summary is not None:
        return value_of(material, summary)
    # The baseline's own spread is left out: a rung is a multiple of it.
    return step.cumulative.scaled(value_of(material, point.baseline).median)


def _bars(material: Material, point: PointAnalysis, ladder: Ladder) -> tuple[LadderBar, ...]:
    bars = []
    before = 1.0
    unit = "/M tokens" if material.quote is not None else " device-hours/M tokens"
    for step in ladder.steps:
        detail = material.full_label(step.workload) if step.workload is not None else "counted, at equal efficiency"
        bars.append(
            LadderBar(
                label=step.label,
                detail=f"{detail} · {written(material, _price(material, point, step).median)}{unit}",
                role=_role(material, step),
                start=before,
                factor=step.factor,
                cumulative=step.cumulative,
                measured=step.basis is Basis.MEASURED,
            )
        )
        before = step.cumulative.median
    return tuple(bars)


def _finding(material: Material, points: tuple[PointAnalysis, ...]) -> str:
    ladder = points[0].ladder
    if ladder is None:
        return "The overhead, decomposed"
    phase = panel_title(points[0]).split(",", maxsplit=1)[0]
    published = next((s for s in ladder.steps if s.kind is StepKind.PUBLISHED), None)
    last = ladder.steps[-1]
    improved = [s for s in ladder.steps if s.kind is StepKind.IMPROVEMENT]
    subject = material.title_of(material.subject_layer)
    reference = material.title_of(material.reference_layer)
    if published is None:
        return f"{phase}: {last.label} stands at {units.ratio(last.cumulative.median)} the {reference}'s cost"
    finding = f"{phase}: {subject} as published costs {units.ratio(published.cumulative.median)} the {reference}"
    if improved:
        best = min(improved, key=lambda s: s.cumulative.median)
        finding += f"; the best code ({best.label}) brings it to {units.ratio(best.cumulative.median)}"
    return finding


def ladder_chart(material: Material) -> Chart:
    """The waterfall: one panel a phase, at the point that sums the phase up."""
    points = _points(material)
    ladders = [(p, p.ladder) for p in points if p.ladder is not None]
    missing = tuple(dict.fromkeys(m for p in material.main_points() if p.ladder is not None for m in p.ladder.missing))
    return Chart(
        name="ladder",
        kind="ladder",
        title=_finding(material, points) if points else "No ladder could be built",
        subtitle=subtitle(material),
        axis="cost per token relative to the first rung (factor, logarithmic axis)",
        caption=(
            "Each bar multiplies the cost so far by the factor beside it; the bold number is the cost after it. "
            "Filled bars are measured, outlined ones are counted from FLOPs. Arms run on one device at one rate, so "
            f"the factors hold for time and for money. {price_note(material)} "
            f"{samples_and_confidence(s for p in points for s in p.summaries)}."
        ),
        source=source(material),
        alt=" ".join(_spoken(p, ladder) for p, ladder in ladders) or "No ladder.",
        panels=tuple(LadderPanel(title=panel_title(p), bars=_bars(material, p, ladder)) for p, ladder in ladders),
        reason="" if points else " ".join(missing) or "the arms a ladder needs were not measured at any point",
    )


def _spoken(point: PointAnalysis, ladder: Ladder) -> str:
    rungs = ", ".join(f"{s.label} {units.ratio(s.cumulative.median)}" for s in ladder.steps[1:])
    return f"{panel_title(point)}: relative to {ladder.steps[0].label}, {rungs}."


def _price_text(material: Material, price: Interval) -> str:
    money = units.usd if material.quote is not None else units.significant
    return f"{money(price.median)} {brackets(price, lambda x: money(x).replace('$', ''))}".rstrip()


def ladder_tables(material: Material) -> tuple[LadderTable, ...]:
    """Every point's ladder as a table."""
    return tuple(
        LadderTable(
            title=panel_title(point),
            unit=unit_of(material),
            rows=tuple(
                LadderRow(
                    label=step.label,
                    explanation=step.explanation,
                    factor=with_brackets(step.factor, units.significant) + "×"
                    if not brackets(step.factor)
                    else f"{units.ratio(step.factor.median)} {brackets(step.factor)}",
                    cumulative=f"{units.ratio(step.cumulative.median)} {brackets(step.cumulative)}".rstrip(),
                    price=_price_text(material, _price(material, point, step)),
                    basis=BASIS_WORDS[step.basis],
                )
                for step in point.ladder.steps
            ),
            missing=point.ladder.missing,
        )
        for point in material.main_points()
        if point.ladder is not None
    )
