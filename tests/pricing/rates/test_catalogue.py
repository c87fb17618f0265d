from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from pamprof.devices.catalogue import devices
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import (
    device_of_word,
    embedded_prices,
    list_prices,
    load_catalogue,
    refreshed_path,
)
from pamprof.pricing.rates.price_file import format_prices
from pamprof.pricing.rates.processors import is_cpu_machine, usd_per_vcpu_hour
from pamprof.pricing.rates.quote import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pamprof.records import Price


def _write(path: Path, *prices: Price) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(format_prices(prices), encoding="utf-8")


def test_the_snapshot_is_small_and_every_row_tells_its_source_date_and_known_device() -> None:
    folder = resources.files("pamprof.pricing.rates")
    assert sum(len(folder.joinpath(name).read_bytes()) for name in ("snapshot.csv", "cpu_machines.csv")) < 100_000
    for price in embedded_prices():
        assert price.source
        assert price.observed_text != "the source names no date"
        if not is_cpu_machine(price):
            assert price.device_name in {device.name for device in devices()}
            assert price.device_memory_gib is not None


def test_the_embedded_cpu_machines_state_their_vcpus_and_gaps_of_their_sources_stay_gaps() -> None:
    machines = [price for price in embedded_prices() if is_cpu_machine(price)]
    assert len(machines) == 44
    assert {price.provider for price in machines} == {"aws", "azure", "gcp", "oci"}
    assert all(price.vcpu_count and price.device_count == 1 and "https://" in price.source for price in machines)
    assert sum(price.device_name == "CPU" for price in machines) == 22
    assert {p.instance for p in machines if p.device_memory_gib is None} == {
        "Standard_F4s_v2", "Standard_F8s_v2", "Standard_F16s_v2", "Standard_F72s_v2", "Standard_D8s_v6",
        "Standard_D8as_v6",
    }  # fmt: skip
    (c7i,) = (price for price in machines if price.instance == "c7i.2xlarge")
    assert (c7i.vcpu_count, c7i.device_memory_gib, c7i.usd_per_hour) == (8, 16, Decimal("0.357"))


def test_the_snapshot_holds_no_row_marked_as_a_trap() -> None:
    for price in embedded_prices():
        words = f"{price.instance} {price.purchase_option} {price.observed_text} {price.source}".lower()
        for mark in ("suspect", "historic", "accelerator-only", "accelerator part"):
            assert mark not in words


def test_without_a_refreshed_list_the_snapshot_is_used() -> None:
    catalogue = load_catalogue()
    assert (catalogue.prices, catalogue.origin) == (embedded_prices(), "embedded snapshot")


def test_a_users_file_replaces_everything(tmp_path: Path, make_price: Callable[..., Price]) -> None:
    path = tmp_path / "mine.csv"
    _write(path, make_price())
    catalogue = load_catalogue(path)
    assert catalogue.prices == (make_price(),)
    assert catalogue.origin == str(path)


def test_a_newer_refreshed_list_replaces_what_its_providers_rent_in_it_alone(make_price: Callable[..., Price]) -> None:
    new = make_price(provider="aws", instance="p5.4xlarge", usd_per_hour="5.5", observed_on=date(2026, 11, 20))
    _write(refreshed_path(), new)
    catalogue = load_catalogue()
    of_aws = [price for price in catalogue.prices if price.provider == "aws"]
    assert [price for price in of_aws if price.device_name == "H100-SXM"] == [new]
    # A device that the refreshed list leaves out keeps the rate it had.
    assert [price for price in of_aws if price.device_name == "B200"]
    assert [price for price in catalogue.prices if price.provider == "vast"]
    assert "for what aws rent in it; embedded snapshot for the rest" in catalogue.origin


def test_the_gh200_keeps_its_rate_after_a_refresh_that_does_not_list_it(make_price: Callable[..., Price]) -> None:
    before = quote(load_catalogue(), "NVIDIA GH200 480GB", on=date(2026, 11, 28)).chosen
    _write(refreshed_path(), make_price(observed_on=date(2026, 11, 20)))  # lambda, whose GH200 is the embedded one
    assert quote(load_catalogue(), "NVIDIA GH200 480GB", on=date(2026, 11, 28)).chosen == before
    assert (before.provider, before.usd_per_hour) == ("lambda", Decimal("2.29"))


