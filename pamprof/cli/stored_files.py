"""Reads the stored runs that a command is given, as files or folders; each record counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.errors import RecordError, UsageError
from pamprof.units import plain_number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.pricing.serving.bill import Deployment
    from pamprof.records.store import RecordFile

SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Answer without the lines that cannot be read. Default: refuse.")
]


def read_stored(path: Path, *, skip_damaged: bool = True) -> RecordFile:
    """The records of a file, or of a folder that holds a ``runs.jsonl``, plain or packed by gzip.

    Standard error names the lines that could not be read.

    Args:
        path: File or folder.
        skip_damaged: Whether the answer stands without lines that cannot be read, each of which may hold any workload.

    Raises:
        RecordError: No readable record, or an unreadable line and not ``skip_damaged``.
    """
    from pamprof.records.store import read_records, stored_path
    from pamprof.render.text import clean

    path = stored_path(path)
    records = read_records(path)
    if records.damage is not None and not skip_damaged:
        raise RecordError(
            f"{path}: {records.damage}; any workload may be in them and change the answer; restore the file, or answer "
            "without them by --skip-damaged"
        )
    if records.damage is not None:
        typer.echo(clean(f"pamprof: warning: {path}: {records.damage}"), err=True)
    return records


def read_measured(path: Path, *, skip_damaged: bool) -> RecordFile:
    """The same, with at least one run; unreadable input is a usage error, which leaves exit status 1 to verdicts.

    Raises:
        UsageError: No readable record with a run, or as ``read_stored``.
    """
    from pamprof.render.text import clean

    try:
        records = read_stored(path, skip_damaged=skip_damaged)
    except RecordError as exc:
        raise UsageError(clean(str(exc))) from exc
    if not records.runs:
        remedy = (
            "its training loops are shown by pamprof report" if records.profiles else "measure with pamprof compare"
        )
        raise UsageError(clean(f"{path} holds no run to compare; {remedy}"))
    return records


def read_distinct(paths: Sequence[Path], *, skip_damaged: bool) -> list[tuple[str, RecordFile]]:
    """Name and records of every path that adds a run to those before it; repeated records count once.

    Raises:
        UsageError: As ``read_measured``.
    """
    distinct = counted_once(paths, [read_measured(path, skip_damaged=skip_damaged) for path in paths])
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


def require_sweep(records: RecordFile, deployments: Sequence[Deployment]) -> None:
    """Go on where something is known of an arm, or a sweep is among the records.

    Raises:
        RecordError: Why nothing is known, and what to measure.
    """
    from pamprof.analysis.serving.operating_point import Refusal
    from pamprof.records import SessionKind
    from pamprof.render.text import clean

    points = [each.point for each in deployments]
    unknown = [point.sentence for point in points if isinstance(point, Refusal) and point.limit is None]
    swept = any(session.kind is SessionKind.SWEEP for session in records.sessions)
    if len(unknown) == len(points) and not swept:
        raise RecordError(
            clean(
                f"no arm can be asked about serving ({unknown[0]}): comparisons have few lengths and batches; give "
                "records of pamprof serve-sweep"
            )
        )


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
