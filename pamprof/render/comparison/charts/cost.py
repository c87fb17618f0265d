"""Cost: dollars per million tokens by phase and arm, or device-hours where no price is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import Phase
from pamprof.render.arms import arm_key
from pamprof.render.charts import Chart, Dot, DotPanel
from pamprof.render.comparison.charts.common import MOST_PANELS, panel_title, samples_and_confidence, source, subtitle

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Interval
    from pamprof.render.comparison.material import Material

_HOURS_PER_MILLION = 1e6 / 3600


def value_of(material: Material, summary: Summary) -> Interval:
    """Dollars, or device-hours where there is no price, per million tokens."""
    cost = material.cost(summary)
    return (
        summary.tokens_per_second.inverse().scaled(_HOURS_PER_MILLION) if cost is None else cost.usd_per_million_tokens
    )


def unit_of(material: Material) -> str:
    """The unit of ``value_of`` in words."""
    return "US dollars per million tokens" if material.quote is not None else "device-hours per million tokens"


def price_note(material: Material) -> str:
    """The rate the dollars come from, for a caption."""
    if material.quote is None:
        return f"No dollars: {material.quote_reason}. Multiply by your own rate per device-hour."
    rate = material.quote.chosen
    return f"At {units.usd(float(rate.usd_per_device_hour))} per device-hour ({rate.provider}, {rate.observed_text})."


def written(material: Material, value: float) -> str:
    """A value of ``value_of`` on paper."""
    return units.usd(value) if material.quote is not None else units.significant(value)


def cost_chart(material: Material) -> Chart:
    """Dots with intervals: one panel a point, one row an arm."""
    points = material.main_points()[:MOST_PANELS]
    panels = []
    for point in points:
        best = sorted(material.best(point), key=lambda s: s.step_seconds.median)
        shown = {s.workload for s in best}
        panels.append(
            DotPanel(
                title=panel_title(point),
                axis_group=point.point.phase,
                dots=tuple(
                    Dot(
                        arm=material.arm(s.workload),
                        label=material.arm(s.workload).label,
                        value=value_of(material, s),
                        text=written(material, value_of(material, s).median),
                        slower=tuple(
                            value_of(material, other).median
                            for other in point.summaries
                            if arm_key(other.workload) == arm_key(s.workload) and other.workload not in shown
                        ),
                        sample_count=s.sample_count,
                    )
                    for s in best
                ),
            )
        )
    return Chart(
        name="cost",
        kind="dots",
        title=_cost_finding(material),
        subtitle=subtitle(material),
        axis=f"{unit_of(material)} (logarithmic axis, the same for all panels of a phase)",
        caption=(
            f"Filled: the fastest execution of each arm, with its interval (often narrower than the mark). Small and "
            f"hollow: its slower executions. {price_note(material)} "
            f"{samples_and_confidence(s for p in points for s in p.summaries)}."
        ),
        source=source(material),
        alt=_cost_spoken(material, points),
        panels=tuple(panels),
        reason="" if panels else "nothing was measured",
    )


def _cost_finding(material: Material) -> str:
    for phase in Phase:
        point = material.headline_point(phase)
        improved = None if point is None else material.improved(point)
        if point is None or improved is None:
            continue
        reference = material.arm(point.baseline.workload).label
        ours, theirs = value_of(material, improved).median, value_of(material, point.baseline).median
        unit = "" if material.quote is not None else " device-hours"
        return (
            f"A million tokens of {panel_title(point).split(',')[0].lower()} cost {written(material, ours)}{unit} on "
            f"{material.arm(improved.workload).label} at best, {written(material, theirs)} on the {reference}"
        )
    return "What a million tokens cost"


def _cost_spoken(material: Material, points: tuple[PointAnalysis, ...]) -> str:
    sentences = []
    for point in points:
        arms = ", ".join(
            f"{material.arm(s.workload).label} {written(material, value_of(material, s).median)}"
            for s in material.best(point)
        )
        sentences.append(f"{panel_title(point)}: {arms}.")
    return f"In {unit_of(material)}. " + " ".join(sentences)
