from __future__ import annotations

import torch

from pamprof.hardware.device import open_device
from pamprof.hardware.nvml.device import NvmlDevice
from pamprof.hardware.replay import ReplayDevice
from pamprof.measure.machine.doctor import Capability, diagnose
from tests.synthetic import synthetic_run

ABSENT = NvmlDevice(None, absent_reason="the NVML library (libnvidia-ml.so.1) is not installed")


def by_name(capabilities: tuple[Capability, ...]) -> dict[str, Capability]:
    named = {capability.name: capability for capability in capabilities}
    assert len(named) == len(capabilities), "names must be unique"
    return named


def test_every_answer_has_words_and_what_works_needs_no_remedy() -> None:
    for capability in diagnose(open_device("cpu"), ABSENT):
        assert capability.detail, capability.name
        assert not (capability.available and capability.remedy), capability.name


def test_a_cpu_knows_what_it_lacks_and_what_it_has() -> None:
    found = by_name(diagnose(open_device("cpu"), ABSENT))
    assert found["torch"].available
    assert torch.__version__ in found["torch"].detail
    assert not found["CUDA device"].available
    assert not found["CUDA events"].available
    assert found["NVML"].detail == ABSENT.absent_reason
    assert found["FLOP counter"].available
    assert found["peak tensor memory"].available


def test_a_missing_compiler_is_found_before_torch_compile_fails(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    found = by_name(diagnose(open_device("cpu"), ABSENT))["torch.compile"]
    assert not found.available
    assert "C++ compiler" in found.detail
    assert "g++" in (found.remedy or "")


def test_a_gpu_without_nvml_still_has_events() -> None:
    found = by_name(diagnose(ReplayDevice(synthetic_run()), ABSENT))
    assert found["CUDA device"].detail.startswith("NVIDIA H200")
    assert found["CUDA events"].available
    assert not found["NVML"].available
    assert found["NVML"].remedy
    assert "energy counter" not in found
