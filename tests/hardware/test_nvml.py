from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pynvml
import pytest

from pamprof.hardware.nvml.activity import GPM_SIGNALS
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.hardware.nvml.words import ERROR_SENTENCES, THROTTLE_BITS
from pamprof.hardware.visible import visible_token
from pamprof.measure.session import request
from tests.hardware.fake_driver import EPOCH_SECONDS, MIG_UUID, UUIDS, attach

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.hardware.nvml.device import NvmlDevice
    from pamprof.hardware.probe import Reading
    from tests.hardware.fake_driver import FakeDriver


def every_reading(nvml: NvmlDevice) -> dict[str, Reading[object]]:
    return {
        "name": nvml.name(),
        "uuid": nvml.uuid(),
        "driver_version": nvml.driver_version(),
        "cuda_driver_version": nvml.cuda_driver_version(),
        "mig_enabled": nvml.mig_enabled(),
        "virtualisation": nvml.virtualisation(),
        "power_limit_watts": nvml.power_limit_watts(),
        "maximum_sm_clock_hertz": nvml.maximum_sm_clock_hertz(),
        "sm_clock_hertz": nvml.sm_clock_hertz(),
        "memory_clock_hertz": nvml.memory_clock_hertz(),
        "temperature_celsius": nvml.temperature_celsius(),
        "instant_power_watts": nvml.instant_power_watts(),
        "average_power_watts": nvml.average_power_watts(),
        "energy_counter_joules": nvml.energy_counter_joules(),
        "throttle_reasons": nvml.throttle_reasons(),
        "memory_used_bytes": nvml.memory_used_bytes(),
        "other_process_count": nvml.other_process_count(os.getpid()),
        "busy_ratio_now": nvml.busy_ratio_now(),
        "busy_ratio_samples": nvml.busy_ratio_samples(EPOCH_SECONDS),
        "gpm_supported": nvml.gpm_supported(),
        "gpm_activity": nvml.gpm_activity(),
    }


def test_a_working_gpu_is_read_in_si_units(driver: FakeDriver) -> None:
    nvml = open_nvml()
    assert nvml.absent_reason is None
    assert nvml.name().value == "Fake GPU"
    assert nvml.driver_version().value == "580.65.06"
    assert nvml.cuda_driver_version().value == "13.0"
    assert nvml.power_limit_watts().value == 700.0
    assert nvml.maximum_sm_clock_hertz().value == 1.98e9
    assert nvml.sm_clock_hertz().value == 1.755e9
    assert nvml.memory_clock_hertz().value == 2.619e9
    assert nvml.temperature_celsius().value == 51.0
    assert nvml.instant_power_watts().value == 100.0
    assert nvml.energy_counter_joules().value == 5000.0
    assert nvml.memory_used_bytes().value == 3 * 2**30
    assert nvml.busy_ratio_now().value == 0.4
    assert nvml.mig_enabled().value is False
    assert nvml.virtualisation().value == "none"


def test_no_library_leaves_every_reading_unknown_for_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    attach(None, monkeypatch)
    nvml = open_nvml()
    for name, reading in every_reading(nvml).items():
        assert reading.value is None, name
        assert reading.reason == "the NVML library (libnvidia-ml.so.1) is not installed"


def test_codes_in_words_are_the_codes_pynvml_knows() -> None:
    named = {value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_") and isinstance(value, int)}
    assert set(ERROR_SENTENCES) <= named
    assert ERROR_SENTENCES[pynvml.NVML_ERROR_GPU_IS_LOST].startswith("the GPU is lost")
    assert dict(THROTTLE_BITS)[pynvml.nvmlClocksEventReasonSwPowerCap] == "software power cap"
    assert dict(THROTTLE_BITS)[pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown] == "hardware power brake slowdown"
    assert pynvml.nvmlClocksEventReasonGpuIdle not in dict(THROTTLE_BITS)


def test_library_without_a_gpu_says_so(driver: FakeDriver) -> None:
    driver.set(count=0)
    assert open_nvml().absent_reason == "the NVIDIA driver reports no GPU"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (9, "not loaded"),
        (18, "different versions"),
        (4, "permission denied"),
        (777, "NVML error 777: words of the fake"),
    ],
)
def test_an_initialisation_that_fails_is_reported_in_words(driver: FakeDriver, code: int, words: str) -> None:
    driver.set(fail=f"nvmlInitWithFlags={code}")
    nvml = open_nvml()
    assert words in (nvml.absent_reason or "")
    assert nvml.instant_power_watts().value is None


