"""What the subject costs on each machine, where the records are of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.machines import by_machine
from pamprof.render.comparison.charts.common import panel_title
from pamprof.render.comparison.charts.cost import unit_of, value_of, written
from pamprof.render.comparison.inputs import gather_machine
from pamprof.render.comparison.model import Cell, CostRow, MachineTable
from pamprof.render.text import brackets

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.records import Environment, Point, PriceQuote
    from pamprof.records.store import RecordFile
    from pamprof.render.comparison.inputs import ReportInputs


def machine_table(
    records: RecordFile,
    told: Environment | None,
    *,
    quote: PriceQuote | None = None,
    quote_reason: str | None = None,
) -> MachineTable | None:
    """The subject's best arm over the fastest reference at every point of each machine; None where there is one.

    Args:
        records: Of all machines.
        told: Where the report's own points were measured.
        quote: Price that was asked for; see ``gather_machine``.
        quote_reason: Why there is no price, where none may be used.
    """
    parts = by_machine(records)
    if len(parts) < 2:
        return None
    machines = {
        name: gather_machine(part, told, quote=quote, quote_reason=quote_reason) for name, part in parts.items()
    }
    titles: dict[Point, str] = {}
    cells: dict[tuple[Point, str], Cell] = {}
    for name, inputs in machines.items():
        for point in inputs.story.points:
            titles.setdefault(point.point, panel_title(point))
            cells[point.point, name] = _cell(inputs, point)
    absent = Cell(text=units.UNKNOWN, reason="not measured on this machine")
    return MachineTable(
        title="By machine",
        machines=tuple(machines),
        rows=tuple(
            CostRow(point=title, cells=tuple(cells.get((point, name), absent) for name in machines))
            for point, title in titles.items()
        ),
        note=(
            "The subject's fastest arm over the fastest reference, both on the machine of the column, and what a "
            "million tokens of that arm cost there. No ratio is formed between machines."
        ),
    )


def _cell(inputs: ReportInputs, point: PointAnalysis) -> Cell:
    best = inputs.story.best_of_subject(point)
    if best is None:
        return Cell(text=units.UNKNOWN, reason="the subject has no number on this machine")
    summary = point.summary_of(best.subject)
    unit = "per million tokens" if inputs.quote is not None else unit_of(inputs)  # dollars have their sign
    cost = f"{written(inputs, value_of(inputs, summary).median)} {unit}"
    return Cell(
        text=f"{units.ratio(best.time_ratio.median)} {brackets(best.time_ratio)}".rstrip(),
        detail=f"{inputs.full_label(best.subject)}; {cost}",
        sort=best.time_ratio.median,
    )
