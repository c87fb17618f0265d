from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import load_catalogue, refreshed_path
from pamprof.pricing.rates.price_file import read_price_file
from pamprof.pricing.rates.rate_dates import competing, newest_possible_day
from pamprof.pricing.sources.form_factors import board
from pamprof.pricing.sources.refresh import refresh

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A stand-in with the surface the worker uses. ``body`` runs where the real library goes to the network.
STAND_IN = """
from types import SimpleNamespace as Item

class GPUHuntError(Exception):
    pass

def item(provider, name, gpu, memory, price, count=1, spot=False):
    return Item(provider=provider, instance_name=name, location="us-east-1", price=price, gpu_count=count,
                gpu_name=gpu, gpu_memory=memory, spot=spot)

class Catalog:
    def __init__(self, balance_resources, auto_reload):
        assert auto_reload is False
        self.catalog = {}

    def load(self):
        BODY

    def query(self, provider, min_gpu_count):
        return [row for row in ITEMS if row.provider in provider]
"""
LOADED = 'self.catalog = {"aws": Item(version="20261120-7"), "lambdalabs": Item(version="20261121")}'
ITEMS = """ITEMS = [
    item("aws", "p5.48xlarge", "H100", 80.0, 55.04, 8),
    item("aws", "p5.48xlarge", "H100", 80.0, 11.5616, 8, True),
    item("aws", "g6f.large", "L4", 3.0, 0.2),
    item("aws", "p4d.24xlarge", "A100", 40.0, 32.77, 8),
    item("lambdalabs", "gpu_1x_h100_pcie", "H100", 80.0, 3.29),
    item("lambdalabs", "gpu_8x_a100", "A100", 40.0, 10.0, 8),
    item("lambdalabs", "gpu_1x_a10", "A10", 24.0, 0.0),
]
"""


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    def write(body: str = LOADED, items: str = ITEMS) -> None:
        folder = tmp_path / "library"
        folder.mkdir(exist_ok=True)
        (folder / "gpuhunt.py").write_text(STAND_IN.replace("BODY", body) + items, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.delenv("GPUHUNT_CATALOG_DIR", raising=False)

    return write


def test_a_refresh_writes_dated_rows_that_the_catalogue_then_prefers(install: Callable[..., None]) -> None:
    install()
    done = refresh(("aws", "lambda", "nebius"))
    assert (done.path, done.price_count) == (refreshed_path(), 3)
    assert (done.providers, done.missing_providers) == (("aws", "lambda"), ("nebius",))
    rows = read_price_file(refreshed_path())
    by_option = {(row.instance, row.purchase_option): row for row in rows}
    on_demand = by_option["p5.48xlarge", "on-demand"]
    assert (on_demand.device_name, on_demand.usd_per_hour) == ("H100-SXM", Decimal("55.04"))
    assert on_demand.observed_on == date(2026, 11, 20)
    assert by_option["gpu_1x_h100_pcie", "on-demand"].observed_on == date(2026, 11, 21)
    assert ("p5.48xlarge", "spot") in by_option
    assert str(refreshed_path()) in load_catalogue().origin


def test_rows_at_fault_or_without_a_board_are_left_out_and_counted(install: Callable[..., None]) -> None:
    install()
    assert dict(refresh(("aws", "lambda")).left_out) == {
        "the board cannot be told from the row": 2,
        "superseded rate": 1,
        "price not above zero": 1,
    }


def test_older_rows_of_a_provider_that_sent_nothing_are_kept(install: Callable[..., None]) -> None:
    install()
    refresh(("aws", "lambda"))
    install(items=ITEMS.replace('item("lambdalabs", "gpu_1x_h100_pcie"', 'item("elsewhere", "gpu_1x_h100_pcie"'))
    done = refresh(("aws", "lambda"))
    assert done.missing_providers == ("lambda",)
    assert {row.provider for row in read_price_file(done.path)} == {"aws", "lambda"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise GPUHuntError("Failed to load catalogs")', "gpuhunt failed .*Failed to load catalogs"),
        ("import os; os._exit(9)", "gpuhunt failed .exit status 9"),
        ("pass", "sent no usable rate .0 rows"),
    ],
)
def test_a_failed_refresh_leaves_the_old_list_intact_and_says_so(
    body: str, words: str, install: Callable[..., None]
) -> None:
    install()
    refresh(("aws",))
    before = refreshed_path().read_bytes()
    install(body)
    with pytest.raises(PriceError, match=f"{words}.*is unchanged"):
        refresh(("aws",))
    assert refreshed_path().read_bytes() == before
    assert [path.name for path in refreshed_path().parent.iterdir()] == ["prices.csv"]


