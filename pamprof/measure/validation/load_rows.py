"""Busy ratio, activity counters and energy under three loads known beforehand: idle, one block, a full product.

Utilisation rates look back up to a second, so that each load runs a while before its samples count.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from pamprof.measure.machine.monitor import monitor, probes_for
from pamprof.measure.validation.judge import ENERGY_TOLERANCE, judged, not_available
from pamprof.records.validation import Agreement, ValidationGroup, ValidationRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device
    from pamprof.hardware.nvml import NvmlDevice
    from pamprof.records import Monitor, Unknown

WINDOW_SECONDS = 3.6
_SETTLING_SECONDS = 1.2
_MATRIX_SIZE = 8192
_ONE_BLOCK_LENGTH = 2**22  # some milliseconds, long beside the gap between two launches
_BUSY_TOLERANCE = 0.05
_IDLE_TOLERANCE = 0.001  # absolute, far below the share of a single multiprocessor
_ACTIVITY_TOLERANCE = 0.05  # relative

# Dense bfloat16 FLOPs of one multiprocessor in one clock. The H100's 989.4 TFLOP/s are 132 multiprocessors at 1830 MHz
# (NVIDIA H100 Tensor Core GPU datasheet and architecture white paper); H100 and H200 share the processor.
_BFLOAT16_FLOPS_PER_CLOCK = {"9.0": 4096}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadWindow:
    """One load and what was seen of it.

    Attributes:
        name: ``idle``, ``one block`` or ``bfloat16 product``.
        window: The monitored window; ``start_seconds`` counts from the same origin as its series.
        unknowns: Why signals are missing.
    """

    name: str
    window: Monitor
    unknowns: tuple[Unknown, ...]

    def mean(self, signal: str) -> float | None:
        """Mean of a signal's settled samples; None where there are none."""
        since = self.window.start_seconds + min(_SETTLING_SECONDS, self.window.window_seconds / 2)
        values = [
            value
            for series in self.window.series
            if series.signal == signal
            for at, value in zip(series.times_seconds, series.values, strict=True)
            if at >= since
        ]
        return fmean(values) if values else None

    def reason(self, field: str) -> str:
        """Why a field is missing."""
        told = [unknown.reason for unknown in self.unknowns if unknown.field == f"monitor.{field}"]
        return "; ".join(told) or "no sample fell into the settled part of the window"


def load_rows(device: Device, nvml: NvmlDevice, groups: frozenset[ValidationGroup]) -> list[ValidationRow]:
    """Rows of energy and utilisation, as far as ``groups`` asks for them."""
    if device.kind != "cuda":
        return [
            not_available(group, subject, unit=unit, witness_source=source, reason="the device is a CPU")
            for group, subject, unit, source in (
                (ValidationGroup.ENERGY, "energy of a window", "J", "integrated power"),
                (ValidationGroup.UTILISATION, "busy ratio and activity counters", "ratio", "known loads"),
            )
            if group in groups
        ]
    windows = run_loads(device, nvml)
    rows: list[ValidationRow] = []
    if ValidationGroup.ENERGY in groups:
        rows += energy_rows(windows)
    if ValidationGroup.UTILISATION in groups:
        properties = torch.cuda.get_device_properties(device.torch_device)
        rows += utilisation_rows(
            windows,
            multiprocessor_count=properties.multi_processor_count,
            compute_capability=f"{properties.major}.{properties.minor}",
        )
    return rows


