"""Peak memory by component, the fixed state and the KV cache told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import Phase
from pamprof.render.charts import Chart, MemoryBar, MemoryPanel
from pamprof.render.comparison.charts.common import MOST_PANELS, panel_title, source, subtitle

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Memory
    from pamprof.render.comparison.inputs import ReportInputs


def memory_chart(inputs: ReportInputs) -> Chart:
    """One panel a point, one bar an arm."""
    points = _points(inputs)
    panels = tuple(
        MemoryPanel(
            title=panel_title(point),
            bars=tuple(_bar(inputs, s) for s in inputs.best_arms(point) if s.run.memory.peak_bytes is not None),
        )
        for point in points
    )
    panels = tuple(panel for panel in panels if panel.bars)
    reasons = dict.fromkeys(
        u.reason for run in inputs.records.runs for u in run.unknowns if u.field == "memory.peak_bytes"
    )
    return Chart(
        name="memory",
        kind="memory",
        title=_finding(inputs, points),
        subtitle=subtitle(inputs),
        axis="peak tensor storage of one step (each panel has its own scale)",
        caption=(
            "Fastest execution of each arm. The end of a bar is the peak by the allocator; the parts are summed from "
            f"tensors. {_left_over(inputs, points)} The fixed state and the KV cache have colours of their own. "
            "n = 1 (a peak is a maximum, it has no interval)."
        ),
        source=source(inputs),
        alt=" ".join(_described(inputs, point) for point in points) or "No memory was measured.",
        panels=panels,
        reason="" if panels else " ".join(reasons) or "no peak was recorded",
    )


def _points(inputs: ReportInputs) -> tuple[PointAnalysis, ...]:
    chosen: list[PointAnalysis] = []
    for phase in Phase:
        points = inputs.story.points_of(phase)
        if len(points) > 2:
            longest = max(p.point.sequence_length for p in points)
            shortest = min(p.point.sequence_length for p in points)
            largest = max(p.point.batch_size for p in points)
            points = (
                tuple(
                    p
                    for p in points
                    if p.point.batch_size == largest and p.point.sequence_length in {shortest, longest}
                )
                or points
            )
        chosen += points
    return tuple(chosen[:MOST_PANELS])


def _parts(memory: Memory) -> tuple[tuple[str, int], ...]:
    unaccounted = max(0, memory.unaccounted_bytes or 0)
    return (
        ("parameters", memory.parameter_bytes),
        ("gradients", memory.gradient_bytes),
        ("optimizer", memory.optimizer_bytes),
        ("activations", memory.saved_activation_bytes or 0),
        ("cache" if memory.state_kind == "kv-cache" else "state", memory.state_bytes),
        ("inputs", memory.input_bytes),
        ("transient", max(0, (memory.transient_bytes or 0) - unaccounted)),
        ("unaccounted", unaccounted),
    )


def _left_over(inputs: ReportInputs, points: tuple[PointAnalysis, ...]) -> str:
    """How much of a peak no part explains, at most."""
    memories = [summary.run.memory for point in points for summary in inputs.best_arms(point)]
    shares = [
        abs(memory.unaccounted_bytes) / memory.peak_bytes
        for memory in memories
        if memory.peak_bytes and memory.unaccounted_bytes is not None
    ]
    together = sum(memory.peak_bytes is not None and memory.unaccounted_bytes is None for memory in memories)
    sentences = [
        f"What no part explains is at most {units.percent(max(shares))} of a peak." if shares else "",
        "Where no operator returns the short-lived tensors, as in compiled code, they are the rest of the peak."
        if together
        else "",
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _bar(inputs: ReportInputs, summary: Summary) -> MemoryBar:
    arm = inputs.arm(summary.workload)
    return MemoryBar(
        arm=arm, label=arm.label, parts=_parts(summary.run.memory), total_bytes=summary.run.memory.peak_bytes or 0
    )


def _finding(inputs: ReportInputs, points: tuple[PointAnalysis, ...]) -> str:
    for point in reversed(points):
        best = inputs.story.best_of_subject(point)
        improved = None if best is None else point.summary_of(best.subject)
        theirs = point.baseline.run.memory
        if improved is None or improved.run.memory.peak_bytes is None or not theirs.peak_bytes:
            continue
        ours = improved.run.memory
        name, reference = inputs.arm(improved.workload).label, inputs.arm(point.baseline.workload).label
        if ours.state_kind is not None and theirs.state_kind is not None:
            held, own = ("KV cache" if kind == "kv-cache" else "state" for kind in (theirs.state_kind, ours.state_kind))
            return (
                f"{panel_title(point)}: the {reference}'s {held} takes {units.binary_bytes(theirs.state_bytes)}, "
                f"the {own} of {name} {units.binary_bytes(ours.state_bytes)}"
            )
        peak = improved.run.memory.peak_bytes
        return (
            f"{panel_title(point)}: {name} holds {units.ratio(peak / theirs.peak_bytes)} the memory of the {reference}"
        )
    return "Peak memory by component"


def _described(inputs: ReportInputs, point: PointAnalysis) -> str:
    arms = ", ".join(
        f"{inputs.arm(s.workload).label} {units.binary_bytes(s.run.memory.peak_bytes)}" for s in inputs.best_arms(point)
    )
    return f"{panel_title(point)}: {arms}."
