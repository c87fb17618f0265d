from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import Catalogue, load_catalogue
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.rates.rate_dates import competing, newest_possible_day

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price

XEON = "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"
EPYC = "AMD EPYC 7B13"


@pytest.mark.parametrize(
    ("reported", "provider", "instance", "device_hour"),
    [
        ("NVIDIA H200", "coreweave", "8x H200", "6.305"),
        ("NVIDIA H100 80GB HBM3", "lambda", "gpu_1x_h100_sxm5", "4.29"),
        ("NVIDIA H100 PCIe", "hyperstack", "n3-H100x1", "1.9"),
        ("NVIDIA GeForce RTX 4090", "vast", "1x-RTX_4090-32-65536", "0.4"),
        ("NVIDIA A100-SXM4-80GB", "lambda", "gpu_8x_a100_80gb_sxm4", "2.79"),
        ("NVIDIA L4", "aws", "g6.xlarge", "0.8048"),
        ("NVIDIA A10G", "aws", "g5.xlarge", "1.006"),
        ("Tesla T4", "aws", "g4dn.xlarge", "0.526"),
        ("NVIDIA B200", "lambda", "gpu_1x_b200_sxm6", "6.99"),
    ],
)
def test_the_snapshots_default_is_the_median_provider(
    reported: str, provider: str, instance: str, device_hour: str
) -> None:
    found = quote(load_catalogue(), reported)
    assert (found.chosen.provider, found.chosen.instance) == (provider, instance)
    assert found.chosen.usd_per_device_hour == Decimal(device_hour)
    assert found.low.usd_per_device_hour <= found.chosen.usd_per_device_hour <= found.high.usd_per_device_hour


def test_the_snapshots_h100_spreads_from_the_marketplace_to_the_dearest_provider() -> None:
    found = quote(load_catalogue(), "NVIDIA H100 80GB HBM3")
    assert found.low.usd_per_device_hour == Decimal("1.87")
    assert found.high.usd_per_device_hour == Decimal("10.97906")
    assert found.candidate_count == 12
    aws = quote(load_catalogue(), "NVIDIA H100 80GB HBM3", provider="aws")
    assert aws.chosen.usd_per_device_hour / found.low.usd_per_device_hour == pytest.approx(
        Decimal("3.7"), abs=Decimal("0.05")
    )


def test_each_provider_speaks_once_and_an_even_number_gives_the_cheaper(
    make_price: Callable[..., Price],
) -> None:
    rows = [make_price(provider="a", usd_per_hour="1"), make_price(provider="b", usd_per_hour="2")]
    rows += [make_price(provider="c", usd_per_hour="3"), make_price(provider="d", usd_per_hour="9")]
    rows += [make_price(provider="d", region=f"region-{n}", usd_per_hour="10") for n in range(5)]
    found = quote(Catalogue(prices=tuple(rows), origin="test"), "H100-SXM")
    assert (found.chosen.provider, found.candidate_count) == ("b", 9)
    assert (found.low.usd_per_hour, found.high.usd_per_hour) == (Decimal(1), Decimal(10))


def test_the_choice_does_not_depend_on_the_order_of_rows(make_price: Callable[..., Price]) -> None:
    rows = tuple(make_price(provider=name, instance=f"{name}-1x", usd_per_hour="2") for name in "bca")
    forward = quote(Catalogue(prices=rows, origin="test"), "H100-SXM")
    backward = quote(Catalogue(prices=rows[::-1], origin="test"), "H100-SXM")
    assert forward == backward


def test_a_machine_with_one_device_is_preferred_to_a_share_of_eight(make_price: Callable[..., Price]) -> None:
    eight = make_price(instance="gpu_8x", device_count=8, usd_per_hour="16")
    one = make_price(instance="gpu_1x", usd_per_hour="3")
    catalogue = Catalogue(prices=(eight, one), origin="test")
    assert quote(catalogue, "H100-SXM").chosen == one
    assert quote(catalogue, "H100-SXM").low == eight


def test_a_row_that_may_be_a_year_older_does_not_compete(make_price: Callable[..., Price]) -> None:
    fresh = make_price(provider="a", usd_per_hour="4")
    old = make_price(provider="b", usd_per_hour="1", observed_on=date(2025, 11, 1))
    wordless = make_price(provider="c", usd_per_hour="1", observed_on=None, observed_text="undated page")
    assert competing((fresh, old, wordless)) == (fresh,)
    assert competing((wordless,)) == (wordless,)
    found = quote(Catalogue(prices=(fresh, old, wordless), origin="test"), "H100-SXM")
    assert (found.chosen, found.candidate_count) == (fresh, 1)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-02; the page names no day", date(2026, 2, 28)),
        ("2026-H1, inferred", date(2026, 6, 30)),
        ("2025-H2 to 2026", date(2026, 12, 31)),
        ("2024 to 2025, stale", date(2025, 12, 31)),
        ("undated page", None),
    ],
)
def test_words_bound_the_newest_possible_day(text: str, day: date | None, make_price: Callable[..., Price]) -> None:
    assert newest_possible_day(make_price(observed_on=None, observed_text=text)) == day


