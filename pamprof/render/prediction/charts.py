"""Dollars against tokens per second by GPU, and the ratio over length by GPU; measured filled, predicted hollow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.crossovers import STEADY_STEP
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.resources import MemoryFit
from pamprof.records import Interval
from pamprof.render.arms import Arm, arm_key, assign_arms
from pamprof.render.charts import ArmCurve, Chart, CurvePanel, Piece, Spot
from pamprof.render.text import PHASE_NAMES, listed, plural, point_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.comparison.names import Names
    from pamprof.analysis.prediction.crossing import BestArms, PredictedCrossover
    from pamprof.analysis.prediction.predict import Prediction
    from pamprof.pricing.predicted_cost import PricedPrediction
    from pamprof.records import Phase, Point

_SOURCE = "Source: stored records of pamprof, listed specifications and rates of GPUs."
_LOOKS = (
    ("reference", "s"), ("kernels", "h"), ("twin", "^"), ("published", "o"), ("plain1", "D"), ("plain2", "v"),
    ("plain3", "P"), ("other1", "X"), ("other2", "p"), ("other3", "<"), ("other4", ">"),
)  # fmt: skip


def dollar_chart(
    point: Point, arms: Sequence[BestArms], dollars: Mapping[tuple[str, str], PricedPrediction], names: Names
) -> Chart:
    """Dollars per million tokens against tokens per second at one point, a mark a GPU: subject and reference apart."""
    here = [each for each in arms if each.point == point]
    panels = [
        panel
        for title, found in (
            ("subject", [each.subject for each in here if each.subject is not None]),
            ("reference", [each.reference for each in here if each.reference is not None]),
        )
        if (panel := _dollar_panel(title, found, dollars, names)) is not None
    ]
    where = f"{PHASE_NAMES[point.phase].lower()}, {point_label(point)}"
    title = _cheapest(here, dollars, names) or f"Dollars against tokens per second in {where}"
    return Chart(
        name=f"gpus-{point.phase}",
        kind="curves",
        title=title,
        subtitle=where,
        axis="US dollars per million tokens (logarithmic)",
        caption=(
            f"{where[0].upper()}{where[1:]}: the fastest arm on each GPU of those that fit or, where marked, may not. "
            "Filled marks were measured, hollow ones are predicted; lines are 90 % intervals of predictions and 95 % "
            "of measured times. A GPU on which nothing fits, or without a listed rate, is left out."
        ),
        source=_SOURCE,
        alt=f"{title}.",
        panels=tuple(panels),
        reason="" if panels else "no arm fits on a GPU with a listed rate",
    )


def _cheapest(here: Sequence[BestArms], dollars: Mapping[tuple[str, str], PricedPrediction], names: Names) -> str:
    found = [
        (row.usd_per_million_tokens.median, each.gpu, names.title(each.subject.workload.spec.layer))
        for each in here
        if each.subject is not None
        and not _may_not_fit(each.subject)
        and (row := dollars[each.gpu, each.subject.workload.key]).usd_per_million_tokens is not None
    ]
    if len(found) < 2:
        return ""
    (least, gpu, layer), (most, other, _) = min(found), max(found)
    phase = PHASE_NAMES[here[0].point.phase].lower()
    return (
        f"By the medians a million tokens of {phase} with {layer} cost {units.usd(least)} on the {gpu} and "
        f"{units.usd(most)} on the {other}"
    )


def _may_not_fit(arm: Prediction) -> bool:
    return arm.memory is not None and arm.memory.fit is MemoryFit.UNSURE


def _dollar_panel(
    title: str,
    predictions: Sequence[Prediction],
    dollars: Mapping[tuple[str, str], PricedPrediction],
    names: Names,
) -> CurvePanel | None:
    looks = assign_arms([each.workload for each in predictions], layers=names.layers)
    curves = []
    for each in predictions:
        value, rate = dollars[each.gpu, each.workload.key].usd_per_million_tokens, each.tokens_per_second
        if value is None or rate is None:
            continue
        spot = Spot(x=rate.median, value=value, basis=each.basis)
        gpu = f"{each.gpu}, {MemoryFit.UNSURE}" if _may_not_fit(each) else each.gpu
        curves.append(ArmCurve(arm=looks[arm_key(each.workload)], label=gpu, pieces=(), spots=(spot,)))
    if not curves:
        return None
    labels = tuple(dict.fromkeys(curve.arm.label for curve in curves))
    return CurvePanel(
        title=f"{title}: {listed(labels)}", x_label="tokens per second (log)", x_unit="count", curves=tuple(curves)
    )


def memory_chart(point: Point, arms: Sequence[BestArms], names: Names) -> Chart:
    """The largest batch that surely fits against the memory of each GPU: subject and reference apart."""
    here = [each for each in arms if each.point == point]
    panels = []
    for title, found in (
        ("subject", [each.subject for each in here]),
        ("reference", [each.reference for each in here]),
    ):
        known = [each for each in found if each is not None and each.memory is not None and each.largest_batch]
        looks = assign_arms([each.workload for each in known], layers=names.layers)
        curves = tuple(
            ArmCurve(
                arm=looks[arm_key(each.workload)],
                label=each.gpu,
                pieces=(),
                spots=(
                    Spot(
                        x=each.memory.available_bytes / units.GIB,
                        value=Interval.exact(float(each.largest_batch)),
                        basis=Basis.MODELLED,
                    ),
                ),
            )
            for each in known
            if each.memory is not None and each.largest_batch is not None
        )
        if curves:
            labels = listed(tuple(dict.fromkeys(curve.arm.label for curve in curves)))
            panels.append(
                CurvePanel(title=f"{title}: {labels}", x_label="memory, GiB (log)", x_unit="count", curves=curves)
            )
    where = f"{PHASE_NAMES[point.phase].lower()}, {point_label(point)}"
    title = f"How many sequences fit by GPU, {where}"
    return Chart(
        name="gpus-memory",
        kind="curves",
        title=title,
        subtitle=where,
        axis="largest batch that fits (logarithmic)",
        caption=(
            "Modelled on every GPU: the measured peak less weights, gradients and optimizer state is taken to grow in "
            "proportion to the batch, up to 93 % of the nominal memory. A GPU into which the measured batch does not "
            "fit is left out."
        ),
        source=_SOURCE,
        alt=f"{title}.",
        panels=tuple(panels),
        reason="" if panels else "no peak was measured",
    )


def crossover_chart(crossovers: Sequence[PredictedCrossover]) -> tuple[Chart, ...]:
    """The ratio of the best arms over length, a line a GPU and a panel a phase; none without two lengths anywhere."""
    families: dict[tuple[Phase, int], list[PredictedCrossover]] = {}
    for each in crossovers:
        families.setdefault((each.phase, each.batch_size), []).append(each)
    if not families:
        return ()
    gpus = tuple(dict.fromkeys(each.gpu for each in crossovers))
    looks = {
        gpu: Arm(key=gpu, label=gpu, role=role, marker=marker)
        for gpu, (role, marker) in zip(gpus, _LOOKS * (1 + len(gpus) // len(_LOOKS)), strict=False)
    }
    panels = tuple(
        CurvePanel(
            title=over_lengths(phase, batch),
            x_label="context, tokens (log)" if phase == "decode" else "sequence length, tokens (log)",
            x_unit="tokens",
            curves=tuple(_ratio_curve(each, looks[each.gpu]) for each in members),
            level=1.0,
        )
        for (phase, batch), members in families.items()
    )
    title = f"Time of the best subject over the best reference by length on {plural(len(gpus), 'GPU')}"
    return (
        Chart(
            name="gpus-crossover",
            kind="curves",
            title=title,
            subtitle=", ".join(gpus),
            axis="step time of the subject over the reference's (logarithmic)",
            caption=(
                "Below the line of 1 the subject is the faster one. Lines are dashed and marks hollow where predicted. "
                "Intervals are in the table: bands of several GPUs would cover each other."
            ),
            source=_SOURCE,
            alt=f"{title}.",
            panels=panels,
        ),
    )


def over_lengths(phase: Phase, batch_size: int) -> str:
    """``Training, steps of about as many tokens`` or ``Decode, batch 8``: the points of one crossover."""
    steps = "steps of about as many tokens" if batch_size == STEADY_STEP else f"batch {batch_size}"
    return f"{PHASE_NAMES[phase]}, {steps}"


def _ratio_curve(crossover: PredictedCrossover, arm: Arm) -> ArmCurve:
    basis = Basis.MEASURED if crossover.is_measured else Basis.MODELLED
    xs = tuple(float(length) for length, _ in crossover.places)
    # Bands of several GPUs would cover each other; the table has the intervals.
    values = tuple(Interval.exact(ratio.median) for _, ratio in crossover.places)
    return ArmCurve(
        arm=arm,
        label=arm.label,
        pieces=(Piece(xs=xs, values=values, basis=basis),),
        spots=tuple(Spot(x=x, value=value, basis=basis) for x, value in zip(xs, values, strict=True)),
    )
