"""The measured places of a serving curve in the terms of serving: time per output token, energy, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import UnsupportedError
from pamprof.records import Phase
from pamprof.statistics import median_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.estimate import Estimate
    from pamprof.records import Interval, Run


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPoint:
    """One measured decode step.

    Attributes:
        context: Tokens each sequence holds.
        batch_size: Sequences.
        seconds_per_output_token: A step gives each sequence one token.
        tokens_per_second: Of the whole batch on one device.
        joules_per_token: Device energy by its counter, or by integrated power without one; None where not watched.
        energy_valid: Whether that value may be quoted; False where it is None.
        state_bytes_per_sequence: State or cache of one sequence.
        peak_bytes: Memory of the step, weights included; None where it is not counted.
        idle_time_to_first_token: A prompt of ``context`` tokens read at batch 1 by a device that does nothing else;
            None where the curve cannot tell.
    """

    context: int
    batch_size: int
    seconds_per_output_token: Interval
    tokens_per_second: Interval
    joules_per_token: float | None
    energy_valid: bool
    state_bytes_per_sequence: float
    peak_bytes: int | None
    idle_time_to_first_token: Estimate | None


def serving_points(curve: ServingCurve) -> tuple[ServingPoint, ...]:
    """All measured decode steps of ``curve``, by context and batch."""
    return tuple(_point(curve, run) for run in curve.runs if run.workload.phase is Phase.DECODE)


def best_points(curve: ServingCurve) -> tuple[ServingPoint, ...]:
    """Of each measured context the step with the most tokens per second."""
    points = serving_points(curve)
    contexts = dict.fromkeys(point.context for point in points)
    return tuple(
        max(
            (point for point in points if point.context == context),
            key=lambda point: point.tokens_per_second.median,
        )
        for context in contexts
    )


def first_points(points: Sequence[ServingPoint]) -> dict[int, ServingPoint]:
    """The smallest batch of each context."""
    found: dict[int, ServingPoint] = {}
    for point in sorted(points, key=lambda point: point.batch_size):
        found.setdefault(point.context, point)
    return found


def _point(curve: ServingCurve, run: Run) -> ServingPoint:
    workload = run.workload
    step = median_interval(run.timing.wall_time_seconds)
    joules, valid = _energy(run)
    try:
        first_token = curve.prefill_seconds(workload.sequence_length)
    except UnsupportedError:
        first_token = None
    return ServingPoint(
        context=workload.sequence_length,
        batch_size=workload.batch_size,
        seconds_per_output_token=step,
        tokens_per_second=step.inverse().scaled(workload.batch_size),
        joules_per_token=joules,
        energy_valid=valid,
        state_bytes_per_sequence=run.memory.state_bytes / workload.batch_size,
        peak_bytes=run.memory.peak_bytes,
        idle_time_to_first_token=first_token,
    )


def _energy(run: Run) -> tuple[float | None, bool]:
    monitor = run.monitor
    if monitor is None or monitor.energy is None or monitor.steps <= 0:
        return None, False
    energy = monitor.energy
    joules = energy.counter_joules if energy.counter_joules is not None else energy.integrated_joules
    if joules is None:
        return None, False
    return joules / (monitor.steps * run.workload.tokens_per_step), energy.valid
