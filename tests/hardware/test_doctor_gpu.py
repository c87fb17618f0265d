from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pamprof.hardware.nvml import open_nvml
from pamprof.hardware.replay import ReplayDevice
from pamprof.measure.machine.doctor import Capability, diagnose
from tests.synthetic import synthetic_run

if TYPE_CHECKING:
    from tests.hardware.fake_driver import FakeDriver


def found() -> dict[str, Capability]:
    return {capability.name: capability for capability in diagnose(ReplayDevice(synthetic_run()), open_nvml())}


def test_a_working_driver_is_described_by_its_readings(driver: FakeDriver) -> None:
    driver.set(gpm=1, pids=str(os.getpid()))
    seen = found()
    assert seen["NVML"].detail == "driver 580.65.06, serves CUDA up to 13.0"
    assert seen["GPU busy ratio"].detail == "40 % now"
    assert seen["GPU power"].detail == "100 W now"
    assert seen["energy counter"].detail == "5000 J since driver load"
    assert seen["clock-event reasons"].detail == "clocks are not held down"
    assert seen["other processes on the GPU"].detail == "0"
    assert seen["GPM activity counters"].available


def test_what_the_driver_refuses_is_told_with_the_remedy_where_there_is_one(driver: FakeDriver) -> None:
    driver.set(fail="nvmlGpmQueryDeviceSupport=4,nvmlDeviceGetTotalEnergyConsumption=3")
    seen = found()
    assert not seen["energy counter"].available
    assert seen["energy counter"].detail == "not supported by this GPU or driver"
    assert not seen["GPM activity counters"].available
    assert "administrator" in (seen["GPM activity counters"].remedy or "")


def test_an_older_gpu_is_told_what_gpm_needs(driver: FakeDriver) -> None:
    assert found()["GPM activity counters"].detail == "needs Hopper or later"
