"""The same story in a terminal: the sentences, the four numbers, a compact table, where the report lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from pamprof.render.model import ReportView, Row

MOST_LINES = 25
_WIDTH = 100


def render_terminal(view: ReportView, console: Console, *, report: Path | None = None) -> None:
    """Print the view in at most 25 lines at 100 columns; colour only where ``console`` has it.

    Args:
        view: What to say.
        console: Where; a console without a terminal or under NO_COLOR stays plain.
        report: The page, named in the last line.
    """
    width = min(console.width, _WIDTH)
    head = _head(view, console, width)
    tail = [_line(f"Report: {report}", "bold")] if report is not None else []
    room = MOST_LINES - len(head) - len(tail) - 3
    for line in head:
        console.print(line, soft_wrap=True)
    rows, left_out = _chosen(view, room)
    if rows:
        console.print(_table(rows), width=width)
        if left_out:
            console.print(
                _line(f"{left_out} more rows in the report, which has every interval and doubt.", "dim"), soft_wrap=True
            )
    for line in tail:
        console.print(line, soft_wrap=True)


def _head(view: ReportView, console: Console, width: int) -> list[Text]:
    lines = _wrapped(view.title, console, width, "bold", 1)
    for alert in view.alerts[:1]:
        lines += _wrapped(alert, console, width, "bold yellow", 2)
    for number, sentence in enumerate(view.sentences[:2]):
        lines += _wrapped(sentence, console, width, "" if number == 0 else "dim", 4 if number == 0 else 2)
    for tile in view.tiles:
        shown = f"{tile.value} {tile.interval}".strip() + (f" {tile.basis}" if tile.basis else "")
        text = Text(f"{tile.heading:<17}", style="bold")
        text.append(f"{shown}  ", style="")
        text.append(tile.reason or tile.subject, style="dim")
        text.truncate(width, overflow="ellipsis")
        lines.append(text)
    return lines


def _wrapped(text: str, console: Console, width: int, style: str, most: int) -> list[Text]:
    lines = list(Text(text, style=style).wrap(console, width))
    if len(lines) > most:
        lines = lines[:most]
        lines[-1].truncate(width - 1, pad=False)
        lines[-1].append("…")
    return lines


def _chosen(view: ReportView, room: int) -> tuple[tuple[Row, ...], int]:
    """The fastest execution of every arm at every point, thinned to the first points that fit."""
    best: dict[tuple[str, str, str], Row] = {}
    for row in view.rows:
        best.setdefault((row.phase, f"{row.point} {row.dtype}", row.arm.key), row)
    rows = list(best.values())
    if len(rows) > room:
        first_points = {row.phase: row.point + row.dtype for row in reversed(rows)}
        rows = [row for row in rows if first_points[row.phase] == row.point + row.dtype]
    if len(rows) > room:
        rows = rows[: max(0, room - 1)]
    return tuple(rows), len(view.rows) - len(rows)


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="bold", expand=False)
    table.add_column("arm", no_wrap=True, overflow="ellipsis", max_width=34)
    table.add_column("point", no_wrap=True, overflow="ellipsis")
    table.add_column("tokens/s", justify="right", no_wrap=True)
    table.add_column("cost × [interval]", no_wrap=True)
    table.add_column("$ or h/M", justify="right", no_wrap=True)
    table.add_column("doubts", no_wrap=True, overflow="ellipsis")
    for row in rows:
        style = "bold" if row.is_baseline else ""
        ratio = row.cells[3]
        table.add_row(
            Text(f"{row.arm.label} · {row.execution}", style=style),
            Text(f"{row.phase.lower()} {row.batch_size} × {row.sequence_length}"),
            Text(row.cells[2].text),
            Text(f"{ratio.text} {ratio.detail}".strip()),
            Text(row.cells[4].text),
            Text(", ".join(word.text for word in row.doubts), style="dim"),
        )
    return table


def _line(text: str, style: str) -> Text:
    return Text(text, style=style)
