"""``pamprof validate --predictions``: each measured GPU predicted from the others, beside what was measured on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pamprof.cli.output import print_tables
from pamprof.cli.stored_files import counted_once, read_stored
from pamprof.errors import PredictionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_COVERAGE = 0.85
_TOO_FEW_INSIDE = 1


def validate_predictions(runs: Sequence[Path] | None, *, json: Path | None, markdown: Path | None) -> None:
    """Print the tables, and write them where asked.

    Raises:
        PredictionError: Fewer than two GPUs that measured the same workload.
        UsageError: No records.
    """
    import msgspec

    from pamprof.analysis.comparison.names import names_of
    from pamprof.analysis.prediction.leave_out import leave_out
    from pamprof.analysis.prediction.measured import measured_devices
    from pamprof.analysis.prediction.published import beside_published
    from pamprof.cli.validate import write_result
    from pamprof.records.store import RECORDS_FILE, merged
    from pamprof.render.formats.markdown_table import render_table_markdown
    from pamprof.render.prediction.validation import left_out_tables
    from pamprof.render.text import clean

    paths = list(runs or sorted(Path().rglob(RECORDS_FILE)))
    if not paths:
        raise UsageError("no records at hand; name files of records, or go to a folder that holds some")
    records = merged(counted_once(paths, [read_stored(path) for path in paths]))
    measured = measured_devices(records)
    found = leave_out(measured)
    if not found.steps:
        measured_on = ", ".join(device.gpu.name for device in measured.devices)
        raise PredictionError(
            f"no workload was measured on two GPUs (records are of {measured_on}), so none can be left out; add "
            "records of the same workloads on another GPU"
        )
    for sentence in measured.left_out:
        typer.echo(clean(f"pamprof: {sentence}"), err=True)
    tables = left_out_tables(
        found,
        beside_published(measured),
        names_of(records.sessions, [step.prediction.workload for step in found.steps]),
    )
    if json is not None:
        write_result(json, msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    if markdown is not None:
        write_result(markdown, "\n".join(render_table_markdown(table) for table in tables))
    print_tables(tables, ())
    if found.step_coverage is not None and found.step_coverage < _LEAST_COVERAGE:
        typer.echo("pamprof: fewer than 85 % of the measured times lie in their 90 % intervals", err=True)
        raise typer.Exit(_TOO_FEW_INSIDE)