def test_a_named_provider_is_chosen_and_the_spread_stays_the_markets(make_price: Callable[..., Price]) -> None:
    cheap = make_price(provider="vast", usd_per_hour="1.87")
    dear = make_price(provider="aws", usd_per_hour="6.88")
    stale = make_price(provider="azure", usd_per_hour="12.29", observed_on=date(2024, 1, 1))
    catalogue = Catalogue(prices=(cheap, dear, stale), origin="test")
    found = quote(catalogue, "H100-SXM", provider="AWS")
    assert (found.chosen, found.low, found.high) == (dear, cheap, dear)
    assert quote(catalogue, "H100-SXM", provider="azure").high == stale


def test_region_instance_and_purchase_option_select() -> None:
    catalogue = load_catalogue()
    h100 = "NVIDIA H100 80GB HBM3"
    assert quote(catalogue, h100, provider="aws", region="eu-north-1").chosen.usd_per_hour == Decimal("58.8928")
    spot = quote(catalogue, h100, provider="aws", purchase_option="spot", region="us-east-1").chosen
    assert (spot.region, spot.usd_per_hour) == ("us-east-1/use1-az6", Decimal("17.6289"))
    assert quote(catalogue, h100, instance="gpu_8x_h100_sxm5").chosen.device_count == 8
    with pytest.raises(PriceError, match="matches provider aws, region moon-1; there are"):
        quote(catalogue, h100, provider="aws", region="moon-1")
    with pytest.raises(PriceError, match=r"no reserved-9yr rate of H100-SXM .* choose on-demand"):
        quote(catalogue, h100, purchase_option="reserved-9yr")


@pytest.mark.parametrize("name", ["NVIDIA H800", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A40"])
def test_an_unknown_or_unpriced_device_never_gets_a_neighbours_rate(name: str) -> None:
    with pytest.raises(PriceError, match="--price"):
        quote(load_catalogue(), name)


def test_an_unknown_device_is_found_under_its_own_name_in_a_users_list(make_price: Callable[..., Price]) -> None:
    row = make_price(device_name="NVIDIA Fancy 9")
    assert quote(Catalogue(prices=(row,), origin="test"), "nvidia fancy 9").chosen == row


def test_the_users_word_names_an_unknown_device_but_cannot_contradict_a_known_one() -> None:
    catalogue = load_catalogue()
    assert quote(catalogue, "Graphics Device", gpu="H200").chosen.device_name == "H200"
    assert quote(catalogue, "NVIDIA H200", gpu="h200").chosen.device_name == "H200"
    with pytest.raises(PriceError, match=r"measured on NVIDIA H200 \(H200\), so a price of H100-SXM"):
        quote(catalogue, "NVIDIA H200", gpu="H100-SXM")
    assert quote(catalogue, "NVIDIA H100 PCIe", gpu="H100").chosen.device_name == "H100-PCIe"
    with pytest.raises(PriceError, match="say H100-NVL, H100-PCIe or H100-SXM"):
        quote(catalogue, "Graphics Device", gpu="H100")


def test_the_users_rate_is_taken_as_it_is() -> None:
    found = quote(load_catalogue(), "NVIDIA H800", usd_per_hour=2.95)
    assert (found.chosen.usd_per_hour, found.chosen.provider) == (Decimal("2.95"), "user")
    assert found.low == found.chosen == found.high
    assert found.candidate_count == 1


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "cheap"])
def test_a_users_rate_that_cannot_be_is_refused(rate: str) -> None:
    with pytest.raises(PriceError, match=r"2\.95"):
        quote(load_catalogue(), "NVIDIA H200", usd_per_hour=rate)


def test_a_users_rate_and_a_provider_exclude_each_other() -> None:
    with pytest.raises(PriceError, match="already is the rate"):
        quote(load_catalogue(), "NVIDIA H200", usd_per_hour=2, provider="aws")


@pytest.mark.parametrize(("name", "kind"), [(XEON, None), (EPYC, None), ("unnamed", "cpu")])
def test_a_processor_whose_use_is_not_recorded_has_no_dollars_and_says_why(name: str, kind: str | None) -> None:
    with pytest.raises(PriceError, match=r"how many vCPUs the run occupied of .* is not recorded .* --price"):
        quote(load_catalogue(), name, device_kind=kind)
    assert quote(load_catalogue(), name, device_kind=kind, usd_per_hour="0.17").chosen.usd_per_hour == Decimal("0.17")


def test_a_processor_is_never_priced_as_a_gpu() -> None:
    with pytest.raises(PriceError, match="measured on a processor"):
        quote(load_catalogue(), XEON, gpu="H100-SXM")


def test_a_whole_cpu_machine_is_the_price_of_its_own_model_or_where_it_is_the_only_one_left(
    make_price: Callable[..., Price],
) -> None:
    own = make_price(provider="gcp", instance="n2d-standard-2", device_name=EPYC, usd_per_hour="0.08")
    one = make_price(provider="aws", instance="c7i.xlarge", device_name="CPU", usd_per_hour="0.1785")
    two = make_price(provider="aws", instance="m7i.xlarge", device_name="CPU", usd_per_hour="0.2016")
    assert quote(Catalogue(prices=(own, one), origin="test"), EPYC).chosen == own
    assert quote(Catalogue(prices=(own, one), origin="test"), XEON).chosen == one
    both = Catalogue(prices=(one, two), origin="test")
    with pytest.raises(PriceError, match=r"machines listed \(c7i\.xlarge, m7i\.xlarge\) have no vcpu_count"):
        quote(both, XEON)
    assert quote(both, XEON, instance="m7i.xlarge").chosen == two
