"""Cost against context, with its crossovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.names import crossover_phrase
from pamprof.analysis.comparison.results import Direction
from pamprof.records import Phase
from pamprof.render.charts import ArmLine, Chart, LinePanel, Mark
from pamprof.render.comparison.charts.common import samples_and_confidence, source, subtitle
from pamprof.render.comparison.charts.cost import price_note, unit_of, value_of
from pamprof.render.comparison.charts.lines import arm_lines
from pamprof.render.comparison.crossing import by_bytes, whose
from pamprof.render.text import PHASE_NAMES, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.render.comparison.inputs import ReportInputs


def context_chart(inputs: ReportInputs) -> Chart:
    """Cost of decode (or of whatever has several lengths) against context, with crossovers."""
    panels: list[tuple[Phase, LinePanel]] = []
    used: list[PointAnalysis] = []
    for phase in (Phase.DECODE, Phase.PREFILL, Phase.TRAIN):
        batches = sorted({p.point.batch_size for p in inputs.story.points_of(phase)})
        for batch in batches:
            points = sorted(
                (p for p in inputs.story.points_of(phase) if p.point.batch_size == batch),
                key=lambda p: p.point.sequence_length,
            )
            if len(points) < 2:
                continue
            used += points
            panel = LinePanel(
                title=f"{PHASE_NAMES[phase]}, batch {batch}",
                x_label="tokens of context (log)" if phase is Phase.DECODE else "tokens per sequence (log)",
                lines=arm_lines(inputs, points, lambda p: p.point.sequence_length, lambda s: value_of(inputs, s)),
                marks=_marks(inputs, phase, batch),
                note=_note(inputs, phase, batch),
            )
            panels.append((phase, panel))
    return Chart(
        name="cost-context",
        kind="lines",
        title=_context_finding(panels, inputs),
        subtitle=subtitle(inputs),
        axis=f"{unit_of(inputs)} (logarithmic)",
        caption=(
            "Fastest execution of each arm at each length; bars are intervals, often narrower than the mark. A "
            f"vertical line is the crossover of the best {inputs.story.subject_title} arm{_with_whom(inputs)}, its "
            f"shade the interval. {by_bytes(inputs)} {price_note(inputs)} "
            f"{samples_and_confidence(s for p in used for s in p.summaries)}."
        ),
        source=source(inputs),
        alt=_described(inputs, panels),
        panels=tuple(panel for _, panel in panels),
        reason="" if panels else "a line needs two lengths at one batch size; give several with --sequence-length",
    )


def _with_whom(inputs: ReportInputs) -> str:
    """`` with the transformer (prefill, batch 1)``, for every panel that has a line."""
    panels: dict[str, list[str]] = {}
    for crossover in inputs.story.crossovers:
        if crossover.tokens is not None:
            reference = inputs.story.names.fastest_of(crossover.reference_layers)
            place = f"{PHASE_NAMES[crossover.phase].lower()}, batch {crossover.batch_size}"
            panels.setdefault(reference, []).append(place)
    parts = tuple(f"the {reference} ({'; '.join(places)})" for reference, places in panels.items())
    return f" with {listed(parts)}" if parts else ""


def _marks(inputs: ReportInputs, phase: Phase, batch: int) -> tuple[Mark, ...]:
    crossover = inputs.story.crossovers_of(phase).get(batch)
    if crossover is None or crossover.tokens is None:
        return ()
    text = f"crossover at {units.significant(crossover.tokens.median)} tokens ({crossover.basis})"
    return (Mark(x=crossover.tokens, text=text, basis=crossover.basis),)


def _note(inputs: ReportInputs, phase: Phase, batch: int) -> str:
    crossover = inputs.story.crossovers_of(phase).get(batch)
    if crossover is None or crossover.tokens is not None:
        return ""
    reference = inputs.story.names.fastest_of(crossover.reference_layers)
    if crossover.direction is Direction.UNDECIDED:
        return f"crossover with the {reference} undecided: an interval includes 1"
    return f"no crossover with the {reference}: {whose(inputs, crossover)} is {crossover.direction}"


def _growth(line: ArmLine) -> str:
    factor = line.values[-1].median / line.values[0].median
    if factor > 1.15:
        return f"grows {units.ratio(factor, 2)}"
    return "stays flat" if factor > 1 / 1.15 else f"falls to {units.ratio(factor, 2)}"


def _context_finding(panels: Sequence[tuple[Phase, LinePanel]], inputs: ReportInputs) -> str:
    if not panels:
        return "Cost against context was not measured"
    decode = [panel for phase, panel in panels if phase is Phase.DECODE]
    panel = decode[-1] if decode else panels[0][1]
    roles = inputs.story.roles
    references = [line for line in panel.lines if line.arm.layer in roles.references and len(line.xs) > 1]
    reference = min(references, key=lambda line: line.values[-1].median, default=None)
    subjects = [line for line in panel.lines if line.arm.layer == roles.subject and len(line.xs) > 1]
    if reference is None or not subjects:
        return f"{panel.title}: cost against context"
    subject = min(subjects, key=lambda x: x.values[-1].median)
    span = f"{units.tokens(int(subject.xs[0]))} to {units.tokens(int(subject.xs[-1]))} tokens"
    return (
        f"{panel.title}: from {span} the cost of {subject.arm.label} {_growth(subject)}, "
        f"that of the {reference.arm.label} {_growth(reference)}"
    )


def _described(inputs: ReportInputs, panels: Sequence[tuple[Phase, LinePanel]]) -> str:
    found = (
        f"{PHASE_NAMES[phase]}, batch {batch}, against the "
        f"{inputs.story.names.fastest_of(crossover.reference_layers)}: {crossover_phrase(crossover)}."
        for phase in (Phase.DECODE, Phase.PREFILL, Phase.TRAIN)
        for batch, crossover in inputs.story.crossovers_of(phase).items()
    )
    return " ".join((f"{_context_finding(panels, inputs)}.", *found))
