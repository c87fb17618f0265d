from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import exp, inf

import pytest
from hypothesis import given, strategies as st

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.changed_curve import faster_curve
from pamprof.analysis.serving.operating_point import OperatingPoint, Refusal, operating_point, pareto
from pamprof.analysis.serving.terms import Limits, Traffic
from pamprof.errors import UsageError
from pamprof.pricing.rates.hourly_rates import Rate, mixed_usd_per_hour, owned_usd_per_hour
from pamprof.pricing.serving.arithmetic import (
    Demand,
    api_break_even,
    api_usd_per_token,
    replica_tokens_per_day,
    served,
    token_dollars,
)
from pamprof.pricing.serving.bill import bill_at, break_even_against_api, deploy, equal_bills_up_to
from pamprof.pricing.serving.sensitivity import sensitivities
from pamprof.records import Interval
from pamprof.statistics import median_interval
from tests.pricing.serving.formula_curves import Answer, FormulaCurve, pam_curve, transformer_curve

SLO = Limits(seconds_per_output_token=0.050, seconds_to_first_token=2.0)
seconds_ = st.floats(1e-6, 1e3)
demands = st.builds(
    Demand,
    input_tokens=st.integers(0, 100_000),
    output_tokens=st.integers(1, 10_000),
    tokens_per_day=st.floats(1.0, 1e12),
    peak_factor=st.floats(1.0, 20.0),
    duty=st.floats(0.05, 1.0),
    minimum_replicas=st.integers(1, 5),
)


def rate(usd: float = 0.40, low: float | None = None, high: float | None = None) -> Rate:
    return Rate(
        option="on-demand", category="Standard", low=low or usd, usd_per_hour=usd, high=high or usd, provenance="test"
    )


def demand(tokens_per_day: float = 1e9, **changes: float) -> Demand:
    return Demand(**{"input_tokens": 1500, "output_tokens": 300, "tokens_per_day": tokens_per_day, **changes})


def at_context(context: int) -> Traffic:
    """One token after a context that is already there: the decode the published demand example counts."""
    return Traffic(input_tokens=context, output_tokens=1)


@pytest.mark.parametrize(
    ("tokens_per_day", "replicas", "dollars"),
    [(10e6, (1, 1, 1), (292, 292, 292)), (100e6, (1, 1, 2), (292, 292, 584)), (1e9, (1, 3, 12), (292, 876, 3504))],
)
def test_the_published_demand_example_comes_out_to_the_dollar(
    tokens_per_day: float, replicas: tuple[int, ...], dollars: tuple[int, ...]
) -> None:
    needed = Demand(input_tokens=0, output_tokens=1, tokens_per_day=tokens_per_day, peak_factor=3)
    bills = []
    for curve, context in ((pam_curve(), 2048), (transformer_curve(), 2048), (transformer_curve(), 8192)):
        point = operating_point(curve, at_context(context), SLO, prefilled=True)
        assert isinstance(point, OperatingPoint)
        bills.append(bill_at(point, needed, rate()).served)
    assert tuple(bill.replica_count for bill in bills) == replicas
    assert [bill.usd_per_month for bill in bills] == pytest.approx(dollars)


def test_both_bills_are_equal_up_to_about_86_million_tokens_a_day() -> None:
    point = operating_point(transformer_curve(), at_context(8192), SLO, prefilled=True)
    assert isinstance(point, OperatingPoint)
    one = Demand(input_tokens=0, output_tokens=1, tokens_per_day=1.0, peak_factor=3)
    assert round(replica_tokens_per_day(point.device_seconds.median, one) / 1e6) == 86


@given(seconds_, seconds_, st.floats(0.01, 100.0), demands)
def test_input_and_output_dollars_add_up_to_the_device_time(
    prefill: float, decode: float, usd: float, needed: Demand
) -> None:
    prefill = prefill if needed.input_tokens else 0.0
    dollars = token_dollars(prefill, decode, usd, needed)
    parts = needed.input_tokens * (dollars.input_usd_per_million_tokens or 0.0)
    parts += needed.output_tokens * dollars.output_usd_per_million_tokens
    assert parts / 1e6 == pytest.approx((prefill + decode) * usd / 3600)
    assert dollars.blended_usd_per_million_tokens * needed.tokens_per_request == pytest.approx(parts)


