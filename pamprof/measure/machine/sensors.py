"""Power, clocks and the power limit of a device between two windows, through NVML where it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.hardware.nvml.device import NvmlDevice

_POWER = "power"  # in NVML's reasons for lowered clocks: software power cap, hardware power brake


class NvmlSensors:
    """What NVML says at the moment; a device that it does not know answers None and is at no limit."""

    def __init__(self, nvml: NvmlDevice) -> None:
        self._nvml = nvml

    def power_watts(self) -> float | None:
        """Of the whole board, as the driver averages it."""
        return self._nvml.average_power_watts().value

    def clock_hertz(self) -> float | None:
        """Of the multiprocessors."""
        return self._nvml.sm_clock_hertz().value

    def at_power_limit(self) -> bool:
        """Whether the clocks are held down for power."""
        return any(_POWER in reason for reason in self._nvml.throttle_reasons().value or ())
