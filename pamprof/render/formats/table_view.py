"""A table with a heading and sentences, for commands that print one; and the same as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.render.formats.markdown import escape

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class TableView:
    """What is shown: a heading, a table (numbers of the columns set right in ``right``), and sentences below it."""

    title: str
    summary: str
    columns: tuple[str, ...]
    right: frozenset[int]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def render_table_markdown(view: TableView) -> str:
    """The view for a CI job's summary; its texts, which must be clean of acting characters, are no markup in it."""
    lines = [f"## {escape(view.title)}", "", escape(view.summary), ""]
    lines.append(_row(view.columns))
    lines.append("|" + "".join("---:|" if index in view.right else "---|" for index in range(len(view.columns))))
    lines += [_row(row) for row in view.rows]
    lines += ["", *(f"- {escape(note)}" for note in view.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escape(cell) for cell in cells)} |"
