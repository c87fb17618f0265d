from __future__ import annotations

import dataclasses
import time

import pytest
import torch

from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.measure.machine.doctor import diagnose
from pamprof.measure.machine.monitor import monitor, probes_for

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_the_gpu_times_its_own_work_and_counts_its_tensors() -> None:
    device = open_device("cuda")
    device.reset_peak_memory()
    started = device.start_timer()
    matrix = torch.randn(2048, 2048, device=device.torch_device)
    matrix @ matrix
    elapsed = device.stop_timer(started)
    device.synchronise()
    assert elapsed is not None
    assert 0 < elapsed() < 10
    device.flush_cache()
    device.empty_cache()


def test_a_gpu_allocation_that_cannot_be_is_out_of_memory() -> None:
    device = open_device("cuda")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, device=device.torch_device)
    assert device.is_out_of_memory(caught.value)


def test_nvml_finds_the_gpu_cuda_uses() -> None:
    device = open_device("cuda")
    nvml = open_nvml(device.uuid)
    assert nvml.absent_reason is None
    assert nvml.name().value == device.name


def test_the_environment_of_a_gpu_is_complete() -> None:
    device = open_device("cuda")
    environment, unknowns = read_environment(device, open_nvml(device.uuid))
    missing = {f"environment.{f.name}" for f in dataclasses.fields(environment) if getattr(environment, f.name) is None}
    assert {unknown.field for unknown in unknowns} == missing
    for name in ("compute_capability", "multiprocessor_count", "l2_cache_bytes", "driver_version", "power_limit_watts"):
        assert getattr(environment, name) is not None, unknowns
    assert environment.maximum_sm_clock_hertz is not None
    assert 5e8 < environment.maximum_sm_clock_hertz < 5e9


def test_a_busy_gpu_is_seen_busy() -> None:
    device = open_device("cuda")
    matrix = torch.randn(4096, 4096, device=device.torch_device, dtype=torch.bfloat16)
    window, unknowns = monitor(
        lambda: matrix @ matrix,
        synchronise=device.synchronise,
        probes=probes_for(device, open_nvml(device.uuid)),
        minimum_seconds=2.4,
        origin=time.perf_counter(),
    )
    told = {unknown.field: unknown.reason for unknown in unknowns}
    series = {one.signal: one for one in window.series}
    assert 2.4 <= window.window_seconds < 3.0
    assert max(series["power_watts"].values) > 50
    assert "gpu_busy_ratio" in series or "monitor.series.gpu_busy_ratio" in told
    if "gpu_busy_ratio" in series:
        assert sorted(series["gpu_busy_ratio"].values)[len(series["gpu_busy_ratio"].values) // 2] > 0.8
    if "tensor_activity_ratio" in series:
        assert max(series["tensor_activity_ratio"].values) > 0.2
    assert window.energy is not None


def test_the_doctor_answers_for_a_gpu() -> None:
    named = {capability.name: capability for capability in diagnose()}
    assert named["CUDA device"].available
    assert named["CUDA events"].available
    assert named["NVML"].available
