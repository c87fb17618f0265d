from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

import pamprof.pricing.sources
from pamprof.errors import PriceError
from pamprof.pricing.rates.price_file import read_price_file
from pamprof.pricing.sources.refresh import refresh
from pamprof.pricing.sources.source import price_source, price_sources

if TYPE_CHECKING:
    from pathlib import Path

ONE_FILE = """
from datetime import date
from decimal import Decimal

from pamprof.pricing.sources.source import FetchedPrices, PriceSource
from pamprof.records import Price


def fetch(providers, timeout_seconds):
    price = Price(
        provider=providers[0], instance="gpu_1x_h100_sxm5", region="north", purchase_option="on-demand",
        device_name="H100-SXM", device_count=1, usd_per_hour=Decimal("2.5"), observed_on=date(2026, 11, 20),
        observed_text="2026-11-20", source="https://prices.example", device_memory_gib=80,
    )
    return FetchedPrices(prices=(price,), row_count=2, left_out=(("no board", 1),))


SOURCE = PriceSource(name="example", providers=("lambda",), fetch=fetch)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pamprof_example_prices.py").write_text(ONE_FILE, encoding="utf-8")
    return tmp_path


def test_a_source_is_added_with_one_file(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(pamprof.pricing.sources, "__path__", [*pamprof.pricing.sources.__path__, str(folder)])
    assert set(price_sources()) == {"gpuhunt", "example"}
    done = refresh(source="example", path=folder / "prices.csv")
    assert (done.providers, dict(done.left_out)) == (("lambda",), {"no board": 1})
    assert [str(price.usd_per_hour) for price in read_price_file(done.path)] == ["2.5"]


def test_another_packages_source_comes_through_its_entry_point(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.syspath_prepend(str(folder))

    def offered(value: str) -> None:
        entry = EntryPoint(name="example", value=value, group="pamprof.price_sources")
        monkeypatch.setattr("pamprof.pricing.sources.source.entry_points", lambda group: (entry,))

    offered("pamprof_example_prices:SOURCE")
    assert price_source("example").providers == ("lambda",)
    offered("pamprof_example_prices:fetch")
    with pytest.raises(PriceError, match="name a PriceSource"):
        price_sources()


def test_an_unknown_source_names_those_there_are() -> None:
    with pytest.raises(PriceError, match="no price source is called 'nowhere'; use gpuhunt"):
        refresh(source="nowhere")
