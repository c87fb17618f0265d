"""The roof over every measured point: what the device's fastest matrix product and its memory allow.

FLOP/s are measured. So are the ceilings where the session measured them; elsewhere they are the datasheet's dense
figures, and unknown for a device without them. The intensity is modelled, because bytes are not counted: FLOPs over the
least traffic a step can have, with every byte moved once where it must be moved at all (see ``least_traffic``). Real
traffic is higher, so a point's true place lies to the left of where it is drawn, and its true share of the roof is
higher where memory is the roof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import CeilingKind, DecodeFloor, RoofPlace
from pamprof.devices.peaks import device_peaks, peak_flops_per_second, peak_unknown_reason
from pamprof.records import Dtype, Phase
from pamprof.units import binary_bytes

if TYPE_CHECKING:
    from pamprof.records import Ceilings, Environment, Interval, Memory, Run

# Half way between a pass that only reads (1) and a copy (1/2), and between a copy and a pass that only writes (0).
_MOSTLY_READS, _MOSTLY_WRITES = 0.75, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastTraffic:
    """Bytes one step reads from memory and writes to it."""

    read_bytes: int
    write_bytes: int

    @property
    def total_bytes(self) -> int:
        """Both."""
        return self.read_bytes + self.write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Bytes per second that one kind of traffic reaches at most."""

    kind: CeilingKind
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """The ceilings of one device and dtype.

    Attributes:
        dtype: Precision policy.
        device_name: Where.
        peak_kind: What the peak is: a measured product, or a listed peak.
        peak_flops_per_second: Matrix FLOP/s; None with ``unknown_reason``.
        bandwidths: Those measured, or the listed one; empty where none is known.
        source: Where the ceilings were read; None without them.
        unknown_reason: Why the peak is missing; None where it is known.
    """

    dtype: Dtype
    device_name: str
    peak_kind: CeilingKind
    peak_flops_per_second: float | None
    bandwidths: tuple[Bandwidth, ...]
    source: str | None
    unknown_reason: str | None

    def bandwidth(self, kind: CeilingKind) -> Bandwidth | None:
        """The ceiling of traffic of ``kind``; in its place the copy's or the listed one, None where there is none."""
        known = {bandwidth.kind: bandwidth for bandwidth in self.bandwidths}
        return next((known[k] for k in (kind, CeilingKind.COPY, CeilingKind.LISTED_BANDWIDTH) if k in known), None)


def least_traffic(memory: Memory, phase: Phase) -> LeastTraffic:
    """The least bytes one step moves between memory and chip, from what the arm holds.

    Every phase reads its parameters and moves its inputs and outputs once, counted as reads. Training also writes the
    parameters, writes and reads the gradients, reads and writes the optimizer state, and writes and reads what is saved
    for the backward. Prefill writes its state or cache. Decode reads it; a recurrent state is written back as well.
    """
    once = memory.parameter_bytes + memory.input_bytes
    match phase:
        case Phase.TRAIN:
            held = memory.gradient_bytes + memory.optimizer_bytes + (memory.saved_activation_bytes or 0)
            return LeastTraffic(read_bytes=once + held, write_bytes=memory.parameter_bytes + held)
        case Phase.PREFILL:
            return LeastTraffic(read_bytes=once, write_bytes=memory.state_bytes)
        case Phase.DECODE:
            written = memory.state_bytes if memory.state_kind == "state" else 0
            return LeastTraffic(read_bytes=once + memory.state_bytes, write_bytes=written)


def traffic_of(run: Run) -> LeastTraffic:
    """``least_traffic`` of a run, whose decode reads one row of a table of learned positions instead of all."""
    memory, workload = run.memory, run.workload
    traffic = least_traffic(memory, workload.phase)
    table = run.position_parameter_count
    if workload.phase is not Phase.DECODE or not table:
        return traffic
    element_bytes = 2 if workload.dtype is Dtype.BFLOAT16 else 4
    unread = min(element_bytes * (table - workload.spec.model_dim), memory.parameter_bytes)
    return LeastTraffic(read_bytes=traffic.read_bytes - unread, write_bytes=traffic.write_bytes)


