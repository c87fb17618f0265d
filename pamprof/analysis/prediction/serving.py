"""Serving curves of GPUs that were not swept: every step of a measured curve carried there, and marked as modelled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.analysis.prediction.evidence import MeasuredDevice, left_out_errors, margin, same_architecture, widened
from pamprof.analysis.prediction.gpu import calibrated, measured_gpu
from pamprof.analysis.prediction.measured import devices_of
from pamprof.analysis.prediction.resources import MemoryFit, memory_need
from pamprof.analysis.prediction.step import carried_step
from pamprof.analysis.serving.curve import CarriedFrom
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.grid import Line
from pamprof.errors import PredictionError
from pamprof.records import Phase
from pamprof.statistics import median_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.prediction.evidence import LeftOutError
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.records import Calibration, Environment, Interval, Run
    from pamprof.records.store import RecordFile


def carried_curves(
    curves: Sequence[ServingCurve], records: RecordFile, gpus: Sequence[Gpu], calibrations: Sequence[Calibration] = ()
) -> tuple[ServingCurve, ...]:
    """Each of ``curves`` on each of ``gpus`` that was not swept, from the nearest device that has the arm.

    Steps whose memory does not surely fit are left out, and so is an arm without any that does.

    Raises:
        PredictionError: No curve is of a GPU that times can be carried from, or nothing fits.
    """
    devices, _ = devices_of(records.runs, records.ceilings, calibrations)
    errors = left_out_errors(devices)
    by_device = curves_by_gpu(curves)
    if not by_device:
        raise PredictionError("no curve is of a whole GPU with listed peaks, so its times cannot be carried to another")
    found = []
    for gpu in (calibrated(each, calibrations) for each in gpus):
        if gpu.name in by_device:
            continue
        source = min(
            (device for device in devices if device.gpu.name in by_device),
            key=lambda device: (not same_architecture(device.gpu, gpu), device.gpu.distance(gpu)),
        )
        carried = [_carried(curve, source, gpu, errors) for curve in by_device[source.gpu.name]]
        fitting = [curve for curve in carried if curve is not None]
        if not fitting:
            raise PredictionError(
                f"no measured decode step surely fits into the {gpu.memory_bytes >> 30} GiB of {gpu.name}"
            )
        found += fitting
    return tuple(found)


def curves_by_gpu(curves: Sequence[ServingCurve]) -> dict[str, list[ServingCurve]]:
    """Curves that can be carried, by the canonical name of the GPU that was swept."""
    found: dict[str, list[ServingCurve]] = {}
    for curve in curves:
        here = measured_gpu(curve.environment, ())
        if here is not None:
            found.setdefault(here.name, []).append(curve)
    return found


def _carried(
    curve: ServingCurve, source: MeasuredDevice, gpu: Gpu, errors: Sequence[LeftOutError]
) -> ServingCurve | None:
    intervals: dict[tuple[Phase, float], Interval] = {}
    runs = []
    for run in curve.runs:
        need = memory_need(run, gpu)
        if need is not None and need.fit is not MemoryFit.YES:
            continue
        step = carried_step(run, source.gpu, gpu)
        there = _there(run, step.seconds.median, gpu)
        seconds = widened(step.seconds, margin(step.method, source.gpu, gpu, errors))
        intervals[run.workload.phase, median_interval(there.timing.wall_time_seconds).median] = seconds
        runs.append(there)
    if not any(run.workload.phase is Phase.DECODE for run in runs):
        return None
    (plain,) = serving_curves(runs)
    ratios = [(each.low / each.median, each.high / each.median) for each in intervals.values()]
    return replace(
        plain,
        title=f"{curve.title}, {gpu.name} modelled from {source.gpu.name}",
        decode_lines=tuple(_with_intervals(line, intervals, Phase.DECODE) for line in plain.decode_lines),
        measured_lines=(),
        prompts=None if plain.prompts is None else _with_intervals(plain.prompts, intervals, Phase.PREFILL),
        limits=(),
        carried=CarriedFrom(
            gpu=source.gpu.name, low_ratio=min(low for low, _ in ratios), high_ratio=max(high for _, high in ratios)
        ),
    )


def _with_intervals(line: Line, intervals: Mapping[tuple[Phase, float], Interval], phase: Phase) -> Line:
    return Line(
        context=line.context, points=tuple((at, intervals[phase, seconds.median]) for at, seconds in line.points)
    )


def _there(run: Run, seconds: float, gpu: Gpu) -> Run:
    """``run`` as if it had taken ``seconds`` on ``gpu``; nothing was watched there."""
    timing = replace(run.timing, wall_time_seconds=(seconds,) * len(run.timing.wall_time_seconds))
    return replace(run, environment=_environment(run.environment, gpu), timing=timing, monitor=None)


def _environment(environment: Environment, gpu: Gpu) -> Environment:
    device = gpu.device
    return replace(
        environment,
        device_name=device.reported_names[0] if device.reported_names else device.name,
        device_memory_bytes=gpu.memory_bytes,
        compute_capability=device.compute_capability,
        multiprocessor_count=device.multiprocessor_count,
        l2_cache_bytes=None,
        power_limit_watts=device.tdp_watts,
        maximum_sm_clock_hertz=device.boost_clock_hertz,
        driver_version=None,
    )
