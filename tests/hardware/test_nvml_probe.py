from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pamprof.hardware.nvml import open_nvml
from pamprof.hardware.nvml_probe import NvmlProbe
from pamprof.measure.machine.monitor import monitor
from tests.hardware.fake_driver import attach

if TYPE_CHECKING:
    from pamprof.records import Monitor, Series
    from tests.hardware.fake_driver import FakeDriver

STEP_SECONDS = 0.01


@dataclass(frozen=True)
class Watched:
    window: Monitor
    reasons: dict[str, str]

    def series(self, signal: str) -> Series:
        return next(series for series in self.window.series if series.signal == signal)

    def signals(self) -> set[str]:
        return {series.signal for series in self.window.series}


def watch(driver: FakeDriver, seconds: float = 2.6) -> Watched:
    """A window of the stand-in GPU in the stand-in's own time: a step lasts 10 ms."""
    probe = NvmlProbe(open_nvml(), clock=driver.clock, epoch_clock=driver.epoch_clock)
    window, unknowns = monitor(
        lambda: driver.advance(STEP_SECONDS),
        synchronise=lambda: None,
        probes=(probe,),
        minimum_seconds=seconds,
        origin=-100.0,
        clock=driver.clock,
        background=False,
    )
    return Watched(window=window, reasons={unknown.field: unknown.reason for unknown in unknowns})


def test_a_healthy_window_has_valid_energy_and_every_signal(driver: FakeDriver) -> None:
    driver.set(gpm=1, pids=f"{os.getpid()},4000001")
    seen = watch(driver)
    assert seen.window.steps == round(seen.window.window_seconds / STEP_SECONDS)
    energy = seen.window.energy
    assert energy is not None
    assert energy.counter_joules == pytest.approx(100 * seen.window.window_seconds, rel=0.01)
    assert energy.integrated_joules == pytest.approx(100 * seen.window.window_seconds, rel=1e-6)
    assert (energy.counter_updates or 0) >= 20
    assert energy.valid, energy.invalid_reasons
    assert seen.window.throttle_reasons == ()
    assert seen.window.other_process_count == 1
    assert seen.series("gpu_busy_ratio").source == "nvml utilization samples"
    assert set(seen.series("gpu_busy_ratio").values) == {0.8}
    assert set(seen.series("sm_activity_ratio").values) == {0.52}
    assert seen.signals() >= {"power_watts", "sm_clock_hertz", "memory_clock_hertz", "temperature_celsius"}
    assert set(seen.reasons) == {"monitor.series.dram_bandwidth_ratio", "monitor.series.fp32_activity_ratio"}
    assert driver.gpm_samples_alive() == 0


def test_times_are_seconds_since_the_session_began_and_inside_the_window(driver: FakeDriver) -> None:
    seen = watch(driver)
    first, last = seen.window.start_seconds, seen.window.start_seconds + seen.window.window_seconds
    assert first == pytest.approx(100.0)
    for series in seen.window.series:
        assert all(first <= at <= last + 1e-9 for at in series.times_seconds), series.signal


