"""The subject's cost over the reference's against context, for published code, plain torch and kernels.

A panel's ratios are all to the same references, as those of its crossovers (``Story.common_reference``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.crossovers import STEADY_STEP, steady_steps
from pamprof.analysis.comparison.pairing import time_ratio
from pamprof.analysis.comparison.results import Basis, CrossoverQuantity
from pamprof.records import ImplementationKind, Phase
from pamprof.render.arms import arm_key
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Mark, Piece, Spot
from pamprof.render.comparison.charts.common import samples_and_confidence, source, subtitle
from pamprof.render.comparison.charts.cost import price_note
from pamprof.render.text import PHASE_NAMES, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.analysis.comparison.comparisons import CommonReference
    from pamprof.analysis.comparison.results import Crossover, PointAnalysis
    from pamprof.records import Interval
    from pamprof.render.arms import Arm
    from pamprof.render.comparison.inputs import ReportInputs


def ratio_chart(inputs: ReportInputs) -> Chart:
    """A panel for each phase and batch with two contexts, and each size of training step; one line a code."""
    panels: list[_RatioPanel] = []
    used: list[PointAnalysis] = []
    for phase in (Phase.DECODE, Phase.PREFILL, Phase.TRAIN):
        of_phase = inputs.story.points_of(phase)
        for batch in sorted({p.point.batch_size for p in of_phase}):
            points = sorted((p for p in of_phase if p.point.batch_size == batch), key=lambda p: p.point.sequence_length)
            found = _ratio_panel(inputs, phase, batch, points, f"{PHASE_NAMES[phase]}, batch {batch}")
            if found is not None:
                used += points
                panels.append(found)
    by_point = {p.point: p for p in inputs.story.points_of(Phase.TRAIN)}
    for group in steady_steps(by_point):
        points = [by_point[point] for point in group]
        steps = sorted({point.batch_size * point.sequence_length for point in group})
        size = " to ".join(dict.fromkeys(units.tokens(steps[i]) for i in (0, -1)))
        title = f"{PHASE_NAMES[Phase.TRAIN]}, steps of {size} tokens"
        found = _ratio_panel(inputs, Phase.TRAIN, STEADY_STEP, points, title)
        if found is not None:
            used += points
            panels.append(found)
    subject, references = inputs.story.subject_title, dict.fromkeys(found.reference for found in panels)
    several = len(references) > 1
    reference = "reference that a panel names" if several else next(iter(references), inputs.story.reference_title)
    compete = len(inputs.story.roles.references) > 1
    same = "All lengths of a panel are held to the same references. " if compete else ""
    drawn = tuple(
        replace(found.panel, title=f"{found.panel.title}, over {found.reference}") if several else found.panel
        for found in panels
    )
    return Chart(
        name="ratio-context",
        kind="curves",
        title=_finding(panels),
        subtitle=subtitle(inputs),
        axis=f"cost of {subject} over that of the {reference}, per token (factor, logarithmic)",
        caption=(
            f"Fastest execution of each arm over that of the {reference} at the same length; bands are intervals; "
            "below the line at 1 the subject is the cheaper one. Both sides run on one device at one rate, so the "
            "factor holds for time and for money. A vertical line is where a curve comes down through 1, interpolated "
            f"between measured lengths and never beyond them, its shade the interval. {same}{price_note(inputs)} "
            f"{samples_and_confidence(s for p in used for s in p.summaries)}."
        ),
        source=source(inputs),
        alt=f"{_finding(panels)}. {_described(drawn)}",
        panels=drawn,
        reason="" if panels else "a line needs two lengths at one batch size; give several with --sequence-length",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RatioPanel:
    """A panel, its phase, and what its ratios are to."""

    phase: Phase
    reference: str
    panel: CurvePanel


def _ratio_panel(
    inputs: ReportInputs, phase: Phase, batch: int, points: Sequence[PointAnalysis], title: str
) -> _RatioPanel | None:
    """None without a line."""
    common = inputs.story.common_reference(points)
    curves = _curves(inputs, points, common)
    if not curves:
        return None
    reference = inputs.story.names.fastest_of(common.layers)
    return _RatioPanel(phase=phase, reference=reference, panel=_panel(inputs, phase, batch, curves, title))


def _curves(inputs: ReportInputs, points: Sequence[PointAnalysis], common: CommonReference) -> tuple[ArmCurve, ...]:
    """Lines of at least two lengths, over the fastest of ``common`` at each."""
    shown = _shown(inputs)
    found: dict[str, list[tuple[float, Interval]]] = {}
    for point in points:
        baseline = common.baselines.get(point.point)
        if baseline is None:
            continue
        for summary in inputs.best_arms(point):
            workload = summary.workload
            if workload.spec.layer == inputs.story.roles.subject and workload.implementation in shown:
                ratio = time_ratio(summary.run, baseline).interval
                found.setdefault(arm_key(workload), []).append((float(point.point.sequence_length), ratio))
    return tuple(_curve(inputs.arms[key], found[key]) for key in inputs.arms if len(dict(found.get(key, ()))) > 1)


def _shown(inputs: ReportInputs) -> set[str]:
    """The subject's implementations that are drawn: published code, kernels, and what is best in a phase.

    Where no plain torch is best in any phase, its first implementation stands for it.
    """
    subject = inputs.story.roles.subject
    declared = () if subject is None else inputs.story.roles.layers[subject].implementations
    plain = [each.name for each in declared if each.kind is ImplementationKind.PLAIN]
    best = {told.best.subject.implementation for told in inputs.story.phases if told.best is not None}
    shown = {each.name for each in declared if each.kind is not ImplementationKind.PLAIN} | best
    return shown if shown & set(plain) else shown | set(plain[:1])


def _curve(arm: Arm, pairs: Sequence[tuple[float, Interval]]) -> ArmCurve:
    xs, values = tuple(x for x, _ in pairs), tuple(value for _, value in pairs)
    return ArmCurve(
        arm=arm,
        label=arm.label,
        pieces=(Piece(xs=xs, values=values, basis=Basis.MEASURED),),
        spots=tuple(Spot(x=x, value=value, basis=Basis.MEASURED) for x, value in pairs),
    )


def _panel(inputs: ReportInputs, phase: Phase, batch: int, curves: tuple[ArmCurve, ...], title: str) -> CurvePanel:
    crossings = _crossings(inputs, phase, batch, curves)
    # Names of several lines that lie close would cover each other: then the note has them.
    marked = [crossing for crossing in crossings if crossing.tokens is not None]
    return CurvePanel(
        title=title,
        x_label="tokens of context (log)" if phase is Phase.DECODE else "tokens per sequence (log)",
        x_unit="tokens",
        curves=curves,
        marks=tuple(
            Mark(
                x=crossing.tokens,
                text=_place(crossing) if len(marked) == 1 else "",
                basis=crossing.basis,
            )
            for crossing in marked
            if crossing.tokens is not None
        ),
        note="; ".join(filter(None, (*(map(_place, marked) if len(marked) > 1 else ()), _note(crossings)))),
        level=1.0,
    )


def _crossings(inputs: ReportInputs, phase: Phase, batch: int, curves: Iterable[ArmCurve]) -> tuple[Crossover, ...]:
    """The analysis's own crossovers of the arms that are drawn."""
    drawn = {curve.arm.key for curve in curves}
    dtypes = {p.point.dtype for p in inputs.story.points_of(phase)}
    return tuple(
        c
        for c in inputs.analysis.crossovers
        if c.basis is not Basis.MODELLED
        and c.quantity is CrossoverQuantity.TIME
        and (c.phase, c.batch_size) == (phase, batch)
        and c.dtype in dtypes
        and f"{c.subject_layer}/{c.subject_implementation}" in drawn
    )


