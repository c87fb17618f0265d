"""The profile of a training loop as figures: each with its words, its number and its column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.devices.peaks import peak_flops_per_second, peak_unknown_reason
from pamprof.pricing.rates.rate_words import machine, rate_per_hour
from pamprof.pricing.run_cost import SECONDS_PER_HOUR, cost_per_million_tokens
from pamprof.render.text import clean, cleaned, day, device_label, plural
from pamprof.statistics import half_width, median_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.records import Interval, Series, TrainingProfile

_NO_STEP = "no step was timed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line.

    Attributes:
        heading: What it is.
        text: Its number with the unit; a dash where unknown.
        detail: Its interval, what it rests on, or why it is unknown.
        column: Name in a frame, the unit at its end; empty for a line that is no number.
        value: In that unit; None where unknown.
        dtype: Of the column.
        is_part: Whether it is a part of the figure before it.
    """

    heading: str
    text: str
    detail: str = ""
    column: str = ""
    value: float | int | str | None = None
    dtype: str = "Float64"
    is_part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingView:
    """What is shown of a profile: a title and lines in order."""

    title: str
    figures: tuple[Figure, ...]


def training_view(record: TrainingProfile) -> TrainingView:
    """Everything that a notebook, a terminal or a frame shows of a profile."""
    timed = len(record.step_seconds)
    title = (
        f"Training loop · {device_label(record.environment)} · {day(record.started_at)}, {record.started_at[11:16]} UTC"
    )
    step = median_interval(record.step_seconds) if record.step_seconds else None
    figures = (
        *_times(record, step, timed),
        *_flops(record, step),
        *_memory(record),
        *_sensors(record),
        *_dollars(record, step),
    )
    return cleaned(TrainingView(title=title, figures=figures))


def training_text(view: TrainingView) -> str:
    """Plain lines, headings in one column."""
    headings = [f"{'  ' if figure.is_part else ''}{figure.heading}" for figure in view.figures]
    width = max(map(len, headings))
    lines = [
        f"{heading:<{width}}  {figure.text}{f'  {figure.detail}' if figure.detail else ''}"
        for heading, figure in zip(headings, view.figures, strict=True)
    ]
    return clean_lines([view.title, *lines])


def clean_lines(lines: list[str]) -> str:
    """Lines in which no character acts on a terminal."""
    return "\n".join(clean(line).replace("\u202f", " ").rstrip() for line in lines)


def _times(record: TrainingProfile, step: Interval | None, timed: int) -> Iterator[Figure]:
    why = _why(record, "step_seconds") or _NO_STEP
    yield Figure(
        heading="Step",
        text=units.UNKNOWN if step is None else units.seconds(step.median),
        detail=why if step is None else f"{units.plus_minus(half_width(step))}, median of {plural(timed, 'step')}",
        column="step_median_seconds",
        value=None if step is None else step.median,
    )
    tokens = record.tokens_per_step
    rate = None if step is None or tokens is None else step.inverse().scaled(tokens)
    micro = "" if record.accumulation == 1 else f", {record.accumulation} micro-batches"
    yield Figure(
        heading="Tokens per second",
        text=units.UNKNOWN if rate is None else units.si(rate.median),
        detail=f"{tokens:,} tokens a step{micro}"
        if rate is not None
        else why
        if tokens is not None
        else _why(record, "tokens_per_step"),
        column="tokens_per_second_median",
        value=None if rate is None else rate.median,
    )
    yield Figure(
        heading="Parameters",
        text=units.UNKNOWN if record.parameter_count is None else f"{record.parameter_count:,}",
        column="parameter_count",
        value=record.parameter_count,
        dtype="Int64",
    )


def _flops(record: TrainingProfile, step: Interval | None) -> Iterator[Figure]:
    flops = record.flops
    detail = _why(record, "flops")
    if flops is not None:
        names = ", ".join(each.operator for each in flops.uncounted_operators)
        detail = "matrix products a step" + ("" if flops.complete else f"; no formula for {names}")
        detail += ", of the eager code" if record.compiled else ""
    yield Figure(
        heading="FLOPs",
        text=units.UNKNOWN if flops is None else units.si(flops.matrix_flop_count, "FLOP"),
        detail=detail,
        column="matrix_flop_count_per_step",
        value=None if flops is None else flops.matrix_flop_count,
        dtype="Int64",
    )
    per_second = None if flops is None or step is None else flops.matrix_flop_count / step.median
    peak = None if record.dtype is None else peak_flops_per_second(record.environment, record.dtype)
    if per_second is not None and peak is not None:
        mfu, why = per_second / peak, f"of {units.si(peak, 'FLOP/s')}, dense {record.dtype}"
    else:
        mfu, why = None, detail if flops is None else _NO_STEP
        if per_second is not None and record.dtype is not None:
            why = peak_unknown_reason(record.environment, record.dtype)
    yield Figure(
        heading="MFU",
        text=units.UNKNOWN if mfu is None else units.percent(mfu),
        detail=why,
        column="model_flops_utilisation_ratio",
        value=mfu,
    )


