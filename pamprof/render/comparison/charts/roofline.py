"""The roofline: how near each arm comes to what the device can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.results import CeilingKind
from pamprof.records import ImplementationKind, Phase
from pamprof.render.charts import Chart, RooflineDot, RooflinePanel, RooflineSlope
from pamprof.render.comparison.charts.common import panel_title, samples_and_confidence, source, subtitle
from pamprof.render.text import PHASE_NAMES, roof_share

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.render.comparison.inputs import ReportInputs


_CEILINGS = {
    CeilingKind.PRODUCT: "the fastest matrix product measured here",
    CeilingKind.READ: "the fastest read of memory measured here",
    CeilingKind.WRITE: "the fastest write to memory measured here",
    CeilingKind.COPY: "the fastest copy of memory measured here",
    CeilingKind.LISTED_PEAK: "the dense peak",
    CeilingKind.LISTED_BANDWIDTH: "the listed memory bandwidth",
}


def roofline_chart(inputs: ReportInputs) -> Chart:
    """One panel a phase, all under the same ceilings; without known ceilings the reason instead of a picture."""
    points = inputs.story.points
    roof = next((r for r in inputs.analysis.roofs if points and r.dtype is points[0].point.dtype), None)
    shown = tuple(s for point in points for s in inputs.best_arms(point))
    panels = () if roof is None else _panels(inputs, roof, shown)
    described = (
        f"Ceilings of {roof.device_name}: {roof.source}." if roof is not None and roof.source is not None else ""
    )
    return Chart(
        name="roofline",
        kind="roofline",
        title=_finding(inputs) if panels else "Peak unknown: no roofline can be drawn",
        subtitle=subtitle(inputs),
        axis="FLOP per byte (log): matrix FLOPs over the least bytes a step can move",
        caption=(
            "Fastest execution of each arm at every batch and length measured. FLOP/s are measured; the intensity is "
            "modelled from what the arm holds, each byte moved once, so a mark's true place lies to the left. "
            "Each step is held to the memory ceiling nearest to it by the share of reads in its traffic: read, copy or "
            "write. "
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


def _panels(inputs: ReportInputs, roof: Roof, shown: tuple[Summary, ...]) -> tuple[RooflinePanel, ...]:
    peak = roof.peak_flops_per_second
    if peak is None or not roof.bandwidths:
        return ()
    made = []
    for phase in Phase:
        placed = [(s, s.roof) for s in shown if s.roof is not None and s.workload.phase is phase]
        if placed:
            used = {place.bandwidth_kind for _, place in placed}
            made.append(
                RooflinePanel(
                    title=PHASE_NAMES[phase],
                    dots=tuple(
                        RooflineDot(
                            arm=inputs.arm(s.workload),
                            intensity=place.flops_per_byte,
                            flops_per_second=s.flops_per_second,
                        )
                        for s, place in placed
                    ),
                    peak_flops_per_second=peak,
                    slopes=tuple(
                        RooflineSlope(label=str(b.kind).removeprefix("listed "), bytes_per_second=b.bytes_per_second)
                        for b in roof.bandwidths
                        if b.kind in used
                    ),
                    ceiling="measured" if roof.peak_kind is CeilingKind.PRODUCT else "dense peak",
                )
            )
    return tuple(made)


def _reason(roof: Roof | None) -> str:
    if roof is None:
        return "nothing was measured"
    why = roof.unknown_reason or f"the memory bandwidth of {roof.device_name} is not listed"
    return f"{why}. Achieved FLOP per second follow from the table and the counted FLOPs in measurements.csv."


def _finding(inputs: ReportInputs) -> str:
    for phase in Phase:
        told = inputs.story.phase(phase)
        if told is None or told.best_summary is None:
            continue
        theirs, ours = told.point.baseline, told.best_summary
        if theirs.roof is None or ours.roof is None or theirs.roof.ceiling is None or ours.roof.ceiling is None:
            continue
        other = "" if ours.roof.ceiling is theirs.roof.ceiling else f" of {_CEILINGS[ours.roof.ceiling]}"
        return (
            f"{PHASE_NAMES[phase]}: the {inputs.arm(theirs.workload).label} reaches "
            f"{roof_share(theirs.roof)} of {_CEILINGS[theirs.roof.ceiling]}, "
            f"{inputs.arm(ours.workload).label} {roof_share(ours.roof)}{other}"
        )
    return "Achieved FLOP per second under the device's ceilings"


def _described(inputs: ReportInputs, point: PointAnalysis) -> str:
    arms = ", ".join(
        f"{inputs.arm(s.workload).label} {units.si(s.flops_per_second.median, 'FLOP/s')}"
        for s in inputs.best_arms(point)
    )
    return f"{panel_title(point)}: {arms}."