@pytest.mark.parametrize(("code", "words"), [(3, "not supported"), (4, "permission denied"), (15, "GPU is lost")])
def test_refused_readings_carry_the_reason_and_never_a_number(driver: FakeDriver, code: int, words: str) -> None:
    nvml = open_nvml()
    driver.set(fail=f"*={code}")
    readings = every_reading(nvml)
    if code == 3:  # "does not know MIG" is an answer: the GPU is not split
        assert readings.pop("mig_enabled").value is False
    for name, reading in readings.items():
        assert reading.value is None, name
        assert words in (reading.reason or ""), name


BAD_TEXT = "\udcff\udcfe"  # the bytes FF FE, as WSL 2 drivers have answered


def test_text_that_is_not_utf_8_is_unknown_and_the_gpu_is_read_all_the_same(driver: FakeDriver) -> None:
    driver.set(names=BAD_TEXT, driver=BAD_TEXT)
    nvml = open_nvml()
    for reading in (nvml.name(), nvml.driver_version()):
        assert reading.value is None
        assert reading.reason == "the driver answers with text that is not UTF-8"
    assert nvml.sm_clock_hertz().value == 1.755e9


@pytest.mark.parametrize(("second", "found"), [(BAD_TEXT, UUIDS[1]), ("Fake GPU", None)])
def test_gpus_whose_names_are_no_text_are_told_apart_all_the_same(
    driver: FakeDriver, second: str, found: str | None
) -> None:
    driver.set(count=2, names=f"{BAD_TEXT},{second}")
    assert open_nvml(environment={"CUDA_VISIBLE_DEVICES": "1"}).uuid().value == found


def test_a_name_that_is_no_text_is_replaced_by_torch_s(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.set(names=BAD_TEXT)
    monkeypatch.setattr(request, "resolve_device", lambda name: ("cuda", 0))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda ordinal: "NVIDIA RTX 4090")
    assert request.identify_device("auto") == request.IdentifiedDevice(kind="cuda", ordinal=0, name="NVIDIA RTX 4090")


