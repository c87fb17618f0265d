"""GPUs side by side in sentences and tables: time, memory, energy, dollars and crossover of the best arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.crossing import best_arms, crossovers_by_gpu
from pamprof.records import Phase
from pamprof.render.formats.table_view import TableView
from pamprof.render.prediction.charts import crossover_chart, dollar_chart, memory_chart, over_lengths
from pamprof.render.text import PHASE_NAMES, cleaned, point_label, with_brackets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.comparison.names import Names
    from pamprof.analysis.prediction.crossing import BestArms, PredictedCrossover
    from pamprof.analysis.prediction.measured import MeasuredDevices
    from pamprof.analysis.prediction.predict import Prediction
    from pamprof.pricing.predicted_cost import PricedPrediction, PricedPredictions
    from pamprof.records import Point
    from pamprof.render.charts import Chart

ARM_COLUMNS = (
    "GPU", "arm", "step", "tokens/s", "memory", "largest batch", "J/token", "$/M tokens", "over the reference", "basis",
)  # fmt: skip
_ARM_RIGHT = frozenset({2, 3, 5, 6, 7, 8})


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionView:
    """What is shown.

    Attributes:
        title: The heading.
        alerts: What was refused, left out or has no price.
        sentences: What is predicted from what.
        charts: The pictures.
        tables: Best arms at each point, and crossovers.
        notes: How it was made.
    """

    title: str
    alerts: tuple[str, ...]
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]
    tables: tuple[TableView, ...]
    notes: tuple[str, ...]


def prediction_view(
    priced: PricedPredictions,
    measured: MeasuredDevices,
    names: Names,
    *,
    refused: Sequence[str] = (),
    every_point: bool = True,
) -> PredictionView:
    """The view, free of characters that act; without ``every_point`` each phase has the point with most arms alone."""
    predictions = [row.prediction for row in priced.rows]
    arms = best_arms(predictions, names.layers)
    crossovers = crossovers_by_gpu(predictions, names.layers)
    main = main_points(predictions)
    points = tuple(dict.fromkeys(each.point for each in arms)) if every_point else tuple(main.values())
    sources = ", ".join(f"{len(device.runs)} on the {device.gpu.name}" for device in measured.devices)
    dollars = {(row.prediction.gpu, row.prediction.workload.key): row for row in priced.rows}
    return cleaned(
        PredictionView(
            title="GPUs side by side, measured and predicted",
            alerts=(*refused, *measured.left_out, *priced.unpriced),
            sentences=(f"Workloads measured: {sources}. Whatever another GPU takes is modelled from them.",),
            charts=(
                *(dollar_chart(point, arms, dollars, names) for point in main.values()),
                *([memory_chart(main[Phase.DECODE], arms, names)] if Phase.DECODE in main else []),
                *crossover_chart(crossovers),
            ),
            tables=(
                *(_arm_table(point, arms, dollars, names) for point in points),
                *([_crossover_table(crossovers)] if crossovers else []),
            ),
            notes=NOTES,
        )
    )


def main_points(predictions: Iterable[Prediction]) -> dict[Phase, Point]:
    """The point of each phase at which most workloads were measured, the one of most tokens among equals."""
    counts: dict[Point, set[str]] = {}
    for each in predictions:
        counts.setdefault(each.workload.point, set()).add(each.workload.key)
    found = {}
    for phase in Phase:
        of_phase = [point for point in counts if point.phase is phase]
        if of_phase:
            found[phase] = max(
                of_phase, key=lambda point: (len(counts[point]), point.batch_size, point.sequence_length)
            )
    return found


NOTES = (
    "A step is carried from the nearest measured GPU: starting kernels by the clock, the least that bandwidth and peak "
    "allow by those, and half of the rest each way, as the bound or by multiprocessors times clock; the interval holds "
    "both extremes. Records with kernels are carried kernel by kernel, others as a whole.",
    "Intervals are 90 %: left-out errors of one measured GPU predicted from another where there are nine or more, "
    "published errors of such predictors elsewhere, ±50 % at least where no measured GPU shares the architecture. "
    "Errors of one session are related, and two GPUs of one die say little of a third.",
    "Power is the measured share of the board's power limit, taken of the target's. Dollars are at the median "
    "provider's rate; their interval is the time's.",
    "Memory fits surely up to 93 % of the nominal size. What needs more and not all of it may not fit: it is marked, "
    "and stands in no title. The largest batch fits surely, every sequence taken to need the same.",
    "Clocks, power limits, drivers and compilers of the target are those of its data sheet or of the measured GPU.",
)


def _arm_table(
    point: Point, arms: Sequence[BestArms], dollars: Mapping[tuple[str, str], PricedPrediction], names: Names
) -> TableView:
    rows = []
    for each in (each for each in arms if each.point == point):
        shown = [arm for arm in (each.subject, each.reference) if arm is not None]
        rows += [_arm_row(arm, each, dollars[arm.gpu, arm.workload.key], names) for arm in shown]
        if not shown:
            rows.append((each.gpu, "no arm fits", *([units.UNKNOWN] * (len(ARM_COLUMNS) - 3)), Basis.MODELLED.value))
    return TableView(
        title=f"{PHASE_NAMES[point.phase]}: {point_label(point)}",
        summary="The fastest subject and the fastest reference that fit or may fit, by GPU.",
        columns=ARM_COLUMNS,
        right=_ARM_RIGHT,
        rows=tuple(rows),
        notes=(),
    )


def _arm_row(arm: Prediction, best: BestArms, priced: PricedPrediction, names: Names) -> tuple[str, ...]:
    is_subject = arm is best.subject
    return (
        arm.gpu,
        names.arm(arm.workload),
        with_brackets(arm.step_seconds, units.seconds),
        with_brackets(arm.tokens_per_second, units.si),
        units.UNKNOWN if arm.memory is None else arm.memory.words.replace(": needs", ""),
        units.UNKNOWN if arm.largest_batch is None else f"{arm.largest_batch}",
        with_brackets(arm.joules_per_token),
        with_brackets(priced.usd_per_million_tokens, units.usd),
        with_brackets(best.ratio, units.ratio) if is_subject else "1",
        arm.basis.value if arm.basis is Basis.MEASURED else f"{arm.basis} from {_source(arm)}, {arm.method}",
    )


def _source(arm: Prediction) -> str:
    return arm.source if arm.same_architecture else f"{arm.source} (other architecture)"


def _crossing(crossover: PredictedCrossover) -> str:
    if crossover.tokens is not None:
        return with_brackets(crossover.tokens)
    if crossover.median_tokens is None:
        return crossover.direction.value
    return f"{units.significant(crossover.median_tokens)} by the medians; {crossover.direction}"


def _crossover_table(crossovers: Sequence[PredictedCrossover]) -> TableView:
    return TableView(
        title="Crossover by GPU",
        summary="Length from which the fastest subject is faster than the fastest reference common to all lengths.",
        columns=("GPU", "over", "from, tokens", "ratios"),
        right=frozenset({2}),
        rows=tuple(
            (
                each.gpu,
                over_lengths(each.phase, each.batch_size),
                _crossing(each),
                ", ".join(f"{with_brackets(ratio)} at {units.tokens(length)}" for length, ratio in each.places),
            )
            for each in crossovers
        ),
        notes=(),
    )
