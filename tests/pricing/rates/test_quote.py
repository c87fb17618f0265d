from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from pamprof.devices.parts import part_of
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import Catalogue, load_catalogue
from pamprof.pricing.rates.hourly_rates import Rate, rate_of, rented_rates
from pamprof.pricing.rates.price_choice import offered_rates, quote_as_measured
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.rates.rate_dates import competing, newest_possible_day
from pamprof.pricing.rates.rate_words import ordinal, rate_per_hour, standing
from tests.synthetic import synthetic_environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import Price

DAY = date(2026, 11, 28)
XEON = "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz"
EPYC = "AMD EPYC 7B13"


@pytest.mark.parametrize(
    ("reported", "provider", "instance", "device_hour"),
    [
        # Twelve providers: 3.5556, 3.59, 3.99, 4.29, 4.47, 4.732 (the sixth), 5.40, 6.305, 7.912, 10, 10.60, 10.6009.
        ("NVIDIA H200", "verda", "H200 141GB SXM", "4.732"),
        # Fourteen: 1.883, 2.69, 3.2, 3.6254, 3.627, 3.9, 4.29 (the seventh), 4.41, 4.5, 6.155, 6.88, 10, 11.06, 12.29.
        ("NVIDIA H100 80GB HBM3", "lambda", "gpu_1x_h100_sxm_80gb", "4.29"),
        ("NVIDIA H100 PCIe", "vast", "H100 PCIe cheapest", "2.5887"),
        ("NVIDIA GeForce RTX 4090", "runpod", "RTX 4090 24GB", "0.34"),
        ("NVIDIA A100-SXM4-80GB", "coreweave", "nvidia-a100", "2.7"),
        ("NVIDIA L4", "runpod", "L4 24GB", "0.49"),
        ("NVIDIA A10G", "aws", "g5.xlarge", "1.006"),  # no row of the 90 days before
        ("Tesla T4", "vast", "T4 16GB cheapest", "0.1489"),
        ("NVIDIA B200", "lambda", "gpu_1x_b200_sxm6_180gb", "6.99"),
        ("NVIDIA GH200 480GB", "lambda", "GH200 96GB", "2.29"),
    ],
)
def test_the_snapshots_default_is_the_median_provider(
    reported: str, provider: str, instance: str, device_hour: str
) -> None:
    found = quote(load_catalogue(), reported, on=DAY)
    assert (found.chosen.provider, found.chosen.instance) == (provider, instance)
    assert found.chosen.usd_per_device_hour == Decimal(device_hour)
    assert found.low.usd_per_device_hour <= found.chosen.usd_per_device_hour <= found.high.usd_per_device_hour


def test_the_snapshots_h100_spreads_from_the_marketplace_to_the_dearest_provider() -> None:
    found = quote(load_catalogue(), "NVIDIA H100 80GB HBM3", on=DAY)
    assert found.low.usd_per_device_hour == Decimal("1.883")
    assert found.high.usd_per_device_hour == Decimal("15.977")
    assert (found.candidate_count, found.rank) == (23, 10)
    assert standing(found) == "10th of 23 on-demand rates, $1.883 to $15.977"
    aws = quote(load_catalogue(), "NVIDIA H100 80GB HBM3", provider="aws", on=DAY)
    assert aws.chosen.usd_per_device_hour / found.low.usd_per_device_hour == pytest.approx(
        Decimal("3.7"), abs=Decimal("0.05")
    )


def test_rates_of_the_ninety_days_before_the_day_asked_about_decide_where_there_are_any(
    make_price: Callable[..., Price],
) -> None:
    april = make_price(provider="a", usd_per_hour="1", observed_on=date(2026, 4, 1))
    undated = make_price(provider="b", usd_per_hour="2", observed_on=None, observed_text="2026")
    august = make_price(provider="c", usd_per_hour="5", observed_on=date(2026, 8, 30))
    october = make_price(provider="d", usd_per_hour="9", observed_on=date(2026, 10, 10))
    rows = Catalogue(prices=(april, undated, august, october), origin="test")
    # 30 August is 90 days before 28 November.
    now = quote(rows, "H100-SXM", on=date(2026, 11, 28))
    assert (now.chosen, now.low, now.high, now.candidate_count, now.rank) == (august, august, october, 2, 1)
    assert quote(rows, "H100-SXM", on=date(2026, 11, 29)).chosen == october
    # In May nobody has read the later rows yet; in a year none is recent, and the older rule decides among all four.
    assert quote(rows, "H100-SXM", on=date(2026, 5, 1)).chosen == april
    assert quote(rows, "H100-SXM", on=date(2027, 11, 28)).candidate_count == 4
    assert quote(rows, "H100-SXM", provider="b", on=date(2026, 11, 28)).chosen == undated