def decode_floor(run: Run, roof: Roof) -> DecodeFloor | None:
    """What a decode step takes at least for the bytes that ``run`` keeps; None elsewhere and without a bandwidth."""
    if run.workload.phase is not Phase.DECODE:
        return None
    traffic = traffic_of(run)
    if traffic.total_bytes <= 0:
        return None
    wanted = fitting_ceiling(traffic)
    bandwidth = roof.bandwidth(wanted)
    if bandwidth is None:
        return None
    return DecodeFloor(
        workload=run.workload,
        seconds=traffic.total_bytes / bandwidth.bytes_per_second,
        moved_bytes=traffic.total_bytes,
        ceiling=bandwidth.kind,
        missing_ceiling=_missing(wanted, bandwidth.kind),
    )


def _missing(wanted: CeilingKind, used: CeilingKind | None) -> CeilingKind | None:
    """The ceiling that the copy's stands in for; None where it does not."""
    return wanted if used is CeilingKind.COPY and wanted is not used else None


def fitting_ceiling(traffic: LeastTraffic) -> CeilingKind:
    """The memory ceiling nearest to ``traffic`` by the share of reads: 1 when reading, 1/2 in a copy, 0 when writing.

    So decode has the read ceiling while weights and cache outweigh the state it writes back, and training, which writes
    about as much as it reads, has the copy's.
    """
    share = traffic.read_bytes / traffic.total_bytes
    if share >= _MOSTLY_READS:
        return CeilingKind.READ
    return CeilingKind.WRITE if share <= _MOSTLY_WRITES else CeilingKind.COPY


def roof_of(environment: Environment, dtype: Dtype, measured: Ceilings | None) -> Roof:
    """The roof in ``dtype``: ``measured`` where the session did, the datasheet's otherwise."""
    peak = peak_flops_per_second(environment, dtype)
    peaks = device_peaks(environment)
    kind = CeilingKind.LISTED_PEAK
    bandwidths: tuple[Bandwidth, ...] = ()
    if peaks is not None:
        listed = peaks.bandwidth_bytes_per_second
        bandwidths = (Bandwidth(kind=CeilingKind.LISTED_BANDWIDTH, bytes_per_second=listed),)
    source = None if peaks is None else peaks.source
    if measured is not None:
        kind, peak = CeilingKind.PRODUCT, measured.matrix_flops_per_second
        bandwidths, source = _measured_bandwidths(measured), _measured_source(measured)
    return Roof(
        dtype=dtype,
        device_name=environment.device_name,
        peak_kind=kind,
        peak_flops_per_second=peak,
        bandwidths=bandwidths,
        source=source,
        unknown_reason=peak_unknown_reason(environment, dtype) if peak is None else None,
    )


def _measured_bandwidths(measured: Ceilings) -> tuple[Bandwidth, ...]:
    rates = {
        CeilingKind.READ: measured.read_bytes_per_second,
        CeilingKind.WRITE: measured.write_bytes_per_second,
        CeilingKind.COPY: measured.copy_bytes_per_second,
    }
    return tuple(Bandwidth(kind=kind, bytes_per_second=rate) for kind, rate in rates.items() if rate is not None)


def _measured_source(measured: Ceilings) -> str:
    product = (
        f"measured on this device: a {measured.matrix_size} × {measured.matrix_size} {measured.dtype} product "
        f"and a copy of {binary_bytes(measured.copy_bytes)}"
    )
    if measured.read_method is None or measured.write_method is None:
        return f"{product}, which stands in for reading and for writing alone: these records have no such ceilings"
    return f"{product}, reading it alone ({measured.read_method}) and writing it alone ({measured.write_method})"


def roof_place(run: Run, flops_per_second: Interval, roof: Roof) -> RoofPlace | None:
    """Where ``run`` stands under ``roof`` at its achieved ``flops_per_second``; None if it moves or computes none."""
    traffic = traffic_of(run)
    if traffic.total_bytes <= 0 or run.flops.matrix_flop_count <= 0:
        return None
    intensity = run.flops.matrix_flop_count / traffic.total_bytes
    wanted, peak = fitting_ceiling(traffic), roof.peak_flops_per_second
    bandwidth = roof.bandwidth(wanted)
    kind, bound = None, None
    if peak is not None and bandwidth is not None:
        below = bandwidth.bytes_per_second * intensity
        kind, bound = (roof.peak_kind, peak) if peak <= below else (bandwidth.kind, below)
    return RoofPlace(
        read_bytes=traffic.read_bytes,
        write_bytes=traffic.write_bytes,
        flops_per_byte=intensity,
        bandwidth_kind=None if bandwidth is None else bandwidth.kind,
        ceiling=kind,
        missing_ceiling=_missing(wanted, kind),
        bound_flops_per_second=bound,
        share_ratio=None if bound is None else flops_per_second.median / bound,
    )
