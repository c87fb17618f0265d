"""The page's JavaScript against the Python it was ported from, over a grid of scenarios."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis.serving.curve import CarriedFrom
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.operating_point import OperatingPoint, Refusal
from pamprof.pricing.rates.hourly_rates import Owned, owned_rate
from pamprof.pricing.serving.arithmetic import Demand
from pamprof.pricing.serving.bill import break_even_against_api, deploy
from pamprof.pricing.serving.defaults import default_limits
from pamprof.pricing.serving.study import Request, study
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.serving.page import render_cost_html
from pamprof.render.serving.page_view import serving_page_view
from pamprof.render.serving.script_data import curve_data, scenario_data, script_json
from pamprof.render.text import clean
from tests.pricing.serving.test_bill import rate
from tests.render.browser import asked, needs_browser
from tests.render.serving.records import DEVICE, curves, made_study, thin_records
from tests.synthetic import synthetic_records

if TYPE_CHECKING:
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.pricing.rates.hourly_rates import Rate

pytestmark = needs_browser

OWNED = Owned(
    capital_usd=31_000, life_years=4.5, usd_per_kilowatt_hour=0.11, power_usage_effectiveness=1.05, watts=650,
    watts_source="given by the user",
)  # fmt: skip
LENGTHS = ((0, 200), (128, 1), (777, 33), (1500, 300), (8192, 1024), (30_000, 64), (90_000, 4000), (0, 9_000_000))
LIMITS = (
    default_limits(), replace(default_limits(), seconds_per_output_token=0.7e-3),
    replace(default_limits(), seconds_to_first_token=4e-3),
)  # fmt: skip
DEMANDS = ((1e5, 1.0, 1.0, 1), (3.7e10, 3.0, 0.6, 2), (1e13, 1.7, 1.0, 1))
RATES = (rate(3.5, low=2.3, high=6.31), owned_rate(OWNED))
WHOLE = 11  # every so manieth scenario is compared with its crossings, decision and sensitivities too


def scenarios():
    """Requests with the rate they are asked at."""
    for number, (lengths, limits, demand) in enumerate(product(LENGTHS, LIMITS, DEMANDS)):
        tokens, peak, duty, minimum = demand
        own = number % 2 == 1
        yield (
            Request(
                demand=Demand(
                    input_tokens=lengths[0],
                    output_tokens=lengths[1],
                    tokens_per_day=tokens,
                    peak_factor=peak,
                    duty=duty,
                    minimum_replicas=minimum,
                ),
                limits=limits,
                api_usd_per_million=(0.003, 0.02) if number % 3 else None,
                owned=OWNED if own else None,
            ),
            RATES[own],
        )


@pytest.fixture(scope="module")
def pages():
    """Both pages that carry the arithmetic, without their pictures; their own data plays no part here."""
    view = serving_page_view(made_study(), curves())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
        report = render_html(build_view(synthetic_records("cpu"), serving=view))
        return {"cost.html": render_cost_html(view), "report.html": report}


def in_browser(page: str, found: tuple[ServingCurve, ...], folder) -> list:
    asking = [
        {
            **scenario_data(request),
            "rate": {"low": paid.low, "usd_per_hour": paid.usd_per_hour, "high": paid.high},
        }
        for request, paid in scenarios()
    ]
    arms = [curve_data(curve, is_subject=curve.arm.spec.layer == "pam") for curve in found]
    data = script_json({"arms": arms, "asking": asking})
    function = """() => given.asking.map((scenario) => {
      const found = costStudy.answer(given.arms, scenario, {code: "USD", units_per_usd: 1});
      return {...found, arms: found.arms.map((arm) => ({...arm, curve: arm.curve.title}))};
    })"""
    return asked(page.replace("</body>", f"<script>const given = {data};</script></body>"), function, folder)


def numbers(interval):
    return [interval.low, interval.median, interval.high, interval.confidence]


def point_of(point):
    if isinstance(point, Refusal):
        return {"refused": True, "limit": point.limit, "sentence": point.sentence}
    assert isinstance(point, OperatingPoint)
    fields = ("prefill_seconds", "decode_seconds", "device_seconds", "seconds_per_output_token")
    first = point.seconds_to_first_token
    return {
        "refused": False, "batch_size": point.batch_size, "maximum_batch": point.maximum_batch,
        **{name: numbers(getattr(point, name)) for name in fields}, "bound": point.bound, "basis": point.basis.value,
        "seconds_to_first_token": None if first is None else numbers(first),
        "error": point.error,
    }  # fmt: skip


def served_of(served):
    both = (served.usage, served.allocation)
    usage, allocation = (
        [found.input_usd_per_million_tokens, found.output_usd_per_million_tokens, found.blended_usd_per_million_tokens]
        for found in both
    )
    return {
        "replica_count": served.replica_count, "busy_ratio": served.busy_ratio, "usd_per_month": served.usd_per_month,
        "usage": usage, "allocation": allocation,
    }  # fmt: skip


def arm_of(deployment, even):
    ends = ("served", "fast", "slow", "cheapest", "most_expensive")
    bill = deployment.bill
    return {
        "curve": deployment.curve.title,
        "point": point_of(deployment.point),
        "bill": None if bill is None else {name: served_of(getattr(bill, name)) for name in ends},
        "carries": deployment.capacity_tokens_per_day,
        "break_even": None if even is None else asdict(even),
    }


def arms_of(found, request: Request, paid: Rate):
    """The arms alone, in the order of their cost."""
    made = []
    for curve in found:
        deployment = deploy(curve, request.demand, request.limits, (paid,))
        api = request.api_usd_per_million
        made.append((deployment, None if api is None else break_even_against_api(deployment, *api)))

    def cost(pair):
        return float("inf") if pair[0].feasible is None else pair[0].feasible.device_seconds.median

    return [arm_of(*pair) for pair in sorted(made, key=cost)]


def crossing_of(at):
    return {
        "tokens": None if at.tokens is None else numbers(at.tokens), "direction": at.direction, "first": at.first,
        "last": at.last, "basis": at.basis.value,
    }  # fmt: skip


def answer_of(found, request: Request, paid: Rate):
    made = study(found, request, {DEVICE: (paid,)}).classes[0]
    decision, crossings = made.decision, made.crossings
    outcome = ("usd_per_month", "usage_usd_per_million_tokens", "basis", "reason")
    return {
        "arms": [arm_of(arm.deployment, arm.break_even) for arm in made.arms],
        "crossings": {name: crossing_of(getattr(crossings, name)) for name in ("request", "decode", "capacity")},
        "decision": {
            "subject": decision.subject,
            "rival": decision.rival,
            "outcome": decision.outcome.value,
            "ratio": None if decision.ratio is None else numbers(decision.ratio),
            "saved_replicas": decision.saved_replicas,
            "saved_usd_per_month": decision.saved_usd_per_month,
            "equal_bills_tokens_per_day": decision.equal_bills_tokens_per_day,
            "basis": None if decision.basis is None else decision.basis.value,
            "sentence": decision.sentence,
        },
        "sensitivities": {
            row.name: [row.swing_usd, row.usage_swing_ratio]
            + [getattr(side, name) for side in (row.lower, row.higher) for name in outcome]
            for row in made.arms[0].sensitivities
        },
    }


def sensitivities_of(rows):
    return {
        row["name"]: [row["swing_usd"], row["usage_swing_ratio"]]
        + [
            side[name]
            for side in (row["lower"], row["higher"])
            for name in ("usd_per_month", "usage", "basis", "reason")
        ]
        for row in rows
    }


def alike(ours, theirs, where=""):
    """Equal texts, and numbers within 1e-9 of each other."""
    if isinstance(ours, dict):
        assert set(ours) == set(theirs), where
        for name, value in ours.items():
            alike(value, theirs[name], f"{where}.{name}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            alike(mine, other, f"{where}[{place}]")
    elif isinstance(ours, str):
        assert clean(ours) == theirs, where
    elif ours is None or isinstance(ours, bool):
        assert ours is theirs, where
    else:
        # A difference of two bills, or a swing, may be the rounding of equal ones.
        assert theirs == pytest.approx(ours, rel=1e-9, abs=1e-9 if "saved" in where or "swing" in where else 0), where


@pytest.fixture(scope="module", params=["sweep", "few places", "carried"])
def both(request, pages, tmp_path_factory):
    records = thin_records()
    found = serving_curves(records.runs, records.skips) if request.param == "few places" else curves()
    if request.param == "carried":
        source = CarriedFrom(gpu="H100-SXM", low_ratio=0.6, high_ratio=1.7)
        found = tuple(replace(curve, measured_lines=(), limits=(), carried=source) for curve in found)
    found = tuple(sorted(found, key=lambda curve: curve.runs[0].parameter_count))
    answers = {name: in_browser(page, found, tmp_path_factory.mktemp("browser")) for name, page in pages.items()}
    assert answers["report.html"] == answers["cost.html"]
    return found, answers["report.html"]


def test_every_arm_of_every_scenario_agrees_to_nine_digits(both):
    found, theirs = both
    for number, (request, paid) in enumerate(scenarios()):
        alike(arms_of(found, request, paid), theirs[number]["arms"], f"scenario {number}")


def test_whole_answers_agree_with_their_sentences(both):
    found, theirs = both
    for number, (request, paid) in list(enumerate(scenarios()))[::WHOLE]:
        other = {**theirs[number], "sensitivities": sensitivities_of(theirs[number]["sensitivities"])}
        alike(answer_of(found, request, paid), json.loads(json.dumps(other)), f"scenario {number}")


def test_the_grid_meets_every_kind_of_answer():
    points = [deploy(curve, r.demand, r.limits, (p,)).point for r, p in scenarios() for curve in curves()]
    records = thin_records()
    points += [
        deploy(curve, r.demand, r.limits, (p,)).point
        for r, p in scenarios()
        for curve in serving_curves(records.runs, records.skips)
    ]
    assert {point.limit for point in points if isinstance(point, Refusal)} == {
        None, "memory", "time per output token", "time to first token",
    }  # fmt: skip
    feasible = [point for point in points if isinstance(point, OperatingPoint)]
    assert {point.basis.value for point in feasible} == {"measured", "interpolated", "modelled"}
    assert {point.bound for point in feasible} >= {"memory", "time per output token", "no gain from a larger batch"}
