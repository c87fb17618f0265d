"""One measured step on another GPU: by its kernels where the record has them, by its roofline as a whole elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.roofline import traffic_of
from pamprof.analysis.prediction.carry import LeastWork, carried, carried_use
from pamprof.records import Execution, Interval
from pamprof.statistics import median_interval

if TYPE_CHECKING:
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.records import Run

# A step whose kernels ran for less than this share of it waited for the host, which dispatched them one by one.
_HOST_BOUND = 0.9
_REPLAYED = (Execution.GRAPH, Execution.COMPILED_GRAPH)


class Method(StrEnum):
    """How a step time on another GPU was found; also what its left-out errors are sorted by."""

    KERNELS = "kernel by kernel"
    WHOLE_STEP = "whole-step roofline"
    HOST = "bound by the host"


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedStep:
    """A step time on another GPU: the ends are the extremes of how it can be carried, of no confidence."""

    seconds: Interval
    method: Method


def measured_seconds(run: Run) -> Interval:
    """The step time as measured: median of the arm's samples with its interval."""
    return median_interval(run.timing.wall_time_seconds)


def carried_step(run: Run, here: Gpu, there: Gpu) -> CarriedStep:
    """The step of ``run``, measured ``here``, on the GPU ``there``.

    Kernel time is carried; what the step took besides, launches of a graph and gaps, stays as it was. A step that
    waited for the host takes there what the host takes or its kernels, whichever is longer, and the host there is not
    known.
    """
    wall = measured_seconds(run).median
    profiled = run.timing.kernel_time_seconds
    busy = wall if profiled is None else min(wall, profiled)
    kernels, method = _carried_kernels(run, busy, here, there)
    ends = kernels.low, kernels.median, kernels.high
    if _waits_for_host(run, wall, profiled):
        # Without a profile the kernels took at most the whole step, so that only the upper end knows of them.
        low, middle, high = ends if profiled is not None else (0.0, 0.0, kernels.high)
        longer = Interval(low=max(wall, low), median=max(wall, middle), high=max(wall, high), confidence=0.0)
        return CarriedStep(seconds=longer, method=Method.HOST)
    low, middle, high = (end + wall - busy for end in ends)
    return CarriedStep(seconds=Interval(low=low, median=middle, high=high, confidence=0.0), method=method)


def _waits_for_host(run: Run, wall: float, profiled: float | None) -> bool:
    if run.workload.execution in _REPLAYED:
        return False
    if profiled is not None:
        return profiled < _HOST_BOUND * wall
    return median(run.timing.host_time_seconds) >= _HOST_BOUND * wall


def _carried_kernels(run: Run, busy: float, here: Gpu, there: Gpu) -> tuple[Interval, Method]:
    tf32 = run.environment.tf32_allowed
    if run.kernels is not None and run.kernels.uses:
        uses = [carried_use(use, here, there, tf32=tf32) for use in run.kernels.uses]
        # The profiled step may have run in another execution than the timed one: its sum stands for the time busy.
        scale = busy / sum(use.seconds for use in run.kernels.uses)
        total = Interval(
            low=sum(use.low for use in uses) * scale,
            median=sum(use.median for use in uses) * scale,
            high=sum(use.high for use in uses) * scale,
            confidence=0.0,
        )
        return total, Method.KERNELS
    work = LeastWork(
        matrix_flop_count=run.flops.matrix_flop_count,
        vector_flop_count=0,  # it overlaps with the traffic of its operands, which is the longer of the two
        byte_count=traffic_of(run).total_bytes,
        dtype=run.workload.dtype,
        kernel_count=run.timing.kernel_count or 0,
        tf32=tf32,
        kernels_alternate=True,
    )
    return carried(busy, work, here, there), Method.WHOLE_STEP
