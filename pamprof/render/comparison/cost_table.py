"""Cost in numbers, perplexity beside it, the bill of the paper's training run, and the spread of the market."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.pricing.rates.rate_words import hour_of, hours_of, ordinal
from pamprof.pricing.run_cost import PAPER_RUN_TOKENS, training_bill
from pamprof.records import Phase
from pamprof.render.arms import arm_key
from pamprof.render.comparison.charts.common import panel_title
from pamprof.render.comparison.charts.cost import price_note, unit_of, value_of, written
from pamprof.render.comparison.model import Cell, CostRow, CostTable
from pamprof.render.text import brackets, listed, with_brackets

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.records import Perplexity
    from pamprof.render.arms import Arm
    from pamprof.render.comparison.inputs import ReportInputs

_BILL_HEADING = (
    f"An example bill: training on {units.si(PAPER_RUN_TOKENS)} tokens, 10 passes over 118.44 million as in "
    "arXiv:2604.05030"
)


def cost_table(inputs: ReportInputs) -> CostTable:
    """Cost of every arm's fastest execution by point, perplexity above it, and the training bill of the paper's run."""
    points = inputs.story.points
    shown = {arm_key(s.workload) for point in points for s in point.summaries}
    arms = tuple(arm for key, arm in inputs.arms.items() if key in shown)
    perplexities = {p.layer: p for p in (inputs.session.perplexities if inputs.session else ())}
    sources = tuple(dict.fromkeys(p.source for p in perplexities.values()))
    return CostTable(
        unit=unit_of(inputs),
        arms=arms,
        rows=tuple(CostRow(point=panel_title(p), cells=_cells(inputs, p, arms)) for p in points),
        perplexities=tuple(_perplexity(perplexities.get(arm.key.split("/", maxsplit=1)[0])) for arm in arms)
        if perplexities
        else (),
        perplexity_source=f"Perplexity (lower is better): {listed(sources)}." if sources else "",
        bill=_bill(inputs),
        bill_heading=_BILL_HEADING,
        market=_market(inputs),
    )


def _cells(inputs: ReportInputs, point: PointAnalysis, arms: tuple[Arm, ...]) -> tuple[Cell, ...]:
    best = {arm_key(s.workload): s for s in inputs.best_arms(point)}
    cells = []
    for arm in arms:
        if arm.key not in best:
            cells.append(
                Cell(text=units.UNKNOWN, reason="not measured here; a skipped point is listed with its reason")
            )
            continue
        value = value_of(inputs, best[arm.key])
        cells.append(
            Cell(
                text=written(inputs, value.median),
                detail=brackets(value, lambda x: written(inputs, x).replace("$", "")),
                sort=value.median,
            )
        )
    return tuple(cells)


def _perplexity(known: Perplexity | None) -> Cell:
    if known is None:
        return Cell(text=units.UNKNOWN, reason="no perplexity was given for this layer; give one with --perplexity")
    return Cell(text=f"{known.value:.1f}", sort=known.value)


def _bill(inputs: ReportInputs) -> tuple[str, ...]:
    told = inputs.story.phase(Phase.TRAIN)
    if told is None or told.point.point.scope != "model":
        return ()
    point = told.point
    lines = []
    for summary in inputs.best_arms(point):
        hours = summary.tokens_per_second.inverse().scaled(PAPER_RUN_TOKENS / 3600)
        text = f"{with_brackets(hours)} {hours_of(inputs.quote.chosen) if inputs.quote else 'device-hours'}"
        if inputs.quote is not None:
            bill = training_bill(PAPER_RUN_TOKENS, summary.tokens_per_second, inputs.quote)
            text = f"{units.usd(bill.usd.median)} ({text})"
        lines.append(f"{inputs.full_label(summary.workload)}: {text}")
    return tuple(lines)


def _market(inputs: ReportInputs) -> str:
    quote = inputs.quote
    if quote is None:
        return price_note(inputs)
    if quote.candidate_count < 2 or quote.low == quote.high:
        return "One rate only: the spread of the market is not shown."
    low, high, own = (float(p.usd_per_device_hour) for p in (quote.low, quote.high, quote.chosen))
    place = f"the {ordinal(quote.rank)} of {quote.candidate_count}" if quote.rank else f"one of {quote.candidate_count}"
    return (
        f"The market moves every dollar here together: the rate used is {place} comparable rates, which run from "
        f"{units.usd_rate(low)} ({quote.low.provider}) to {units.usd_rate(high)} ({quote.high.provider}) per "
        f"{hour_of(quote.chosen)}, that is {units.ratio(low / own, 2)} to {units.ratio(high / own, 2)} of the amounts "
        "shown. Ratios between arms do not move."
    )
