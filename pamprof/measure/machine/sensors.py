"""Power, clocks and the power limit of a device while steps run, through NVML where it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.nvml.device import NvmlDevice

_POWER = "power"  # in NVML's reasons for lowered clocks: software power cap, hardware power brake
_POLL_SECONDS = 0.02  # the driver tells another clock about every 0.1 s


@dataclass(slots=True, kw_only=True)
class SensorMeans:
    """What was seen while steps ran; None where the device does not tell.

    A device at its power limit changes its clocks by a tenth from one tenth of a second to the next, so that single
    readings scatter more than the change which tells a settled device from one that is not.
    """

    power_watts: float | None
    clock_hertz: float | None
    at_power_limit: bool


class NvmlSensors:
    """What NVML says meanwhile; a device that it does not know answers None and is at no limit."""

    def __init__(self, nvml: NvmlDevice) -> None:
        self._nvml = nvml

    def during(self, work: Callable[[], object]) -> SensorMeans:
        """Do ``work`` and read the sensors of the whole board and its multiprocessors beside it, once at least."""
        readings = _Readings()
        over = Event()
        thread = Thread(target=self._read, args=(readings, over), daemon=True)
        thread.start()
        try:
            work()
        finally:
            over.set()
            thread.join()
        return SensorMeans(
            power_watts=fmean(readings.powers) if readings.powers else None,
            clock_hertz=fmean(readings.clocks) if readings.clocks else None,
            at_power_limit=readings.at_power_limit,
        )

    def _read(self, readings: _Readings, over: Event) -> None:
        while True:
            for values, reading in (
                (readings.powers, self._nvml.average_power_watts()),
                (readings.clocks, self._nvml.sm_clock_hertz()),
            ):
                if reading.value is not None:
                    values.append(reading.value)
            readings.at_power_limit |= any(_POWER in reason for reason in self._nvml.throttle_reasons().value or ())
            if over.wait(_POLL_SECONDS):
                return


@dataclass(slots=True)
class _Readings:
    powers: list[float] = field(default_factory=list)
    clocks: list[float] = field(default_factory=list)
    at_power_limit: bool = False
