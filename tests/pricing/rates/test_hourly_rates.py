from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from math import log
from typing import TYPE_CHECKING

import pytest

from pamprof.errors import PriceError, UsageError
from pamprof.pricing.rates.catalogue import Catalogue, load_catalogue
from pamprof.pricing.rates.currency import USD, stated_currency
from pamprof.pricing.rates.findings import Rule
from pamprof.pricing.rates.hourly_rates import (
    Owned,
    Rate,
    UnknownRate,
    mixed_rate,
    owned_rate,
    pricing_category,
    rate_doubts,
    rented_rates,
)
from pamprof.pricing.serving.quality import equal_quality
from tests.synthetic import synthetic_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price

DAY = date(2026, 11, 22)
H200 = synthetic_environment()


def test_the_snapshot_rents_an_h200_on_demand_and_spot() -> None:
    on_demand, spot, committed = rented_rates(load_catalogue(), H200)
    assert isinstance(on_demand, Rate)
    assert isinstance(spot, Rate)
    assert (on_demand.category, spot.category) == ("Standard", "Dynamic")
    assert on_demand.low < on_demand.usd_per_hour < on_demand.high
    assert spot.usd_per_hour < on_demand.usd_per_hour
    assert on_demand.quote is not None
    assert on_demand.quote.chosen.provider in on_demand.provenance
    assert isinstance(committed, Rate)
    assert (committed.option, committed.category) == ("reserved-3yr-market", "Committed")


def test_a_list_without_a_committed_row_leaves_that_rate_unknown(make_price: Callable[..., Price]) -> None:
    rates = rented_rates(Catalogue(prices=(make_price(device_name="H200"),), origin="test"), H200)
    assert [isinstance(rate, UnknownRate) for rate in rates] == [False, True, True]
    assert isinstance(rates[2], UnknownRate)
    assert "no committed rate of H200" in rates[2].reason


def test_a_committed_row_is_found_under_the_name_of_its_term(make_price: Callable[..., Price]) -> None:
    row = make_price(device_name="H200")
    rows = (row, replace(row, purchase_option="reserved-1yr", usd_per_hour=Decimal("2.00")))
    rates = rented_rates(Catalogue(prices=rows, origin="test"), H200)
    committed = rates[-1]
    assert isinstance(committed, Rate)
    assert (committed.option, committed.category, committed.usd_per_hour) == ("reserved-1yr", "Committed", 2.0)
    mixed = mixed_rate((("on-demand", 0.25), ("committed", 0.75)), rates)
    assert isinstance(mixed, Rate)
    assert mixed.usd_per_hour == pytest.approx(0.25 * 4.29 + 0.75 * 2.00)
    assert mixed.provenance == "25% on-demand + 75% reserved-1yr"


def test_the_users_own_rate_stands_alone() -> None:
    (own,) = rented_rates(load_catalogue(), H200, usd_per_hour="2.95")
    assert isinstance(own, Rate)
    assert (own.low, own.usd_per_hour, own.high, own.category) == (2.95, 2.95, 2.95, "Other")


def test_a_device_without_a_rate_has_no_bill() -> None:
    unknown = replace(H200, device_name="NVIDIA X999")
    with pytest.raises(PriceError, match="no price is known"):
        rented_rates(load_catalogue(), unknown)


def test_a_mix_of_an_unknown_rate_is_unknown_and_of_a_wrong_name_is_refused() -> None:
    rates = (*rented_rates(load_catalogue(), H200)[:2], UnknownRate(option="committed", reason="none listed"))
    assert isinstance(mixed_rate((("on-demand", 0.5), ("committed", 0.5)), rates), UnknownRate)
    with pytest.raises(UsageError, match="'barter'"):
        mixed_rate((("barter", 1.0),), rates)


def test_an_owned_device_is_priced_by_its_life_and_its_power() -> None:
    owned = Owned(
        capital_usd=35_040, life_years=4, usd_per_kilowatt_hour=0.1, power_usage_effectiveness=1.5, watts=700,
        watts_source="measured",
    )  # fmt: skip
    found = owned_rate(owned)
    assert found.low == found.usd_per_hour == found.high == pytest.approx(1.105)
    assert "700 W (measured)" in found.provenance
    assert "PUE 1.5" in found.provenance
    for broken in ({"life_years": 0}, {"power_usage_effectiveness": 0.9}, {"capital_usd": 0, "watts": 0}):
        with pytest.raises(UsageError):
            owned_rate(replace(owned, **broken))


def test_old_and_undated_rates_are_doubted_once(make_price: Callable[..., Price]) -> None:
    row = make_price(device_name="H200", observed_on=None, observed_text="undated")
    rates = rented_rates(Catalogue(prices=(row,), origin="test"), H200)
    doubts = rate_doubts((*rates, *rates), DAY, strict=False)
    assert [doubt.rule for doubt in doubts] == [Rule.UNKNOWN_DATE]
    assert rate_doubts(rented_rates(load_catalogue(), H200, usd_per_hour="1"), DAY, strict=True) == ()


@pytest.mark.parametrize(
    ("option", "category"),
    [("on-demand", "Standard"), ("spot", "Dynamic"), ("reserved-1yr", "Committed"), ("user", "Other")],
)
def test_purchase_options_have_their_focus_category(option: str, category: str) -> None:
    assert pricing_category(option) == category


def test_a_currency_is_stated_with_its_rate_and_day() -> None:
    euro = stated_currency("eur", "0.92", DAY)
    assert euro.sentence == "1 USD = 0.92 EUR, as stated for 2026-11-22"
    assert euro.text(3504.0) == "EUR 3\u2009224"
    assert euro.text(-10.0) == "−EUR 9.20"
    assert euro.convert(100.0) == 92.0
    assert (USD.text(292.0), USD.sentence, USD.text(None)) == ("$292.00", "", "–")
    assert stated_currency("USD", None, DAY) is USD


@pytest.mark.parametrize(
    ("code", "rate"), [("EUR", None), ("EUR", "0"), ("EUR", "much"), ("euro", "0.9"), ("USD", "0.92")]
)
def test_a_currency_without_a_sound_rate_is_refused(code: str, rate: str | None) -> None:
    with pytest.raises(UsageError):
        stated_currency(code, rate, DAY)


def test_equal_quality_follows_the_published_exponents() -> None:
    pam = equal_quality("pam", 30.0, 27.1)
    assert pam is not None
    assert pam.parameter_factor == pytest.approx((log(30.0) / log(27.1)) ** (1 / 0.15))
    assert pam.parameter_factor == pytest.approx(1.2242, abs=1e-4)
    assert pam.training_cost_factor_with_tokens == pytest.approx(pam.parameter_factor**2)
    twin = equal_quality("real_pam", 30.0, 27.1)
    assert twin is not None
    assert twin.parameter_factor > pam.parameter_factor
    assert equal_quality("transformer", 30.0, 27.1) is None
    assert "2604.05030 v2" in pam.source
    with pytest.raises(UsageError):
        equal_quality("pam", 1.0, 27.1)
