"""Speed-up, efficiency, messages and energy of points that several ranks shared, from their records."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pamprof.statistics import median_interval, ratio_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Interval, Monitor, RankedRun

# Bytes that a rank sends in a ring of n ranks, as a multiple of the message, by operation; n - 1 over n each time.
# Source: the bus bandwidth of nccl-tests (github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md, read November 2026).
_PASSES = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1, "all-to-all": 1}
_BUSY = "gpu_busy_ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingPoint:
    """One point that ranks shared, beside the same arm on one device of the same machine in turn with it.

    Attributes:
        run: The record.
        step_seconds: Of all ranks: the slowest.
        alone_seconds: Of one device.
        speed_up: Tokens per second of all ranks over those of one device.
        efficiency: Speed-up over the number of ranks; 1 is what nobody exceeds but by caches.
        tokens_per_second: Of all ranks.
        sent_bytes: That each rank sends in one step, in a ring; None where no message was seen.
        sent_bytes_per_second: While a message is under way; None without its time.
        communication_ratio: Share of the step in which a message is under way; None likewise.
        exposed_ratio: Share of the step in which a message is under way and nothing else runs; None likewise.
        imbalance: Median step of the slowest rank over that of the fastest.
        joules_per_token: Of all devices; None with ``energy_reason``.
        energy_reason: Why it is not known, or not valid.
        alone_joules_per_token: Of one device by itself; None where it is not valid.
        busy_ratios: Mean share of the window in which a kernel ran, by rank; None where it was not seen.
    """

    run: RankedRun
    step_seconds: Interval
    alone_seconds: Interval
    speed_up: Interval
    efficiency: Interval
    tokens_per_second: Interval
    sent_bytes: float | None
    sent_bytes_per_second: float | None
    communication_ratio: float | None
    exposed_ratio: float | None
    imbalance: float
    joules_per_token: float | None
    energy_reason: str | None
    alone_joules_per_token: float | None
    busy_ratios: tuple[float | None, ...]

    @property
    def ranks(self) -> int:
        """How many there were."""
        return len(self.run.ranks)

    @property
    def alone_tokens_per_second(self) -> Interval:
        """Of one device by itself."""
        return self.alone_seconds.inverse().scaled(self.run.alone.tokens_per_step)

    @property
    def device_count(self) -> int:
        """Devices that are paid for: a GPU a rank; the ranks of a CPU are its cores."""
        return 1 if self.run.environment.device_kind == "cpu" else self.ranks


def scaling_points(runs: Sequence[RankedRun]) -> tuple[ScalingPoint, ...]:
    """The latest measurement of every point, in the order in which they were measured."""
    latest = {run.workload.key: run for run in runs}
    return tuple(_point(run) for run in latest.values())


def _point(run: RankedRun) -> ScalingPoint:
    step = median_interval(run.wall_time_seconds)
    gain = run.workload.batch_size / run.alone.batch_size
    speed_up = ratio_interval(run.alone_wall_time_seconds, run.wall_time_seconds).scaled(gain)
    messages = run.communication
    sent = None
    if messages is not None and messages.collectives:
        share = (len(run.ranks) - 1) / len(run.ranks)
        sent = sum(each.bytes * _PASSES.get(each.operation, 1) * share for each in messages.collectives)
    under_way = None if messages is None else messages.seconds
    exposed = None if messages is None else messages.exposed_seconds
    own = [median_interval(rank.wall_time_seconds).median for rank in run.ranks]
    joules, reason = _joules_per_token([rank.monitor for rank in run.ranks], run.workload.tokens_per_step)
    return ScalingPoint(
        run=run,
        step_seconds=step,
        alone_seconds=median_interval(run.alone_wall_time_seconds),
        speed_up=speed_up,
        efficiency=speed_up.scaled(1 / len(run.ranks)),
        tokens_per_second=step.inverse().scaled(run.workload.tokens_per_step),
        sent_bytes=sent,
        sent_bytes_per_second=sent / under_way if sent is not None and under_way else None,
        communication_ratio=None if under_way is None else min(1.0, under_way / step.median),
        exposed_ratio=None if exposed is None else min(1.0, exposed / step.median),
        imbalance=max(own) / min(own),
        joules_per_token=joules,
        energy_reason=reason,
        alone_joules_per_token=_joules_per_token([run.alone_monitor], run.alone.tokens_per_step)[0],
        busy_ratios=tuple(_busy_ratio(rank.monitor) for rank in run.ranks),
    )


def _joules_per_token(monitors: Sequence[Monitor | None], tokens_per_step: int) -> tuple[float | None, str | None]:
    """Energy of all devices per token of a step that they share, or why one device's cannot be quoted."""
    total = 0.0
    for rank, monitor in enumerate(monitors):
        who = f"rank {rank}: " if len(monitors) > 1 else ""
        if monitor is None or monitor.energy is None:
            return None, f"{who}no energy was read"
        energy = monitor.energy
        joules = energy.integrated_joules if energy.counter_joules is None else energy.counter_joules
        if not energy.valid or joules is None or monitor.steps <= 0:
            return None, f"{who}{'; '.join(energy.invalid_reasons) or 'no energy was read'}"
        total += joules / monitor.steps
    return total / tokens_per_step, None


def _busy_ratio(monitor: Monitor | None) -> float | None:
    values = [] if monitor is None else [value for s in monitor.series if s.signal == _BUSY for value in s.values]
    return fmean(values) if values else None
