"""Throughput: tokens per second against batch or context where either was varied, by arm where neither was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import Phase
from pamprof.render.charts import Chart, Dot, DotPanel, LinePanel
from pamprof.render.comparison.charts.common import MOST_PANELS, panel_title, samples_and_confidence, source, subtitle
from pamprof.render.comparison.charts.lines import arm_lines
from pamprof.render.text import PHASE_NAMES

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.render.comparison.inputs import ReportInputs


def throughput_chart(inputs: ReportInputs) -> Chart:
    """Lines over the axis that varies; dots where a phase has a single point everywhere."""
    panels: list[LinePanel] = []
    used: list[PointAnalysis] = []
    for phase in Phase:
        points = inputs.story.points_of(phase)
        by_batch: dict[int, list[PointAnalysis]] = {}
        by_length: dict[int, list[PointAnalysis]] = {}
        for point in points:
            by_batch.setdefault(point.point.batch_size, []).append(point)
            by_length.setdefault(point.point.sequence_length, []).append(point)
        over_length = {b: group for b, group in by_batch.items() if len(group) > 1}
        over_batch = {t: group for t, group in by_length.items() if len(group) > 1}
        for batch, group in sorted(over_length.items()):
            used += group
            panels.append(_panel(inputs, f"{PHASE_NAMES[phase]}, batch {batch}", group, over_batch=False))
        if not over_length:
            for length, group in sorted(over_batch.items()):
                used += group
                title = f"{PHASE_NAMES[phase]}, {units.tokens(length)} tokens"
                panels.append(_panel(inputs, title, group, over_batch=True))
    points = tuple(used) or inputs.story.points[:MOST_PANELS]
    common = {
        "name": "throughput",
        "title": _finding(inputs),
        "subtitle": subtitle(inputs),
        "source": source(inputs),
        "alt": " ".join(_described(inputs, point) for point in points),
        "reason": "" if points else "nothing was measured",
    }
    counted = samples_and_confidence(s for p in points for s in p.summaries)
    if panels:
        return Chart(
            kind="lines",
            axis="tokens per second (logarithmic)",
            caption=f"Fastest execution of each arm, from the median step time; bars are intervals. {counted}.",
            panels=tuple(panels),
            **common,
        )
    return Chart(
        kind="dots",
        axis="tokens per second (logarithmic axis, the same for all panels of a phase)",
        caption=f"Filled: the fastest execution of each arm with its interval; hollow: its slower ones. {counted}.",
        panels=tuple(_dots(inputs, point) for point in points),
        **common,
    )


def _panel(inputs: ReportInputs, title: str, group: list[PointAnalysis], *, over_batch: bool) -> LinePanel:
    def place(point: PointAnalysis) -> float:
        return point.point.batch_size if over_batch else point.point.sequence_length

    decode = group[0].point.phase is Phase.DECODE
    words = "sequences per step (log)" if over_batch else f"tokens {'of context' if decode else 'per sequence'} (log)"
    ordered = sorted(group, key=place)
    return LinePanel(title=title, x_label=words, lines=arm_lines(inputs, ordered, place, lambda s: s.tokens_per_second))


def _dots(inputs: ReportInputs, point: PointAnalysis) -> DotPanel:
    best = sorted(inputs.best_arms(point), key=lambda s: s.step_seconds.median)
    fastest = {s.workload for s in best}
    return DotPanel(
        title=panel_title(point),
        axis_group=point.point.phase,
        dots=tuple(
            Dot(
                arm=inputs.arm(s.workload),
                label=inputs.arm(s.workload).label,
                value=s.tokens_per_second,
                text=units.si(s.tokens_per_second.median),
                slower=tuple(
                    other.tokens_per_second.median
                    for other in point.summaries
                    if inputs.arm(other.workload) == inputs.arm(s.workload) and other.workload not in fastest
                ),
                sample_count=s.sample_count,
            )
            for s in best
        ),
    )


def _finding(inputs: ReportInputs) -> str:
    for phase, verb in ((Phase.TRAIN, "trains on"), (Phase.PREFILL, "reads"), (Phase.DECODE, "writes")):
        told = inputs.story.phase(phase)
        if told is None or told.best_summary is None:
            continue
        point, improved = told.point, told.best_summary
        name = inputs.arm(improved.workload).label
        is_given = inputs.story.roles.layers[improved.workload.spec.layer].carrier is not None
        return (
            f"{name if is_given else _sentence_start(name)} {verb} "
            f"{units.si(improved.tokens_per_second.median)} tokens a second at best, the "
            f"{inputs.arm(point.baseline.workload).label} {units.si(point.baseline.tokens_per_second.median)}"
        )
    return "Tokens per second"


def _sentence_start(text: str) -> str:
    return text[:1].upper() + text[1:]


def _described(inputs: ReportInputs, point: PointAnalysis) -> str:
    arms = ", ".join(
        f"{inputs.arm(s.workload).label} {units.si(s.tokens_per_second.median)}" for s in inputs.best_arms(point)
    )
    return f"{panel_title(point)}, tokens per second: {arms}."
