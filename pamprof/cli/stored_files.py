"""Reads the stored runs that a command is given, as files or folders; each record counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pamprof.errors import RecordError, UsageError
from pamprof.units import plain_number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.records.store import RecordFile

RECORDS_FILE = "runs.jsonl"


def read_stored(path: Path) -> RecordFile:
    """The records of a file, or of a folder that holds a ``runs.jsonl``.

    Raises:
        RecordError: No readable record.
    """
    from pamprof.records.store import read_records

    return read_records(path / RECORDS_FILE if path.is_dir() else path)


def read_measured(path: Path) -> RecordFile:
    """The same, with at least one run; unreadable input is a usage error, which leaves exit status 1 to verdicts.

    Raises:
        UsageError: No readable record with a run.
    """
    from pamprof.render.text import clean

    try:
        records = read_stored(path)
    except RecordError as exc:
        raise UsageError(clean(str(exc))) from exc
    if not records.runs:
        raise UsageError(clean(f"{path} holds no run to compare; measure with pamprof compare"))
    return records


def read_distinct(paths: Sequence[Path]) -> list[tuple[str, RecordFile]]:
    """Name and records of every path that adds a run to those before it; repeated records count once.

    Raises:
        UsageError: As ``read_measured``.
    """
    distinct = counted_once(paths, [read_measured(path) for path in paths])
    return [(str(path), file) for path, file in zip(paths, distinct, strict=True) if file.runs]


def counted_once(paths: Sequence[Path], files: Sequence[RecordFile]) -> tuple[RecordFile, ...]:
    """Each file without the records of those before it; standard error has the number of repeated ones."""
    from pamprof.records.store import without_repeated
    from pamprof.render.text import clean, plural

    distinct = without_repeated(files)
    for path, file, kept in zip(paths, files, distinct, strict=True):
        repeated = file.record_count - kept.record_count
        if repeated:
            typer.echo(clean(f"pamprof: {path} repeats {plural(repeated, 'record')}; counted once"), err=True)
    return distinct


def ratio_of_percent(text: str, option: str) -> float:
    """0.05 from ``5%``.

    Raises:
        UsageError: Not a percentage of 0 or more.
    """
    number, sign, rest = text.partition("%")
    value = plain_number(number)
    if not sign or rest.strip() or value is None or value < 0:
        raise UsageError(f"{option} {text!r} is not of the form 5% with a percentage of 0 or more")
    return float(value) / 100
