"""What a run held and how busy it kept the device: memory by component, mean signals of the monitored window."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.analysis.results import Summary
    from pamprof.records import Run, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryStack:
    """Peak memory of one run by component, bytes; the components add up to the measured peak where it is known.

    Attributes:
        workload: What was measured.
        label: Its name at its point.
        components: Name and bytes, without those that are empty; state and KV cache are told apart by name.
        peak_bytes: Measured; None with the reason.
        peak_unknown_reason: Why there is no peak.
        unaccounted_bytes: What the parts claim beyond the measured peak; 0 as it should be.
    """

    workload: Workload
    label: str
    components: tuple[tuple[str, int], ...]
    peak_bytes: int | None
    peak_unknown_reason: str | None
    unaccounted_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """Means over the monitored window; None where a signal was not measured, with the reasons.

    Attributes:
        gpu_busy_ratio: Share of time in which at least one kernel ran, however small it was (NVML).
        sm_activity_ratio: Share of multiprocessors that had work (NVML GPM).
        tensor_activity_ratio: Share of cycles in which a tensor pipe was active (NVML GPM).
        dram_bandwidth_ratio: Share of the memory bandwidth in use (NVML GPM).
        cpu_busy_ratio: Share of the allotted cores in use.
        power_watts: Board power.
        sm_clock_hertz: Clock of the multiprocessors.
        unknown_reasons: Why something above is None, one sentence each, as recorded.
    """

    gpu_busy_ratio: float | None
    sm_activity_ratio: float | None
    tensor_activity_ratio: float | None
    dram_bandwidth_ratio: float | None
    cpu_busy_ratio: float | None
    power_watts: float | None
    sm_clock_hertz: float | None
    unknown_reasons: tuple[str, ...]


def memory_stack(summary: Summary) -> MemoryStack:
    """The peak of a run, stacked."""
    memory = summary.run.memory
    transient = memory.transient_bytes
    state_name = {"state": "recurrent state", "kv-cache": "KV cache"}.get(memory.state_kind or "", "state")
    components = (
        ("parameters", memory.parameter_bytes),
        ("gradients", memory.gradient_bytes),
        ("optimizer state", memory.optimizer_bytes),
        ("saved activations", memory.saved_activation_bytes or 0),
        (state_name, memory.state_bytes),
        ("inputs and outputs", memory.input_bytes),
        ("transient", max(0, transient or 0)),
    )
    return MemoryStack(
        workload=summary.workload,
        label=summary.label,
        components=tuple((name, size) for name, size in components if size > 0),
        peak_bytes=memory.peak_bytes,
        peak_unknown_reason=None if memory.peak_bytes is not None else _reason(summary.run, "memory.peak_bytes"),
        unaccounted_bytes=max(0, -(transient or 0)),
    )


def utilisation(run: Run) -> Utilisation:
    """Mean signals of the run's monitored window."""
    reasons = tuple(
        f"{unknown.field.removeprefix('monitor.')}: {unknown.reason}"
        for unknown in run.unknowns
        if unknown.field.startswith("monitor")
    )
    return Utilisation(
        gpu_busy_ratio=_mean(run, "gpu_busy_ratio"),
        sm_activity_ratio=_mean(run, "sm_activity_ratio"),
        tensor_activity_ratio=_mean(run, "tensor_activity_ratio"),
        dram_bandwidth_ratio=_mean(run, "dram_bandwidth_ratio"),
        cpu_busy_ratio=_mean(run, "cpu_busy_ratio"),
        power_watts=_mean(run, "power_watts"),
        sm_clock_hertz=_mean(run, "sm_clock_hertz"),
        unknown_reasons=reasons,
    )


def _mean(run: Run, signal: str) -> float | None:
    for series in run.monitor.series if run.monitor is not None else ():
        if series.signal == signal and series.values:
            return fmean(series.values)
    return None


def _reason(run: Run, field: str) -> str:
    for unknown in run.unknowns:
        if unknown.field == field:
            return unknown.reason
    return "not recorded"
