"""The roofline: how near each arm comes to what the device can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import ImplementationKind, Phase
from pamprof.render.charts import Chart, RooflineDot, RooflinePanel
from pamprof.render.comparison.charts.common import panel_title, samples_and_confidence, source, subtitle
from pamprof.render.text import PHASE_NAMES

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.analysis.comparison.roofline import Roofline
    from pamprof.render.comparison.inputs import ReportInputs


def roofline_chart(inputs: ReportInputs) -> Chart:
    """One panel a phase, all under the same ceilings; without known ceilings the reason instead of a picture."""
    points = inputs.story.points
    roof = next((r for r in inputs.analysis.rooflines if points and r.dtype is points[0].point.dtype), None)
    shown = tuple(s for point in points for s in inputs.best_arms(point))
    panels = () if roof is None else _panels(inputs, roof, shown)
    described = (
        f"Ceilings of {roof.device_name}: {roof.source}." if roof is not None and roof.source is not None else ""
    )
    return Chart(
        name="roofline",
        kind="roofline",
        title=_finding(inputs, roof) if panels and roof is not None else "Peak unknown: no roofline can be drawn",
        subtitle=subtitle(inputs),
        axis="FLOP per byte (log): matrix FLOPs over the least bytes a step can move",
        caption=(
            "Fastest execution of each arm at every batch and length measured. FLOP/s are measured; the intensity is "
            "modelled from what the arm holds, each byte moved once, so a mark's true place lies to the left. "
            f"{described} {_moved_by_kernels(inputs)}{samples_and_confidence(shown)}."
        ),
        source=source(inputs),
        alt=" ".join(_described(inputs, point) for point in points) or "Nothing was measured.",
        panels=panels,
        reason="" if panels else _reason(roof),
    )


def _moved_by_kernels(inputs: ReportInputs) -> str:
    """What hand-written kernels move by their own formulas, at the point that sums each phase up."""
    found = []
    for phase in Phase:
        told = inputs.story.phase(phase)
        for summary in () if told is None else inputs.best_arms(told.point):
            moved = summary.run.flops.kernel_byte_count
            if moved is not None and inputs.story.roles.kind(summary.workload) is ImplementationKind.KERNELS:
                rate = units.si(moved / summary.step_seconds.median, "B/s")
                found.append(f"{PHASE_NAMES[phase].lower()} {units.si(moved, 'B')} a step, {rate}")
    return f"Hand-written kernels alone, without library products, move at least: {'; '.join(found)}. " if found else ""


def _panels(inputs: ReportInputs, roof: Roofline, shown: tuple[Summary, ...]) -> tuple[RooflinePanel, ...]:
    peak, bandwidth = roof.peak_flops_per_second, roof.bandwidth_bytes_per_second
    if peak is None or bandwidth is None:
        return ()
    wanted = {s.workload for s in shown}
    made = []
    for phase in Phase:
        dots = tuple(
            RooflineDot(arm=inputs.arm(p.workload), intensity=p.flops_per_byte, flops_per_second=p.flops_per_second)
            for p in roof.points
            if p.workload in wanted and p.workload.phase is phase and p.flops_per_byte > 0
        )
        if dots:
            made.append(
                RooflinePanel(
                    title=PHASE_NAMES[phase],
                    dots=dots,
                    peak_flops_per_second=peak,
                    bandwidth_bytes_per_second=bandwidth,
                    ceiling="measured" if roof.measured else "dense peak",
                )
            )
    return tuple(made)


def _reason(roof: Roofline | None) -> str:
    if roof is None:
        return "nothing was measured"
    why = roof.unknown_reason or f"the memory bandwidth of {roof.device_name} is not listed"
    return f"{why}. Achieved FLOP per second follow from the table and the counted FLOPs in measurements.csv."


def _finding(inputs: ReportInputs, roof: Roofline) -> str:
    peak = roof.peak_flops_per_second
    ceiling = "the fastest matrix product measured here" if roof.measured else "the dense peak"
    for phase in Phase:
        told = inputs.story.phase(phase)
        if told is None or told.best_summary is None or peak is None:
            continue
        point, ours = told.point, told.best_summary
        theirs = point.baseline.flops_per_second.median / peak
        return (
            f"{PHASE_NAMES[phase]}: the {inputs.arm(point.baseline.workload).label} reaches {units.percent(theirs)} "
            f"of {ceiling}, {inputs.arm(ours.workload).label} {units.percent(ours.flops_per_second.median / peak)}"
        )
    return "Achieved FLOP per second under the device's ceilings"


def _described(inputs: ReportInputs, point: PointAnalysis) -> str:
    arms = ", ".join(
        f"{inputs.arm(s.workload).label} {units.si(s.flops_per_second.median, 'FLOP/s')}"
        for s in inputs.best_arms(point)
    )
    return f"{panel_title(point)}: {arms}."
