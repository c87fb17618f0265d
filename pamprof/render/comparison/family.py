"""The table of all layers of a device model, for a reader who chooses among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.comparison.family import family
from pamprof.records import Phase
from pamprof.render.comparison.charts.cost import unit_of, value_of, written
from pamprof.render.comparison.model import Cell, Column, FamilyTable, FamilyTableRow
from pamprof.render.text import PHASE_NAMES, device_label, listed, plural, point_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.family import Family, FamilyCell, FamilyRow
    from pamprof.analysis.comparison.results import Summary
    from pamprof.records import Environment, Point
    from pamprof.render.comparison.inputs import ReportInputs

HEADING = "All layers in one table"
_OLDER = "older"  # of records that do not say their effort


def family_table(environments: Sequence[ReportInputs]) -> FamilyTable | None:
    """The table over ``environments``, that of the report first; None of fewer than three layers."""
    found = family([(inputs.records, inputs.analysis) for inputs in environments])
    if found is None:
        return None
    memory, state = found.first(Phase.TRAIN), found.first(Phase.DECODE)
    first = environments[0]
    columns = [_speed_column(point) for point in found.columns]
    if memory is not None:
        columns.append(_of(found.columns[memory], "memory", "Memory", "highest live tensor storage of a step"))
    if state is not None:
        columns.append(_of(found.columns[state], "state", "State", "recurrent state or KV cache of one sequence"))
    heading = "$/M" if first.quote is not None else "h/M"
    priced = [number for number in (memory, _last_decode(found)) if number is not None]
    columns += [_of(found.columns[number], "price", heading, unit_of(first)) for number in priced]
    rows = []
    for row in found.rows:
        inputs = environments[row.environment]
        cells = [_speed(inputs, cell) for cell in row.cells]
        if memory is not None:
            cells.append(_memory(inputs, row.cells[memory]))
        if state is not None:
            cells.append(_state(inputs, row.cells[state]))
        cells += [_price(inputs, row.cells[number]) for number in priced]
        rows.append(
            FamilyTableRow(
                layer=row.layer,
                state_count=row.state_count,
                name=_name(inputs, row),
                remark=_remark(inputs, row, first),
                cells=tuple(cells),
            )
        )
    return FamilyTable(heading=HEADING, columns=tuple(columns), rows=tuple(rows), notes=_notes(environments, found))


def effort_label(inputs: ReportInputs, summary: Summary) -> str:
    """With which effort a number was measured."""
    effort = inputs.efforts.get(summary.run.session_id)
    return _OLDER if effort is None else str(effort)


def _speed_column(point: Point) -> Column:
    where = point_label(point)
    return Column(
        name=f"{point.phase}-{point.batch_size}-{point.sequence_length}",
        heading=f"{PHASE_NAMES[point.phase]} {units.tokens(point.sequence_length)}",
        unit=f"tokens/s, batch {point.batch_size}",
        meaning=f"tokens a second of the layer's fastest arm at {where}, and its time per token over the baseline's",
    )


def _of(point: Point, name: str, heading: str, meaning: str) -> Column:
    where = f"{PHASE_NAMES[point.phase].lower()} {units.tokens(point.sequence_length)}"
    if point.phase is Phase.DECODE:
        where += f", batch {point.batch_size}"
    return Column(name=f"{name}-{point.phase}", heading=heading, unit=where, meaning=f"{meaning}; {point_label(point)}")


def _last_decode(found: Family) -> int | None:
    decode = [number for number, point in enumerate(found.columns) if point.phase is Phase.DECODE]
    return decode[-1] if decode else None


def _missing(cell: FamilyCell) -> Cell:
    return Cell(text=units.UNKNOWN, detail=cell.short, reason=cell.reason)


def _speed(inputs: ReportInputs, cell: FamilyCell) -> Cell:
    if cell.summary is None or cell.point is None:
        return _missing(cell)
    comparison = cell.point.comparison_of(cell.summary.workload)
    ratio = "baseline" if comparison is None else units.ratio(comparison.time_ratio.median)
    speed = cell.summary.tokens_per_second.median
    return Cell(text=units.si(speed), detail=f"{ratio}, {effort_label(inputs, cell.summary)}", sort=speed)


def _memory(inputs: ReportInputs, cell: FamilyCell) -> Cell:
    if cell.summary is None:
        return _missing(cell)
    peak = cell.summary.run.memory.peak_bytes
    if peak is None:
        return Cell(text=units.UNKNOWN, detail="not followed", reason="no peak was recorded")
    return Cell(text=units.binary_bytes(peak), detail=effort_label(inputs, cell.summary), sort=float(peak))


def _state(inputs: ReportInputs, cell: FamilyCell) -> Cell:
    if cell.summary is None:
        return _missing(cell)
    run = cell.summary.run
    kept = run.memory.state_bytes / run.workload.batch_size
    return Cell(text=units.binary_bytes(kept), detail=effort_label(inputs, cell.summary), sort=kept)


def _price(inputs: ReportInputs, cell: FamilyCell) -> Cell:
    if cell.summary is None:
        return _missing(cell)
    value = value_of(inputs, cell.summary).median
    return Cell(text=written(inputs, value), detail=effort_label(inputs, cell.summary), sort=value)


def _name(inputs: ReportInputs, row: FamilyRow) -> str:
    title = inputs.story.names.title(row.layer)
    return f"{title}, {row.state_count} states" if row.state_count > 1 else title


def _remark(inputs: ReportInputs, row: FamilyRow, first: ReportInputs) -> str:
    """Which code is behind the row's numbers, and which software where it is not the report's."""
    codes = tuple(dict.fromkeys(inputs.full_label(summary.workload) for summary in row.summaries))
    software = _software(inputs.environment, first.environment) if row.environment else ""
    return "; ".join(part for part in (listed(codes) if codes else "no number", software) if part)


def _software(there: Environment | None, here: Environment | None) -> str:
    """The torch of another environment; with an equal one, the CUDA or the driver that differs."""
    if there is None or here is None:
        return ""
    if there.torch_version != here.torch_version:
        return f"torch {there.torch_version}"
    if there.cuda_version != here.cuda_version:
        return f"torch {there.torch_version}, CUDA {there.cuda_version}"
    return f"torch {there.torch_version}, driver {there.driver_version}"


def _notes(environments: Sequence[ReportInputs], found: Family) -> tuple[str, ...]:
    """What is beside the numbers, and what is not comparable."""
    environment = environments[0].environment
    name = environments[0].device if environment is None else device_label(environment)
    notes = [
        f"One device model, {name}. A cell is the fastest arm of its layer there, of those measured with the greatest "
        "effort: tokens a second, its time per token over the baseline's at the same point, and the effort. Numbers of "
        "one column compare, those of unequal effort only within their intervals; the table of every workload has them."
    ]
    others = len({row.environment for row in found.rows})
    if others > 1:
        notes.append(
            f"{plural(others, 'environment')} of driver, CUDA and torch: the ratios of a row that names its "
            "torch are against the baseline of that environment, and its absolute numbers are those of that software. "
            "Other tables have such a row's ratios times the reference's time in the first environment."
        )
    if any(effort_label(environments[row.environment], s) == _OLDER for row in found.rows for s in row.summaries):
        notes.append(f"“{_OLDER}” is from records of before there were efforts to choose from.")
    absent = [PHASE_NAMES[phase].lower() for phase in Phase if found.first(phase) is None]
    if absent:
        notes.append(f"Not measured by any layer: {listed(tuple(absent))}.")
    return tuple(notes)
