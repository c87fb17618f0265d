"""Cost: dollars per million tokens by phase and arm, cost against context with its crossover, and the training bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.results import Basis
from pamprof.pricing.cost import PAPER_RUN_TOKENS, training_bill
from pamprof.records import Phase
from pamprof.render.arms import arm_key
from pamprof.render.chart import Chart, Dot, DotPanel, Line, LinePanel, Mark
from pamprof.render.chart_common import MOST_PANELS, panel_title, samples_and_confidence, source, subtitle
from pamprof.render.crossing import by_bytes, in_words, measured_crossovers
from pamprof.render.model import Cell, CostRow, CostTable
from pamprof.render.text import PHASE_NAMES, brackets, listed, with_brackets

if TYPE_CHECKING:
    from pamprof.analysis.results import PointAnalysis, Summary
    from pamprof.records import Interval, Perplexity
    from pamprof.render.arms import Arm
    from pamprof.render.material import Material

_HOURS_PER_MILLION = 1e6 / 3600


def value_of(material: Material, summary: Summary) -> Interval:
    """Dollars, or device-hours where there is no price, per million tokens."""
    cost = material.cost(summary)
    return (
        summary.tokens_per_second.inverse().scaled(_HOURS_PER_MILLION) if cost is None else cost.usd_per_million_tokens
    )


def unit_of(material: Material) -> str:
    """The unit of ``value_of`` in words."""
    return "US dollars per million tokens" if material.quote is not None else "device-hours per million tokens"


def price_note(material: Material) -> str:
    """The rate the dollars come from, for a caption."""
    if material.quote is None:
        return f"No dollars: {material.quote_reason}. Multiply by your own rate per device-hour."
    rate = material.quote.chosen
    return f"At {units.usd(float(rate.usd_per_device_hour))} per device-hour ({rate.provider}, {rate.observed_text})."


def _written(material: Material, value: float) -> str:
    return units.usd(value) if material.quote is not None else units.significant(value)


def cost_chart(material: Material) -> Chart:
    """Dots with intervals: one panel a point, one row an arm."""
    points = material.main_points()[:MOST_PANELS]
    panels = []
    for point in points:
        best = sorted(material.best(point), key=lambda s: s.step_seconds.median)
        shown = {s.workload for s in best}
        panels.append(
            DotPanel(
                title=panel_title(point),
                axis_group=point.point.phase,
                dots=tuple(
                    Dot(
                        arm=material.arm(s.workload),
                        label=material.arm(s.workload).label,
                        value=value_of(material, s),
                        text=_written(material, value_of(material, s).median),
                        slower=tuple(
                            value_of(material, other).median
                            for other in point.summaries
                            if arm_key(other.workload) == arm_key(s.workload) and other.workload not in shown
                        ),
                        sample_count=s.sample_count,
                    )
                    for s in best
                ),
            )
        )
    return Chart(
        name="cost",
        kind="dots",
        title=_cost_finding(material),
        subtitle=subtitle(material),
        axis=f"{unit_of(material)} (logarithmic axis, the same for all panels of a phase)",
        caption=(
            f"Filled: the fastest execution of each arm, with its interval (often narrower than the mark). Small and "
            f"hollow: its slower executions. {price_note(material)} "
            f"{samples_and_confidence(s for p in points for s in p.summaries)}."
        ),
        source=source(material),
        alt=_cost_spoken(material, points),
        panels=tuple(panels),
        reason="" if panels else "nothing was measured",
    )


def _cost_finding(material: Material) -> str:
    for phase in Phase:
        point = material.headline_point(phase)
        improved = None if point is None else material.improved(point)
        if point is None or improved is None:
            continue
        reference = material.arm(point.baseline.workload).label
        ours, theirs = value_of(material, improved).median, value_of(material, point.baseline).median
        unit = "" if material.quote is not None else " device-hours"
        return (
            f"A million tokens of {panel_title(point).split(',')[0].lower()} cost {_written(material, ours)}{unit} on "
            f"{material.arm(improved.workload).label} at best, {_written(material, theirs)} on the {reference}"
        )
    return "What a million tokens cost"


def _cost_spoken(material: Material, points: tuple[PointAnalysis, ...]) -> str:
    sentences = []
    for point in points:
        arms = ", ".join(
            f"{material.arm(s.workload).label} {_written(material, value_of(material, s).median)}"
            for s in material.best(point)
        )
        sentences.append(f"{panel_title(point)}: {arms}.")
    return f"In {unit_of(material)}. " + " ".join(sentences)


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
            "Fastest execution of each arm at each length; bars are intervals, often narrower than the mark. A vertical "
            f"line is the crossover of the best {material.title_of(material.subject_layer)} arm, its shade the interval. "
            f"{by_bytes(material)} {price_note(material)} {samples_and_confidence(s for p in used for s in p.summaries)}."
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
    arm = material.arms.get(f"{crossover.subject_layer}/{crossover.subject_implementation}")
    name = arm.label if arm is not None else material.title_of(crossover.subject_layer)
    return f"no crossover: {name} is {crossover.direction.removeprefix('always ')} at every length"


def arm_lines(material: Material, points, place, value) -> tuple[Line, ...]:  # type: ignore[no-untyped-def]
    """One line an arm over ``place(point)``, from its fastest execution at each point."""
    found: dict[str, list[tuple[float, Interval]]] = {}
    for point in points:
        for summary in material.best(point):
            found.setdefault(arm_key(summary.workload), []).append((place(point), value(summary)))
    return tuple(
        Line(arm=material.arms[key], xs=tuple(x for x, _ in pairs), values=tuple(v for _, v in pairs))
        for key, pairs in ((key, found[key]) for key in material.arms if key in found)
    )


def _growth(line: Line) -> str:
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


def cost_table(material: Material) -> CostTable:
    """Cost of every arm's fastest execution by point, perplexity above it, and the training bill of the paper's run."""
    points = material.main_points()
    shown = {arm_key(s.workload) for point in points for s in point.summaries}
    arms = tuple(arm for key, arm in material.arms.items() if key in shown)
    perplexities = {p.layer: p for p in (material.session.perplexities if material.session else ())}
    sources = tuple(dict.fromkeys(p.source for p in perplexities.values()))
    return CostTable(
        unit=unit_of(material),
        arms=arms,
        rows=tuple(CostRow(point=panel_title(p), cells=_cells(material, p, arms)) for p in points),
        perplexities=tuple(_perplexity(perplexities.get(arm.key.split("/", maxsplit=1)[0])) for arm in arms)
        if perplexities
        else (),
        perplexity_source=f"Perplexity (lower is better): {listed(sources)}." if sources else "",
        bill=_bill(material),
        market=_market(material),
    )


def _cells(material: Material, point: PointAnalysis, arms: tuple[Arm, ...]) -> tuple[Cell, ...]:
    best = {arm_key(s.workload): s for s in material.best(point)}
    cells = []
    for arm in arms:
        if arm.key not in best:
            cells.append(
                Cell(text=units.UNKNOWN, reason="not measured here; a skipped point is listed with its reason")
            )
            continue
        value = value_of(material, best[arm.key])
        cells.append(
            Cell(
                text=_written(material, value.median),
                detail=brackets(value, lambda x: _written(material, x).replace("$", "")),
                sort=value.median,
            )
        )
    return tuple(cells)


def _perplexity(known: Perplexity | None) -> Cell:
    if known is None:
        return Cell(text=units.UNKNOWN, reason="no perplexity was given for this layer; give one with --perplexity")
    return Cell(text=f"{known.value:.1f}", sort=known.value)


def _bill(material: Material) -> tuple[str, ...]:
    point = material.headline_point(Phase.TRAIN)
    if point is None or point.point.scope != "model":
        return ()
    lines = []
    for summary in material.best(point):
        hours = summary.tokens_per_second.inverse().scaled(PAPER_RUN_TOKENS / 3600)
        text = f"{with_brackets(hours)} device-hours"
        if material.quote is not None:
            bill = training_bill(PAPER_RUN_TOKENS, summary.tokens_per_second, material.quote)
            text = f"{units.usd(bill.usd.median)} ({text})"
        lines.append(f"{material.full_label(summary.workload)}: {text}")
    return tuple(lines)


def _market(material: Material) -> str:
    quote = material.quote
    if quote is None:
        return price_note(material)
    if quote.candidate_count < 2 or quote.low == quote.high:
        return "One rate only: the spread of the market is not shown."
    low, high, own = (float(p.usd_per_device_hour) for p in (quote.low, quote.high, quote.chosen))
    return (
        f"The market moves every dollar here together: {quote.candidate_count} comparable rates run from "
        f"{units.usd(low)} ({quote.low.provider}) to {units.usd(high)} ({quote.high.provider}) per device-hour, that is "
        f"{units.ratio(low / own, 2)} to {units.ratio(high / own, 2)} of the amounts shown. Ratios between arms do not move."
    )
