"""Watches a GPU through NVML while it works: power, energy, clocks, throttling, busy share, GPM activity.

Sampled by one thread beside the launching one, so a poll makes few calls: what moves fast is read every time, the rest
every fifth time.
"""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

from pamprof.hardware.nvml.activity import GPM_SIGNALS
from pamprof.hardware.probe import Observation, Reading, Sample
from pamprof.records import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.nvml.device import NvmlDevice

_SLOW_EVERY_POLLS = 5
_GPM_INTERVAL_SECONDS = 0.15  # the driver needs more than 100 ms between two samples
_BUSY_FETCH_SECONDS = 2.0  # the driver keeps some tens of samples; fetched before they are overwritten
_BUSY_AVERAGING_SECONDS = 1.0  # longest time over which the driver's rate looks back
_NO_GPM = "this GPU has no GPM activity counters (Hopper or later has them)"
_NO_BUSY_SAMPLE = "the driver's utilisation samples all lie outside the window"

_UTILISATION_SAMPLES = "nvml utilization samples"
_UTILISATION_RATES = "nvml utilization rates"


class NvmlProbe:
    """A probe of one GPU; with an absent device it only says why every signal is missing.

    Args:
        nvml: The device.
        clock: Monotonic seconds, the same as the monitor's.
        epoch_clock: Seconds since 1970, the clock of NVML's own time stamps.
    """

    def __init__(
        self,
        nvml: NvmlDevice,
        *,
        clock: Callable[[], float] = time.perf_counter,
        epoch_clock: Callable[[], float] = time.time,
    ) -> None:
        # An absent device answers the same at every poll; it is asked at the window's ends alone.
        self.interval_seconds = 0.02 if nvml.absent_reason is None else math.inf
        self._nvml = nvml
        self._clock = clock
        self._epoch_clock = epoch_clock
        self._reset()

    def _reset(self) -> None:
        self._polls = 0
        self._start_seconds = self._clock()
        self._epoch_offset_seconds = self._epoch_clock() - self._start_seconds
        self._seen_epoch_seconds = self._start_seconds + self._epoch_offset_seconds
        self._busy_fetched_seconds = self._start_seconds
        self._gpm_seconds = self._start_seconds
        self._gpm = False
        self._instant_power = False
        self._samples: list[Sample] = []
        self._busy_rates: list[Sample] = []
        self._reasons: dict[str, str] = {}
        self._answered: set[str] = set()

    def start(self) -> Observation:
        """Choose what to read, take the first readings, forget what came before."""
        self._reset()
        self._instant_power = self._nvml.instant_power_watts().value is not None
        supported = self._nvml.gpm_supported()
        self._gpm = bool(supported.value)
        if self._gpm:
            self._read_gpm()
        else:
            for signal in GPM_SIGNALS:
                self._reasons[f"series.{signal}"] = supported.reason or _NO_GPM
        return self._observe(slow=True, look_at_processes=True)

    def poll(self) -> Observation:
        """Read what moves fast, every fifth time the rest."""
        self._polls += 1
        slow = self._polls % _SLOW_EVERY_POLLS == 0
        now = self._clock()
        if self._gpm and now - self._gpm_seconds >= _GPM_INTERVAL_SECONDS:
            self._read_gpm()
        if now - self._busy_fetched_seconds >= _BUSY_FETCH_SECONDS:
            self._fetch_busy()
        return self._observe(slow=slow, look_at_processes=False)

    def finish(self) -> Observation:
        """Take the last readings, fetch the driver's own samples, and give the reason for what is missing."""
        if self._gpm and self._clock() - self._gpm_seconds >= _GPM_INTERVAL_SECONDS:
            self._read_gpm()
        self._nvml.forget_gpm()
        self._fetch_busy()
        last = self._observe(slow=True, look_at_processes=True)
        samples = last.samples + self._busy_fallback()
        unknowns = tuple(
            Unknown(field=f"monitor.{field}", reason=reason if field not in self._answered else f"partly: {reason}")
            for field, reason in self._reasons.items()
        )
        return Observation(
            samples=samples,
            energy_readings=last.energy_readings,
            throttle_reasons=last.throttle_reasons,
            other_process_count=last.other_process_count,
            unknowns=unknowns,
        )

    def _observe(self, *, slow: bool, look_at_processes: bool) -> Observation:
        nvml = self._nvml
        power = nvml.instant_power_watts() if self._instant_power else nvml.average_power_watts()
        self._sample("power_watts", "nvml power instant" if self._instant_power else "nvml power usage", power)
        energy = nvml.energy_counter_joules()
        energy_seconds = self._clock()
        self._note("energy.counter_joules", energy)
        self._sample("sm_clock_hertz", "nvml clock", nvml.sm_clock_hertz())
        throttle = nvml.throttle_reasons()
        self._note("throttle_reasons", throttle)
        if slow:
            self._sample("memory_clock_hertz", "nvml clock", nvml.memory_clock_hertz())
            self._sample("temperature_celsius", "nvml temperature", nvml.temperature_celsius())
            self._sample("device_used_bytes", "nvml memory info", nvml.memory_used_bytes().map(float))
            rate = nvml.busy_ratio_now()
            self._note("series.gpu_busy_ratio", rate, answers=False)
            if rate.value is not None:
                self._busy_rates.append(Sample("gpu_busy_ratio", _UTILISATION_RATES, self._clock(), rate.value))
        processes = None
        if look_at_processes:
            others = nvml.other_process_count(os.getpid())
            self._note("other_process_count", others)
            processes = others.value
        samples, self._samples = tuple(self._samples), []
        return Observation(
            samples=samples,
            energy_readings=() if energy.value is None else ((energy_seconds, energy.value),),
            throttle_reasons=throttle.value,
            other_process_count=processes,
        )

    def _sample(self, signal: str, source: str, reading: Reading[float]) -> None:
        self._note(f"series.{signal}", reading)
        if reading.value is not None:
            self._samples.append(Sample(signal, source, self._clock(), reading.value))

    def _note(self, field: str, reading: Reading[object], *, answers: bool = True) -> None:
        """Keep the latest reason, and whether the field was ever answered: a GPU may be lost in the middle."""
        if reading.reason is not None:
            self._reasons[field] = reading.reason
        elif answers:
            self._answered.add(field)

    def _read_gpm(self) -> None:
        activity = self._nvml.gpm_activity()
        self._gpm_seconds = self._clock()
        for signal in GPM_SIGNALS:
            if activity.value is None:
                self._note(f"series.{signal}", activity)
            elif signal in activity.value:
                self._sample(signal, "nvml gpm", activity.value[signal])

    def _fetch_busy(self) -> None:
        self._busy_fetched_seconds = self._clock()
        fetched = self._nvml.busy_ratio_samples(self._seen_epoch_seconds)
        self._note("series.gpu_busy_ratio", fetched, answers=False)
        for epoch_seconds, ratio in fetched.value or ():
            at = epoch_seconds - self._epoch_offset_seconds
            if self._start_seconds <= at <= self._busy_fetched_seconds:
                self._samples.append(Sample("gpu_busy_ratio", _UTILISATION_SAMPLES, at, ratio))
                self._answered.add("series.gpu_busy_ratio")
            self._seen_epoch_seconds = max(self._seen_epoch_seconds, epoch_seconds)

    def _busy_fallback(self) -> tuple[Sample, ...]:
        """The polled rates, where the driver kept no sample inside the window; the early ones look back before it."""
        if "series.gpu_busy_ratio" in self._answered:
            return ()
        settled = self._start_seconds + _BUSY_AVERAGING_SECONDS
        rates = tuple(sample for sample in self._busy_rates if sample.clock_seconds >= settled)
        if rates:
            self._answered.add("series.gpu_busy_ratio")
        else:
            self._reasons.setdefault("series.gpu_busy_ratio", _NO_BUSY_SAMPLE)
        return rates
