from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import load_catalogue
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.request import request_cost
from pamprof.pricing.run_cost import (
    PAPER_RUN_TOKENS,
    as_quote,
    cost_per_million_tokens,
    no_difference,
    training_bill,
    usage_and_allocation,
)
from pamprof.records import Interval, PriceQuote

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price

RATE = Interval(low=95_000.0, median=96_000.0, high=98_000.0, confidence=0.95)

_rates = st.floats(1e-3, 1e3)
_throughputs = st.floats(1e-2, 1e8)
_shares = st.floats(1e-3, 1.0)


def test_a_dollar_an_hour_at_a_million_tokens_an_hour_is_a_dollar_a_million() -> None:
    cost = cost_per_million_tokens(Decimal(1), Interval.exact(1e6 / 3600))
    assert cost.usd_per_million_tokens.median == pytest.approx(1.0, rel=1e-15)


def test_the_throughputs_interval_reaches_the_dollars_upside_down() -> None:
    cost = cost_per_million_tokens(0.40, RATE)
    assert cost.usd_per_million_tokens.low == pytest.approx(0.40 * 1e6 / (98_000 * 3600))
    assert cost.usd_per_million_tokens.median == pytest.approx(0.40 * 1e6 / (96_000 * 3600))
    assert cost.usd_per_million_tokens.high == pytest.approx(0.40 * 1e6 / (95_000 * 3600))
    assert cost.usd_per_million_tokens.confidence == 0.95


def test_the_markets_spread_reaches_the_dollars_with_its_provenance(make_price: Callable[..., Price]) -> None:
    low, chosen, high = (
        make_price(provider=name, usd_per_hour=usd) for name, usd in (("a", "1"), ("b", "2"), ("c", "8"))
    )
    cost = cost_per_million_tokens(PriceQuote(chosen=chosen, low=low, high=high, candidate_count=3), RATE)
    median = cost.usd_per_million_tokens.median
    assert cost.at_lowest_rate.median == pytest.approx(median / 2)
    assert cost.at_highest_rate.median == pytest.approx(median * 4)
    assert (cost.market.low, cost.market.high) == (cost.at_lowest_rate.low, cost.at_highest_rate.high)
    assert cost.price == chosen
    assert cost.basis is Basis.MEASURED
    assert cost_per_million_tokens(1.0, RATE, basis=Basis.MODEL).basis is Basis.MODEL


def test_a_share_of_eight_devices_is_priced_not_the_whole_machine() -> None:
    found = quote(load_catalogue(), "NVIDIA H200", provider="aws")
    assert found.chosen.usd_per_hour == Decimal("63.296")
    cost = cost_per_million_tokens(found, Interval.exact(430_000.0))
    assert cost.usd_per_million_tokens.median == pytest.approx(7.912 / (430_000 * 3600) * 1e6)


@given(_rates, _throughputs, _shares)
def test_cost_is_linear_in_the_rate_and_inverse_in_throughput_and_utilisation(
    rate: float, throughput: float, share: float
) -> None:
    whole = cost_per_million_tokens(rate, Interval.exact(throughput)).usd_per_million_tokens.median
    double = cost_per_million_tokens(2 * rate, Interval.exact(throughput)).usd_per_million_tokens.median
    faster = cost_per_million_tokens(rate, Interval.exact(2 * throughput)).usd_per_million_tokens.median
    idle = cost_per_million_tokens(rate, Interval.exact(throughput), share).usd_per_million_tokens.median
    assert double == pytest.approx(2 * whole, rel=1e-12)
    assert faster == pytest.approx(whole / 2, rel=1e-12)
    assert idle * share == pytest.approx(whole, rel=1e-12)


@given(st.integers(0, 100_000), st.integers(1, 100_000), st.tuples(_throughputs, _throughputs), _rates, _shares)
def test_input_and_output_prices_add_up_to_the_device_time(
    input_tokens: int, output_tokens: int, throughputs: tuple[float, float], rate: float, share: float
) -> None:
    prefill, decode = throughputs
    cost = request_cost(
        rate,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        input_tokens_per_second=prefill,
        output_tokens_per_second=decode,
        utilisation=share,
    )
    parts = input_tokens * cost.input_usd_per_million_tokens + output_tokens * cost.output_usd_per_million_tokens
    assert parts / 1e6 == pytest.approx(cost.device_seconds * rate / 3600 / share, rel=1e-12)
    assert cost.usd == pytest.approx(parts / 1e6, rel=1e-12)
    assert cost.blended_usd_per_million_tokens * (input_tokens + output_tokens) == pytest.approx(parts, rel=1e-12)


