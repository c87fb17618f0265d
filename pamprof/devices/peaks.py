"""What a device could do at most: dense peaks and memory bandwidth, found by the device's own name.

Only complete names match, so that an unknown device is unknown instead of receiving a neighbour's figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.devices.catalogue import devices
from pamprof.records import Dtype

if TYPE_CHECKING:
    from pamprof.devices.catalogue import DevicePeaks
    from pamprof.records import Environment


def listed_peaks() -> tuple[DevicePeaks, ...]:
    """The ceilings of every device that has them, in the order of the table."""
    return tuple(device.peaks for device in devices() if device.peaks is not None)


def device_peaks(environment: Environment) -> DevicePeaks | None:
    """The ceilings of the device measured on; None for a CPU, an unknown GPU and a MIG slice of a known one."""
    if environment.device_kind != "cuda" or environment.mig_enabled:
        return None
    name = environment.device_name.strip()
    return next((peaks for peaks in listed_peaks() if name in peaks.reported_names), None)


def peak_flops_per_second(environment: Environment, dtype: Dtype) -> float | None:
    """Dense matrix peak for ``dtype`` under the precision flags in force, FLOP/s; None where it is unknown."""
    peaks = device_peaks(environment)
    if peaks is None:
        return None
    if dtype is Dtype.BFLOAT16:
        return peaks.bfloat16_flops_per_second
    return peaks.tf32_flops_per_second if environment.tf32_allowed else peaks.float32_flops_per_second


def peak_unknown_reason(environment: Environment, dtype: Dtype) -> str:
    """Why ``peak_flops_per_second`` is None, in one sentence."""
    if environment.device_kind != "cuda":
        return "the peak of a CPU depends on its vector units and clocks and is not listed"
    if environment.mig_enabled:
        return f"{environment.device_name} is divided by MIG; a slice's peak is not that of the board"
    if device_peaks(environment) is None:
        return f"no dense peak is listed for {environment.device_name}"
    return f"{environment.device_name} has no listed dense peak for {dtype}"
