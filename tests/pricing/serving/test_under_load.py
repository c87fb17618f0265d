"""The demand of ``pamprof cost`` under load: replicas from what a device holds, beside those of a steady batch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import ceil, inf

import pytest

from pamprof.analysis.serving.operating_point import Refusal
from pamprof.analysis.simulation.measured_times import End
from pamprof.pricing.serving.bill import STEADY, Held, bill_at
from pamprof.pricing.serving.defaults import default_limits
from pamprof.pricing.serving.load_study import ArmUnderLoad, arm_under_load
from pamprof.pricing.serving.study import Request, study
from pamprof.pricing.serving.under_load import deployed_under_load, load_question
from tests.pricing.serving.test_bill import demand, rate
from tests.render.serving.records import DEVICE, curves, made_study

RATES = (rate(2.0, low=1.0, high=4.0),)
BUSY = demand(1e11, peak_factor=3.0)


@cache
def loaded(*, tokens_per_day: float = 1e11, duty: float = 1.0) -> ArmUnderLoad:
    asked = replace(BUSY, tokens_per_day=tokens_per_day, duty=duty)
    return arm_under_load(curves()[1], load_question(asked, default_limits(), 95.0), RATES)


def test_replicas_are_the_peak_over_what_a_device_holds() -> None:
    arm = loaded()
    peak = 1e11 / 1800 / 86_400 * 3
    deployment = deployed_under_load(arm, RATES)
    assert deployment.bill is not None
    by_end = {
        End.FAST: deployment.bill.fast, End.MEDIAN: deployment.bill.served, End.SLOW: deployment.bill.slow,
    }  # fmt: skip
    for end, found in by_end.items():
        highest = arm.highest[end].requests_per_second
        assert highest is not None
        assert found is not None
        assert found.replica_count == arm.fleets[end].largest == ceil(peak / highest)
        assert found.usd_per_month == arm.fleets[end].usd_per_month(2.0)
    point = deployment.feasible
    assert point is not None
    # A device never holds more than a steady batch, and the demand it carries shrinks alike.
    held = deployment.held.median
    assert 0.9 < held < 1
    assert deployment.capacity_tokens_per_day == pytest.approx((arm.steady.capacity_tokens_per_day or 0) * held)
    assert deployment.bill.served.usage == arm.steady.bills[0].served.usage


def test_headroom_counts_under_load_as_in_a_steady_batch() -> None:
    whole, half = loaded().highest_per_second, loaded(duty=0.5).highest_per_second
    assert whole == half  # what a device holds is not what is planned with
    peak = 1e11 / 1800 / 86_400 * 3
    assert whole is not None
    deployment = deployed_under_load(loaded(duty=0.5), RATES)
    assert deployment.bill is not None
    assert deployment.bill.served.replica_count == ceil(2 * peak / whole.median)


def test_a_tiny_demand_waits_for_nobody() -> None:
    arm = loaded(tokens_per_day=1e3)
    deployment = deployed_under_load(arm, RATES)
    assert deployment.bill is not None
    assert deployment.bill.served.replica_count == 1
    assert arm.metrics is not None
    point = deployment.feasible
    assert point is not None
    assert arm.metrics.level_seconds_to_first_token == pytest.approx(point.prefill_seconds.median, rel=0.01)


def test_a_limit_that_no_rate_holds_is_infeasible_under_load() -> None:
    arm = loaded()
    none = {end: replace(found, requests_per_second=None, bound="memory") for end, found in arm.highest.items()}
    deployment = deployed_under_load(
        replace(arm, highest=none, fleets={}, refusal="infeasible: memory, missed at every rate tried"), RATES
    )
    assert deployment.point == Refusal(limit="memory", sentence="infeasible: memory, missed at every rate tried")
    assert (deployment.bills, deployment.capacity_tokens_per_day) == ((), None)


def test_a_slow_end_that_holds_nothing_leaves_the_bill_open() -> None:
    point = made_study().classes[0].arms[0].deployment.feasible
    assert point is not None
    bill = bill_at(point, BUSY, RATES[0], Held(fast=1.0, median=0.5, slow=None))
    steady = bill_at(point, BUSY, RATES[0], STEADY)
    assert bill.served.replica_count in {2 * steady.served.replica_count, 2 * steady.served.replica_count - 1}
    assert bill.interval(lambda served: served.usd_per_month, 0.95).high == inf
    assert bill.market(lambda served: served.usd_per_month, 0.95).high == inf


def test_what_cannot_be_simulated_keeps_the_steady_answer() -> None:
    arm = replace(loaded(), loaded=None, highest={}, fleets={}, busiest={}, refusal="unknown: no prompt was measured")
    assert deployed_under_load(arm, RATES) is arm.steady


def test_every_number_of_a_page_comes_from_one_count_of_replicas() -> None:
    request = Request(demand=BUSY, limits=default_limits(), percentile=95.0)
    for arm in study(curves()[:1], request, {DEVICE: RATES}).classes[0].arms:
        assert arm.load is not None
        assert arm.load.fleet is not None
        assert {bill.served.replica_count for bill in arm.deployment.bills} == {arm.load.fleet.largest}
        today = next(row for row in arm.sensitivities if row.name == "duty")
        assert arm.deployment.bill is not None
        assert today.higher.usd_per_month == arm.deployment.bill.served.usd_per_month  # duty stays 1 at most
