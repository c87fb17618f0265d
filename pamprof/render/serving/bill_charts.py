"""The monthly bill against the daily demand, with the steps of whole replicas; and cost against time per token."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.pricing.serving.arithmetic import api_usd_per_token, replica_tokens_per_day
from pamprof.pricing.serving.bill import bill_at
from pamprof.records import Interval
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Mark, Piece, Spot
from pamprof.render.serving.chart_facts import MILLION_HOURS, pieces, rate_of_class

if TYPE_CHECKING:
    from pamprof.analysis.serving.operating_point import OperatingPoint
    from pamprof.pricing.rates.hourly_rates import Rate
    from pamprof.pricing.serving.study import SizeClass, StudyArm
    from pamprof.render.serving.chart_facts import ChartFacts

_BELOW, _ABOVE = 100.0, 10.0  # how far the axis reaches from the demand asked for
_STEPS_DRAWN = 40
_GRID = 200
_OPEN_DRAWN = 100.0  # an interval without an upper end leaves the picture


def bill_chart(material: ChartFacts) -> Chart:
    """Monthly bills over demand."""
    panels = []
    for found in material.study.classes:
        rate = rate_of_class(found)
        curves = [] if rate is None else [
            _bill_curve(material, arm, point, rate)
            for arm in material.drawn(found)
            if (point := arm.deployment.feasible) is not None
        ]  # fmt: skip
        if curves:
            panels.append(
                CurvePanel(
                    title=material.named(found, "The monthly bill"),
                    x_label="tokens a day, input and output together (log)",
                    x_unit="count",
                    curves=tuple(curves),
                    marks=(Mark(x=Interval.exact(_asked(material)), text=f"asked: {_day(material)}", basis=None),),
                    note=_bill_note(material, found),
                )
            )
    demand = material.study.request.demand
    return Chart(
        name="serving-bill",
        kind="curves",
        title=_bill_finding(material),
        subtitle=material.subtitle,
        axis=f"{material.unit} a month of 730 hours (logarithmic)",
        caption=(
            f"Replicas come whole, so bills are steps. {_load_words(material)}{material.demand}, peak "
            f"{units.ratio(demand.peak_factor)} the "
            f"mean, replicas planned to {units.percent(demand.duty)} at the peak, at least {demand.minimum_replicas}. "
            f"{material.basis} {_api_words(material)}{material.price} {material.samples}."
        ),
        source=material.source,
        alt=f"{_bill_finding(material)}.",
        panels=tuple(panels),
        reason="" if panels else "no arm serves the demand within the limits at a known rate",
    )


def front_chart(material: ChartFacts) -> Chart:
    """Dollars per million tokens against time per output token, at the batches no other beats in both."""
    panels = []
    for found in material.study.classes:
        rate = rate_of_class(found)
        if rate is None:
            continue
        curves = [_front_curve(material, arm, rate) for arm in material.drawn(found) if arm.front]
        if curves:
            limit = material.study.request.limits.seconds_per_output_token
            panels.append(
                CurvePanel(
                    title=material.named(found, "Cost against speed, batch by batch"),
                    x_label="time per output token, prompts of others included (log)",
                    x_unit="seconds",
                    curves=tuple(curves),
                    marks=(Mark(x=Interval.exact(limit), text=f"allowed: {units.seconds(limit)}", basis=None),),
                )
            )
    return Chart(
        name="serving-front",
        kind="curves",
        title=_front_finding(material),
        subtitle=material.subtitle,
        axis=f"{material.unit} per million tokens of working time (logarithmic)",
        caption=(
            "Each mark is a batch that no other beats in both cost and speed, doubling from one sequence at the left; "
            f"right of the line the service would be too slow. {material.demand}. {material.basis} {material.price} "
            f"{material.samples}."
        ),
        source=material.source,
        alt=f"{_front_finding(material)}.",
        panels=tuple(panels),
        reason="" if panels else "no arm serves the demand within memory and time to first token at a known rate",
    )


def _load_words(material: ChartFacts) -> str:
    percentile = material.study.request.percentile
    if percentile is None:
        return "In a steady batch. "
    return (
        f"Under load: each device holds what keeps {percentile:g} % of random requests within the limits (simulated). "
    )


def _asked(material: ChartFacts) -> float:
    return material.study.request.demand.tokens_per_day


def _day(material: ChartFacts) -> str:
    return f"{units.si(_asked(material))} a day"


def _bill_curve(material: ChartFacts, arm: StudyArm, point: OperatingPoint, rate: Rate) -> ArmCurve:
    demand = material.study.request.demand

    def bill(tokens_per_day: float) -> Interval:
        found = bill_at(point, replace(demand, tokens_per_day=tokens_per_day), rate, arm.deployment.held)
        shown = found.interval(lambda served: material.shown(served.usd_per_month), point.device_seconds.confidence)
        return replace(shown, high=min(shown.high, _OPEN_DRAWN * shown.median))

    carried = replica_tokens_per_day(point.device_seconds.median, demand, arm.deployment.held.median)
    xs = _places(_asked(material), carried)
    look = material.look(arm)
    return ArmCurve(
        arm=look,
        label=look.label,
        pieces=(Piece(xs=xs, values=tuple(bill(x) for x in xs), basis=point.basis),),
        spots=(Spot(x=_asked(material), value=bill(_asked(material)), basis=point.basis),),
    )


def _places(asked: float, carried: float) -> tuple[float, ...]:
    """Demands in even ratios, and both sides of every step that can be told apart."""
    low, high = asked / _BELOW, asked * _ABOVE
    grid = {low * (high / low) ** (n / _GRID) for n in range(_GRID + 1)}
    first = max(1, ceil(low / carried))
    steps = [n * carried for n in range(first, first + _STEPS_DRAWN) if low <= n * carried <= high]
    return tuple(sorted({*grid, *(x * (1 - 1e-9) for x in steps), *(x * (1 + 1e-9) for x in steps)}))


def _bill_note(material: ChartFacts, found: SizeClass) -> str:
    decision = found.decision
    if decision is None or decision.equal_bills_tokens_per_day is None:
        return ""
    up_to = units.si(decision.equal_bills_tokens_per_day)
    return f"{decision.subject} and {decision.rival} cost the same up to {up_to} tokens a day"


def _bill_finding(material: ChartFacts) -> str:
    said = []
    for found in material.study.classes:
        decision = found.decision
        currency = material.study.request.currency
        if decision is None or decision.saved_replicas is None or decision.saved_usd_per_month is None:
            said.append(material.named(found, f"the monthly bill at {_day(material)}"))
        elif decision.saved_replicas == 0:
            said.append(
                material.named(
                    found,
                    f"{decision.subject} and {decision.rival} cost the same at {_day(material)} ({decision.basis})",
                )
            )
        else:
            word = "saves" if decision.saved_replicas > 0 else "costs another"
            amount = currency.text(abs(decision.saved_usd_per_month))
            said.append(
                material.named(
                    found,
                    f"{decision.subject} {word} {amount} a month against {decision.rival} at {_day(material)} "
                    f"({decision.basis})",
                )
            )
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _front_finding(material: ChartFacts) -> str:
    said = []
    for found in material.study.classes:
        cheapest = found.arms[0]
        point, bill = cheapest.deployment.feasible, cheapest.deployment.bill
        if point is None or bill is None:
            said.append(material.named(found, "no arm serves the demand within the limits"))
            continue
        dollars = material.study.request.currency.text(bill.served.usage.blended_usd_per_million_tokens)
        pace = units.seconds(point.seconds_per_output_token.median)
        said.append(
            material.named(
                found,
                f"{cheapest.deployment.curve.title} is the cheapest within the limits, {dollars} a million tokens at "
                f"{pace} per output token ({point.basis})",
            )
        )
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _front_curve(material: ChartFacts, arm: StudyArm, rate: Rate) -> ArmCurve:
    scale = material.shown(rate.usd_per_hour) * MILLION_HOURS / arm.deployment.demand.tokens_per_request
    points = [
        (
            point.seconds_per_output_token.median,
            point.device_seconds.scaled(scale),
            point.basis,
        )
        for point in arm.front
    ]
    look = material.look(arm)
    return ArmCurve(
        arm=look,
        label=look.label,
        pieces=pieces(points),
        spots=tuple(Spot(x=x, value=value, basis=basis) for x, value, basis in points),
    )


def _api_words(material: ChartFacts) -> str:
    api = material.study.request.api_usd_per_million
    if api is None:
        return ""
    demand = material.study.request.demand
    monthly = api_usd_per_token(*api, demand) * demand.tokens_per_day * units.HOURS_PER_MONTH / 24
    amount = material.study.request.currency.text(monthly)
    return f"The API asked about would charge {amount} a month at {_day(material)}. "
