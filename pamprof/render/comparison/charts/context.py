"""Cost against context, with its crossovers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.records import Phase
from pamprof.render.charts import ArmLine, Chart, LinePanel, Mark
from pamprof.render.comparison.charts.common import samples_and_confidence, source, subtitle
from pamprof.render.comparison.charts.cost import price_note, unit_of, value_of
from pamprof.render.comparison.charts.lines import arm_lines
from pamprof.render.comparison.crossing import by_bytes, in_words, measured_crossovers, whose
from pamprof.render.text import PHASE_NAMES

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.render.comparison.material import Material


def context_chart(material: Material) -> Chart:
    """Cost of decode (or of whatever has several lengths) against context, with crossovers."""
    panels = []
    used: list[PointAnalysis] = []
    for phase in (Phase.DECODE, Phase.PREFILL, Phase.TRAIN):
        batches = sorted({p.point.batch_size for p in material.main_points(phase)})
        for batch in batches:
            points = sorted(
                (p for p in material.main_points(phase) if p.point.batch_size == batch),
                key=lambda p: p.point.sequence_length,
            )
            if len(points) < 2:
                continue
            used += points
            panels.append(
                LinePanel(
                    title=f"{PHASE_NAMES[phase]}, batch {batch}",
                    x_label="tokens of context (log)" if phase is Phase.DECODE else "tokens per sequence (log)",
                    lines=arm_lines(
                        material, points, lambda p: p.point.sequence_length, lambda s: value_of(material, s)
                    ),
                    marks=_marks(material, phase, batch),
                    note=_note(material, phase, batch),
                )
            )
    return Chart(
        name="cost-context",
        kind="lines",
        title=_context_finding(tuple(panels), material),
        subtitle=subtitle(material),
        axis=f"{unit_of(material)} (logarithmic)",
        caption=(
            "Fastest execution of each arm at each length; bars are intervals, often narrower than the mark. A "
            f"vertical line is the crossover of the best {material.title_of(material.subject_layer)} arm, its "
            f"shade the interval. {by_bytes(material)} {price_note(material)} "
            f"{samples_and_confidence(s for p in used for s in p.summaries)}."
        ),
        source=source(material),
        alt=_context_spoken(material, tuple(panels)),
        panels=tuple(panels),
        reason="" if panels else "only one length was measured in each phase; give several with --sequence-length",
    )


def _marks(material: Material, phase: Phase, batch: int) -> tuple[Mark, ...]:
    crossover = measured_crossovers(material, phase).get(batch)
    if crossover is None or crossover.tokens is None:
        return ()
    text = f"crossover at {units.significant(crossover.tokens.median)} tokens"
    return (Mark(x=crossover.tokens, text=text, measured=crossover.basis is Basis.MEASURED),)


def _note(material: Material, phase: Phase, batch: int) -> str:
    crossover = measured_crossovers(material, phase).get(batch)
    if crossover is None or crossover.tokens is not None:
        return ""
    if crossover.direction == "unknown":
        return "crossover undecided: an interval includes 1"
    name = whose(material, crossover)
    return f"no crossover: {name} is {crossover.direction.removeprefix('always ')} at every length"


def _growth(line: ArmLine) -> str:
    factor = line.values[-1].median / line.values[0].median
    if factor > 1.15:
        return f"grows {units.ratio(factor, 2)}"
    return "stays flat" if factor > 1 / 1.15 else f"falls to {units.ratio(factor, 2)}"


def _context_finding(panels: tuple[LinePanel, ...], material: Material) -> str:
    if not panels:
        return "Cost against context was not measured"
    decode = [p for p in panels if p.title.startswith("Decode")]
    panel = decode[-1] if decode else panels[0]
    reference = next((x for x in panel.lines if x.arm.key.startswith(f"{material.reference_layer}/")), None)
    subjects = [x for x in panel.lines if x.arm.key.startswith(f"{material.subject_layer}/") and len(x.xs) > 1]
    if reference is None or not subjects or len(reference.xs) < 2:
        return f"{panel.title}: cost against context"
    subject = min(subjects, key=lambda x: x.values[-1].median)
    span = f"{units.tokens(int(subject.xs[0]))} to {units.tokens(int(subject.xs[-1]))} tokens"
    return (
        f"{panel.title}: from {span} the cost of {subject.arm.label} {_growth(subject)}, "
        f"that of the {reference.arm.label} {_growth(reference)}"
    )


def _context_spoken(material: Material, panels: tuple[LinePanel, ...]) -> str:
    found = (
        f"{PHASE_NAMES[phase]}, batch {batch}: {in_words(crossover)}."
        for phase in (Phase.DECODE, Phase.PREFILL, Phase.TRAIN)
        for batch, crossover in measured_crossovers(material, phase).items()
    )
    return " ".join((f"{_context_finding(panels, material)}.", *found))