def test_usage_and_allocation_differ_by_the_duty_and_agree_at_one() -> None:
    quarter = usage_and_allocation(0.40, RATE, 0.25)
    assert quarter.allocation.usd_per_million_tokens.median == pytest.approx(
        4 * quarter.usage.usd_per_million_tokens.median
    )
    always = usage_and_allocation(0.40, RATE, 1.0)
    assert always.usage == always.allocation


def test_the_papers_training_run_is_billed() -> None:
    assert PAPER_RUN_TOKENS == 1_184_400_000
    transformer = training_bill(PAPER_RUN_TOKENS, Interval.exact(96_300.0), Decimal("0.40"))
    published = training_bill(PAPER_RUN_TOKENS, Interval.exact(23_000.0), Decimal("0.40"))
    assert transformer.device_hours.median == pytest.approx(3.4164, abs=1e-4)
    assert units.usd(transformer.usd.median) == "$1.37"
    assert published.device_hours.median == pytest.approx(14.3043, abs=1e-4)
    assert units.usd(published.usd.median) == "$5.72"


def test_a_bill_carries_the_spread_of_throughput_and_market(make_price: Callable[..., Price]) -> None:
    low, chosen = make_price(usd_per_hour="1"), make_price(usd_per_hour="2")
    bill = training_bill(3_600_000, RATE, PriceQuote(chosen=chosen, low=low, high=chosen, candidate_count=2))
    assert bill.usd.low < bill.usd.median < bill.usd.high
    assert bill.usd_at_lowest_rate.median == pytest.approx(bill.usd.median / 2)
    assert bill.usd_at_highest_rate == bill.usd


def test_overlapping_intervals_are_no_difference() -> None:
    slow = Interval(low=90.0, median=95.0, high=96.0, confidence=0.95)
    fast = Interval(low=95.5, median=100.0, high=101.0, confidence=0.95)
    faster = Interval(low=97.0, median=100.0, high=101.0, confidence=0.95)
    first, touching, apart = (cost_per_million_tokens(1.0, rate) for rate in (slow, fast, faster))
    assert no_difference(first, touching)
    assert no_difference(touching, first)
    assert not no_difference(first, apart)
    assert not no_difference(apart, first)


@pytest.mark.parametrize(
    "throughput",
    [Interval.exact(0.0), Interval.exact(-1.0), Interval.exact(float("nan")), Interval.exact(float("inf"))],
)
def test_a_throughput_without_a_price_is_refused(throughput: Interval) -> None:
    with pytest.raises(PriceError, match="must lie above zero"):
        cost_per_million_tokens(1.0, throughput)
    with pytest.raises(PriceError, match="must lie above zero"):
        training_bill(10, throughput, 1.0)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_utilisation_or_duty_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(PriceError, match="utilisation"):
        cost_per_million_tokens(1.0, RATE, share)
    with pytest.raises(PriceError, match="duty"):
        usage_and_allocation(1.0, RATE, share)


def test_counts_without_a_bill_are_refused() -> None:
    with pytest.raises(PriceError, match="0 tokens"):
        training_bill(0, RATE, 1.0)
    for counts in ((0, 0), (-1, 5)):
        with pytest.raises(PriceError, match="has no price"):
            request_cost(
                1.0,
                input_tokens=counts[0],
                output_tokens=counts[1],
                input_tokens_per_second=1.0,
                output_tokens_per_second=1.0,
            )


def test_a_bare_rate_becomes_a_users_quote_exactly() -> None:
    assert as_quote(2.95).chosen.usd_per_hour == Decimal("2.95")
    given_quote = as_quote(Decimal("1.10"))
    assert as_quote(given_quote) is given_quote
