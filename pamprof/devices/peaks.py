"""What a device could do at most: dense peaks and memory bandwidth, found by the device's own name.

Only complete names match, so that an unknown device is unknown instead of receiving a neighbour's figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.devices.catalogue import DevicePeaks, devices
from pamprof.devices.parts import part_of
from pamprof.records import Dtype

if TYPE_CHECKING:
    from pamprof.devices.parts import BoardPart
    from pamprof.records import Environment


def listed_peaks() -> tuple[DevicePeaks, ...]:
    """The ceilings of every device that has them, in the order of the table."""
    return tuple(device.peaks for device in devices() if device.peaks is not None)


def device_peaks(environment: Environment) -> DevicePeaks | None:
    """The ceilings of the device measured on; None for a CPU, an unknown GPU and a part of a board of unknown share.

    A MIG slice has its share of the board's compute slices and of its memory slices (``pamprof.devices.parts``).
    """
    if environment.device_kind != "cuda":
        return None
    part = part_of(environment)
    if part is not None:
        return _of_part(part)
    name = environment.device_name.strip()
    return next((peaks for peaks in listed_peaks() if name in peaks.reported_names), None)


def _of_part(part: BoardPart) -> DevicePeaks | None:
    if part.board is None or part.board.peaks is None or part.compute is None or part.memory is None:
        return None
    board, compute = part.board.peaks, float(part.compute)

    def scaled(peak: float | None) -> float | None:
        return None if peak is None else peak * compute

    return DevicePeaks(
        name=f"{board.name} {part.kind}",
        reported_names=(),
        bfloat16_flops_per_second=scaled(board.bfloat16_flops_per_second),
        tf32_flops_per_second=scaled(board.tf32_flops_per_second),
        float32_flops_per_second=scaled(board.float32_flops_per_second),
        bandwidth_bytes_per_second=board.bandwidth_bytes_per_second * float(part.memory),
        source=f"{part.words}; of the board: {board.source}",
    )


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
    part = part_of(environment)
    if part is not None and part.unknown_reason:
        return f"{part.unknown_reason}; the board's peak is not that of a part"
    if device_peaks(environment) is None:
        return f"no dense peak is listed for {environment.device_name}"
    return f"{environment.device_name} has no listed dense peak for {dtype}"