def test_equal_rates_share_a_rank_and_an_older_quote_has_none(make_price: Callable[..., Price]) -> None:
    rows = tuple(
        make_price(provider=name, usd_per_hour=rate) for name, rate in (("a", "1"), ("b", "2"), ("c", "2"), ("d", "5"))
    )
    found = quote(Catalogue(prices=rows, origin="test"), "H100-SXM", provider="c")
    assert standing(found) == "2nd of 4 on-demand rates, $1.00 to $5.00"
    assert standing(replace(found, rank=None)) == "4 on-demand rates, $1.00 to $5.00"
    assert [ordinal(number) for number in (1, 3, 11, 22, 113)] == ["1st", "3rd", "11th", "22nd", "113th"]


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
    assert competing((fresh, old, wordless), DAY) == (fresh,)
    assert competing((fresh, old, wordless), date(2028, 1, 1)) == (fresh,)
    assert competing((wordless,), DAY) == (wordless,)
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
    assert quote(catalogue, h100, provider="aws", region="ap-northeast-1").chosen.usd_per_hour == Decimal("68.8")
    spot = quote(catalogue, "Tesla T4", provider="aws", purchase_option="spot", region="us-east-1").chosen
    assert (spot.region, spot.usd_per_hour) == ("us-east-1/use1-az2", Decimal("0.2"))
    assert quote(catalogue, h100, instance="hgx-h100").chosen.device_count == 8
    with pytest.raises(PriceError, match="matches provider aws, region moon-1; there are"):
        quote(catalogue, h100, provider="aws", region="moon-1")
    with pytest.raises(PriceError, match=r"no reserved-9yr rate of H100-SXM .* choose on-demand"):
        quote(catalogue, h100, purchase_option="reserved-9yr")


@pytest.mark.parametrize("name", ["NVIDIA H800", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A30"])
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


SLICE = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"


@pytest.mark.parametrize("gpu", [None, "H100-SXM", "H100 SXM5", SLICE])
def test_a_slice_pays_its_share_of_the_board_and_says_so(gpu: str | None, make_price: Callable[..., Price]) -> None:
    rows = tuple(make_price(provider=name, usd_per_hour=rate) for name, rate in (("a", "2.10"), ("b", "4.20")))
    found = quote(Catalogue(prices=rows, origin="test"), SLICE, gpu=gpu)
    assert found.chosen.usd_per_device_hour == Decimal("0.30")
    assert found.high.usd_per_device_hour == Decimal("0.60")
    assert rate_per_hour(found.chosen) == "$0.30 per hour of MIG 1g.10gb (1/7 of the H100-SXM)"
    assert "hour of MIG 1g.10gb (1/7 of the H100-SXM)" in rate_of(found).provenance
    assert standing(found) == "1st of 2 on-demand rates, $0.30 to $0.60"


def test_a_slice_has_a_rate_of_its_own_where_a_row_names_it(make_price: Callable[..., Price]) -> None:
    own = make_price(provider="c", instance="slice", device_name="H100-SXM MIG 1g.10gb", usd_per_hour="0.5")
    found = quote(Catalogue(prices=(make_price(usd_per_hour="2.10"), own), origin="test"), SLICE)
    assert (found.chosen, found.candidate_count) == (own, 1)


def test_what_no_share_is_known_of_has_no_dollars_but_those_of_a_row_or_a_rate_of_its_own(
    make_price: Callable[..., Price],
) -> None:
    board = make_price(device_name="A10", usd_per_hour="1.2")
    catalogue = Catalogue(prices=(board,), origin="test")
    for gpu in (None, "A10"):
        with pytest.raises(PriceError, match=r"NVIDIA A10-12Q is .*|measured on a virtual GPU.*"):
            quote(catalogue, "NVIDIA A10-12Q", gpu=gpu)
    own = make_price(device_name="NVIDIA A10-12Q", usd_per_hour="0.7")
    assert quote(Catalogue(prices=(board, own), origin="test"), "NVIDIA A10-12Q").chosen == own
    assert quote(catalogue, "NVIDIA A10-12Q", usd_per_hour="0.6").chosen.usd_per_device_hour == Decimal("0.6")
    divided = part_of(replace(synthetic_environment(device_name="NVIDIA A10"), mig_enabled=True))
    with pytest.raises(PriceError, match=r"divided by MIG .* no share of a board's rate can be charged"):
        quote(catalogue, "NVIDIA A10", part=divided)


def test_a_stored_price_stays_as_stored_unless_it_is_a_whole_boards_and_a_slice_was_measured(
    make_price: Callable[..., Price],
) -> None:
    stored = quote(Catalogue(prices=(make_price(usd_per_hour="2.10"),), origin="test"), "NVIDIA H100 80GB HBM3")
    board = synthetic_environment(device_name="NVIDIA H100 80GB HBM3")
    assert quote_as_measured(stored, board) == (stored, None)
    of_slice, _ = quote_as_measured(stored, replace(board, device_name=SLICE, mig_enabled=True))
    assert of_slice is not None
    assert of_slice.chosen.usd_per_device_hour == Decimal("0.30")
    assert of_slice.chosen.usd_per_hour == stored.chosen.usd_per_hour
    assert quote_as_measured(of_slice, replace(board, device_name=SLICE))[0] == of_slice
    none, reason = quote_as_measured(stored, replace(board, mig_enabled=True))
    assert none is None
    assert "the stored rate is that of the whole H100-SXM" in (reason or "")
    given = quote(load_catalogue(), "NVIDIA H100 80GB HBM3", usd_per_hour="0.4")
    assert quote_as_measured(given, replace(board, mig_enabled=True)) == (given, None)


def test_serving_on_a_slice_offers_and_rents_its_share(make_price: Callable[..., Price]) -> None:
    rows = (make_price(usd_per_hour="2.10"), make_price(usd_per_hour="0.7", purchase_option="spot"))
    catalogue = Catalogue(prices=rows, origin="test")
    environment = replace(synthetic_environment(device_name=SLICE), mig_enabled=True)
    on_demand, spot, _ = rented_rates(catalogue, environment)
    assert isinstance(on_demand, Rate)
    assert isinstance(spot, Rate)
    assert (on_demand.usd_per_hour, spot.usd_per_hour) == (pytest.approx(0.3), pytest.approx(0.1))
    assert [rate.usd_per_hour for rate in offered_rates(catalogue, environment)] == pytest.approx([0.3, 0.1])
