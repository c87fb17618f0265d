"""The four numbers a reader takes away: cost ratio in training, prefill and decode, and the crossover context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.names import crossover_phrase, crossover_value, protocol_label
from pamprof.analysis.comparison.results import Basis, CrossoverQuantity, Direction
from pamprof.records import Phase
from pamprof.render.arms import execution_label
from pamprof.render.comparison.crossing import by_bytes, whose
from pamprof.render.comparison.model import Tile
from pamprof.render.text import PHASE_NAMES, brackets, point_label

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Comparison, PointAnalysis
    from pamprof.records import Effort
    from pamprof.render.comparison.inputs import ReportInputs


def tiles(inputs: ReportInputs) -> tuple[Tile, ...]:
    """Training, prefill, decode, crossover, in this order; an unknown one says why."""
    return (*(_phase_tile(inputs, phase) for phase in Phase), _crossover_tile(inputs))


def _phase_tile(inputs: ReportInputs, phase: Phase) -> Tile:
    """The best code against the best reference; below it the published code at equal execution, and eager."""
    heading = f"{PHASE_NAMES[phase]} cost"
    told = inputs.story.phase(phase)
    if told is None:
        return _unknown(heading, f"no {PHASE_NAMES[phase].lower()} point was measured to the end")
    place = point_label(told.point.point)
    if told.best is None and phase is Phase.DECODE and (reason := _no_decode(inputs)):
        return _unknown(heading, reason)
    if told.best is None:
        return _unknown(heading, f"nothing was measured beside the {_layer(inputs, told.point)} at {place}")
    best, published, eager = told.best, told.published, told.eager
    spread = None if best.processes is None else best.processes.spread_ratio
    second = [] if spread is None else [f"{units.plus_minus(spread)} between processes"]
    if told.own_reference is not None:
        second.append(f"{_value(told.own_reference)} against {inputs.full_label(told.own_reference.baseline)}")
    if published is not None and published.subject != best.subject:
        how = execution_label(published.subject)
        other = published.baseline.spec.layer
        whom = "" if other == best.baseline.spec.layer else f" against the {inputs.story.names.title(other)}"
        second.append(f"{_value(published)} as published{whom} at equal execution ({how})")
    if eager is not None:
        second.append(f"{_value(eager)} {inputs.full_label(eager.subject)}")
    lowest = told.point.reference_floor
    if lowest is not None:
        share = units.ratio(told.point.summary_of(best.subject).step_seconds.median / lowest.seconds)
        second.append(f"{share} the floor of the {inputs.story.names.title(lowest.workload.spec.layer)}")
    return Tile(
        heading=heading,
        value=units.ratio(best.time_ratio.median),
        interval=brackets(best.time_ratio),
        basis=_with_effort(Basis.MEASURED.value, told.effort, best),
        subject=f"{inputs.full_label(best.subject)} against {inputs.full_label(best.baseline)}, {place}",
        second="; ".join(second),
        reason="",
    )


def _no_decode(inputs: ReportInputs) -> str | None:
    """Why the subject does not decode; None where it does, or nobody says."""
    roles = inputs.story.roles
    facts = None if roles.subject is None else roles.layers[roles.subject]
    if facts is None or facts.no_decode_reason is None:
        return None
    return f"{facts.title} does not decode: {facts.no_decode_reason}"


def _both_grow(inputs: ReportInputs) -> str | None:
    """That the subject's own cache grows as those of the references do; None where it is fixed, or was not declared."""
    roles = inputs.story.roles
    facts = None if roles.subject is None else roles.layers[roles.subject]
    if facts is None or facts.fixed_state is not False or not inputs.story.points_of(Phase.DECODE):
        return None
    return f"the cache of {facts.title} grows with the context as that of the {roles.names.title(roles.reference)} does"


def _with_effort(basis: str, effort: Effort | None, comparison: Comparison | None = None) -> str:
    """``measured, quick``; of runs of windows ``measured, reference, 3 processes``."""
    if comparison is not None and comparison.processes is not None:
        return f"{basis}, {protocol_label(comparison.processes.process_count)}"
    return basis if effort is None else f"{basis}, {effort}"


def _value(comparison: Comparison) -> str:
    return f"{units.ratio(comparison.time_ratio.median)} {brackets(comparison.time_ratio)}".rstrip()


def _crossover_tile(inputs: ReportInputs) -> Tile:
    heading = "Decode crossover"
    chosen = inputs.story.summed_up_by(Phase.DECODE)
    if chosen is None:
        modelled = inputs.story.modelled_crossover(CrossoverQuantity.DECODE_TRAFFIC)
        if modelled is None or modelled.tokens is None or inputs.story.points_of(Phase.DECODE):
            return _unknown(
                heading,
                _no_decode(inputs) or _both_grow(inputs) or "decode was not measured against a cache that grows",
            )
        return Tile(
            heading=heading,
            value=crossover_value(modelled),
            interval=brackets(modelled.tokens),
            basis=Basis.MODELLED.value,
            subject=(
                "context above which the fixed state moves fewer bytes than the cache of the "
                f"{inputs.story.names.fastest_of(modelled.reference_layers)}; decode was not measured"
            ),
            second=modelled.reason,
            reason="",
        )
    if chosen.direction is Direction.UNDECIDED:
        return _unknown(heading, chosen.reason)
    others = [c for c in inputs.story.crossovers_of(Phase.DECODE).values() if c is not chosen]
    names = inputs.story.names
    name, reference = whose(inputs, chosen), names.fastest_of(chosen.reference_layers)
    further = [
        f"Batch {c.batch_size}{_other(names.fastest_of(c.reference_layers), reference)}: {crossover_phrase(c)}."
        for c in others
    ]
    return Tile(
        heading=heading,
        value=crossover_value(chosen),
        interval=brackets(chosen.tokens),
        basis=_with_effort(chosen.basis.value, inputs.story.effort_of(Phase.DECODE)),
        subject=(
            f"{name} against the {reference}, batch {chosen.batch_size}: {crossover_phrase(chosen)}"
            if chosen.tokens is None
            else f"context above which {name} is cheaper than the {reference}, batch {chosen.batch_size}"
        ),
        second=" ".join((*further, by_bytes(inputs))).strip(),
        reason="",
    )


def _layer(inputs: ReportInputs, point: PointAnalysis) -> str:
    return inputs.story.names.title(point.baseline.workload.spec.layer)


def _other(reference: str, said: str) -> str:
    return "" if reference == said else f" against the {reference}"


def _unknown(heading: str, reason: str) -> Tile:
    return Tile(heading=heading, value=units.UNKNOWN, interval="", basis="", subject="", second="", reason=reason)