@given(seconds_, seconds_, st.floats(0.01, 100.0), demands, st.floats(1.0, 10.0))
def test_dollars_never_fall_with_the_price_nor_with_slower_devices(
    prefill: float, decode: float, usd: float, needed: Demand, factor: float
) -> None:
    usual = served(prefill, decode, usd, needed)
    more_expensive = served(prefill, decode, usd * factor, needed)
    slower = served(prefill * factor, decode * factor, usd, needed)
    for changed in (more_expensive, slower):
        assert changed.usd_per_month >= usual.usd_per_month
        assert changed.usage.blended_usd_per_million_tokens >= usual.usage.blended_usd_per_million_tokens * (1 - 1e-12)
    assert more_expensive.allocation.output_usd_per_million_tokens >= usual.allocation.output_usd_per_million_tokens * (
        1 - 1e-12
    )
    assert slower.replica_count >= usual.replica_count


@given(seconds_, seconds_, st.floats(0.01, 100.0), demands)
def test_the_bill_is_the_allocation_cost_of_the_months_tokens(
    prefill: float, decode: float, usd: float, needed: Demand
) -> None:
    found = served(prefill, decode, usd, needed)
    tokens = needed.tokens_per_day * 730 / 24
    prompted = needed.input_tokens > 0 or prefill == 0
    if prompted:
        assert found.allocation.blended_usd_per_million_tokens * tokens / 1e6 == pytest.approx(found.usd_per_month)
    assert 0 < found.busy_ratio <= needed.duty / needed.peak_factor * (1 + 1e-9)


@given(seconds_, seconds_, st.integers(1, 50))
def test_a_device_busy_all_the_time_costs_what_is_used(prefill: float, decode: float, count: int) -> None:
    capacity = 1800 * 86_400 / (prefill + decode)
    full = demand(count * capacity * (1 - 1e-12))
    found = served(prefill, decode, 2.0, full)
    assert found.busy_ratio == pytest.approx(1.0)
    assert found.allocation.output_usd_per_million_tokens == pytest.approx(found.usage.output_usd_per_million_tokens)
    idle = served(prefill, decode, 2.0, replace(full, minimum_replicas=count * 2))
    assert idle.allocation.output_usd_per_million_tokens == pytest.approx(2 * found.usage.output_usd_per_million_tokens)


def test_headroom_and_peak_ask_for_replicas_and_a_minimum_is_kept() -> None:
    load = demand(86_400 * 1800)
    assert served(1.0, 1.5, 1.0, load).replica_count == 3
    assert served(1.0, 1.5, 1.0, replace(load, peak_factor=2.0)).replica_count == 5
    assert served(1.0, 1.5, 1.0, replace(load, duty=0.5)).replica_count == 5
    assert served(1.0, 1.5, 1.0, replace(load, minimum_replicas=9)).replica_count == 9


def test_the_interval_reaches_the_dollars_and_the_market_widens_it() -> None:
    deployment = deploy(pam_curve(width=0.05), demand(), SLO, (rate(2.0, low=1.0, high=4.0),))
    assert deployment.bill is not None
    usage = deployment.bill.interval(lambda s: s.usage.output_usd_per_million_tokens, 0.95)
    market = deployment.bill.market(lambda s: s.usage.output_usd_per_million_tokens, 0.95)
    assert (usage.low, usage.high) == pytest.approx((usage.median * 0.95, usage.median * 1.05))
    assert (market.low, market.high) == pytest.approx((usage.low / 2, usage.high * 2))
    assert market.median == usage.median


def test_the_dollar_interval_covers_the_truth_in_93_of_100_synthetic_runs() -> None:
    prefill_truth, decode_truth, trials, covered = 3e-3, 4e-2, 1000, 0
    for seed in range(trials):
        rng = random.Random(seed)

        def interval(truth: float, rng: random.Random = rng) -> Interval:
            return median_interval(tuple(truth * exp(rng.gauss(0, 0.02)) for _ in range(12)))

        point = OperatingPoint(
            batch_size=1,
            maximum_batch=1,
            prefill_seconds=interval(prefill_truth),
            decode_seconds=interval(decode_truth),
            seconds_per_output_token=Interval.exact(1.0),
            seconds_to_first_token=Interval.exact(1.0),
            bound="memory",
            basis=Basis.MEASURED,
            error=None,
        )
        bill = bill_at(point, demand(), rate(2.0))
        truth = token_dollars(prefill_truth, decode_truth, 2.0, demand()).blended_usd_per_million_tokens
        found = bill.interval(lambda s: s.usage.blended_usd_per_million_tokens, 0.95)
        covered += found.low <= truth <= found.high
    assert covered >= 0.93 * trials


