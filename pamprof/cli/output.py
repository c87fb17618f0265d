"""What commands put on standard output: the report's story, tables, JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from json import dumps
from typing import TYPE_CHECKING

import typer

from pamprof.cli.configuration.invocation import note_result

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.pricing.rates.price_choice import PriceChoice
    from pamprof.records import PriceQuote
    from pamprof.records.store import RecordFile
    from pamprof.render.formats.table_view import TableView

# Columns where there is no terminal to ask: the story's own width, and whole cells for a table in a pipe.
_STORY_WIDTH = 100
_PLAIN_WIDTH = 180


def write_and_show(
    records: RecordFile, folder: Path, *, quote: PriceQuote | None, json: bool, choice: PriceChoice | None = None
) -> None:
    """Write the report of ``records`` into ``folder`` and tell its story, or print the records' JSON lines.

    ``quote`` and ``choice`` are what was asked to be paid with; without them the records' own price, and beside it the
    rates of the price list.
    """
    from rich.console import Console

    from pamprof.api.prices import price_choice
    from pamprof.records.sweeps import split_sweeps
    from pamprof.render.formats.terminal import render_terminal
    from pamprof.render.formats.write import write_report

    if not records.runs:
        _write_and_show_loops(records, folder, json=json)
        return
    if choice is None and split_sweeps(records)[1].runs:
        choice = price_choice(None)
    written = write_report(records, folder, quote=quote, choice=choice)
    note_result(next(iter(written.view.sentences), written.view.title), written.html)
    if json:
        print_records(records)
        typer.echo(f"Report: {written.html}", err=True)
    else:
        render_terminal(written.view, Console(width=None if sys.stdout.isatty() else _STORY_WIDTH), report=written.html)


def _write_and_show_loops(records: RecordFile, folder: Path, *, json: bool) -> None:
    """The same where nothing but training loops was measured."""
    from pamprof.render.formats.training import write_training_report
    from pamprof.render.training.report import training_report, training_report_text

    page = write_training_report(records, folder)
    if json:
        print_records(records)
    else:
        typer.echo(training_report_text(training_report(records)))
    typer.echo(f"Report: {page}", err=json)


def print_records(records: RecordFile) -> None:
    """Print the records' JSON lines, and one for each line that could not be read."""
    from pamprof.records.codec import Record, encode, encode_problem

    everything: tuple[Record, ...] = (
        *records.sessions,
        *records.ceilings,
        *records.runs,
        *records.skips,
        *records.capacities,
        *records.profiles,
        *records.ranked,
    )
    for encoded in (*map(encode, everything), *map(encode_problem, records.problems)):
        line = encoded.decode()  # with its checksum, so that a file of it reads again
        typer.echo(inert(line) if sys.stdout.isatty() else line, nl=False)


def print_json(value: object) -> None:
    """Print a dataclass, or a sequence of them, as indented JSON."""
    import msgspec

    typer.echo(inert(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def inert(json: str) -> str:
    """JSON of the same value in which no character acts on a terminal: control and bidirectional ones are escaped."""
    from pamprof.render.text import acts

    return "".join(dumps(letter)[1:-1] if letter != "\n" and acts(letter) else letter for letter in json)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> None:
    """Print rows under headers; columns whose number is in ``right`` are aligned right. No text in it can act."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pamprof.render.text import clean

    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(Text(clean(column)), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    console.print(table)


def print_tables(tables: Sequence[TableView], notes: Sequence[str]) -> None:
    """Print each table under its title, with what it says, and then what is said of all."""
    for table in tables:
        typer.echo(f"\n{table.title}\n{table.summary}")
        print_table(table.columns, table.rows, right=table.right)
        for note in table.notes:
            typer.echo(note)
    typer.echo("")
    for note in notes:
        typer.echo(note)
