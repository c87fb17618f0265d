"""Cost and capacity against context, every arm at its own best batch, with the crossovers of the two decided on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.crossover import (
    ALWAYS_CHEAPER,
    CHEAPER_ABOVE,
    UNKNOWN_DIRECTION,
    lengths_of,
)
from pamprof.analysis.serving.operating_point import (
    OperatingPoint,
    operating_point,
)
from pamprof.analysis.serving.terms import Traffic
from pamprof.errors import PamprofError
from pamprof.records import Interval, Phase
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Mark, Spot
from pamprof.render.serving.chart_facts import MILLION_HOURS, pieces, rate_of_class

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.analysis.serving.crossover import Crossing
    from pamprof.pricing.serving.study import SizeClass, StudyArm
    from pamprof.render.serving.chart_facts import ChartFacts

Value = tuple[Interval | None, Basis]


def context_cost_chart(material: ChartFacts) -> Chart:
    """Dollars per million tokens against context: one decoded token, and a whole request."""
    panels = []
    for found in material.study.classes:
        rate = rate_of_class(found)
        if rate is None:
            continue
        scale = material.shown(rate.usd_per_hour) * MILLION_HOURS
        crossings = found.crossings
        panels += _panel(
            material,
            found,
            what="One decoded token",
            x_label="tokens of context (log)",
            phases=(Phase.DECODE,),
            value=partial(_decoded, material, scale),
            crossing=None if crossings is None else crossings.decode,
            words=("cheaper", "more expensive"),
        )
        panels += _panel(
            material,
            found,
            what="A token of a whole request",
            x_label="tokens of the prompt (log)",
            phases=(Phase.DECODE, Phase.PREFILL),
            value=partial(_requested, material, scale),
            crossing=None if crossings is None else crossings.request,
            words=("cheaper", "more expensive"),
        )
    return Chart(
        name="serving-context",
        kind="curves",
        title=_cost_finding(material),
        subtitle=material.subtitle,
        axis=f"{material.unit} per million tokens of working time (logarithmic)",
        caption=(
            "Every arm at its own best batch within the memory and the limits of the service; the fastest execution of "
            "each. Left: one decoded token with its context already read. Right: prompt and "
            f"{units.tokens(material.study.request.demand.output_tokens)} generated tokens, over all of them. "
            f"{material.basis} A line ends where an arm no longer serves. {material.price} {material.samples}."
        ),
        source=material.source,
        alt=f"{_cost_finding(material)}. {_description(material)}",
        panels=tuple(panels),
        reason="" if panels else "no rate is known, or no arm serves two lengths within the limits",
    )


def capacity_chart(material: ChartFacts) -> Chart:
    """Sequences one device holds, against context."""
    panels = []
    for found in material.study.classes:
        panels += _panel(
            material,
            found,
            what="Sequences one device holds",
            x_label="tokens of context (log)",
            phases=(Phase.DECODE,),
            value=_fitting,
            crossing=None if found.crossings is None else found.crossings.capacity,
            words=("the one held more often", "the one held less often"),
        )
    return Chart(
        name="serving-capacity",
        kind="curves",
        title=_capacity_finding(material),
        subtitle=material.subtitle,
        axis="sequences per device (logarithmic)",
        caption=(
            "Weights, states or caches, and what a step needs besides must fit the memory. Filled: batches were raised "
            "until one did not fit, the bar runs to the largest that may. Half filled, dotted: from bytes between such "
            f"contexts; hollow, dashed: from the bytes a step allocated. {material.samples}."
        ),
        source=material.source,
        alt=f"{_capacity_finding(material)}.",
        panels=tuple(panels),
        reason="" if panels else "no arm holds a sequence at two contexts",
    )


def _panel(
    material: ChartFacts,
    found: SizeClass,
    *,
    what: str,
    x_label: str,
    phases: tuple[Phase, ...],
    value: Callable[[StudyArm, int], Value],
    crossing: Crossing | None,
    words: tuple[str, str],
) -> list[CurvePanel]:
    """The panel; none where no arm has a line. ``words`` are what the subject always is, below 1 and above."""
    arms = material.drawn(found)
    lengths = lengths_of(*(arm.deployment.curve for arm in arms), phases=phases)
    curves = [curve for arm in arms if (curve := _curve(material, arm, lengths, phases, value)) is not None]
    if not any(curve.pieces for curve in curves):
        return []
    return [
        CurvePanel(
            title=material.named(found, what),
            x_label=x_label,
            x_unit="tokens",
            curves=tuple(curves),
            marks=_marks(crossing),
            note=_note(crossing, words),
        )
    ]


def _curve(
    material: ChartFacts,
    arm: StudyArm,
    lengths: Sequence[int],
    phases: tuple[Phase, ...],
    value: Callable[[StudyArm, int], Value],
) -> ArmCurve | None:
    points = [(float(x), *value(arm, x)) for x in lengths]
    measured = {run.workload.sequence_length for run in arm.deployment.curve.runs if run.workload.phase in phases}
    spots = tuple(
        Spot(x=x, value=found, basis=basis) for x, found, basis in points if found is not None and int(x) in measured
    )
    if not any(found is not None for _, found, _ in points):
        return None
    look = material.look(arm)
    return ArmCurve(arm=look, label=look.label, pieces=pieces(points), spots=spots)


def _decoded(material: ChartFacts, scale: float, arm: StudyArm, context: int) -> Value:
    token = Traffic(input_tokens=context, output_tokens=1)
    point = operating_point(arm.deployment.curve, token, material.study.request.limits, prefilled=True)
    if not isinstance(point, OperatingPoint):
        return None, Basis.MODELLED
    return point.decode_seconds.scaled(scale), point.basis


def _requested(material: ChartFacts, scale: float, arm: StudyArm, prompt: int) -> Value:
    demand = material.study.request.demand
    request = replace(Traffic(input_tokens=0, output_tokens=demand.output_tokens), input_tokens=prompt)
    point = operating_point(arm.deployment.curve, request, material.study.request.limits)
    if not isinstance(point, OperatingPoint):
        return None, Basis.MODELLED
    return point.device_seconds.scaled(scale / request.token_count), point.basis


def _fitting(arm: StudyArm, context: int) -> Value:
    try:
        fits = arm.deployment.curve.maximum_batch(context)
    except PamprofError:
        return None, Basis.MODELLED
    if fits.value < 1:
        return None, Basis.MODELLED
    return fits.interval or Interval.exact(fits.value), fits.basis


def _marks(crossing: Crossing | None) -> tuple[Mark, ...]:
    if crossing is None or crossing.tokens is None:
        return ()
    text = f"crossover at {units.significant(crossing.tokens.median)} tokens ({crossing.basis})"
    return (Mark(x=crossing.tokens, text=text, basis=crossing.basis),)


def _note(crossing: Crossing | None, words: tuple[str, str]) -> str:
    if crossing is None or crossing.tokens is not None:
        return ""
    if crossing.direction == UNKNOWN_DIRECTION:
        return "no crossover is resolved"
    return f"no crossover: the fixed state is always {words[crossing.direction != ALWAYS_CHEAPER]}"


def _cost_finding(material: ChartFacts) -> str:
    sentences = []
    for found in material.study.classes:
        if found.crossings is None:
            sentences.append("cost against context")
            continue
        at, ours, theirs = found.crossings.decode, found.crossings.subject, found.crossings.rival
        if at.direction == CHEAPER_ABOVE and at.tokens is not None:
            beyond = units.significant(at.tokens.median)
            said = f"{ours} decodes cheaper than {theirs} above {beyond} tokens of context ({at.basis})"
        elif at.direction == UNKNOWN_DIRECTION:
            said = f"no context is resolved from which {ours} decodes cheaper than {theirs}"
        else:
            word = at.direction.removeprefix("always ")
            said = f"{ours} decodes {word} than {theirs} between {_range(at)} tokens of context ({at.basis})"
        sentences.append(said)
    return _joined(material, sentences)


def _capacity_finding(material: ChartFacts) -> str:
    sentences = []
    for found in material.study.classes:
        if found.crossings is None:
            sentences.append("sequences one device holds, by context")
            continue
        at, ours, theirs = found.crossings.capacity, found.crossings.subject, found.crossings.rival
        if at.direction == CHEAPER_ABOVE and at.tokens is not None:
            beyond = units.significant(at.tokens.median)
            said = f"one device holds more sequences of {ours} than of {theirs} above {beyond} tokens ({at.basis})"
        elif at.direction == UNKNOWN_DIRECTION:
            said = f"one device holds about as many sequences of {ours} as of {theirs}"
        else:
            word = "more" if "cheaper" in at.direction else "fewer"
            said = (
                f"one device holds {word} sequences of {ours} than of {theirs} between {_range(at)} tokens of context "
                f"({at.basis})"
            )
        sentences.append(said)
    return _joined(material, sentences)


def _range(at: Crossing) -> str:
    return " and ".join(units.tokens(length) for length in (at.first, at.last) if length is not None)


def _joined(material: ChartFacts, sentences: list[str]) -> str:
    named = [material.named(found, said) for found, said in zip(material.study.classes, sentences, strict=True)]
    text = "; ".join(dict.fromkeys(named))
    # A layer may be called by a name in small letters, which stays as it is spelt inside a sentence.
    return text[:1].upper() + text[1:]


def _description(material: ChartFacts) -> str:
    return " ".join(
        f"A whole request: {found.crossings.request.sentence}."
        for found in material.study.classes
        if found.crossings is not None
    )
