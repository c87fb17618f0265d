from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis.comparison.summaries import summarise
from pamprof.devices.peaks import (
    device_peaks,
    listed_peaks,
    peak_flops_per_second,
    peak_unknown_reason,
)
from pamprof.records import Dtype, Energy, Phase
from tests.synthetic import synthetic_environment, synthetic_run, synthetic_workload

DECODE = synthetic_workload("pam", "planar", phase=Phase.DECODE, batch_size=64)


def test_tokens_per_second_come_from_the_median_time() -> None:
    run = synthetic_run(DECODE, wall_time_seconds=(0.002, 0.001, 0.004), reference_wall_time_seconds=(1.0, 1.0, 1.0))
    summary = summarise(run, "arm", run)
    assert summary.sample_count == 3
    assert summary.step_seconds.median == pytest.approx(0.002)
    assert summary.tokens_per_second.median == pytest.approx(64 / 0.002)
    assert summary.tokens_per_second.low == pytest.approx(64 / summary.step_seconds.high)


def test_utilisation_is_achieved_over_the_dense_peak() -> None:
    run = synthetic_run(synthetic_workload("pam", "planar", batch_size=18), step_seconds=0.13)
    summary = summarise(run, "arm", run)
    assert summary.model_flops_utilisation is not None
    expected = run.flops.matrix_flop_count / summary.step_seconds.median / 989e12
    assert summary.model_flops_utilisation.median == pytest.approx(expected)


def test_unknown_device_has_no_utilisation_and_says_why() -> None:
    run = synthetic_run(device_name="NVIDIA H200 NVL Next")
    assert summarise(run, "arm", run).model_flops_utilisation is None
    assert "NVIDIA H200 NVL Next" in peak_unknown_reason(run.environment, Dtype.BFLOAT16)
    cpu = synthetic_environment("cpu")
    assert peak_flops_per_second(cpu, Dtype.FLOAT32) is None
    assert "CPU" in peak_unknown_reason(cpu, Dtype.FLOAT32)


@pytest.mark.parametrize(
    ("name", "bfloat16_tflops", "gigabytes_per_second"),
    [
        ("NVIDIA H200", 989, 4800),
        ("NVIDIA H100 80GB HBM3", 989.4, 3350),
        ("NVIDIA H100 PCIe", 756, 2000),
        ("NVIDIA A100-SXM4-80GB", 312, 2039),
        ("NVIDIA A100-SXM4-40GB", 312, 1555),
        ("NVIDIA A100 80GB PCIe", 312, 1935),
        ("NVIDIA GeForce RTX 4090", 165, 1008),
        ("NVIDIA L40S", 362.05, 864),
        ("NVIDIA B200", 2250, 8000),
    ],
)
def test_known_devices_are_found_by_their_own_name(
    name: str, bfloat16_tflops: float, gigabytes_per_second: float
) -> None:
    peaks = device_peaks(synthetic_environment(device_name=name))
    assert peaks is not None
    assert peaks.bfloat16_flops_per_second == pytest.approx(bfloat16_tflops * 1e12)
    assert peaks.bandwidth_bytes_per_second == pytest.approx(gigabytes_per_second * 1e9)


@pytest.mark.parametrize(
    "name",
    ["NVIDIA H100 NVL", "NVIDIA H200 NVL", "NVIDIA A10", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA H20", "H200x"],
)
def test_neighbours_of_known_devices_stay_unknown(name: str) -> None:
    assert device_peaks(synthetic_environment(device_name=name)) is None


def test_float32_peak_follows_the_tf32_flag_and_mig_hides_it() -> None:
    environment = synthetic_environment()
    assert peak_flops_per_second(environment, Dtype.FLOAT32) == pytest.approx(66.9e12)
    assert peak_flops_per_second(replace(environment, tf32_allowed=True), Dtype.FLOAT32) == pytest.approx(494.7e12)
    sliced = replace(environment, mig_enabled=True)
    assert peak_flops_per_second(sliced, Dtype.BFLOAT16) is None
    assert "MIG" in peak_unknown_reason(sliced, Dtype.BFLOAT16)
    turing = synthetic_environment(device_name="Tesla T4")
    assert peak_flops_per_second(turing, Dtype.BFLOAT16) is None
    assert "bfloat16" in peak_unknown_reason(turing, Dtype.BFLOAT16)


def test_every_known_device_names_its_source_and_no_name_is_listed_twice() -> None:
    names = [name for device in listed_peaks() for name in device.reported_names]
    assert len(set(names)) == len(names)
    assert all(device.source for device in listed_peaks())


def test_kernel_busy_ratio_is_kernel_time_over_the_step() -> None:
    run = synthetic_run(DECODE, step_seconds=0.01, kernel_seconds=0.0008)
    assert summarise(run, "arm", run).kernel_busy_ratio == pytest.approx(0.08, rel=0.02)
    busy = replace(run, timing=replace(run.timing, kernel_time_seconds=0.012))
    assert summarise(busy, "arm", busy).kernel_busy_ratio == 1.0
    assert summarise(cpu := synthetic_run(DECODE, device="cpu"), "arm", cpu).kernel_busy_ratio is None


def test_joules_per_token_divide_the_window_by_its_tokens() -> None:
    run = synthetic_run(DECODE)
    assert run.monitor is not None
    energy = Energy(counter_joules=None, integrated_joules=640.0, counter_updates=None, valid=True, invalid_reasons=())
    known = replace(run, monitor=replace(run.monitor, steps=100, energy=energy))
    assert summarise(known, "arm", known).joules_per_token == pytest.approx(640 / 6400)
    invalid = replace(run, monitor=replace(run.monitor, energy=replace(energy, valid=False)))
    assert summarise(invalid, "arm", invalid).joules_per_token is None
    assert summarise(unwatched := replace(run, monitor=None), "arm", unwatched).joules_per_token is None