def test_the_batch_keeps_both_limits_and_one_more_sequence_would_not() -> None:
    traffic = Traffic(input_tokens=1500, output_tokens=300)
    for curve in (pam_curve(), transformer_curve()):
        point = operating_point(curve, traffic, SLO)
        assert isinstance(point, OperatingPoint)
        assert point.seconds_per_output_token.median <= 0.050
        step = curve.step(point.batch_size + 1, traffic.longest_context)
        pace = step + (point.batch_size + 1) * curve.prefill(1500) / 300
        assert pace > 0.050 or point.batch_size == point.maximum_batch


def test_prompts_of_others_slow_the_output_token_down() -> None:
    traffic = Traffic(input_tokens=1500, output_tokens=300)
    quiet, busy = (operating_point(pam_curve(prefill=lambda _, s=s: s), traffic, SLO) for s in (1e-9, 30e-3))
    assert isinstance(quiet, OperatingPoint)
    assert isinstance(busy, OperatingPoint)
    assert busy.batch_size < quiet.batch_size


def steady(**changes: object) -> FormulaCurve:
    """10 ms a step whatever its batch, 2 ms a prompt, room for 600 sequences."""
    return pam_curve(**{"step": lambda *_: 0.010, "prefill": lambda _: 0.002, "fits": lambda _: 600, **changes})


def test_the_first_token_waits_for_the_running_step_and_the_prompts_that_joined() -> None:
    point = operating_point(steady(), Traffic(input_tokens=1500, output_tokens=300), SLO)
    assert isinstance(point, OperatingPoint)
    assert point.batch_size == 600
    # 600 / 300 = 2 prompts join at every step: 10 + 2 x 2 ms of the running one, then 2 x 2 ms.
    assert point.seconds_per_output_token.median == pytest.approx(0.014)
    assert point.seconds_to_first_token is not None
    assert point.seconds_to_first_token.median == pytest.approx(0.018)
    assert point.idle_seconds_to_first_token is not None
    assert point.idle_seconds_to_first_token.median == 0.002
    alone = operating_point(steady(fits=lambda _: 1), Traffic(input_tokens=1500, output_tokens=300), SLO)
    assert isinstance(alone, OperatingPoint)
    assert alone.seconds_to_first_token is not None
    assert alone.seconds_to_first_token.median == pytest.approx(0.010 + 0.002 / 300 + 0.002)
    unprompted = operating_point(steady(), Traffic(input_tokens=0, output_tokens=300), SLO)
    assert isinstance(unprompted, OperatingPoint)
    assert (unprompted.seconds_to_first_token, unprompted.idle_seconds_to_first_token) == (None, None)


def test_the_limit_on_the_first_token_holds_the_batch_back() -> None:
    # 10 + 4 n ms with n prompts a step reach 16 ms at n = 3 / 2, which are 450 sequences.
    traffic, limits = Traffic(input_tokens=1500, output_tokens=300), replace(SLO, seconds_to_first_token=0.0160001)
    point = operating_point(steady(), traffic, limits)
    assert isinstance(point, OperatingPoint)
    assert (point.batch_size, point.bound) == (450, "time to first token")
    assert [found.batch_size for found in pareto(steady(), traffic, limits)] == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_a_batch_that_gains_nothing_is_not_taken() -> None:
    flat = pam_curve(step=lambda batch, _: 1e-3 if batch <= 64 else 1.1e-3 * batch / 64, fits=lambda _: 300)
    point = operating_point(flat, Traffic(input_tokens=0, output_tokens=10), SLO)
    assert isinstance(point, OperatingPoint)
    assert (point.batch_size, point.bound) == (64, "no gain from a larger batch")


