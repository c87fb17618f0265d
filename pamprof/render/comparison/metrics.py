"""METRICS: every measured quantity of a run, once. The page's table, Markdown, terminal and CSV are made from it.

To show another one, add a row: its name, heading, unit and meaning, how it is read from a run, and how it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.joined import JoinedRun
from pamprof.analysis.comparison.names import protocol_label
from pamprof.records import Interval, Phase
from pamprof.render.comparison.charts.cost import unit_of, value_of
from pamprof.render.comparison.model import Cell, Column
from pamprof.render.text import Formatter, brackets, roof_remark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Run
    from pamprof.render.comparison.inputs import ReportInputs

Number = Interval | float | int | None
CsvValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """One run with what surrounds it: what a metric is read from."""

    inputs: ReportInputs
    point: PointAnalysis
    summary: Summary

    @property
    def run(self) -> Run:
        """The run itself."""
        return self.summary.run


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One column.

    Attributes:
        name: What other code calls it by.
        heading, unit, meaning: For people.
        read: The value of a run; an interval, a number, or None where it is unknown.
        written: The median on paper.
        written_in_brackets: The ends of the interval on paper, given the median.
        csv: Names of the CSV columns: of a number one; of an interval those of median, low and high.
        unknown_fields: Fields of a record whose recorded reason explains a None.
        otherwise: The reason where none was recorded.
        detail: A remark beside the value, instead of an interval.
        baseline: What stands in the baseline's row instead of a value.
    """

    name: str
    heading: str
    unit: str
    meaning: str
    read: Callable[[MeasuredRow], Number]
    written: Formatter
    written_in_brackets: Callable[[float], Formatter] = lambda _: units.significant
    csv: tuple[str, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    otherwise: Callable[[Run], str] = lambda _: "not measured"
    detail: Callable[[MeasuredRow], str] = lambda _: ""
    baseline: str = ""

    def cell(self, measured: MeasuredRow) -> Cell:
        """The value of one run, or a dash with its reason."""
        value = self.read(measured)
        if value is None and self.baseline and measured.summary is measured.point.baseline:
            return Cell(name=self.name, text=self.baseline, detail="baseline", sort=1.0)
        if value is None:
            recorded = {unknown.field: unknown.reason for unknown in measured.run.unknowns}
            reasons = [recorded[field] for field in self.unknown_fields if field in recorded]
            return Cell(name=self.name, text=units.UNKNOWN, reason=(reasons or [self.otherwise(measured.run)])[0])
        if isinstance(value, Interval):
            ends = brackets(value, self.written_in_brackets(value.median))
            return Cell(name=self.name, text=self.written(value.median), detail=ends, sort=value.median)
        return Cell(name=self.name, text=self.written(value), detail=self.detail(measured), sort=float(value))

    def csv_values(self, measured: MeasuredRow) -> Mapping[str, CsvValue]:
        """The value of one run by CSV column, none where the metric has no columns; empty cells where it is unknown."""
        value = self.read(measured)
        if isinstance(value, Interval):
            return dict(zip(self.csv, (value.median, value.low, value.high), strict=True)) if self.csv else {}
        return dict.fromkeys(self.csv, value)


def _ratio(measured: MeasuredRow) -> Interval | None:
    comparison = measured.point.comparison_of(measured.summary.workload)
    return None if comparison is None else comparison.time_ratio


def _protocol(measured: MeasuredRow) -> str:
    """Fresh processes of windows and their spread; nothing beside other samples."""
    if not isinstance(measured.run, JoinedRun):
        return ""
    comparison = measured.point.comparison_of(measured.summary.workload)
    ratios = None if comparison is None else comparison.processes
    if ratios is None:
        return protocol_label(len(measured.run.processes))
    return protocol_label(ratios.process_count, ratios.spread_ratio)


def _flop_detail(measured: MeasuredRow) -> str:
    flops = measured.run.flops
    again = flops.recomputed_matrix_flop_count / measured.run.workload.tokens_per_step
    told = ("" if flops.complete else "incomplete", f"+{units.si(again)} again" if again else "")
    return ", ".join(part for part in told if part)


def _without_flops(run: Run) -> str | None:
    """Why a rate of FLOPs is missing where none were counted."""
    return "no matrix FLOPs were counted" if run.flops.matrix_flop_count == 0 else None


def _energy_reason(run: Run) -> str:
    energy = run.monitor.energy if run.monitor is not None else None
    if energy is not None and energy.invalid_reasons:
        return "; ".join(energy.invalid_reasons)
    return "the device reports no energy"


def _floor_detail(measured: MeasuredRow) -> str:
    floor = measured.summary.floor
    if floor is None:
        return ""
    taken = units.ratio(measured.summary.step_seconds.median / floor.seconds)
    is_own = floor.workload.implementation == measured.run.workload.implementation
    of = "" if is_own else f", of {measured.inputs.arm(floor.workload).label}"
    return f"{taken} taken{of}" + ("" if floor.missing_ceiling is None else f", by the {floor.ceiling} ceiling")


def _in_unit_of(median_seconds: float) -> Formatter:
    """A formatter of seconds without a unit, in the step that ``units.seconds`` gives the median."""
    step = next((s for s in (1.0, 1e-3, 1e-6) if abs(median_seconds) >= s * 0.9995), 1e-9)
    return lambda value: units.significant(value / step)


def _without_sign(value: float) -> str:
    return units.usd(value).replace("$", "")


def metrics(inputs: ReportInputs) -> tuple[Metric, ...]:
    """``METRICS`` with the cost in the report's unit: dollars, or device-hours where no price is known."""
    if inputs.quote is not None:
        return METRICS
    hours = Metric(
        name="price",
        heading="h/M",
        unit="tokens",
        meaning=unit_of(inputs),
        read=lambda m: value_of(m.inputs, m.summary),
        written=units.significant,
    )
    return tuple(hours if metric.name == "price" else metric for metric in METRICS)


METRICS = (
    Metric(
        name="samples",
        heading="n",
        unit="samples",
        meaning="paired samples or windows taken, none dropped; of windows the fresh processes and what they differ by",
        read=lambda m: m.summary.sample_count,
        written=lambda x: str(int(x)),
        csv=("sample_count",),
        detail=_protocol,
    ),
    Metric(
        name="step",
        heading="Step",
        unit="wall time",
        meaning="wall time of one step: the baseline's own time times the arm's ratio to it, with interval",
        read=lambda m: m.summary.step_seconds,
        written=units.seconds,
        written_in_brackets=_in_unit_of,
        csv=("step_median_seconds", "step_low_seconds", "step_high_seconds"),
    ),
    Metric(
        name="tokens_per_second",
        heading="Tokens/s",
        unit="",
        meaning="tokens of a step over its time",
        read=lambda m: m.summary.tokens_per_second,
        written=units.si,
        written_in_brackets=lambda _: units.si,
        csv=("tokens_per_second_median", "tokens_per_second_low", "tokens_per_second_high"),
    ),
    Metric(
        name="cost",
        heading="Cost",
        unit="× baseline",
        meaning="time per token over that of the fastest reference at this point",
        read=_ratio,
        written=units.ratio,
        csv=(
            "cost_against_baseline_median_ratio",
            "cost_against_baseline_low_ratio",
            "cost_against_baseline_high_ratio",
        ),
        baseline="1",
    ),
    Metric(
        name="price",
        heading="$/M",
        unit="tokens",
        meaning="US dollars per million tokens",
        read=lambda m: value_of(m.inputs, m.summary),
        written=units.usd,
        written_in_brackets=lambda _: _without_sign,
    ),
    Metric(
        name="flops",
        heading="FLOP",
        unit="per token",
        meaning="counted matrix FLOPs per token, causal; what checkpoints compute again beside it",
        read=lambda m: m.run.flops.model_matrix_flop_count / m.run.workload.tokens_per_step,
        written=units.si,
        detail=_flop_detail,
    ),
    Metric(
        name="flops_utilisation",
        heading="MFU",
        unit="of peak",
        meaning="model FLOPs utilisation: achieved over dense peak FLOP/s",
        read=lambda m: None if (u := m.summary.model_flops_utilisation) is None else u.median,
        written=units.percent,
        unknown_fields=("model_flops_utilisation",),
        otherwise=lambda run: _without_flops(run) or "the device's dense peak for this dtype is not known to pamprof",
    ),
    Metric(
        name="roof_share",
        heading="Roof",
        unit="reached",
        meaning="achieved FLOP/s over what the lower of two ceilings allows at the modelled least traffic: the fastest "
        "matrix product, and of the fastest read, copy and write of memory the one nearest by the step's share of "
        "reads",
        read=lambda m: None if m.summary.roof is None else m.summary.roof.share_ratio,
        written=lambda x: units.percent(x, 3),
        csv=("roof_share_ratio",),
        unknown_fields=("model_flops_utilisation",),
        otherwise=lambda run: (
            _without_flops(run) or "no ceiling was measured, and the device's peak or bandwidth is not known to pamprof"
        ),
        detail=lambda m: "" if m.summary.roof is None else roof_remark(m.summary.roof),
    ),
    Metric(
        name="floor",
        heading="Floor",
        unit="decode step",
        meaning="weights and state or cache moved once, over the ceiling of memory that fits: the least time of a "
        "decode step of the layer's code that keeps the fewest bytes at the point, casts and fused copies included",
        read=lambda m: None if m.summary.floor is None else m.summary.floor.seconds,
        written=units.seconds,
        csv=("decode_floor_seconds",),
        otherwise=lambda run: (
            "no bandwidth of the device is known to pamprof"
            if run.workload.phase is Phase.DECODE
            else "a floor is given for decode, whose step moves its weights and state once"
        ),
        detail=_floor_detail,
    ),
    Metric(
        name="busy",
        heading="Busy",
        unit="of step",
        meaning="share of the step in which at least one kernel ran",
        read=lambda m: m.summary.kernel_busy_ratio,
        written=units.percent,
        csv=("kernel_busy_ratio",),
        unknown_fields=("timing.kernel_time_seconds", "kernel_busy_ratio"),
        otherwise=lambda _: "no profiler reached the device",
    ),
    Metric(
        name="memory",
        heading="Memory",
        unit="peak",
        meaning="highest live tensor storage of a step",
        read=lambda m: m.run.memory.peak_bytes,
        written=units.binary_bytes,
        csv=("peak_memory_bytes",),
        unknown_fields=("memory.peak_bytes",),
        otherwise=lambda _: "no peak was recorded",
    ),
    Metric(
        name="energy",
        heading="Energy",
        unit="mJ/token",
        meaning="device energy of the monitored window over its tokens",
        read=lambda m: m.summary.joules_per_token,
        written=lambda x: units.significant(x * 1e3),
        csv=("joules_per_token",),
        unknown_fields=("energy", "monitor.energy", "energy.counter_joules", "monitor"),
        otherwise=_energy_reason,
    ),
)


def columns(inputs: ReportInputs) -> tuple[Column, ...]:
    """Headings of the numeric columns, in order."""
    return tuple(Column(name=m.name, heading=m.heading, unit=m.unit, meaning=m.meaning) for m in metrics(inputs))


def cells(inputs: ReportInputs, point: PointAnalysis, summary: Summary) -> tuple[Cell, ...]:
    """One run's value of every metric, in the order of ``columns``."""
    measured = MeasuredRow(inputs=inputs, point=point, summary=summary)
    return tuple(metric.cell(measured) for metric in metrics(inputs))


def csv_values(inputs: ReportInputs, point: PointAnalysis, summary: Summary) -> dict[str, CsvValue]:
    """One run's value of every metric that has CSV columns, by column."""
    measured = MeasuredRow(inputs=inputs, point=point, summary=summary)
    return {name: value for metric in METRICS for name, value in metric.csv_values(measured).items()}
