"""``pamprof diff``: stored measurements against each other, and the gate a pull request has to pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import choice
from pamprof.cli.options import Json, reporting_errors
from pamprof.cli.output import print_json, print_table
from pamprof.cli.stored_files import SkipDamaged, ratio_of_percent, read_measured
from pamprof.errors import UsageError

if TYPE_CHECKING:
    from pamprof.analysis.history.difference import FileDifference

_REGRESSION = 1
_INCONCLUSIVE = 3


@reporting_errors
def diff(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASE HEAD...",
            help="Files of records, or folders that hold a runs.jsonl; with more than two, each against the first.",
        ),
    ],
    metric: Annotated[
        str, typer.Option(help="time (wall time of a step) or memory (peak bytes of a step, compared exactly).")
    ] = "time",
    fail_above: Annotated[
        str | None,
        typer.Option(
            help="Exit 1 where HEAD (the last file) is above BASE by more than this with its whole interval, "
            "percent, as 5%. Default: no gate."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit 3 where an interval contains --fail-above (without it: no verdict)."),
    ] = False,
    allow_mixed_environments: Annotated[
        bool,
        typer.Option(
            "--allow-mixed-environments", help="Compare although device, software or settings differ; unpaired then."
        ),
    ] = False,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a CI job's summary.")] = False,
) -> None:
    """Compare stored runs, HEAD over BASE, workload by workload. Needs neither torch nor a GPU."""
    from pamprof.analysis.history.difference import ComparedMetric, GateOutcome, difference_between
    from pamprof.render.formats.markdown_table import render_table_markdown
    from pamprof.render.history.difference import difference_view, differing_sentence
    from pamprof.render.text import cleaned

    threshold = None if fail_above is None else ratio_of_percent(fail_above, "--fail-above")
    if json and markdown:
        raise UsageError("--json and --markdown exclude each other; give one")
    if len(files) < 2:
        raise UsageError("diff needs two files of records or more; name BASE and HEAD")
    asked = choice(ComparedMetric, metric, "--metric")
    base, *others = [read_measured(path, skip_damaged=skip_damaged) for path in files]
    found = tuple(
        difference_between(base, head, base_name=str(files[0]), head_name=str(path), metric=asked, fail_above=threshold)
        for path, head in zip(files[1:], others, strict=True)
    )
    for difference in found:
        _refuse_incomparable(difference)
        if difference.differing and not allow_mixed_environments:
            raise UsageError(
                f"{differing_sentence(difference)}; measure both on one machine, or give --allow-mixed-environments"
            )
    view = difference_view(found)
    if json:
        print_json(cleaned(found))
    elif markdown:
        typer.echo(render_table_markdown(view), nl=False)
    else:
        typer.echo(view.title)
        typer.echo(view.summary)
        print_table(view.columns, view.rows, right=view.right)
        for note in view.notes:
            typer.echo(note)
    gate = found[-1]
    above, undecided = gate.count(GateOutcome.ABOVE), gate.count(GateOutcome.INCONCLUSIVE)
    if above:
        typer.echo(f"pamprof: {above} of {len(gate.differences)} workloads above --fail-above {fail_above}", err=True)
        raise typer.Exit(_REGRESSION)
    if strict and undecided:
        typer.echo(
            f"pamprof: {undecided} of {len(gate.differences)} workloads inconclusive; measure both in more processes",
            err=True,
        )
        raise typer.Exit(_INCONCLUSIVE)


def _refuse_incomparable(difference: FileDifference) -> None:
    from pamprof.render.text import clean

    if not difference.differences:
        raise UsageError(
            clean(
                f"{difference.base} and {difference.head} have no workload in common; "
                "measure both with the same pamprof compare options"
            )
        )
