"""What other tools measured of real servers, beside what is simulated: a table, a sentence a model, and curves."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.simulation.highest_rate import THROUGHPUT
from pamprof.analysis.simulation.measured_elsewhere import VLLM
from pamprof.records import Interval
from pamprof.render.arms import Arm
from pamprof.render.charts import ArmCurve, Piece
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import clean, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.simulation.measured_elsewhere import MeasuredCurve, ServedElsewhere
    from pamprof.pricing.serving.load_study import LoadQuestion
    from pamprof.render.formats.csv import Value

COLUMNS = (
    "model", "measured by", "requests/s", "input tokens", "output tokens", "to first token p50", "p95", "p99",
    "per output token p50", "p95", "p99", "end to end p50", "p95", "p99", "within the limits",
)  # fmt: skip
_LOOKS = (("other4", ">"), ("other3", "<"), ("other2", "p"), ("other1", "X"))
_LABEL_LENGTH = 18
# Mean lengths that differ by more are another question.
_ALIKE = 0.1
# A server that completes less than this share of what was offered has a queue that grows.
_KEPT_UP = 0.95


def measured_table(curves: Sequence[MeasuredCurve], question: LoadQuestion) -> TableView:
    """Every run by model and rate."""
    percentile = question.level.percentile
    return TableView(
        title="Measured of real servers",
        summary=(
            f"As other tools wrote it, one row a run; within the limits: at percentile {percentile:g}, unknown where "
            "the file does not have it."
        ),
        columns=COLUMNS,
        right=frozenset(range(2, len(COLUMNS) - 1)),
        rows=tuple(_row(run, question) for curve in curves for run in curve.runs),
        notes=tuple(note for curve in curves for note in (_sentence(curve, question), *_doubts(curve, question))),
    )


def _row(run: ServedElsewhere, question: LoadQuestion) -> tuple[str, ...]:
    def three(found: Mapping[float, float]) -> tuple[str, ...]:
        return tuple(units.seconds(found.get(percentile)) for percentile in (50.0, 95.0, 99.0))

    holds = _holds(run, question)
    return (
        run.model,
        f"{run.tool}, {run.file}",
        units.significant(run.requests_per_second),
        units.significant(run.input_tokens),
        units.significant(run.output_tokens),
        *three(run.first),
        *three(run.each),
        *three(run.end_to_end),
        units.UNKNOWN if holds is None else "yes" if holds else "no",
    )


def _holds(run: ServedElsewhere, question: LoadQuestion) -> bool | None:
    level = question.level
    first, each = run.first.get(level.percentile), run.each.get(level.percentile)
    if first is None or (each is None and run.each):
        return None
    limits = level.limits
    return first <= limits.seconds_to_first_token and (each is None or each <= limits.seconds_per_output_token)


def _sentence(curve: MeasuredCurve, question: LoadQuestion) -> str:
    """The highest rate within the limits and the replicas that it makes."""
    who, grid = f"{curve.model} ({curve.tool})", curve.grid
    if grid is None:
        percentile = question.level.percentile
        lacks = curve.tool == VLLM and any(percentile not in run.first for run in curve.runs)
        remedy = f"; vllm bench serve writes it with --metric-percentiles 50,{percentile:g},99" if lacks else ""
        return (
            f"{who}: two runs at different rates with percentile {percentile:g} make a curve; "
            f"{plural(len(curve.runs), 'run')} here{remedy}"
        )
    rate, bound, error = grid.highest_within(question.level.limits)
    if rate is None:
        return f"{who}: {bound} is missed at every rate that was measured"
    replicas = max(
        question.minimum_replicas, ceil(question.requests.per_second * question.profile.peak_factor / rate - 1e-9)
    )
    told = f"{units.significant(rate)} requests a second" + (f" ±{units.percent(error)}" if error else "")
    beyond = (
        "the highest rate measured" if bound == THROUGHPUT else f"read between measured rates, held back by {bound}"
    )
    return f"{who}: holds the limits up to {told}, {beyond}; {plural(replicas, 'replica')} for the requests asked for"


def _doubts(curve: MeasuredCurve, question: LoadQuestion) -> list[str]:
    requests, found = question.requests, []
    pairs = (
        ("input", requests.mean_input_tokens, [run.input_tokens for run in curve.runs]),
        ("output", requests.mean_output_tokens, [run.output_tokens for run in curve.runs]),
    )
    for name, asked, measured in pairs:
        others = [value for value in measured if value is not None and abs(value - asked) > _ALIKE * asked]
        if others:
            found.append(
                f"{curve.model}: its requests have {units.significant(others[0])} {name} tokens in the mean, not the "
                f"{units.significant(asked)} asked for"
            )
    behind = [run for run in curve.runs if run.completed_per_second < _KEPT_UP * run.requests_per_second]
    if behind:
        found.append(
            f"{curve.model}: at {units.significant(behind[0].requests_per_second)} requests a second the server "
            f"completed {units.significant(behind[0].completed_per_second)}; its times grow with the length of the run"
        )
    return found


def measured_curves(curves: Sequence[MeasuredCurve], *, first: bool) -> list[ArmCurve]:
    """The time to the first token, or per output token, over measured rates."""
    found = []
    for curve, (role, marker) in zip(curves, _LOOKS, strict=False):
        line = None if curve.grid is None else curve.grid.first if first else curve.grid.each
        if curve.grid is None or line is None:
            continue
        name = curve.model.rpartition("/")[2]
        short = name if len(name) <= _LABEL_LENGTH else f"{name[: _LABEL_LENGTH - 1]}…"
        label = clean(f"{short} ({curve.tool})")
        piece = Piece(
            xs=curve.grid.rates, values=tuple(Interval.exact(value) for value in line.values), basis=Basis.MEASURED
        )
        found.append(
            ArmCurve(
                arm=Arm(key=f"{curve.tool}/{curve.model}", label=label, role=role, marker=marker),
                label=label,
                pieces=(piece,),
                spots=(),
            )
        )
    return found


def measured_rows(curves: Sequence[MeasuredCurve], question: LoadQuestion) -> list[dict[str, Value]]:
    """The runs as plain rows for programs."""
    return [
        {
            "model": run.model,
            "tool": run.tool,
            "file": run.file,
            "requests_per_second": run.requests_per_second,
            "completed_per_second": run.completed_per_second,
            "request_count": run.request_count,
            "mean_input_tokens": run.input_tokens,
            "mean_output_tokens": run.output_tokens,
            **{
                f"{name}_p{percentile}": found.get(float(percentile))
                for name, found in (
                    ("seconds_to_first_token", run.first),
                    ("seconds_per_output_token", run.each),
                    ("end_to_end_seconds", run.end_to_end),
                )
                for percentile in (50, 95, 99)
            },
            "holds": _holds(run, question),
        }
        for curve in curves
        for run in curve.runs
    ]
