"""Cost: dollars per million tokens by phase and arm, or device-hours where no price is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.pricing.rates.rate_words import machine, rate_per_hour
from pamprof.records import Phase
from pamprof.render.arms import arm_key
from pamprof.render.charts import Chart, Dot, DotPanel
from pamprof.render.comparison.charts.common import MOST_PANELS, panel_title, samples_and_confidence, source, subtitle

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.records import Interval
    from pamprof.render.comparison.inputs import ReportInputs

_HOURS_PER_MILLION = 1e6 / 3600


def value_of(inputs: ReportInputs, summary: Summary) -> Interval:
    """Dollars, or device-hours where there is no price, per million tokens."""
    cost = inputs.cost(summary)
    return (
        summary.tokens_per_second.inverse().scaled(_HOURS_PER_MILLION) if cost is None else cost.usd_per_million_tokens
    )


def unit_of(inputs: ReportInputs) -> str:
    """The unit of ``value_of`` in words."""
    return "US dollars per million tokens" if inputs.quote is not None else "device-hours per million tokens"


def price_note(inputs: ReportInputs) -> str:
    """The rate the dollars come from, for a caption."""
    if inputs.quote is None:
        return f"No dollars: {inputs.quote_reason}. Multiply by your own rate per device-hour."
    rate = inputs.quote.chosen
    where = rate.provider if rate.used_vcpu_count is None else machine(rate)
    return f"At {rate_per_hour(rate)} ({where}, {rate.observed_text})."


def written(inputs: ReportInputs, value: float) -> str:
    """A value of ``value_of`` on paper."""
    return units.usd(value) if inputs.quote is not None else units.significant(value)


def cost_chart(inputs: ReportInputs) -> Chart:
    """Dots with intervals: one panel a point, one row an arm."""
    points = inputs.story.points[:MOST_PANELS]
    panels = []
    for point in points:
        best = sorted(inputs.best_arms(point), key=lambda s: s.step_seconds.median)
        shown = {s.workload for s in best}
        panels.append(
            DotPanel(
                title=panel_title(point),
                axis_group=point.point.phase,
                dots=tuple(
                    Dot(
                        arm=inputs.arm(s.workload),
                        label=inputs.arm(s.workload).label,
                        value=value_of(inputs, s),
                        text=written(inputs, value_of(inputs, s).median),
                        slower=tuple(
                            value_of(inputs, other).median
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
        title=_cost_finding(inputs),
        subtitle=subtitle(inputs),
        axis=f"{unit_of(inputs)} (logarithmic axis, the same for all panels of a phase)",
        caption=(
            f"Filled: the fastest execution of each arm, with its interval (often narrower than the mark). Small and "
            f"hollow: its slower executions. {price_note(inputs)} "
            f"{samples_and_confidence(s for p in points for s in p.summaries)}."
        ),
        source=source(inputs),
        alt=_described(inputs, points),
        panels=tuple(panels),
        reason="" if panels else "nothing was measured",
    )


def _cost_finding(inputs: ReportInputs) -> str:
    for phase in Phase:
        told = inputs.story.phase(phase)
        if told is None or told.best_summary is None:
            continue
        point, improved = told.point, told.best_summary
        reference = inputs.arm(point.baseline.workload).label
        ours, theirs = value_of(inputs, improved).median, value_of(inputs, point.baseline).median
        unit = "" if inputs.quote is not None else " device-hours"
        return (
            f"A million tokens of {panel_title(point).split(',')[0].lower()} cost {written(inputs, ours)}{unit} on "
            f"{inputs.arm(improved.workload).label} at best, {written(inputs, theirs)} on the {reference}"
        )
    return "What a million tokens cost"


def _described(inputs: ReportInputs, points: tuple[PointAnalysis, ...]) -> str:
    sentences = []
    for point in points:
        arms = ", ".join(
            f"{inputs.arm(s.workload).label} {written(inputs, value_of(inputs, s).median)}"
            for s in inputs.best_arms(point)
        )
        sentences.append(f"{panel_title(point)}: {arms}.")
    return f"In {unit_of(inputs)}. " + " ".join(sentences)