@pytest.mark.parametrize(
    ("changes", "limit", "sentence"),
    [
        (
            {"prefill": lambda _: 3.0},
            "time to first token",
            "infeasible: time to first token, 3.00 s for a prompt of 1\u2009500 tokens against 2.00 s allowed",
        ),
        (
            {"fits": lambda _: 0},
            "memory",
            "infeasible: memory, no sequence of 1\u2009799 tokens fits beside the weights",
        ),
        (
            {"step": lambda *_: 0.2, "prefill": lambda _: 0.0},
            "time per output token",
            "infeasible: time per output token, 200 ms for one sequence against 50.0 ms allowed",
        ),
        (
            # 10 ms for the step with 1/300 of a prompt in it, and 2 s less 5 ms for its own prompt.
            {"step": lambda *_: 0.010, "prefill": lambda _: 1.995},
            "time to first token",
            "infeasible: time to first token, 2.01 s behind a step of one sequence against 2.00 s allowed",
        ),
        ({"longest": 1000}, None, "unknown: context 1799 lies beyond the measured 1000"),
    ],
)
def test_what_binds_is_named_with_its_number_and_has_no_price(
    changes: dict[str, object], limit: str | None, sentence: str
) -> None:
    deployment = deploy(transformer_curve(**changes), demand(), SLO, (rate(),))
    assert deployment.point == Refusal(limit=limit, sentence=sentence)
    assert deployment.bills == ()
    assert sensitivities(deployment) == ()


def test_a_modelled_time_makes_the_dollars_modelled_and_carries_its_error() -> None:
    point = deploy(pam_curve(basis=Basis.MODELLED), demand(), SLO, (rate(),)).point
    assert isinstance(point, OperatingPoint)
    assert (point.basis, point.error) == (Basis.MODELLED, 0.1)


@dataclass(frozen=True, kw_only=True)
class ModelledAbove(FormulaCurve):
    """Measured up to a batch, modelled with an error of a tenth above it."""

    measured_up_to: int

    def decode_seconds(self, batch_size: int, context: int) -> Answer:
        found = super().decode_seconds(batch_size, context)
        return found if batch_size <= self.measured_up_to else replace(found, basis=Basis.MODELLED, error=0.1)


@pytest.mark.parametrize(("gain", "batch"), [(1.05, 64), (1.5, 128)])
def test_a_modelled_batch_is_chosen_only_where_it_gains_more_than_it_may_err(gain: float, batch: int) -> None:
    curve = ModelledAbove(
        title="PAM",
        runs=pam_curve().runs,
        step=lambda b, _: 1e-3 * b / 64 / (gain if b > 64 else 1.0) if b >= 64 else 1e-3,
        fits=lambda _: 128,
        measured_up_to=64,
    )
    point = operating_point(curve, Traffic(input_tokens=0, output_tokens=10), SLO)
    assert isinstance(point, OperatingPoint)
    assert point.batch_size == batch
    assert point.basis is (Basis.MEASURED if batch == 64 else Basis.MODELLED)


def test_the_front_falls_in_cost_as_the_token_slows_down() -> None:
    front = pareto(transformer_curve(), Traffic(input_tokens=1500, output_tokens=300), SLO)
    assert len(front) > 3
    paces = [point.seconds_per_output_token.median for point in front]
    costs = [point.device_seconds.median for point in front]
    assert paces == sorted(paces)
    assert costs == sorted(costs, reverse=True)
    assert paces[-1] > 0.050 or front[-1].bound == "memory"


def test_owned_hardware_is_its_price_over_its_life_and_its_power() -> None:
    hourly = owned_usd_per_hour(
        capital_usd=35_040, life_years=4, usd_per_kilowatt_hour=0.10, power_usage_effectiveness=1.5, watts=700
    )
    assert hourly == pytest.approx(1.0 + 0.105)


def test_mixed_rates_are_their_mean_and_shares_add_up() -> None:
    assert mixed_usd_per_hour(((0.25, 4.0), (0.75, 2.0))) == 2.5
    with pytest.raises(UsageError, match="do not add up to 1"):
        mixed_usd_per_hour(((0.5, 1.0), (0.6, 1.0)))