def test_rows_that_the_check_fails_are_refused_wherever_a_list_is_read(
    tmp_path: Path, make_price: Callable[..., Price]
) -> None:
    path = tmp_path / "mine.csv"
    twelve = make_price(instance="gpu_8x_h100_sxm5", device_count=12, usd_per_hour="36")
    _write(path, make_price(), twelve, make_price(provider="oci", device_name="A10G"))
    with pytest.raises(PriceError) as caught:
        load_catalogue(path)
    for words in (str(path), "wrong device count", "lambda gpu_8x_h100_sxm5", "name says 8", "and 1 more fault"):
        assert words in str(caught.value)
    assert len(load_catalogue(path, checked=False).prices) == 3
    _write(refreshed_path(), twelve)
    with pytest.raises(PriceError, match=r"wrong device count.* delete it, or refresh it again"):
        load_catalogue()


def test_a_word_that_leaves_the_board_open_lists_the_variants_and_another_finds_its_rows() -> None:
    catalogue = load_catalogue()
    with pytest.raises(PriceError, match="say A100-80GB-PCIe or A100-80GB-SXM"):
        device_of_word(catalogue, "A100-80GB")
    assert device_of_word(catalogue, "H100 SXM5") == "H100-SXM"
    assert {row.device_name for row in list_prices(catalogue, gpu="A100-80GB")} == {"A100-80GB-PCIe", "A100-80GB-SXM"}
    assert {row.device_name for row in list_prices(catalogue, gpu="H100 SXM5")} == {"H100-SXM"}


def test_a_row_of_the_users_list_is_found_under_its_own_name(tmp_path: Path, make_price: Callable[..., Price]) -> None:
    path = tmp_path / "mine.csv"
    _write(path, make_price(device_name="H100"))
    assert device_of_word(load_catalogue(path), "h100") == "h100"


def test_a_refreshed_list_of_gpus_leaves_the_cpu_machines_of_its_providers(make_price: Callable[..., Price]) -> None:
    _write(refreshed_path(), make_price(provider="aws", instance="p5.4xlarge", observed_on=date(2026, 11, 1)))
    machines = [price for price in embedded_prices() if is_cpu_machine(price)]
    prices = load_catalogue().prices
    assert [price for price in prices if is_cpu_machine(price)] == machines
    assert [price.instance for price in prices if (price.provider, price.device_name) == ("aws", "H100-SXM")] == [
        "p5.4xlarge"
    ]


def test_a_refreshed_list_older_than_the_snapshot_is_left_aside(make_price: Callable[..., Price]) -> None:
    _write(refreshed_path(), make_price(observed_on=date(2025, 1, 1)))
    catalogue = load_catalogue()
    assert catalogue.prices == embedded_prices()
    assert "left aside" in catalogue.origin


def test_a_refreshed_list_without_dates_was_asked_for_and_is_used(make_price: Callable[..., Price]) -> None:
    row = make_price(observed_on=None, observed_text="local list")
    _write(refreshed_path(), row)
    assert row in load_catalogue().prices


def test_a_damaged_refreshed_list_is_named_with_the_way_out() -> None:
    refreshed_path().parent.mkdir(parents=True)
    refreshed_path().write_text("provider\n", encoding="utf-8")
    with pytest.raises(PriceError, match=r"prices\.csv lacks the columns .* delete it, or refresh it again"):
        load_catalogue()


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert refreshed_path().is_absolute()
    assert refreshed_path().parts[-3:] == (".cache", "pamprof", "prices.csv")


def test_listing_filters_by_family_and_provider_and_sorts_by_device_hour() -> None:
    rows = list_prices(load_catalogue(), gpu="h100", provider="AWS")
    assert {row.device_name for row in rows} == {"H100-SXM"}
    assert {row.provider for row in rows} == {"aws"}
    rates = [row.usd_per_device_hour for row in rows]
    assert rates == sorted(rates)
    assert {row.device_name for row in list_prices(load_catalogue(), gpu="H100")} == {
        "H100-SXM",
        "H100-PCIe",
        "H100-NVL",
    }
    assert list_prices(load_catalogue(), gpu="H800") == ()
    assert len(list_prices(load_catalogue())) == len(embedded_prices())


def test_cpu_machines_are_listed_last_and_by_model_or_all_together() -> None:
    kinds = [is_cpu_machine(price) for price in list_prices(load_catalogue())]
    assert kinds == sorted(kinds)
    assert len(list_prices(load_catalogue(), gpu="cpu")) == 44
    epyc = list_prices(load_catalogue(), gpu="amd epyc 9r14")
    assert [price.instance for price in epyc] == ["c7a.2xlarge", "c7a.8xlarge", "m7a.2xlarge"]
    assert [usd_per_vcpu_hour(price) for price in epyc] == sorted(usd_per_vcpu_hour(price) for price in epyc)