def _place(crossing: Crossover) -> str:
    tokens = "" if crossing.tokens is None else units.significant(crossing.tokens.median)
    return f"{crossing.subject_implementation} equal at {tokens} tokens ({crossing.basis})"


def _note(crossings: Iterable[Crossover]) -> str:
    """Arms without a crossing, by what they are instead."""
    found: dict[str, list[str]] = {}
    for crossing in crossings:
        if crossing.tokens is None:
            found.setdefault(crossing.direction, []).append(crossing.subject_implementation)
    return "; ".join(f"{listed(tuple(names))} {word}" for word, names in found.items())


def _finding(panels: Sequence[_RatioPanel]) -> str:
    """What happens to the arm that is the cheapest at the longest context, in decode where it was drawn."""
    if not panels:
        return "Cost ratio against context was not measured"
    decode = [found for found in panels if found.phase is Phase.DECODE]
    chosen = decode[-1] if decode else panels[0]
    panel = chosen.panel
    best = min(panel.curves, key=lambda curve: curve.pieces[-1].values[-1].median)
    (piece,) = best.pieces
    return (
        f"{panel.title}: from {units.tokens(int(piece.xs[0]))} to {units.tokens(int(piece.xs[-1]))} tokens "
        f"{best.label} goes from {units.ratio(piece.values[0].median)} to {units.ratio(piece.values[-1].median)} the "
        f"cost of the {chosen.reference}"
    )


def _described(panels: Iterable[CurvePanel]) -> str:
    sentences = []
    for panel in panels:
        lines = ", ".join(
            f"{curve.label} {' to '.join(units.ratio(piece.values[i].median) for i in (0, -1))}"
            for curve in panel.curves
            for piece in curve.pieces
        )
        marks = "; ".join(filter(None, (*(mark.text for mark in panel.marks), panel.note)))
        sentences.append(f"{panel.title}: {lines}{f'; {marks}' if marks else ''}.")
    return " ".join(sentences)
