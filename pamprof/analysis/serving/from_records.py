"""Serving curves from records: runs of one arm on one device joined into a curve for any batch and context.

Runs of phase decode and prefill of the full model count, from a sweep or from any comparison.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import arm_label
from pamprof.analysis.serving.curve import ServingCurve
from pamprof.analysis.serving.grid import Line
from pamprof.analysis.serving.memory import fit_memory, memory_ends
from pamprof.analysis.serving.roofline import fit_decode, fit_prefill
from pamprof.records import Phase, Scope, SkipKind
from pamprof.statistics import median_interval
from pamprof.units import si

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Interval, Run, Skip, Workload

# Step times of a fixed state at several contexts are one curve when they agree to this; else the contexts stay apart.
_CONSTANT_WITHIN = 0.1


def serving_curves(runs: Sequence[Run], skips: Sequence[Skip] = ()) -> tuple[ServingCurve, ...]:
    """A curve for each arm with decode runs of the full model, in the order of the runs.

    Of a workload measured twice the later run counts. ``skips`` that ran out of memory tell where memory ends; without
    them the limits are computed from bytes.
    """
    latest: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.started_at):
        if run.workload.scope is Scope.MODEL and run.workload.phase in (Phase.DECODE, Phase.PREFILL):
            latest[run.environment.device_name, run.workload.key] = run
    chosen = {id(run) for run in latest.values()}
    arms: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if id(run) in chosen:
            arms[run.environment.device_name, _arm_key(run.workload)].append(run)
    # A skip names no device, the runs of its session do; another machine's memory ends elsewhere.
    device_of = {run.session_id: run.environment.device_name for run in runs}
    refused = [(device_of.get(skip.session_id), skip.workload) for skip in skips if skip.kind is SkipKind.OUT_OF_MEMORY]
    curves = [
        _curve(
            found,
            [workload for where, workload in refused if where in (None, device) and _arm_key(workload) == key],
        )
        for (device, key), found in arms.items()
        if any(run.workload.phase is Phase.DECODE for run in found)
    ]
    return tuple(replace(curve, title=title) for curve, title in zip(curves, _titles(curves), strict=True))


def _curve(runs: Sequence[Run], refused: Sequence[Workload]) -> ServingCurve:
    decode = sorted(
        (run for run in runs if run.workload.phase is Phase.DECODE),
        key=lambda run: (run.workload.sequence_length, run.workload.batch_size),
    )
    prefill = sorted(
        (run for run in runs if run.workload.phase is Phase.PREFILL and run.workload.batch_size == 1),
        key=lambda run: run.workload.sequence_length,
    )
    failed = _smallest_refused(refused)
    limits = memory_ends(decode, failed)
    at_limits = {(context, largest) for context, largest, _ in limits}
    memory = fit_memory(
        decode,
        [run for run in decode if (run.workload.sequence_length, run.workload.batch_size) in at_limits],
        failed,
    )
    lines = measured_lines = _lines(decode)
    deviation = _context_deviation(lines) if memory.state.bytes_per_token == 0 else None
    contexts = [line.context for line in lines]
    if memory.state.bytes_per_token == 0 and (deviation is None or deviation <= _CONSTANT_WITHIN):
        lines = (_joined(lines),)
    return ServingCurve(
        title=arm_label(decode[0].workload),
        arm=decode[0].workload,
        environment=decode[0].environment,
        runs=(*decode, *prefill),
        decode_lines=lines,
        context_range=(min(contexts), max(contexts)),
        context_deviation=deviation,
        prompts=Line(context=1, points=tuple((run.workload.sequence_length, _seconds(run)) for run in prefill))
        if prefill
        else None,
        measured_lines=measured_lines,
        limits=limits,
        memory=memory,
        decode_model=fit_decode(decode),
        prefill_model=fit_prefill(prefill),
    )


def _seconds(run: Run) -> Interval:
    return median_interval(run.timing.wall_time_seconds)


def _lines(decode: Sequence[Run]) -> tuple[Line, ...]:
    by_context: dict[int, list[tuple[int, Interval]]] = defaultdict(list)
    for run in decode:
        by_context[run.workload.sequence_length].append((run.workload.batch_size, _seconds(run)))
    return tuple(
        Line(context=context, points=tuple(sorted(points, key=lambda point: point[0])))
        for context, points in sorted(by_context.items())
    )


def _context_deviation(lines: Sequence[Line]) -> float | None:
    """Largest relative difference of step times at one batch between contexts; None where no batch has two."""
    by_batch: dict[int, list[float]] = defaultdict(list)
    for line in lines:
        for batch, found in line.points:
            by_batch[batch].append(found.median)
    return max((max(times) / min(times) - 1 for times in by_batch.values() if len(times) > 1), default=None)


def _joined(lines: Sequence[Line]) -> Line:
    """All lines as one; of a batch measured at several contexts, the time with the narrowest interval."""
    best: dict[int, Interval] = {}
    for line in lines:
        for batch, found in line.points:
            if batch not in best or _width(found) < _width(best[batch]):
                best[batch] = found
    return Line(context=lines[0].context, points=tuple(sorted(best.items())))


def _width(interval: Interval) -> float:
    return (interval.high - interval.low) / interval.median


def _smallest_refused(refused: Sequence[Workload]) -> dict[int, int]:
    """The smallest decode batch that did not fit, by context."""
    found: dict[int, int] = {}
    for workload in refused:
        if workload.phase is Phase.DECODE:
            context = workload.sequence_length
            found[context] = min(workload.batch_size, found.get(context, workload.batch_size))
    return found


def _arm_key(workload: Workload) -> str:
    """All of a workload's identity but phase, batch and length."""
    return replace(workload, phase=Phase.DECODE, batch_size=1, sequence_length=1).key


def _titles(curves: Sequence[ServingCurve]) -> list[str]:
    """Labels; where some are alike, all get the parameters, dtype or device that tell those apart."""
    titles = [curve.title for curve in curves]
    for detail in (
        [si(curve.runs[0].parameter_count, digits=2) for curve in curves],
        [str(curve.arm.dtype) for curve in curves],
        [curve.environment.device_name for curve in curves],
    ):
        longer = [f"{title}, {more}" for title, more in zip(titles, detail, strict=True)]
        if len(set(longer)) > len(set(titles)):
            titles = longer
    return [
        title if titles.count(title) == 1 else f"{title}, {curve.arm.key}"
        for title, curve in zip(titles, curves, strict=True)
    ]
