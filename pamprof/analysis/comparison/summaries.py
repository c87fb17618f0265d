"""One run, summarised: median times with intervals, tokens and FLOPs per second, utilisation, energy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.comparison.doubts import above_roof, doubts_of
from pamprof.analysis.comparison.joined import processes_of
from pamprof.analysis.comparison.pairing import own_seconds, time_ratio
from pamprof.analysis.comparison.results import Summary
from pamprof.analysis.comparison.roofline import decode_floor, roof_place
from pamprof.devices.peaks import peak_flops_per_second
from pamprof.statistics import median_interval

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import Doubt
    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.records import Interval, Run


def summarise(
    run: Run, label: str, baseline: Run, more_doubts: tuple[Doubt, ...] = (), *, roof: Roof | None = None
) -> Summary:
    """The summary of ``run`` under ``label``; ``more_doubts`` are those that concern its whole point.

    Its step time is ``baseline``'s own (``own_seconds``) times its ratio to ``baseline``, the ratio that the report
    shows.
    """
    processes = [one.timing for one in processes_of(run)]
    sampled = own_seconds(run)
    step = sampled if run is baseline else time_ratio(run, baseline).interval.times(own_seconds(baseline))
    device = [value for timing in processes for value in timing.device_time_seconds or ()]
    flops = step.inverse().scaled(run.flops.matrix_flop_count)
    useful = step.inverse().scaled(run.flops.model_matrix_flop_count)
    peak = peak_flops_per_second(run.environment, run.workload.dtype)
    busy = kernel_busy_ratio(run, sampled)
    place = None if roof is None else roof_place(run, flops, roof)
    return Summary(
        run=run,
        label=label,
        sample_count=sum(len(timing.wall_time_seconds) for timing in processes),
        step_seconds=step,
        sampled_step_seconds=sampled,
        device_seconds=median_interval(device) if device else None,
        tokens_per_second=step.inverse().scaled(run.workload.tokens_per_step),
        flops_per_second=flops,
        model_flops_utilisation=None if peak is None or useful.median == 0 else useful.scaled(1 / peak),
        kernel_busy_ratio=busy,
        joules_per_token=joules_per_token(run),
        doubts=(*doubts_of(run, kernel_busy_ratio=busy), *more_doubts, *above_roof(run, flops, place)),
        roof=place,
        floor=None if roof is None else decode_floor(run, roof),
    )


def kernel_busy_ratio(run: Run, step: Interval) -> float | None:
    """Kernel time of the profiled step over the median step, 0..1.

    The profiled step is another one than those timed, so a device that is always busy can come out a little above 1;
    that is reported as 1.
    """
    kernel = run.timing.kernel_time_seconds
    return None if kernel is None else min(1.0, kernel / step.median)


def joules_per_token(run: Run) -> float | None:
    """Device energy per token of the monitored window; None where it was not measured or is marked invalid.

    The device's own energy counter is taken where there is one, integrated power otherwise.
    """
    monitor = run.monitor
    if monitor is None or monitor.energy is None or not monitor.energy.valid or monitor.steps <= 0:
        return None
    energy = monitor.energy
    joules = energy.counter_joules if energy.counter_joules is not None else energy.integrated_joules
    return None if joules is None else joules / (monitor.steps * run.workload.tokens_per_step)
