"""The summary as Markdown: the sentences, the four numbers, the table, what was skipped, how it was made."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pamprof.render.formats.markdown_table import escape, markdown_row, render_table_markdown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.render.comparison.model import Cell, FamilyTable, ReportView
    from pamprof.render.training.figures import TrainingView


def render_markdown(view: ReportView) -> str:
    """The whole file."""
    lines = [f"# {escape(view.title)}", "", f"{escape(view.price)}.", ""]
    lines += [escape(view.effort), ""] if view.effort else []
    for alert in view.alerts:
        lines += [f"> **{escape(alert)}**", ""]
    for sentence in view.sentences:
        lines += [escape(sentence), ""]
    lines += _table(
        ("number", "value", "basis", "of what"),
        tuple(
            (
                t.heading,
                f"{t.value} {t.interval}".strip(),
                t.basis or "unknown",
                t.reason or _joined(t.subject, t.second),
            )
            for t in view.tiles
        ),
    )
    lines += ["![Where the cost comes from](ladder.png)", ""] if view.chart("ladder").panels else []
    lines += _across(view)
    lines += ["## Every workload", ""]
    headings = ("arm", "execution", "phase", "batch", "tokens", "type")
    lines += _table(
        (*headings, *(_joined(c.heading, c.unit, " ") for c in view.columns), "verdict", "doubts"),
        tuple(
            (
                row.arm.label,
                row.execution,
                row.phase,
                str(row.batch_size),
                str(row.sequence_length),
                row.dtype,
                *(_text(cell) for cell in row.cells),
                row.verdict.text,
                ", ".join(word.text for word in row.doubts),
            )
            for row in view.rows
        ),
    )
    if view.doubts:
        lines += ["## Doubts", "", *(f"- **{escape(w.text)}**: {escape(w.meaning)}" for w in view.doubts), ""]
    if view.skipped:
        lines += ["## Planned, but without a number", ""]
        lines += [*(f"- {escape(s.what)}: {escape(s.kind)}. {escape(s.reason)}" for s in view.skipped), ""]
    if view.kernel_table is not None:
        lines += [render_table_markdown(view.kernel_table).rstrip("\n"), ""]
    if view.traces:
        lines += ["## Traces of single steps", ""]
        for trace in view.traces:
            text = escape(trace.text)
            lines.append(f"- {f'[{text}]({trace.href})' if trace.href else text}: {escape(trace.meaning)}")
        lines.append("")
    if view.cost.bill:
        lines += [f"## {escape(view.cost.bill_heading)}", ""]
        lines += [*(f"- {escape(line)}" for line in view.cost.bill), ""]
    if view.serving is not None:
        lines += [f"## {view.serving.heading}", "", escape(view.serving.asked), ""]
        lines += [*(line for sentence in view.serving.decisions for line in (escape(sentence), ""))]
    if view.capacity is not None:
        lines += [f"## {view.capacity.heading}", ""]
        lines += [*(line for said in (*view.capacity.alerts, *view.capacity.sentences) for line in (escape(said), ""))]
    lines += training_markdown(view.loops)
    lines += ["## Fairness", "", escape(view.fairness.matched), ""]
    lines += [*(f"- {escape(o)}" for o in view.fairness.objections), ""]
    lines += ["## How the numbers were made", "", *(f"- {escape(f.name)}: {escape(f.value)}" for f in view.method), ""]
    if view.command:
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", view.command)), default=0))
        lines += [fence, view.command, fence, ""]
    return "\n".join(lines)


def _across(view: ReportView) -> list[str]:
    """Lines: tables over all layers, all machines and all ranks, where there are several."""
    lines: list[str] = []
    if view.family is not None:
        lines += [f"## {escape(view.family.heading)}", "", *family_markdown(view.family)]
    if view.machines is not None:
        lines += [f"## {view.machines.title}", ""]
        lines += _table(
            ("point", *view.machines.machines),
            tuple((row.point, *(_text(cell) for cell in row.cells)) for row in view.machines.rows),
        )
        lines += [view.machines.note, ""]
    if view.scaling is not None:
        lines += [f"## {view.scaling.heading}", ""]
        lines += [*(line for said in view.scaling.sentences for line in (escape(said), ""))]
        for table in view.scaling.tables:
            lines += [f"### {table.title}", "", escape(table.summary), "", *_table(table.columns, table.rows)]
        lines += [*(f"- {escape(note)}" for note in view.scaling.notes), ""]
    return lines


def training_markdown(loops: Iterable[TrainingView]) -> list[str]:
    """Lines: each loop's title and table."""
    lines: list[str] = []
    for view in loops:
        lines += [f"## {escape(view.title)}", "", markdown_row(("figure", "value", "")), "|---|---|---|"]
        lines += [markdown_row((figure.heading, figure.text, figure.detail)) for figure in view.figures]
        lines.append("")
    return lines


def family_markdown(table: FamilyTable, *, brief: bool = False) -> list[str]:
    """Lines: the table of all layers and its notes; ``brief`` says in a few words why a cell is empty."""
    headings = ("layer", *(_joined(column.heading, column.unit, " ") for column in table.columns), "code")
    rows = tuple(
        (
            row.name,
            *(f"{cell.text} ({cell.detail if brief else cell.reason or cell.detail})" for cell in row.cells),
            row.remark,
        )
        for row in table.rows
    )
    return [*_table(headings, rows), *(line for note in table.notes for line in (escape(note), ""))]


def _table(headings: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> list[str]:
    if not rows:
        return ["Nothing was measured.", ""]
    written = [markdown_row(headings), "|" + "---|" * len(headings)]
    return [*written, *(markdown_row(row) for row in rows), ""]


def _text(cell: Cell) -> str:
    return f"{cell.text} ({cell.reason})" if cell.reason else f"{cell.text} {cell.detail}".strip()


def _joined(first: str, second: str, separator: str = "; ") -> str:
    return f"{first}{separator}{second}" if first and second else first or second