def test_an_api_is_matched_at_the_first_demand_and_for_good_at_the_lasting_one() -> None:
    needed = demand(1.0)
    carries = replica_tokens_per_day(3.0, needed)
    usd_per_token = 24.0 / (0.8 * carries)
    found = api_break_even(3.0, 1.0, usd_per_token, needed)
    assert found is not None
    assert found.first_tokens_per_day == pytest.approx(0.8 * carries)
    assert found.lasting_tokens_per_day == pytest.approx(3.2 * carries)

    def more_expensive(tokens: float) -> bool:
        return served(1.0, 2.0, 1.0, replace(needed, tokens_per_day=tokens)).usd_per_month > (
            tokens * 730 / 24 * usd_per_token
        )

    assert more_expensive(found.first_tokens_per_day * 0.999)
    assert not more_expensive(found.first_tokens_per_day * 1.001)
    assert more_expensive(found.lasting_tokens_per_day * 0.999)
    assert not any(more_expensive(found.lasting_tokens_per_day * (1.001 + 0.01 * n)) for n in range(500))
    assert api_break_even(3.0, 1.0, 24.0 / (1.01 * carries), needed) is None
    assert api_break_even(3.0, 1.0, 0.0, needed) is None


def test_an_apis_mean_token_weighs_input_and_output() -> None:
    assert api_usd_per_token(1.0, 4.0, demand()) == pytest.approx((1500 * 1 + 300 * 4) / 1800 / 1e6)


def test_a_deployment_breaks_even_where_the_bill_meets_the_api() -> None:
    deployment = deploy(pam_curve(), demand(), SLO, (rate(),))
    found = break_even_against_api(deployment, 1.0, 4.0)
    assert found is not None
    assert found.first_tokens_per_day == pytest.approx(0.40 * 24 / api_usd_per_token(1.0, 4.0, demand()))
    infeasible = deploy(pam_curve(fits=lambda _: 0), demand(), SLO, (rate(),))
    assert break_even_against_api(infeasible, 1.0, 4.0) is None


def test_bills_are_equal_up_to_the_smaller_capacity_and_differ_above() -> None:
    arms = [deploy(curve, demand(), SLO, (rate(),)) for curve in (pam_curve(), transformer_curve())]
    limit = equal_bills_up_to(*arms)
    assert limit is not None
    for factor, equal in ((0.999, True), (1.001, False)):
        bills = [deploy(arm.curve, demand(limit * factor), SLO, (rate(),)).bill for arm in arms]
        counts = [bill.served.replica_count for bill in bills if bill is not None]
        assert (counts[0] == counts[1]) is equal


def test_the_tornado_begins_with_the_largest_swing_and_keeps_price_and_throughput() -> None:
    deployment = deploy(transformer_curve(), demand(100e9), SLO, (rate(2.0),))
    rows = sensitivities(deployment)
    assert [row.swing_usd for row in rows] == sorted((row.swing_usd for row in rows), reverse=True)
    by_name = {row.name: row for row in rows}
    assert deployment.bill is not None
    usual = deployment.bill.served.usd_per_month
    assert by_name["price"].lower.usd_per_month == pytest.approx(0.8 * usual)
    assert by_name["price"].higher.usd_per_month == pytest.approx(1.2 * usual)
    assert (by_name["throughput"].higher.usd_per_month or inf) < usual
    assert (by_name["throughput"].lower.usd_per_month or 0) > usual
    assert (by_name["duty"].lower.usd_per_month or 0) > usual
    assert by_name["duty"].higher.usd_per_month == usual


def test_a_faster_curve_divides_every_time_and_keeps_the_memory() -> None:
    usual = transformer_curve(width=0.1)
    fast = faster_curve(usual, 2.0)
    assert fast.decode_seconds(4, 512).value == usual.step(4, 512) / 2
    assert fast.prefill_seconds(512).interval == usual.prefill_seconds(512).interval.scaled(0.5)
    assert fast.maximum_batch(512).value == usual.maximum_batch(512).value
    assert (fast.title, fast.runs) == (usual.title, usual.runs)


@pytest.mark.parametrize(
    "changes", [{"tokens_per_day": 0.0}, {"peak_factor": 0.5}, {"duty": 0.0}, {"duty": 1.1}, {"minimum_replicas": 0}]
)
def test_a_demand_that_cannot_be_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        demand(**{"tokens_per_day": 1.0, **changes})


def test_a_request_without_output_is_refused() -> None:
    with pytest.raises(UsageError, match="1 or more output"):
        Traffic(input_tokens=5, output_tokens=0)