def test_a_network_that_never_answers_is_given_up_at_the_timeout(install: Callable[..., None]) -> None:
    install("import threading; threading.Event().wait()")
    with pytest.raises(PriceError, match=r"did not answer within 0\.2 s; .*the embedded snapshot stays in use"):
        refresh(("aws",), timeout_seconds=0.2)
    assert not refreshed_path().exists()


@pytest.mark.parametrize("seconds", [0.0, -1.0, 10.5, float("nan")])
def test_a_timeout_above_ten_seconds_or_not_above_zero_is_refused(seconds: float) -> None:
    with pytest.raises(PriceError, match="at most 10 s"):
        refresh(("aws",), timeout_seconds=seconds)


def test_no_providers_are_refused() -> None:
    with pytest.raises(PriceError, match="no provider"):
        refresh(())


def test_a_missing_library_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gpuhunt.py").write_text("raise ModuleNotFoundError('gone', name='gpuhunt')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PriceError, match=r"gpuhunt is not installed; .* pip install 'pamprof\[prices\]'"):
        refresh(("aws",))


def test_a_local_folder_is_read_without_loading_and_without_a_date(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install('raise GPUHuntError("went to the network")')
    (tmp_path / "aws.csv").write_text("", encoding="utf-8")
    os.utime(tmp_path / "aws.csv", (1_794_873_600, 1_794_873_600))  # 17 November 2026
    monkeypatch.setenv("GPUHUNT_CATALOG_DIR", str(tmp_path))
    done = refresh(("aws", "lambda"))
    assert done.missing_providers == ("lambda",)
    rows = read_price_file(done.path)
    assert {row.observed_on for row in rows} == {None}
    assert done.undated_count == len(rows) == 2
    # Without a year in its words a row would never compete, and nobody would be told.
    assert {newest_possible_day(row) for row in rows} == {date(2026, 11, 30)}  # the month of its words
    old = replace(rows[0], provider="old", observed_on=date(2025, 1, 1))
    assert old not in competing((*rows, old), date(2027, 6, 1))
    assert set(rows) <= set(competing((*rows, old), date(2027, 6, 1)))


def test_a_row_without_a_year_gets_the_day_it_was_fetched_as_its_newest(install: Callable[..., None]) -> None:
    install(LOADED.replace("20261120-7", "nightly"))
    done = refresh(("aws",), today=date(2026, 11, 28))
    assert done.undated_count == 2
    assert {row.observed_text for row in read_price_file(done.path)} == {"list version nightly, fetched 2026-11-28"}
    assert {newest_possible_day(row) for row in read_price_file(done.path)} == {date(2026, 11, 30)}


def test_a_device_that_a_provider_sends_no_more_keeps_its_rate(install: Callable[..., None]) -> None:
    install(items=ITEMS.replace("]", '    item("lambdalabs", "gpu_1x_gh200", "GH200", 96.0, 2.29),\n]'))
    refresh(("lambda",))
    install()
    done = refresh(("lambda",))
    assert done.kept_count == 1
    assert {row.device_name for row in read_price_file(done.path)} == {"H100-PCIe", "GH200"}


def test_the_command_says_what_was_kept_and_what_carries_no_day(install: Callable[..., None]) -> None:
    install(LOADED.replace("20261120-7", "nightly"))
    told = CliRunner().invoke(app, ["prices", "refresh", "--provider", "aws"])
    assert told.exit_code == 0
    assert "2 of the new rates carry no exact day: they are warned of, and used with --provider" in told.stderr
    assert "keep the rates of the embedded snapshot" in told.stderr


def test_a_folder_that_cannot_be_made_is_an_error_in_one_sentence(install: Callable[..., None], tmp_path: Path) -> None:
    install()
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(PriceError, match="cannot be written"):
        refresh(("aws",), path=tmp_path / "file" / "prices.csv")


@pytest.mark.parametrize(
    ("provider", "instance", "family", "memory", "expected"),
    [
        ("aws", "p5.4xlarge", "H100", 80.0, "H100-SXM"),
        ("azure", "Standard_ND96isr_H100_v5", "H100", 80.0, "H100-SXM"),
        ("azure", "Standard_NC40ads_H100_v5", "H100", 94.0, "H100-NVL"),
        ("azure", "Standard_NC24ads_A100_v4", "A100", 80.0, "A100-80GB-PCIe"),
        ("azure", "Standard_ND96amsr_A100_v4", "A100", 80.0, "A100-80GB-SXM"),
        ("gcp", "a3-megagpu-8g", "H100", 80.0, "H100-SXM"),
        ("gcp", "a2-highgpu-1g", "A100", 40.0, "A100-40GB-SXM"),
        ("lambda", "gpu_1x_a100_sxm4", "A100", 40.0, "A100-40GB-SXM"),
        ("nebius", "gpu-h100-sxm 1gpu-16vcpu-200gb", "H100", 80.0, "H100-SXM"),
        ("oci", "BM.GPU.A100-v2.8", "A100", 80.0, "A100-80GB-SXM"),
        ("runpod", "NVIDIA H100 80GB HBM3", "H100", 80.0, "H100-SXM"),
        ("runpod", "NVIDIA H100 NVL", "H100NVL", 94.0, "H100-NVL"),
        ("runpod", "NVIDIA H200 NVL", "H200", 141.0, "H200-NVL"),
        ("aws", "p5en.48xlarge", "H200", 141.0, "H200"),
        ("aws", "g6.xlarge", "L4", 22.35, "L4"),
        ("lambda", "gpu_1x_gh200", "GH200", 96.0, "GH200"),
        ("lambda", "gpu_1x_gh200", "GH200", 141.0, None),
        ("aws", "g7e.2xlarge", "RTXPRO6000", 96.0, "RTXPRO6000"),
        ("gcp", "g4-standard-48", "RTXPRO6000", 96.0, "RTXPRO6000"),
        ("gcp", "g4-standard-6", "RTXPRO6000", 12.0, None),
        ("nebius", "gpu-rtx6000 1gpu-24vcpu-218gb", "RTXPRO6000", 96.0, "RTXPRO6000"),
        ("oci", "BM.GPU.RTXPRO.8", "RTXPRO6000", 96.0, "RTXPRO6000"),
        ("runpod", "NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000", 96.0, "RTXPRO6000"),
        ("runpod", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTXPRO6000", 96.0, None),
        ("aws", "g6f.large", "L4", 3.0, None),
        ("aws", "p5.4xlarge", "H100", 40.0, None),
        ("lambda", "gpu_8x_a100", "A100", 40.0, None),
        ("cloudrift", "rented", "H100", 80.0, None),
        ("aws", "p5.4xlarge", "H100", None, None),
        ("aws", "trn1.32xlarge", "Trainium", 32.0, None),
    ],
)
def test_a_board_is_told_by_the_machine_or_not_at_all(
    provider: str, instance: str, family: str, memory: float | None, expected: str | None
) -> None:
    assert board(provider, instance, family, memory) == expected


def test_importing_prices_loads_neither_gpuhunt_nor_anything_heavy() -> None:
    heavy = ("gpuhunt", "torch", "numpy", "pandas", "matplotlib", "rich", "requests")
    code = (
        "import sys, pamprof.pricing.rates.quote, pamprof.pricing.rates.validate, pamprof.pricing.run_cost, "
        "pamprof.pricing.serving.decision, pamprof.pricing.sources.gpuhunt\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"
