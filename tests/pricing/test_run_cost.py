from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from pamprof import units
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import load_catalogue
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.run_cost import (
    PAPER_RUN_TOKENS,
    as_quote,
    cost_per_million_tokens,
    training_bill,
)
from pamprof.records import Interval, PriceQuote

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price

RATE = Interval(low=95_000.0, median=96_000.0, high=98_000.0, confidence=0.95)

_rates = st.floats(1e-3, 1e3)
_throughputs = st.floats(1e-2, 1e8)


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
    assert cost.price == chosen


def test_a_share_of_eight_devices_is_priced_not_the_whole_machine() -> None:
    found = quote(load_catalogue(), "NVIDIA H200", provider="aws")
    assert found.chosen.usd_per_hour == Decimal("63.296")
    cost = cost_per_million_tokens(found, Interval.exact(430_000.0))
    assert cost.usd_per_million_tokens.median == pytest.approx(7.912 / (430_000 * 3600) * 1e6)


@given(_rates, _throughputs)
def test_cost_is_linear_in_the_rate_and_inverse_in_throughput(rate: float, throughput: float) -> None:
    whole = cost_per_million_tokens(rate, Interval.exact(throughput)).usd_per_million_tokens.median
    double = cost_per_million_tokens(2 * rate, Interval.exact(throughput)).usd_per_million_tokens.median
    faster = cost_per_million_tokens(rate, Interval.exact(2 * throughput)).usd_per_million_tokens.median
    assert double == pytest.approx(2 * whole, rel=1e-12)
    assert faster == pytest.approx(whole / 2, rel=1e-12)


def test_the_papers_training_run_is_billed() -> None:
    assert PAPER_RUN_TOKENS == 1_184_400_000
    transformer = training_bill(PAPER_RUN_TOKENS, Interval.exact(96_300.0), Decimal("0.40"))
    published = training_bill(PAPER_RUN_TOKENS, Interval.exact(23_000.0), Decimal("0.40"))
    assert transformer.device_hours.median == pytest.approx(3.4164, abs=1e-4)
    assert units.usd(transformer.usd.median) == "$1.37"
    assert published.device_hours.median == pytest.approx(14.3043, abs=1e-4)
    assert units.usd(published.usd.median) == "$5.72"


def test_a_bill_carries_the_spread_of_the_throughput() -> None:
    bill = training_bill(3_600_000, RATE, 2.0)
    assert bill.usd.low < bill.usd.median < bill.usd.high
    assert bill.usd.median == pytest.approx(2 * bill.device_hours.median)


@pytest.mark.parametrize(
    "throughput",
    [Interval.exact(0.0), Interval.exact(-1.0), Interval.exact(float("nan")), Interval.exact(float("inf"))],
)
def test_a_throughput_without_a_price_is_refused(throughput: Interval) -> None:
    with pytest.raises(PriceError, match="must lie above zero"):
        cost_per_million_tokens(1.0, throughput)
    with pytest.raises(PriceError, match="must lie above zero"):
        training_bill(10, throughput, 1.0)


def test_counts_without_a_bill_are_refused() -> None:
    with pytest.raises(PriceError, match="0 tokens"):
        training_bill(0, RATE, 1.0)


def test_a_bare_rate_becomes_a_users_quote_exactly() -> None:
    assert as_quote(2.95).chosen.usd_per_hour == Decimal("2.95")
    given_quote = as_quote(Decimal("1.10"))
    assert as_quote(given_quote) is given_quote


@pytest.mark.parametrize("usd_per_hour", ["6.3055", "4.732", "4.29", "2.5887", "0.40"])
@pytest.mark.parametrize("devices", [1, 7])
def test_the_rate_on_paper_times_the_hours_of_a_month_is_the_bill_on_paper(usd_per_hour: str, devices: int) -> None:
    # A seventh is what a MIG slice with one compute slice pays.
    rate = float(Decimal(usd_per_hour) / devices)
    shown = float(units.usd_rate(rate).removeprefix("$"))
    assert units.usd(shown * 730) == units.usd(rate * 730)
