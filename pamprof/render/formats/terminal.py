"""The same story in a terminal: sentences, the four numbers, noise and price, a table, where the report lies."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pamprof import units
from pamprof.render.comparison.compact import compact_rows
from pamprof.render.training.figures import training_text

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.render.comparison.model import ReportView, Row

MOST_LINES = 25
_WIDTH = 100


def render_terminal(view: ReportView, console: Console, *, report: Path | None = None) -> None:
    """Print the view in at most 25 lines at 100 columns, more where alerts need them, then ranks and training loops.

    Colour only where it may be.

    Args:
        view: What to say.
        console: Where; a console without a terminal or under NO_COLOR stays plain.
        report: The page, named in the last line.
    """
    width = min(console.width, _WIDTH)
    head = _head(view, console, width)
    tail = [_line(f"Report: {report}", "bold")] if report is not None else []
    if view.traces:
        written = sum(bool(trace.href) for trace in view.traces)
        failed = len(view.traces) - written
        lack = f"; {failed} could not be written, the report says why" if failed else ""
        tail.append(_line(f"Traces of single steps: {written} in traces/, for ui.perfetto.dev{lack}", "dim"))
    room = MOST_LINES - len(head) - len(tail) - 2
    for line in head:
        console.print(line, soft_wrap=True)
    rows, left_out = compact_rows(view, room)
    if rows:
        for line in _table(view, rows, width):
            console.print(line, soft_wrap=True)
        if left_out:
            console.print(
                _line(f"{left_out} more rows in the report, which has every interval and doubt.", "dim"), soft_wrap=True
            )
    for sentence in () if view.scaling is None else view.scaling.sentences:
        for line in _wrapped(sentence, console, width, "", 4):
            console.print(line, soft_wrap=True)
    for loop in view.loops:
        console.print(Text(f"\n{training_text(loop)}"), soft_wrap=True)
    for line in tail:
        console.print(line, soft_wrap=True)


def terminal_text(view: ReportView) -> str:
    """The same as plain text, 100 columns wide."""
    console = Console(file=io.StringIO(), width=_WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as captured:
        render_terminal(view, console)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _head(view: ReportView, console: Console, width: int) -> list[Text]:
    lines = _wrapped(view.title, console, width, "bold", 1)
    for alert in view.alerts:
        lines += _wrapped(alert, console, width, "bold yellow", 2)
    if view.effort:
        lines += _wrapped(view.effort, console, width, "", 2)
    for number, sentence in enumerate(view.sentences[:2]):
        lines += _wrapped(sentence, console, width, "" if number == 0 else "dim", 7 if number == 0 else 3)
    for tile in view.tiles:
        shown = f"{tile.value} {tile.interval}".strip() + (f" {tile.basis}" if tile.basis else "")
        text = Text(f"{tile.heading:<17}", style="bold")
        text.append(f"{_plain(shown)}  ", style="")
        text.append(_plain(tile.reason or tile.subject), style="dim")
        text.truncate(width, overflow="ellipsis")
        lines.append(text)
    for heading, words in (("Roof", view.roof_shares), ("Noise floor", view.noise)):
        text = Text(f"{heading:<17}", style="bold")
        text.append(_plain(words), style="")
        text.truncate(width, overflow="ellipsis")
        lines.append(text)
    price = Text(_plain(f"{view.price}."))
    price.truncate(width, overflow="ellipsis")
    return [*lines, price]


def _wrapped(text: str, console: Console, width: int, style: str, most: int) -> list[Text]:
    lines = list(Text(_plain(text), style=style).wrap(console, width))
    if len(lines) > most:
        lines = lines[:most]
        lines[-1].truncate(width - 1, pad=False)
        lines[-1].append("…")
    return lines


def _table(view: ReportView, rows: tuple[Row, ...], width: int) -> list[Text]:
    """Lines of at most ``width`` columns: the doubts give way first, then the arm."""
    headings = ("arm", "point", "tokens/s", "cost × baseline", f"{view.column('price').heading} tokens")
    body = [_cells(row) for row in rows]
    widths = [max(len(line[i]) for line in (headings, *body)) for i in range(len(headings))]
    widths[0] = max(12, min(widths[0], width - sum(widths[1:]) - 2 * len(widths) - 13))
    room = max(0, width - sum(widths) - 2 * len(widths))
    lines = [_joined((*headings, "doubts"), widths, room, "bold")]
    for row, cells in zip(rows, body, strict=True):
        named = [word.text for word in row.doubts]
        doubts = f"{named[0]} +{len(named) - 1}" if len(named) > 1 else "".join(named)
        if len(doubts) > room and named:
            doubts = named[0]
        lines.append(_joined((*cells, doubts), widths, room, "bold" if row.is_baseline else ""))
    return lines


def _cells(row: Row) -> tuple[str, ...]:
    ratio, length = row.cell("cost"), units.tokens(row.sequence_length)
    return (
        f"{row.arm.label} · {row.execution.replace(' ', '')}",
        f"{row.phase.lower()} {row.batch_size} × {length}",
        row.cell("tokens_per_second").text,
        f"{ratio.text} {ratio.detail}".strip(),
        row.cell("price").text,
    )


def _joined(cells: tuple[str, ...], widths: list[int], room: int, style: str) -> Text:
    right = {2, 4}
    shown = [_fit(cell, width) for cell, width in zip(cells, (*widths, room), strict=True)]
    padded = [
        c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(shown, (*widths, room), strict=True))
    ]
    return Text(_plain("  ".join(padded)).rstrip(), style=style)


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _plain(text: str) -> str:
    """Thin spaces between thousands become commas, which no terminal breaks a line at."""
    return re.sub(r"(?<=\d)[\u202f\u2009](?=\d)", ",", text).replace("\u202f", " ")


def _line(text: str, style: str) -> Text:
    return Text(text, style=style)