def test_no_library_makes_every_field_unknown_with_one_reason(
    driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(None, monkeypatch)
    seen = watch(driver, seconds=0.1)
    assert seen.window.series == ()
    assert seen.window.energy is None
    assert seen.window.throttle_reasons is None
    assert seen.window.other_process_count is None
    assert set(seen.reasons.values()) == {"the NVML library (libnvidia-ml.so.1) is not installed"}
    assert {"monitor.energy", "monitor.throttle_reasons", "monitor.other_process_count"} <= set(seen.reasons)


def test_a_counter_that_stands_still_is_unknown_not_zero(driver: FakeDriver) -> None:
    driver.set(energy="still")
    seen = watch(driver)
    assert seen.window.energy is not None
    assert seen.window.energy.counter_joules is None
    assert seen.window.energy.counter_updates == 0
    assert not seen.window.energy.valid
    assert "did not move" in seen.reasons["monitor.energy.counter_joules"]


def test_a_counter_reset_is_refused_and_power_is_kept(driver: FakeDriver) -> None:
    driver.set(energy="reset")
    seen = watch(driver)
    assert seen.window.energy is not None
    assert seen.window.energy.counter_joules is None
    assert seen.window.energy.integrated_joules == pytest.approx(260, rel=0.02)
    assert "reset" in seen.reasons["monitor.energy.counter_joules"]
    assert "the energy counter was reset during the window" in seen.window.energy.invalid_reasons


def test_a_power_sensor_that_disagrees_invalidates_both_and_loses_neither(driver: FakeDriver) -> None:
    driver.set(power_mw=150000)
    energy = watch(driver).window.energy
    assert energy is not None
    assert energy.counter_joules is not None
    assert energy.integrated_joules is not None
    assert not energy.valid
    (reason,) = energy.invalid_reasons
    assert re.fullmatch("counter and integrated power differ by (49|50|51) %, more than 5 %", reason)


def test_a_short_window_is_kept_and_marked(driver: FakeDriver) -> None:
    energy = watch(driver, seconds=0.5).window.energy
    assert energy is not None
    assert energy.counter_joules == pytest.approx(50, rel=0.1)
    assert not energy.valid
    assert "shorter than 2 s" in energy.invalid_reasons[0]


def test_throttling_in_the_middle_is_seen_and_named(driver: FakeDriver) -> None:
    driver.set(reasons="1,0,0,0,0x40,0x40,0")
    seen = watch(driver)
    assert seen.window.throttle_reasons == ("hardware thermal slowdown",)
    assert seen.window.energy is not None
    assert not seen.window.energy.valid


def test_a_gpu_lost_in_the_middle_keeps_what_was_seen_and_says_why_it_ends(driver: FakeDriver) -> None:
    driver.set(fail="*=15@120")
    seen = watch(driver)
    power = seen.series("power_watts")
    assert power.times_seconds[-1] < seen.window.start_seconds + seen.window.window_seconds / 2
    assert min(power.values) == 100.0
    assert seen.reasons["monitor.series.power_watts"].startswith("partly: the GPU is lost")
    assert seen.window.energy is not None
    assert not seen.window.energy.valid
    assert any("answered for" in reason for reason in seen.window.energy.invalid_reasons)


def test_stale_samples_fall_back_to_rates_polled_after_their_averaging_time(driver: FakeDriver) -> None:
    driver.set(samples="stale")
    busy = watch(driver).series("gpu_busy_ratio")
    assert busy.source == "nvml utilization rates"
    assert set(busy.values) == {0.4}
    assert min(busy.times_seconds) >= 101.0


def test_stale_samples_in_a_window_too_short_for_rates_are_unknown(driver: FakeDriver) -> None:
    driver.set(samples="stale")
    seen = watch(driver, seconds=0.5)
    assert "gpu_busy_ratio" not in seen.signals()
    assert "outside the window" in seen.reasons["monitor.series.gpu_busy_ratio"]


def test_gpm_unsupported_names_what_has_it(driver: FakeDriver) -> None:
    seen = watch(driver, seconds=0.5)
    assert "sm_activity_ratio" not in seen.signals()
    assert "Hopper" in seen.reasons["monitor.series.tensor_activity_ratio"]


def test_power_falls_back_to_the_averaged_reading(driver: FakeDriver) -> None:
    driver.set(fail="powerInstantField=3")
    assert watch(driver, seconds=0.5).series("power_watts").source == "nvml power usage"


def test_permission_denied_on_one_sensor_leaves_the_others(driver: FakeDriver) -> None:
    driver.set(fail="nvmlDeviceGetTotalEnergyConsumption=4,nvmlDeviceGetTemperature=3")
    seen = watch(driver)
    assert seen.reasons["monitor.energy.counter_joules"] == "permission denied by the driver"
    assert seen.reasons["monitor.series.temperature_celsius"] == "not supported by this GPU or driver"
    assert seen.window.energy is not None
    assert seen.window.energy.integrated_joules is not None
    assert not seen.window.energy.valid
    assert "power_watts" in seen.signals()


def test_mig_leaves_energy_and_utilisation_unknown(driver: FakeDriver) -> None:
    driver.set(mig=1, gpm=1)
    seen = watch(driver, seconds=0.5)
    assert seen.window.energy is None
    assert seen.reasons["monitor.energy"].startswith("MIG")
    assert seen.reasons["monitor.series.gpu_busy_ratio"].startswith("MIG")
    assert seen.reasons["monitor.series.sm_activity_ratio"].startswith("MIG")