@pytest.mark.parametrize(
    "fault",
    [AttributeError("undefined symbol"), OSError("bad address"), ctypes.ArgumentError("argument 1"), KeyError(1)],
)
def test_an_exception_of_the_binding_is_a_reason_not_a_crash(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(name: str) -> None:
        raise fault

    nvml = open_nvml()
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer", fail)
    for name, reading in every_reading(nvml).items():
        assert reading.value is None, name
        assert reading.reason == f"the NVML binding failed with {type(fault).__name__}: {fault}", name
    assert open_nvml().absent_reason == f"the NVML binding failed with {type(fault).__name__}: {fault}"


def test_a_gpm_sample_is_freed_whatever_the_binding_raises(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: object, sample: object) -> None:
        raise ctypes.ArgumentError("argument 2")

    driver.set(gpm=1)
    monkeypatch.setattr(pynvml, "nvmlGpmSampleGet", fail)
    assert "argument 2" in (open_nvml().gpm_activity().reason or "")
    assert driver.gpm_samples_alive() == 0


def test_memory_not_available_is_unknown_not_eighteen_exabytes(driver: FakeDriver) -> None:
    driver.set(memory="none")
    reading = open_nvml().memory_used_bytes()
    assert reading.value is None
    assert "not available" in (reading.reason or "")


def test_clock_event_reasons_are_named_and_idle_is_not_one(driver: FakeDriver) -> None:
    driver.set(reasons="1,0x4,0x68,0x102")
    nvml = open_nvml()
    assert nvml.throttle_reasons().value == ()
    assert nvml.throttle_reasons().value == ("software power cap",)
    assert nvml.throttle_reasons().value == (
        "hardware slowdown",
        "software thermal slowdown",
        "hardware thermal slowdown",
    )
    assert nvml.throttle_reasons().value == ()  # application and display clock settings are somebody's choice


def test_old_driver_is_asked_under_the_old_name(driver: FakeDriver) -> None:
    driver.set(fail="nvmlDeviceGetCurrentClocksEventReasons=13")
    assert open_nvml().throttle_reasons().value == ("software thermal slowdown",)


def test_other_processes_are_counted_when_this_one_is_listed(driver: FakeDriver) -> None:
    driver.set(pids=f"{os.getpid()},4000001,4000002")
    assert open_nvml().other_process_count(os.getpid()).value == 2


@pytest.mark.parametrize("pids", ["", "4000001"])
def test_processes_hidden_by_a_container_are_unknown_not_zero(driver: FakeDriver, pids: str) -> None:
    driver.set(pids=pids)
    reading = open_nvml().other_process_count(os.getpid())
    assert reading.value is None
    assert "containers" in (reading.reason or "")


def test_instant_power_field_that_is_refused_is_unknown(driver: FakeDriver) -> None:
    driver.set(fail="powerInstantField=3")
    assert open_nvml().instant_power_watts().reason == "not supported by this GPU or driver"
    assert open_nvml().average_power_watts().value == 100.0


def test_utilisation_samples_are_only_those_after_the_given_time(driver: FakeDriver) -> None:
    driver.advance(1.05)
    samples = open_nvml().busy_ratio_samples(EPOCH_SECONDS + 0.5).value
    assert samples is not None
    assert [round(at - EPOCH_SECONDS, 3) for at, _ in samples] == [0.6, 0.8, 1.0]
    assert {ratio for _, ratio in samples} == {0.8}


def test_stale_utilisation_samples_are_dropped(driver: FakeDriver) -> None:
    driver.set(samples="stale")
    assert open_nvml().busy_ratio_samples(EPOCH_SECONDS).value == ()


def test_gpm_ratios_come_from_two_samples_and_nothing_leaks(driver: FakeDriver) -> None:
    driver.set(gpm=1)
    nvml = open_nvml()
    assert nvml.gpm_supported().value is True
    assert nvml.gpm_activity().value == {}
    driver.advance(0.2)
    activity = nvml.gpm_activity().value
    assert activity is not None
    assert set(activity) == set(GPM_SIGNALS)
    assert activity["sm_activity_ratio"].value == pytest.approx(0.52)
    assert activity["sm_occupancy_ratio"].value == pytest.approx(0.53)
    assert activity["tensor_activity_ratio"].value == pytest.approx(0.55)
    assert activity["fp32_activity_ratio"].reason == "not supported by this GPU or driver"
    assert activity["dram_bandwidth_ratio"].reason == "the driver returned no number"
    nvml.forget_gpm()
    assert driver.gpm_samples_alive() == 0


def test_gpm_failure_frees_its_sample(driver: FakeDriver) -> None:
    driver.set(gpm=1, fail="nvmlGpmSampleGet=4")
    reading = open_nvml().gpm_activity()
    assert reading.reason == "permission denied by the driver"
    assert driver.gpm_samples_alive() == 0


def test_the_second_of_two_gpus_is_found_by_its_uuid_without_prefix(driver: FakeDriver) -> None:
    driver.set(count=2, names="Small GPU,Large GPU")
    assert open_nvml(UUIDS[1].removeprefix("GPU-")).name().value == "Large GPU"


@pytest.mark.parametrize("visible", ["1", "1,0", UUIDS[1], "GPU-aaaaaaa1"])
def test_visible_devices_lead_to_the_right_gpu(driver: FakeDriver, visible: str) -> None:
    driver.set(count=2)
    assert open_nvml(environment={"CUDA_VISIBLE_DEVICES": visible}).uuid().value == UUIDS[1]


def test_an_index_among_different_gpus_is_refused_unless_ordered_by_bus(driver: FakeDriver) -> None:
    driver.set(count=2, names="Small GPU,Large GPU")
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in (open_nvml(environment={}).absent_reason or "")
    by_bus = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}
    assert open_nvml(environment=by_bus).name().value == "Large GPU"