def run_loads(device: Device, nvml: NvmlDevice) -> tuple[LoadWindow, ...]:
    """Run the three loads, idle first, while the device is cool."""
    where = device.torch_device
    row = torch.randn(1, _ONE_BLOCK_LENGTH, device=where)
    left, right = (torch.randn(_MATRIX_SIZE, _MATRIX_SIZE, device=where, dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(left)
    loads: tuple[tuple[str, Callable[[], object]], ...] = (
        ("idle", lambda: time.sleep(0.02)),
        # A running extremum along one row is the work of a single block.
        ("one block", lambda: torch.cummax(row, 1)),
        ("bfloat16 product", lambda: torch.mm(left, right, out=product)),
    )
    windows = []
    for name, load in loads:
        window, unknowns = monitor(
            load,
            synchronise=device.synchronise,
            probes=probes_for(device, nvml),
            minimum_seconds=WINDOW_SECONDS,
            origin=time.perf_counter(),
        )
        windows.append(LoadWindow(name=name, window=window, unknowns=unknowns))
    return tuple(windows)


def energy_rows(windows: tuple[LoadWindow, ...]) -> list[ValidationRow]:
    """The energy counter against integrated power in every window."""
    rows = []
    for load in windows:
        energy = load.window.energy
        subject = f"{load.name}, {load.window.window_seconds:.1f} s"
        if energy is None or energy.counter_joules is None or energy.integrated_joules is None:
            field = "energy" if energy is None else "energy.counter_joules"
            if energy is not None and energy.counter_joules is not None:
                field = "energy.integrated_joules"
            rows.append(
                not_available(
                    ValidationGroup.ENERGY,
                    subject,
                    unit="J",
                    witness_source="integrated power",
                    reason=load.reason(field),
                )
            )
            continue
        rows.append(
            judged(
                ValidationGroup.ENERGY,
                subject,
                unit="J",
                ours=energy.counter_joules,
                ours_source=f"NVML energy counter, {energy.counter_updates} updates",
                witness=energy.integrated_joules,
                witness_source="NVML power, integrated",
                tolerance=ENERGY_TOLERANCE,
                note="" if energy.valid else f"marked invalid: {'; '.join(energy.invalid_reasons)}",
            )
        )
    return rows


def utilisation_rows(
    windows: tuple[LoadWindow, ...], *, multiprocessor_count: int, compute_capability: str
) -> list[ValidationRow]:
    """Busy ratio and activity counters against what each load must show."""
    by_name = {load.name: load for load in windows}
    idle, block, product = by_name["idle"], by_name["one block"], by_name["bfloat16 product"]
    share = 1 / multiprocessor_count
    of_all = f"known load: one block on one of {multiprocessor_count} multiprocessors"
    return [
        _signal_row(idle, "gpu_busy_ratio", 0.0, "known load: none", _BUSY_TOLERANCE),
        _signal_row(idle, "sm_activity_ratio", 0.0, "known load: none", _IDLE_TOLERANCE),
        _signal_row(idle, "tensor_activity_ratio", 0.0, "known load: none", _IDLE_TOLERANCE),
        _signal_row(block, "gpu_busy_ratio", 1.0, "known load: never without a kernel", _BUSY_TOLERANCE),
        _signal_row(block, "sm_activity_ratio", share, of_all, _ACTIVITY_TOLERANCE, agreement=Agreement.RELATIVE),
        _signal_row(block, "tensor_activity_ratio", 0.0, "known load: no product", _IDLE_TOLERANCE),
        _signal_row(product, "gpu_busy_ratio", 1.0, "known load: never without a kernel", _BUSY_TOLERANCE),
        _tensor_row(product, multiprocessor_count, compute_capability),
    ]


def _signal_row(
    load: LoadWindow,
    signal: str,
    expected: float,
    source: str,
    tolerance: float,
    *,
    agreement: Agreement = Agreement.ABSOLUTE,
    note: str = "",
) -> ValidationRow:
    subject = f"{load.name}: {signal}"
    found = load.mean(signal)
    if found is None:
        return not_available(
            ValidationGroup.UTILISATION,
            subject,
            unit="ratio",
            witness_source=source,
            reason=load.reason(f"series.{signal}"),
        )
    return judged(
        ValidationGroup.UTILISATION,
        subject,
        unit="ratio",
        ours=found,
        ours_source="NVML" if signal == "gpu_busy_ratio" else "NVML GPM",
        witness=expected,
        witness_source=source,
        tolerance=tolerance,
        agreement=agreement,
        note="; ".join(filter(None, (note, _conditions(load)))),
    )


def _tensor_row(load: LoadWindow, multiprocessor_count: int, compute_capability: str) -> ValidationRow:
    """Activity of the tensor pipe against achieved FLOP/s over the peak at the clock that was sampled.

    A bound: a pipe that works is active, a pipe that waits for operands or is held back for power is active as well.
    """
    per_clock = _BFLOAT16_FLOPS_PER_CLOCK.get(compute_capability)
    clock = load.mean("sm_clock_hertz")
    source = "achieved FLOP/s over the peak at the sampled clock"
    if per_clock is None or clock is None:
        missing = "the SM clock was not sampled" if clock is None else "no tensor peak per clock is listed"
        return not_available(
            ValidationGroup.UTILISATION,
            f"{load.name}: tensor_activity_ratio",
            unit="ratio",
            witness_source=source,
            reason=f"{missing} (compute capability {compute_capability})",
        )
    achieved = 2 * _MATRIX_SIZE**3 * load.window.steps / load.window.window_seconds
    expected = achieved / (multiprocessor_count * per_clock * clock)
    source = f"{achieved / 1e12:.0f} TFLOP/s over the peak at {clock / 1e9:.2f} GHz"
    note = "active cycles in which the pipe was not filled count as active"
    return _signal_row(
        load,
        "tensor_activity_ratio",
        expected,
        source,
        _ACTIVITY_TOLERANCE,
        agreement=Agreement.UPPER_BOUND,
        note=note,
    )


def _conditions(load: LoadWindow) -> str:
    """What else was going on that a reader must know."""
    others = load.window.other_process_count
    said = [f"{others} other processes on the GPU"] if others else []
    if load.window.throttle_reasons:
        said.append(f"clocks held down: {', '.join(load.window.throttle_reasons)}")
    return "; ".join(said)
