"""``pamprof merge``: files of records from several machines as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pamprof.api.other_pages import bring_traces
from pamprof.cli.options import reporting_errors
from pamprof.cli.stored_files import SkipDamaged, read_stored
from pamprof.errors import OutputError, UsageError


@reporting_errors
def merge(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES...", help="Files of records, or folders that hold a runs.jsonl.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write, or a folder that gets a runs.jsonl.")
    ],
    skip_damaged: SkipDamaged = False,
) -> None:
    """Join records of several machines, each once, in its session. Needs neither torch nor a GPU.

    Standard error names what is repeated, superseded, or of other versions or devices.
    """
    from pamprof.records.codec import encode
    from pamprof.records.joining import counted_kinds, joined
    from pamprof.records.store import RECORDS_FILE, stored_path
    from pamprof.render.formats.files import write_files
    from pamprof.render.text import clean

    target = output if output.suffix == ".jsonl" else output / RECORDS_FILE
    if target.exists():
        raise OutputError(f"{target} is there; choose another file with --output")
    sources = [stored_path(path) for path in files]
    if len(set(sources)) < len(sources):
        raise UsageError("a file is named twice; name each once")
    records, remarks = joined({str(path): read_stored(path, skip_damaged=skip_damaged) for path in sources})
    for remark in remarks:
        typer.echo(clean(f"pamprof: {remark}"), err=True)
    write_files(target.parent, [(target.name, b"".join(map(encode, records.records)))])
    bring_traces(files, records, target.parent)
    typer.echo(f"{target}: {counted_kinds(records.records)}")