@pytest.mark.parametrize("visible", ["", "-1", "none", "5"])
def test_visible_devices_that_hide_the_gpu_are_named_in_the_reason(driver: FakeDriver, visible: str) -> None:
    reason = open_nvml(environment={"CUDA_VISIBLE_DEVICES": visible}).absent_reason
    assert reason is not None
    assert "CUDA" in reason


def test_a_lost_neighbour_does_not_hide_the_gpu(driver: FakeDriver) -> None:
    driver.set(count=2, fail="nvmlDeviceGetHandleByIndex_v2=15")
    assert open_nvml(UUIDS[1]).uuid().value == UUIDS[1]


def test_an_unknown_uuid_is_absent_not_the_first_gpu(driver: FakeDriver) -> None:
    assert open_nvml("GPU-ffffffff-0000-1111-2222-333333333333").absent_reason is not None


@pytest.mark.parametrize("uuid", [MIG_UUID, MIG_UUID.removeprefix("MIG-")])
def test_a_mig_instance_reads_its_own_memory_and_refuses_the_shared_sensors(driver: FakeDriver, uuid: str) -> None:
    nvml = open_nvml(uuid)
    assert nvml.mig_enabled().value is True
    assert nvml.name().value == "Fake GPU MIG 1g.5gb"
    assert nvml.memory_used_bytes().value == 2**30
    assert nvml.sm_clock_hertz().value == 1.755e9
    for reading in (
        nvml.instant_power_watts(),
        nvml.average_power_watts(),
        nvml.energy_counter_joules(),
        nvml.busy_ratio_now(),
        nvml.gpm_supported(),
    ):
        assert reading.value is None
        assert (reading.reason or "").startswith("MIG")


def test_the_virtualisation_mode_is_read_in_words(driver: FakeDriver) -> None:
    driver.set(virtual=2)
    assert open_nvml().virtualisation().value == "vgpu"
    driver.set(virtual=9)
    assert "mode 9" in (open_nvml().virtualisation().reason or "")


def test_a_device_to_be_measured_is_identified_with_the_part_of_a_board_that_it_is(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pamprof.measure.session.request.resolve_device", lambda _: ("cuda", 0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", MIG_UUID)
    driver.set(names="NVIDIA A100-SXM4-40GB")
    found = request.identify_device("cuda")
    assert found.name == "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    assert found.part is not None
    assert str(found.part.price) == "1/7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    whole = request.identify_device("cuda")
    assert (whole.name, whole.part) == ("NVIDIA A100-SXM4-40GB", None)
    driver.set(virtual=2)
    shared = request.identify_device("cuda").part
    assert shared is not None
    assert shared.kind == "a virtual GPU"


def test_a_gpu_in_mig_mode_reports_no_utilisation(driver: FakeDriver) -> None:
    driver.set(mig=1)
    assert (open_nvml().busy_ratio_samples(0.0).reason or "").startswith("MIG")


def test_visible_list_ends_at_the_first_entry_cuda_does_not_know() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "2, GPU-abc, banana, 0"}
    assert visible_token(1, environment).value == "GPU-abc"
    assert visible_token(2, environment).value is None
    assert visible_token(3, {}).value == "3"


def test_the_real_loader_finds_a_library_on_the_path(fake_library: Path) -> None:
    code = "from pamprof.hardware.nvml.lookup import open_nvml; print(open_nvml().name().value)"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(fake_library.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Fake GPU"


def test_nvml_module_does_not_load_torch() -> None:
    code = "import sys, pamprof.hardware.nvml.lookup; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