_PARTS = (
    ("parameter_bytes", "parameters"),
    ("gradient_bytes", "gradients"),
    ("optimizer_bytes", "optimizer state"),
    ("saved_activation_bytes", "saved activations"),
    ("input_bytes", "inputs and constants"),
    ("short_lived_bytes", "short-lived tensors"),
)


def _memory(record: TrainingProfile) -> Iterator[Figure]:
    memory = record.memory
    yield Figure(
        heading="Peak memory",
        text=units.UNKNOWN if memory is None or memory.peak_bytes is None else units.binary_bytes(memory.peak_bytes),
        detail=_why(record, "memory") if memory is None else "",
        column="peak_memory_bytes",
        value=None if memory is None else memory.peak_bytes,
        dtype="Int64",
    )
    for name, heading in _PARTS:
        size: int | None = None if memory is None else getattr(memory, name)
        yield Figure(
            heading=heading,
            text=units.UNKNOWN if size is None else units.binary_bytes(size),
            detail="" if size is not None else _why(record, f"memory.{name}"),
            column=name,
            value=size,
            dtype="Int64",
            is_part=True,
        )


def _sensors(record: TrainingProfile) -> Iterator[Figure]:
    monitor = record.monitor
    means = {} if monitor is None else {series.signal: _mean(series) for series in monitor.series}
    signals: tuple[tuple[str, str, Callable[[float], str]], ...] = (
        ("power_watts", "Power", lambda watts: f"{units.significant(watts)} W"),
        ("gpu_busy_ratio", "GPU busy", units.percent),
        ("cpu_busy_ratio", "CPU busy", units.percent),
    )
    for signal, heading, written in signals:
        if signal == "gpu_busy_ratio" and record.environment.device_kind == "cpu":
            continue
        value = means.get(signal)
        why = "" if value is not None else _why(record, f"monitor.series.{signal}") or _why(record, "monitor")
        yield Figure(
            heading=heading,
            text=units.UNKNOWN if value is None else written(value),
            detail="mean of the timed steps" if value is not None else why or "no probe of this device reads it",
            column=signal,
            value=value,
        )
    energy = None if monitor is None else monitor.energy
    joules = None if energy is None else energy.counter_joules or energy.integrated_joules
    per_step = None if joules is None or monitor is None or not monitor.steps else joules / monitor.steps
    why = "" if energy is None or energy.valid else f"doubtful: {'; '.join(energy.invalid_reasons)}"
    if per_step is None:
        why = _why(record, "monitor.energy") or _why(record, "monitor") or why
    yield Figure(
        heading="Energy a step",
        text=units.UNKNOWN if per_step is None else f"{units.significant(per_step)} J",
        detail=why,
        column="joules_per_step",
        value=per_step,
    )


def _dollars(record: TrainingProfile, step: Interval | None) -> Iterator[Figure]:
    quote, tokens = record.quote, record.tokens_per_step
    if quote is None or step is None:
        why = record.quote_unknown_reason or "no price" if quote is None else _why(record, "step_seconds") or _NO_STEP
        yield Figure(heading="Dollars a step", text=units.UNKNOWN, detail=why, column="usd_per_step")
        yield Figure(heading="Dollars per million tokens", text=units.UNKNOWN, column="usd_per_million_tokens")
        return
    rate = quote.chosen
    dated = f", read {rate.observed_text}" if rate.observed_text else ", of unknown date"
    paid = float(rate.usd_per_device_hour) / SECONDS_PER_HOUR * step.median
    yield Figure(
        heading="Dollars a step",
        text=units.usd(paid),
        detail=f"at {rate_per_hour(rate)} ({rate.provider}, {machine(rate)}{dated})",
        column="usd_per_step",
        value=paid,
    )
    usd = None
    if tokens is not None:
        usd = cost_per_million_tokens(quote, step.inverse().scaled(tokens)).usd_per_million_tokens.median
    yield Figure(
        heading="Dollars per million tokens",
        text=units.UNKNOWN if usd is None else units.usd(usd),
        detail="" if usd is not None else _why(record, "tokens_per_step"),
        column="usd_per_million_tokens",
        value=usd,
    )


def _mean(series: Series) -> float:
    return sum(series.values) / len(series.values)


def _why(record: TrainingProfile, field: str) -> str:
    """The stored reason for an unknown; empty where there is none."""
    return next((unknown.reason for unknown in record.unknowns if unknown.field == field), "")
