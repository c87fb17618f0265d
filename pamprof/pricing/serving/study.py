"""Everything a deployment is decided from, in one value: arms, bills, decisions, crossovers, sensitivities, quality.

Arms are compared within one device and one class of size (parameter counts within a quarter), so that a file with the
100M and the 1B pair yields two decisions and no nonsense between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.serving.crossover import (
    Crossing,
    capacity_ratio,
    crossing,
    decode_ratio,
    lengths_of,
    request_ratio,
)
from pamprof.analysis.serving.curve import ServingCurve
from pamprof.analysis.serving.operating_point import OperatingPoint, pareto
from pamprof.analysis.serving.terms import Traffic
from pamprof.errors import RecordError
from pamprof.pricing.rates.currency import USD, Currency
from pamprof.pricing.serving.bill import Deployment, break_even_against_api, deploy
from pamprof.pricing.serving.context_table import CACHE, STATE, ContextRow, context_table, holds
from pamprof.pricing.serving.decision import Decision, decide
from pamprof.pricing.serving.load_study import arm_under_load
from pamprof.pricing.serving.quality import QualityRow, quality_rows
from pamprof.pricing.serving.sensitivity import Sensitivity, sensitivities
from pamprof.pricing.serving.under_load import deployed_under_load, load_question
from pamprof.records import LayerFacts, LayerRole, Phase
from pamprof.records.layers import facts_of_older_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.serving.terms import Curve, Limits
    from pamprof.pricing.rates.hourly_rates import Owned, Rate, UnknownRate
    from pamprof.pricing.serving.arithmetic import BreakEven, Demand
    from pamprof.pricing.serving.load_study import ArmUnderLoad, LoadQuestion
    from pamprof.records import Environment, Perplexity, Run

_SAME_SIZE = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        demand: What has to be served.
        limits: The service level.
        api_usd_per_million: An API's price of input and of output tokens, to break even against; None without one.
        owned: Hardware of one's own; None without it.
        currency: What amounts are shown in.
        percentile: Share of the requests within the limits under load, percent; None for a steady batch.
    """

    demand: Demand
    limits: Limits
    api_usd_per_million: tuple[float, float] | None = None
    owned: Owned | None = None
    currency: Currency = USD
    percentile: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyArm:
    """One arm's deployment and what follows from it alone.

    Attributes:
        layer: What its layer declares of itself.
        deployment: Its batch and bills.
        front: Batches no other beats in both cost and time per output token, fastest first.
        break_even: Against the API; None where it never pays off, or no API price was given.
        sensitivities: The largest swings of its bill first.
        load: The simulation that replicas and bills come from; None in a steady batch.
        question: What was simulated; None in a steady batch.
    """

    layer: LayerFacts
    deployment: Deployment
    front: tuple[OperatingPoint, ...]
    break_even: BreakEven | None
    sensitivities: tuple[Sensitivity, ...]
    load: ArmUnderLoad | None = None
    question: LoadQuestion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """Where the subject overtakes the rival, read off the curves: a request, one decoded token, sequences that fit."""

    subject: str
    rival: str
    request: Crossing
    decode: Crossing
    capacity: Crossing


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeClass:
    """Arms of about one size on one device.

    Attributes:
        environment: The device.
        parameter_counts: Smallest and largest of its arms.
        arms: Cheapest first, those without an operating point last.
        decision: Cheapest fixed state of a subject (without one, of any layer) against the cheapest cache of any layer;
            None where one of the two kinds is missing.
        crossings: Of the same two.
        contexts: Crossovers by bytes alone.
        rates: Ways of paying on this device.
    """

    environment: Environment
    parameter_counts: tuple[int, int]
    arms: tuple[StudyArm, ...]
    decision: Decision | None
    crossings: Crossings | None
    contexts: tuple[ContextRow, ...]
    rates: tuple[Rate | UnknownRate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingStudy:
    """The answer of ``pamprof cost``."""

    request: Request
    classes: tuple[SizeClass, ...]
    quality: tuple[QualityRow, ...]


def study(
    curves: Sequence[Curve],
    request: Request,
    rates_by_device: Mapping[str, tuple[Rate | UnknownRate, ...]],
    *,
    perplexities: Sequence[Perplexity] = (),
    runs: Sequence[Run] = (),
    layers: Iterable[LayerFacts] = (),
) -> ServingStudy:
    """Work everything out.

    Args:
        curves: The arms; every one has at least one run.
        request: What is asked for.
        rates_by_device: Ways of paying by the device's reported name.
        perplexities: Quality figures; of several for one layer the last counts.
        runs: All runs, for the training throughput beside the perplexity.
        layers: What the sessions' layers declare of themselves; a layer without facts is taken as in older records.

    Raises:
        RecordError: No curve.
    """
    if not curves:
        raise RecordError("the records hold no serving curve; measure with pamprof serve-sweep")
    facts = facts_by_layer([*(_layer(curve) for curve in curves), *(known.layer for known in perplexities)], layers)
    classes = tuple(_size_class(members, request, rates_by_device, facts) for members in classes_of(curves))
    # A perplexity names a layer and no size: with arms of several sizes there is no telling whose training it is.
    known = [run for run in runs if _within(run, classes[0].parameter_counts)] if len(classes) == 1 else []
    return ServingStudy(request=request, classes=classes, quality=quality_rows(perplexities, known, facts))


def classes_of(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves of one device and about one size together; a class is as wide as ``_SAME_SIZE`` from its smallest."""
    classes: list[list[Curve]] = []
    for curve in sorted(curves, key=lambda c: (_device(c), c.runs[0].parameter_count)):
        last = classes[-1] if classes else None
        if (
            last is not None
            and _device(last[0]) == _device(curve)
            and curve.runs[0].parameter_count <= _SAME_SIZE * last[0].runs[0].parameter_count
        ):
            last.append(curve)
        else:
            classes.append([curve])
    return classes


def facts_by_layer(names: Iterable[str], layers: Iterable[LayerFacts]) -> dict[str, LayerFacts]:
    """What each layer declares of itself; a layer without facts is taken as in older records."""
    declared = {facts.layer: facts for facts in layers}
    older = facts_of_older_records((name, name) for name in names if name not in declared)
    return declared | {facts.layer: facts for facts in older}


def _layer(curve: Curve) -> str:
    return curve.runs[0].workload.spec.layer


def _device(curve: Curve) -> str:
    return curve.runs[0].environment.device_name


def _within(run: Run, counts: tuple[int, int]) -> bool:
    return counts[0] / _SAME_SIZE <= run.parameter_count <= counts[1] * _SAME_SIZE


def _size_class(
    curves: Sequence[Curve],
    request: Request,
    rates_by_device: Mapping[str, tuple[Rate | UnknownRate, ...]],
    layers: Mapping[str, LayerFacts],
) -> SizeClass:
    rates = rates_by_device[_device(curves[0])]
    question = None if request.percentile is None else load_question(request.demand, request.limits, request.percentile)
    arms = tuple(
        sorted((_arm(curve, request, rates, layers[_layer(curve)], question) for curve in curves), key=_cost_order)
    )
    states = [arm for arm in arms if holds(arm.deployment.curve) == STATE]
    chosen = next((arm for arm in states if arm.layer.role is LayerRole.SUBJECT), states[0] if states else None)
    subject = None if chosen is None else chosen.deployment
    rival = next((arm.deployment for arm in arms if holds(arm.deployment.curve) == CACHE), None)
    crossings = _crossings(subject, rival, request) if subject is not None and rival is not None else None
    decision = (
        decide(subject, rival, crossings.request, request.currency)
        if subject is not None and rival is not None and crossings is not None
        else None
    )
    counts = [curve.runs[0].parameter_count for curve in curves]
    return SizeClass(
        environment=curves[0].runs[0].environment,
        parameter_counts=(min(counts), max(counts)),
        arms=arms,
        decision=decision,
        crossings=crossings,
        contexts=context_table(curves, layers),
        rates=rates,
    )


def _arm(
    curve: Curve,
    request: Request,
    rates: tuple[Rate | UnknownRate, ...],
    layer: LayerFacts,
    question: LoadQuestion | None,
) -> StudyArm:
    load = None
    if question is not None and isinstance(curve, ServingCurve):
        load = arm_under_load(curve, question, rates)
        deployment = deployed_under_load(load, rates)
    else:
        deployment = deploy(curve, request.demand, request.limits, rates)
    traffic = Traffic(input_tokens=request.demand.input_tokens, output_tokens=request.demand.output_tokens)
    api = request.api_usd_per_million
    return StudyArm(
        layer=layer,
        deployment=deployment,
        front=pareto(curve, traffic, request.limits),
        break_even=None if api is None else break_even_against_api(deployment, *api),
        sensitivities=sensitivities(deployment, request.owned),
        load=load,
        question=question,
    )


def _cost_order(arm: StudyArm) -> float:
    point = arm.deployment.feasible
    return float("inf") if point is None else point.device_seconds.median


def _crossings(subject: Deployment, rival: Deployment, request: Request) -> Crossings:
    ours, theirs = subject.curve, rival.curve
    traffic = Traffic(input_tokens=request.demand.input_tokens, output_tokens=request.demand.output_tokens)
    contexts = lengths_of(ours, theirs)
    prompts = lengths_of(ours, theirs, phases=(Phase.DECODE, Phase.PREFILL))
    return Crossings(
        subject=ours.title,
        rival=theirs.title,
        request=crossing(request_ratio(ours, theirs, traffic, request.limits), prompts),
        decode=crossing(decode_ratio(ours, theirs, request.limits), contexts),
        capacity=crossing(capacity_ratio(ours, theirs), contexts),
    )
