from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from pamprof.errors import PriceError
from pamprof.pricing.rates.price_file import format_prices, parse_prices, read_price_file
from pamprof.records import Price

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source,observed_on\n"
ROW = "acme,big,here,on-demand,NVIDIA H200,8,80,https://prices.example,2026-11-01\n"

_words = st.text(st.characters(min_codepoint=32, exclude_categories=("C", "Z")), min_size=1, max_size=12)
_prices = st.builds(
    Price,
    provider=_words,
    instance=_words,
    region=_words,
    purchase_option=_words,
    device_name=st.sampled_from(["H100-SXM", "CPU", "FancyChip 9", "AMD EPYC 7B13"]),
    device_count=st.integers(1, 72),
    usd_per_hour=st.decimals(Decimal("0.0001"), Decimal(1000), places=6),
    observed_on=st.none() | st.dates(date(2020, 1, 1), date(2040, 1, 1)),
    observed_text=_words,
    source=_words,
    device_memory_gib=st.none() | st.integers(1, 288),
    vcpu_count=st.none() | st.integers(1, 192),
)


@given(st.lists(_prices, min_size=1, max_size=4))
def test_a_written_list_reads_back_the_same(prices: list[Price]) -> None:
    assert parse_prices(format_prices(tuple(prices)), name="list") == tuple(prices)


def test_device_names_become_canonical_and_a_processor_keeps_its_model() -> None:
    cpu_row = ROW.replace("NVIDIA H200,8", "AMD EPYC 7B13,1")
    gpu, cpu = parse_prices(HEADER + ROW + cpu_row, name="list")
    assert (gpu.device_name, gpu.usd_per_device_hour, gpu.observed_on) == ("H200", Decimal(10), date(2026, 11, 1))
    assert cpu.device_name == "AMD EPYC 7B13"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("NVIDIA H100 SXM5", "H100-SXM"),
        ("A100 80GB SXM4", "A100-80GB-SXM"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100-SXM MIG 1g.10gb"),
        ("H100 SXM5 MIG 1G.10GB", "H100-SXM MIG 1g.10gb"),
        ("NVIDIA A10-12Q", "NVIDIA A10-12Q"),
        ("H100", "H100"),  # the board stays open, and the check says so
    ],
)
def test_a_row_names_its_device_as_people_do_and_a_slice_as_a_device_of_its_own(written: str, read: str) -> None:
    (price,) = parse_prices(HEADER + ROW.replace("NVIDIA H200", written), name="list")
    assert price.device_name == read


def test_a_currency_column_may_say_usd() -> None:
    (price,) = parse_prices(HEADER.rstrip() + ",Currency\n" + ROW.rstrip() + ",usd\n", name="list")
    assert price.usd_per_device_hour == Decimal(10)


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(("\ufeff" + HEADER + ROW).replace("\n", "\r\n").encode())
    assert len(read_price_file(path)) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("provider,instance\na,b\n", ["columns region, purchase_option", "usd_per_hour", "first line must name"]),
        (HEADER.replace("usd_per_hour", "price") + ROW, ["lacks the column usd_per_hour"]),
        (HEADER, ["no rates"]),
        ("", ["lacks the columns"]),
        (HEADER + ROW + ROW.replace(",80,", ",cheap,"), ["line 3", "usd_per_hour", "'cheap' is not a number", "2.95"]),
        (HEADER + ROW.replace(",80,", ",0,"), ["line 2", "usd_per_hour", "0 is not a price"]),
        (HEADER + ROW.replace(",80,", ",-1,"), ["line 2", "usd_per_hour", "-1 is not a price"]),
        (HEADER + ROW.replace(",80,", ",nan,"), ["usd_per_hour", "'nan' is not a number"]),
        (HEADER + ROW.replace(",80,", ",inf,"), ["usd_per_hour", "'inf' is not a number"]),
        # Python reads these as 2990, 3 and 3.
        (
            HEADER + ROW.replace(",80,", ",2_990,"),
            ["line 2", "usd_per_hour", "'2_990' is not a number in plain digits"],
        ),
        (HEADER + ROW.replace(",80,", ",\u0663,"), ["usd_per_hour", "is not a number in plain digits"]),
        (HEADER + ROW.replace(",80,", ",\uff13,"), ["usd_per_hour", "is not a number in plain digits"]),
        (HEADER + ROW.replace(",8,", ",8_0,"), ["device_count", "'8_0'"]),
        ((HEADER + ROW).replace(",", ";"), ["separated by semicolons; separate them by commas", "decimals"]),
        ((HEADER + ROW).replace(",", "\t"), ["separated by tabs"]),
        (HEADER + ROW.replace(",80,", ",,"), ["usd_per_hour is empty"]),
        (HEADER + ROW.replace(",8,", ",0,"), ["device_count", "'0'"]),
        (HEADER + ROW.replace(",8,", ",2.5,"), ["device_count", "'2.5' counts part of a device", "MIG 1g.10gb"]),
        (HEADER.rstrip() + ",currency\n" + ROW.rstrip() + ",EUR\n", ["line 2", "column currency", "is in EUR"]),
        (HEADER.rstrip() + ",BillingCurrency\n" + ROW.rstrip() + ",gbp\n", ["column BillingCurrency", "is in gbp"]),
        (HEADER + ROW.replace("2026-11-01", "yesterday"), ["observed_on", "'yesterday' is not a day", "2026-04-02"]),
        (HEADER + ROW.rstrip() + ",more\n", ["line 2", "more cells"]),
        (HEADER.rstrip() + ",vcpu_count\n" + ROW.rstrip() + ",many\n", ["line 2", "column vcpu_count", "'many'"]),
        (HEADER + "acme,big\n", ["line 2", "region is empty"]),
        (HEADER + 'acme,"big\n', ["is not CSV"]),
    ],
)
def test_a_fault_names_file_line_column_and_remedy(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PriceError) as caught:
        read_price_file(path)
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_other_encodings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match="cannot be read"):
        read_price_file(tmp_path / "absent.csv")
    with pytest.raises(PriceError, match="cannot be read"):
        read_price_file(tmp_path)
    path = tmp_path / "latin.csv"
    path.write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(PriceError, match="not UTF-8"):
        read_price_file(path)


def test_a_future_exact_day_is_kept_as_written() -> None:
    tomorrow = date(2026, 11, 1) + timedelta(days=1)
    (price,) = parse_prices(HEADER + ROW.replace("2026-11-01", tomorrow.isoformat()), name="list")
    assert (price.observed_on, price.observed_text) == (tomorrow, tomorrow.isoformat())


def test_a_list_beyond_ascii_is_written_with_the_mark_that_spreadsheets_need_and_read_with_it(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(f"{HEADER}\nÜbersee,a,eu,on-demand,H200-SXM,1,2.5,Liste 7\n", encoding="utf-8-sig")
    prices = read_price_file(path)
    assert prices[0].provider == "Übersee"
    text = format_prices(prices)
    assert text.encode().startswith(b"\xef\xbb\xbfprovider,")
    path.write_text(text, encoding="utf-8")
    assert read_price_file(path) == prices
    assert format_prices((replace(prices[0], provider="acme"),)).startswith("provider,")
