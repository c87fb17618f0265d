"""``pamprof validate``: the tool's own counts against hardware counters, allocators, sensors and known loads."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import choice, some_names
from pamprof.cli.options import reporting_errors
from pamprof.cli.output import print_table
from pamprof.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pamprof.records.validation import Validation

_DISAGREES = 1


@reporting_errors
def validate(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUNS]...",
            help="With --predictions: files of records, or folders that hold a runs.jsonl. Default: every runs.jsonl "
            "below the current folder.",
        ),
    ] = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions",
            help="Leave out one measured GPU at a time and predict it from the others instead; exit 1 where fewer than "
            "85 % of the measured times lie in their 90 % intervals. Needs neither torch nor a GPU.",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    only: Annotated[
        str | None,
        typer.Option(help="Comma-separated: flops, bytes, memory, energy, utilisation. Default: all of them."),
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Also write the result to this file, as JSON.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the table to this file, as Markdown.")
    ] = None,
    ncu: Annotated[
        str | None,
        typer.Option(
            help="Nsight Compute's executable. Default: ncu from the PATH, or from CUDA's or Nsight Compute's folders."
        ),
    ] = None,
    tables: Annotated[
        Path | None, typer.Option(help="Folder in which the tables of Nsight Compute are kept. Default: none.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds each of the two programs under ncu may take.")] = 90.0,
) -> None:
    """Compare the tool's own counts with what the hardware did. Exits 1 where a row disagrees."""
    if predictions:
        from pamprof.cli.leave_out import validate_predictions

        validate_predictions(runs, json=json, markdown=markdown)
        return
    if runs:
        raise UsageError("RUNS go with --predictions; a validation of counts measures here")
    from pamprof.measure.validation.validate import validate as run_validation
    from pamprof.records.validation import ValidationGroup, ValidationVerdict
    from pamprof.render.formats.markdown_table import render_table_markdown
    from pamprof.render.validation import validation_view

    asked = list(ValidationGroup)
    if only is not None:
        asked = [choice(ValidationGroup, name, "--only") for name in some_names(only, "--only")]
    found = run_validation(
        device=device,
        groups=frozenset(asked),
        command=_command(device, only),
        ncu=ncu,
        tables=tables,
        timeout_seconds=timeout,
        say=lambda what: typer.echo(f"pamprof: {what} …", err=True),
    )
    view = validation_view(found)
    if json is not None:
        write_result(json, _json(found))
    if markdown is not None:
        write_result(markdown, render_table_markdown(view))
    typer.echo(view.title)
    typer.echo(view.summary)
    print_table(view.columns, view.rows, right=view.right)
    for note in view.notes:
        typer.echo(note)
    count = sum(row.verdict is ValidationVerdict.DISAGREES for row in found.rows)
    if count:
        typer.echo(f"pamprof: {count} of {len(found.rows)} comparisons disagree", err=True)
        raise typer.Exit(_DISAGREES)


def _command(device: str, only: str | None) -> str:
    """What reproduces the rows, without paths of this machine."""
    words = ["pamprof", "validate"]
    words += [] if device == "auto" else ["--device", device]
    words += [] if only is None else ["--only", only]
    return shlex.join(words)


def _json(found: Validation) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"


def write_result(path: Path, text: str) -> None:
    """Write what was found into a file.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror}; choose another file") from exc
