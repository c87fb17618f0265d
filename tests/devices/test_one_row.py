"""A new GPU is one row of one file: peaks, names in price lists, rented machines and the roofline follow from it."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.prediction.gpu import gpu_named
from pamprof.devices import catalogue
from pamprof.devices.names import canonical_device, variants_of
from pamprof.devices.peaks import device_peaks, peak_flops_per_second
from pamprof.pricing.sources.form_factors import board
from pamprof.records import Dtype
from tests.synthetic import synthetic_environment, synthetic_records

if TYPE_CHECKING:
    from pathlib import Path

ROW = (
    "X900-SXM,X900 SXM 200 GB,NVIDIA X900 200GB HBM9,X900 200GB,200,1,7,4000,2000,125,10000,"
    r"X900,*:X900.*SXM; aws:^p9\.,a datasheet,11.0,200,2000,8000,1000,a datasheet"
)


@pytest.fixture
def one_more_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "devices.csv"
    path.write_text(catalogue.DEVICES_FILE.read_text(encoding="utf-8") + ROW + "\n", encoding="utf-8")
    monkeypatch.setattr(catalogue, "DEVICES_FILE", path)


@pytest.mark.usefixtures("one_more_row")
def test_one_row_gives_a_gpu_its_peaks_its_names_its_machines_and_its_roofline() -> None:
    environment = synthetic_environment(device_name="NVIDIA X900 200GB HBM9")
    peaks = device_peaks(environment)
    assert peaks is not None
    assert peaks.bandwidth_bytes_per_second == 10000e9
    assert peak_flops_per_second(environment, Dtype.BFLOAT16) == 4000e12
    assert peak_flops_per_second(replace(environment, tf32_allowed=True), Dtype.FLOAT32) == 2000e12
    assert canonical_device("NVIDIA X900 200GB HBM9") == canonical_device("x900 200gb") == "X900-SXM"
    assert variants_of("X900") == ("X900-SXM",)
    assert board("aws", "p9.48xlarge", "X900", 196.0) == "X900-SXM"
    assert board("aws", "p9.48xlarge", "X900", 100.0) is None
    records = synthetic_records()
    runs = tuple(replace(run, environment=environment) for run in records.runs)
    roof = analyse(replace(records, runs=runs)).roofs[0]
    assert roof.peak_flops_per_second == 4000e12
    assert [bandwidth.bytes_per_second for bandwidth in roof.bandwidths] == [10000e9]
    assert roof.source == "a datasheet"
    predicted = gpu_named("X900")
    assert (predicted.vector_rate, predicted.device.tdp_watts) == (200 * 2e9, 1000)


def test_without_the_row_the_gpu_is_unknown() -> None:
    assert device_peaks(synthetic_environment(device_name="NVIDIA X900 200GB HBM9")) is None
    assert canonical_device("NVIDIA X900 200GB HBM9") is None


def test_no_name_stands_for_two_devices_and_every_figure_names_its_source() -> None:
    names = [name.casefold() for device in catalogue.devices() for name in device.names]
    # A device's own name may be its reported one as well (the L4 is reported as "NVIDIA L4").
    assert len(set(names)) == len(names)
    with catalogue.DEVICES_FILE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            figures = [row[column] for column in row if column.endswith(("_tflops", "_gb_per_second"))]
            assert bool(row["source"]) == any(figures) == bool(row["bandwidth_gb_per_second"])
