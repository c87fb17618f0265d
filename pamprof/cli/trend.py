"""``pamprof trend``: ratios over stored runs, run by run, and whether repeated runs agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.cli.options import Json, reporting_errors
from pamprof.cli.output import print_json, print_table
from pamprof.cli.stored_files import SkipDamaged, ratio_of_percent, read_distinct
from pamprof.errors import UsageError

if TYPE_CHECKING:
    from pamprof.analysis.history.trend_results import Trend

_APART = 1
_UNDECIDED = 3


@reporting_errors
def trend(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Two files of records or more, or folders that hold a runs.jsonl."),
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", "-o", help="Folder for trend.html and a PNG a point; made if missing. Default: print only."
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            help="Exit 1 where the median ratios of a workload lie further apart than this (largest over smallest, "
            "minus 1), percent, as 1%; exit 3 where a run lacks one. Default: no limit."
        ),
    ] = None,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a CI job's summary.")] = False,
) -> None:
    """Follow ratios to the reference over runs, in order of time. Needs neither torch nor a GPU."""
    from pamprof.analysis.history.trend import trend_of
    from pamprof.render.formats.markdown_table import render_table_markdown
    from pamprof.render.history.trend import trend_view
    from pamprof.render.text import clean, cleaned

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other; give one")
    limit = None if within is None else ratio_of_percent(within, "--within")
    files = read_distinct(runs, skip_damaged=skip_damaged)
    if len(files) < 2:
        raise UsageError(
            clean(f"{files[0][0]} is one run, and a trend needs two or more; measure again into another --output-dir")
        )
    found = trend_of(files, within=limit)
    view = trend_view(
        found,
        sessions=tuple(session for _, file in files for session in file.sessions),
        alerts=tuple(f"{name}: {file.damage}." for name, file in files if file.damage is not None),
    )
    page = None
    if output_dir is not None:
        from pamprof.render.history.trend_files import write_trend

        page, *_ = write_trend(view, output_dir)
    if json:
        print_json(cleaned(found))
    elif markdown:
        typer.echo(render_table_markdown(view.table), nl=False)
    else:
        typer.echo(view.table.title)
        typer.echo(view.table.summary)
        print_table(view.table.columns, view.table.rows, right=view.table.right)
        for note in view.table.notes:
            typer.echo(note)
    if page is not None:
        typer.echo(f"Trend: {page}", err=json or markdown)
    _judge(found, within)


def _judge(found: Trend, within: str | None) -> None:
    from pamprof.analysis.history.trend_results import RunAgreement

    outside, undecided = found.count(RunAgreement.OUTSIDE), found.count(RunAgreement.UNDECIDED)
    if outside:
        typer.echo(
            f"pamprof: {outside} of {len(found.series)} workloads lie further apart than --within {within}", err=True
        )
        raise typer.Exit(_APART)
    if undecided:
        typer.echo(
            f"pamprof: {undecided} of {len(found.series)} workloads lack a comparable ratio in a run; "
            "measure them in every run",
            err=True,
        )
        raise typer.Exit(_UNDECIDED)
