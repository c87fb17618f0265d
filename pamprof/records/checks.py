"""What no measurement can have written: sizes, times and rates that are not positive; refused on reading."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from pamprof.records.capacity import Capacity
from pamprof.records.ranks import RankedRun
from pamprof.records.run import Ceilings, Run, Skip
from pamprof.records.serve_check import ServeCheck
from pamprof.records.session import Session
from pamprof.records.training import TrainingProfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pamprof.records.calibration import Calibration
    from pamprof.records.kernels import KernelUse
    from pamprof.records.price import Price
    from pamprof.records.session import ArmFacts
    from pamprof.records.workload import LayerSpec, Workload


_Checked = Session | Run | Skip | Ceilings | TrainingProfile | Capacity | ServeCheck | RankedRun


def impossible(record: _Checked) -> str | None:
    """The first value of ``record`` that must be a positive finite number and is not, as ``name is value``."""
    return _first_fault(_positive(record))


def impossible_arm(arm: ArmFacts) -> str | None:
    """The same of one arm of a session."""
    return _first_fault(_arm(arm))


def impossible_calibration(found: Calibration) -> str | None:
    """The same of a calibration."""
    return _first_fault(_calibration(found))


def _first_fault(values: Iterator[tuple[str, float]]) -> str | None:
    found = (f"{name} is {value}" for name, value in values if not (isfinite(value) and value > 0))
    return next(found, None)


def _calibration(found: Calibration) -> Iterator[tuple[str, float]]:
    for ceilings in found.ceilings:
        yield from _positive(ceilings)
    for use in found.kernels:
        yield from _kernel_use("kernels", use)
    for name in ("launch_seconds", "graph_launch_seconds", "graph_kernel_seconds"):
        time: float | None = getattr(found, name)
        if time is not None:
            yield name, time


def _kernel_use(name: str, use: KernelUse) -> Iterator[tuple[str, float]]:
    yield f"{name}.call_count", use.call_count
    yield f"{name}.seconds", use.seconds
    for field in ("kernel_count", "matrix_flop_count", "elementwise_flop_count", "byte_count"):
        count: int | None = getattr(use, field)
        if count is not None:
            yield f"1 + {name}.{field}", 1 + count


def _positive(record: _Checked) -> Iterator[tuple[str, float]]:
    match record:
        case Run():
            yield from _workload("workload", record.workload)
            yield from _workload("reference", record.reference)
            yield from _run(record)
        case Skip():
            yield from _workload("workload", record.workload)
        case Ceilings():
            yield "matrix_flops_per_second", record.matrix_flops_per_second
            yield "copy_bytes_per_second", record.copy_bytes_per_second
            for name in ("read_bytes_per_second", "write_bytes_per_second"):
                rate: float | None = getattr(record, name)
                if rate is not None:
                    yield name, rate
        case TrainingProfile():
            yield from (("step_seconds", time) for time in record.step_seconds)
            if record.tokens_per_step is not None:
                yield "tokens_per_step", record.tokens_per_step
        case Capacity():
            yield from _capacity(record)
        case ServeCheck():
            yield from _served(record)
        case RankedRun():
            yield from _ranked(record)
        case Session():
            yield from _session(record)


def _session(record: Session) -> Iterator[tuple[str, float]]:
    yield "sequence_length", record.sequence_length
    for arm in record.arms:
        yield from _arm(arm)
    if record.quote is not None:
        for name in ("chosen", "low", "high"):
            yield from _price(f"quote.{name}", getattr(record.quote, name))


def _ranked(record: RankedRun) -> Iterator[tuple[str, float]]:
    yield from _workload("workload", record.workload)
    yield from _workload("alone", record.alone)
    layout, own = record.workload.layout, record.alone.layout
    yield "workload.layout, 1 if known, else 0,", float(layout is not None)
    yield "count of ranks", len(record.ranks)
    if layout is not None:
        yield "count of ranks, 1 if layout.ranks, else 0,", float(layout.ranks == len(record.ranks))
    yield "alone, 1 if of one device, else 0,", float(own is None or own.ranks == 1)
    for name in ("wall_time_seconds", "alone_wall_time_seconds"):
        samples: tuple[float, ...] = getattr(record, name)
        yield f"count of {name}", len(samples)
        yield from ((name, sample) for sample in samples)
    yield (
        "1 + difference of sample counts",
        1 - abs(len(record.wall_time_seconds) - len(record.alone_wall_time_seconds)),
    )
    for rank in record.ranks:
        name = "ranks.wall_time_seconds"
        count = len(rank.wall_time_seconds)
        yield f"{name}, 1 if one of every sample, else 0,", float(count == len(record.wall_time_seconds))
        yield from ((name, sample) for sample in rank.wall_time_seconds)
        for field in ("weight_bytes", "optimizer_bytes", "state_bytes"):
            yield f"1 + ranks.{field}", 1 + getattr(rank, field)
    yield "steps_per_sample", record.steps_per_sample
    yield "alone_steps_per_sample", record.alone_steps_per_sample
    yield "parameter_count", record.parameter_count
    if record.topology is not None:
        lanes = len(record.topology.pcie_widths) == len(record.topology.pcie_generations)
        yield "topology, 1 if generation and width of every rank, else 0,", float(lanes)


def _capacity(record: Capacity) -> Iterator[tuple[str, float]]:
    for point in record.points:
        yield "points.head_dim", point.head_dim
        yield "points.associations", point.associations
        yield "count of points.correct", len(point.correct)
        for correct in point.correct:
            yield "1 + points.correct", 1 + correct
            yield "1 + points.associations - correct", 1 + point.associations - correct


def _served(record: ServeCheck) -> Iterator[tuple[str, float]]:
    yield from _workload("workload", record.workload)
    for name in ("requests_per_second", "limit_seconds_to_first_token", "limit_seconds_per_output_token", "percentile"):
        yield name, getattr(record, name)
    yield "percentile, 1 if at most 100, else 0,", float(record.percentile <= 100)
    count = len(record.arrival_seconds)
    yield "count of arrival_seconds", count
    prediction = record.prediction
    for name in ("input_tokens", "output_tokens", "first_seconds", "finish_seconds"):
        yield f"{name}, 1 if of every request, else 0,", float(len(getattr(record, name)) == count)
    for name in ("first_seconds", "finish_seconds"):
        yield f"prediction.{name}, 1 if of every request, else 0,", float(len(getattr(prediction, name)) == count)
    yield from (("output_tokens", tokens) for tokens in record.output_tokens)


def _price(name: str, price: Price) -> Iterator[tuple[str, float]]:
    yield f"{name}.device_count", price.device_count
    yield f"{name}.usd_per_hour", float(price.usd_per_hour)
    for field in ("vcpu_count", "used_vcpu_count"):
        count: int | None = getattr(price, field)
        if count is not None:
            yield f"{name}.{field}", count
    if price.share is not None:
        yield f"{name}.share.numerator", price.share.numerator
        yield f"{name}.share.denominator", price.share.denominator


def _arm(arm: ArmFacts) -> Iterator[tuple[str, float]]:
    yield from _spec("arms.spec", arm.spec)
    yield "arms.parameter_count", arm.parameter_count
    if arm.matrix_flop_count_per_token:  # not unknown, and the layer has matrix products
        yield "arms.matrix_flop_count_per_token", arm.matrix_flop_count_per_token


def _run(run: Run) -> Iterator[tuple[str, float]]:
    timing = run.timing
    yield "parameter_count", run.parameter_count
    yield "gate.tolerance", run.gate.tolerance
    for name in ("wall_time_seconds", "host_time_seconds", "reference_wall_time_seconds"):
        samples: tuple[float, ...] = getattr(timing, name)
        yield f"count of timing.{name}", len(samples)
        yield from ((f"timing.{name}", sample) for sample in samples)
    for name in ("device_time_seconds", "reference_device_time_seconds"):
        events: tuple[float, ...] = getattr(timing, name) or ()
        yield from ((f"timing.{name}", sample) for sample in events)
    yield "timing.steps_per_sample", timing.steps_per_sample
    yield "timing.reference_steps_per_sample", timing.reference_steps_per_sample
    if run.kernels is not None:
        yield "kernels.busy_seconds", run.kernels.busy_seconds
        for use in run.kernels.uses:
            yield from _kernel_use("kernels.uses", use)
    yield "environment.device_memory_bytes", run.environment.device_memory_bytes
    if run.monitor is not None:
        yield "monitor.window_seconds", run.monitor.window_seconds
        yield "monitor.steps", run.monitor.steps


def _workload(name: str, workload: Workload) -> Iterator[tuple[str, float]]:
    yield f"{name}.batch_size", workload.batch_size
    yield f"{name}.sequence_length", workload.sequence_length
    yield from _spec(f"{name}.spec", workload.spec)


def _spec(name: str, spec: LayerSpec) -> Iterator[tuple[str, float]]:
    yield f"{name}.model_dim", spec.model_dim
    yield f"{name}.heads", spec.heads
    yield f"{name}.head_dim", spec.head_dim
    yield f"{name}.depth", spec.depth
    yield f"{name}.vocabulary_size", spec.vocabulary_size
    yield f"{name}.state_count", spec.state_count
    if spec.chunk_size is not None:
        yield f"{name}.chunk_size", spec.chunk_size
    if spec.key_value_heads is not None:
        yield f"{name}.key_value_heads", spec.key_value_heads
