from __future__ import annotations

import pytest
import torch

from pamprof.errors import DeviceError, UsageError
from pamprof.hardware import cpu_device as cpu_module, device as device_module
from pamprof.hardware.cpu_device import CpuDevice
from pamprof.hardware.device import open_device
from pamprof.hardware.memory import is_out_of_memory
from pamprof.hardware.replay import ReplayDevice
from tests.synthetic import synthetic_run

needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_the_cpu_has_no_events() -> None:
    device = open_device("cpu")
    assert (device.kind, str(device.torch_device), device.uuid) == ("cpu", "cpu", None)
    assert device.name
    assert device.stop_timer(device.start_timer()) is None
    memory = device.memory()
    assert 0 < memory.used_bytes < memory.total_bytes
    assert memory.allocated_bytes is None


@needs_no_gpu
def test_auto_without_a_gpu_is_the_cpu() -> None:
    assert open_device("auto").kind == "cpu"


@needs_no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_not_there_is_one_sentence_with_a_remedy(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        open_device(name)
    assert str(caught.value).startswith(f"device {name} was asked for, but ")
    assert "--device cpu" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cpu:0", "cuda:-1", "auto:1", ""])
def test_a_name_that_is_no_device_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="use cpu, cuda, cuda:N or auto"):
        open_device(name)


def test_an_ordinal_beyond_the_last_names_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "cuda_absent_reason", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="sees 2 of them; use cuda:0 to cuda:1"):
        open_device("cuda:2")


@pytest.mark.parametrize(
    ("built_with", "visible", "words"),
    [(None, None, "built without CUDA"), ("13.0", "", "CUDA_VISIBLE_DEVICES=''"), ("13.0", None, "nvidia-smi")],
)
def test_the_reason_for_no_gpu_tells_the_three_causes_apart(
    monkeypatch: pytest.MonkeyPatch, built_with: str | None, visible: str | None, words: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_with)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert words in (device_module.cuda_absent_reason() or "")


def test_running_out_of_memory_is_recognised_through_wrappers() -> None:
    wrapped = ValueError("the compiler failed")
    wrapped.__cause__ = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for error in (
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        wrapped,
    ):
        assert is_out_of_memory(error), error
    for error in (RuntimeError("shapes do not match"), ValueError("out of memory"), KeyboardInterrupt()):
        assert not is_out_of_memory(error), error


def test_a_real_allocation_that_cannot_be_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)


def test_an_error_that_causes_itself_ends_the_search() -> None:
    error = RuntimeError("a")
    error.__context__ = other = RuntimeError("b")
    other.__context__ = error
    assert not is_out_of_memory(error)


def test_flushing_writes_more_than_the_cache_and_can_be_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from pamprof.hardware.probe import known

    monkeypatch.setattr(cpu_module, "last_level_cache_bytes", lambda: known(2**20))
    device = CpuDevice()
    device.flush_cache()
    assert device._flush_buffer is not None
    assert device._flush_buffer.nbytes == 2**21
    device.empty_cache()
    assert device._flush_buffer is None


def test_a_replayed_device_takes_the_recorded_times() -> None:
    run = synthetic_run(wall_time_seconds=(0.2, 0.3), reference_wall_time_seconds=(0.1, 0.1))
    device = ReplayDevice(run)
    started = device.start_timer()
    device.step()
    device.step()
    elapsed = device.stop_timer(started)
    assert device.clock() == pytest.approx(0.5)
    assert elapsed is not None
    assert run.timing.device_time_seconds is not None
    assert elapsed() == pytest.approx(sum(run.timing.device_time_seconds))
    device.reference_step()
    assert device.clock() == pytest.approx(0.6)
    assert device.memory().total_bytes == run.environment.device_memory_bytes


def test_a_replayed_cpu_has_no_timer() -> None:
    device = ReplayDevice(synthetic_run(device="cpu"))
    assert device.stop_timer(device.start_timer()) is None
