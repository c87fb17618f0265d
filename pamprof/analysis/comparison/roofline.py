"""The roofline: achieved FLOP/s over arithmetic intensity, under the device's two ceilings.

FLOP/s are measured. So are the ceilings where the session measured them (one large matrix product, one large copy);
elsewhere they are the datasheet's dense figures, and unknown for a device without them. The intensity is modelled,
because bytes are not counted: FLOPs over the least traffic a step can have, with every byte moved once where it must be
moved at all (see ``minimal_traffic_bytes``). Real traffic is higher, so a point's true place lies to the left of where
it is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.devices.peaks import device_peaks, peak_flops_per_second, peak_unknown_reason
from pamprof.records import Phase
from pamprof.units import binary_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Ceilings, Dtype, Interval, Memory, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflinePoint:
    """One run under the roof.

    Attributes:
        workload: What was measured.
        label: Its name at its point.
        flops_per_byte: Arithmetic intensity at minimal traffic.
        flops_per_second: Achieved matrix FLOP/s.
    """

    workload: Workload
    label: str
    flops_per_byte: float
    flops_per_second: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """The runs of one dtype under their ceilings.

    Attributes:
        dtype: Precision policy.
        device_name: Where.
        peak_flops_per_second: Dense matrix peak; None with ``unknown_reason``.
        bandwidth_bytes_per_second: Device memory bandwidth; None with ``unknown_reason``.
        measured: Whether the ceilings were measured on the device, not read from a datasheet.
        source: Where the ceilings were read; None without them.
        unknown_reason: Why a ceiling is missing; None where both are known.
        points: One for each run.
    """

    dtype: Dtype
    device_name: str
    peak_flops_per_second: float | None
    bandwidth_bytes_per_second: float | None
    measured: bool
    source: str | None
    unknown_reason: str | None
    points: tuple[RooflinePoint, ...]


def minimal_traffic_bytes(memory: Memory, phase: Phase) -> int:
    """The least bytes one step moves between memory and chip, from what the arm holds.

    Every phase reads its parameters and moves its inputs and outputs once. Training also writes the parameters, writes
    and reads the gradients, reads and writes the optimizer state, and writes and reads what is saved for the backward.
    Prefill writes its state or cache. Decode reads it; a recurrent state is written back as well.
    """
    once = memory.parameter_bytes + memory.input_bytes
    match phase:
        case Phase.TRAIN:
            held = memory.gradient_bytes + memory.optimizer_bytes + (memory.saved_activation_bytes or 0)
            return once + memory.parameter_bytes + 2 * held
        case Phase.PREFILL:
            return once + memory.state_bytes
        case Phase.DECODE:
            return once + memory.state_bytes * (2 if memory.state_kind == "state" else 1)


def rooflines(points: Iterable[PointAnalysis], ceilings: Iterable[Ceilings]) -> tuple[Roofline, ...]:
    """One roofline for each dtype of ``points``, in their order; under ``ceilings`` where one is of that dtype."""
    by_dtype: dict[Dtype, list[Summary]] = {}
    for point in points:
        by_dtype.setdefault(point.point.dtype, []).extend(point.summaries)
    measured = {found.dtype: found for found in ceilings}
    return tuple(_roofline(dtype, summaries, measured.get(dtype)) for dtype, summaries in by_dtype.items())


def _roofline(dtype: Dtype, summaries: Iterable[Summary], measured: Ceilings | None) -> Roofline:
    listed = list(summaries)
    environment = listed[0].run.environment
    peak = peak_flops_per_second(environment, dtype)
    peaks = device_peaks(environment)
    bandwidth = None if peaks is None else peaks.bandwidth_bytes_per_second
    source = None if peaks is None else peaks.source
    if measured is not None:
        peak, bandwidth = measured.matrix_flops_per_second, measured.copy_bytes_per_second
        source = (
            f"measured on this device: a {measured.matrix_size} × {measured.matrix_size} {dtype} product "
            f"and a copy of {binary_bytes(measured.copy_bytes)}"
        )
    return Roofline(
        dtype=dtype,
        device_name=environment.device_name,
        peak_flops_per_second=peak,
        bandwidth_bytes_per_second=bandwidth,
        measured=measured is not None,
        source=source,
        unknown_reason=peak_unknown_reason(environment, dtype) if peak is None else None,
        points=tuple(_point(summary) for summary in listed if _traffic(summary) > 0),
    )


def _traffic(summary: Summary) -> int:
    return minimal_traffic_bytes(summary.run.memory, summary.workload.phase)


def _point(summary: Summary) -> RooflinePoint:
    return RooflinePoint(
        workload=summary.workload,
        label=summary.label,
        flops_per_byte=summary.run.flops.matrix_flop_count / _traffic(summary),
        flops_per_second=summary.flops_per_second,
    )
