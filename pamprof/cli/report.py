"""``pamprof report``: the report again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.other_pages import bring_traces, latest_capacity, write_other_pages
from pamprof.api.prices import paid_with
from pamprof.cli.options import (
    Gpu,
    Instance,
    Json,
    PriceFile,
    Provider,
    PurchaseOption,
    UsdPerHour,
    reporting_errors,
)
from pamprof.cli.output import print_json, print_records, write_and_show
from pamprof.cli.stored_files import counted_once, read_stored
from pamprof.errors import RecordError

if TYPE_CHECKING:
    from pamprof.records.store import RecordFile


@reporting_errors
def report(
    runs: Annotated[list[Path], typer.Argument(help="Files of records, or folders that hold a runs.jsonl.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Folder of the report; made if missing.")],
    price: UsdPerHour = None,
    prices: PriceFile = None,
    gpu: Gpu = None,
    provider: Provider = None,
    instance: Instance = None,
    purchase_option: PurchaseOption = "on-demand",
    json: Json = False,
) -> None:
    """Rebuild the report from records, at other prices if asked. Needs neither torch nor a GPU.

    With a sweep among the records, the report has a section on what serving costs; with a record of pamprof capacity,
    one on how many associations a memory holds. Records of pamprof serve-check become a page beside it.
    """
    from pamprof.records.store import merged
    from pamprof.render.text import plural

    records = merged(counted_once(runs, [read_stored(path) for path in runs]))
    if not (records.runs or records.profiles or records.capacities or records.serve_checks):
        raise RecordError("the records hold no run to report; measure with pamprof compare")
    records, quote, choice = paid_with(
        records,
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    pages = write_other_pages(records, output_dir)
    if latest_capacity(records) is not None and len(records.capacities) > 1:
        typer.echo(f"pamprof: {plural(len(records.capacities) - 1, 'earlier record')} of capacity not shown", err=True)
    if records.runs or records.profiles:
        write_and_show(records, output_dir, quote=quote, json=json, choice=choice)
        bring_traces(runs, records, output_dir)
    elif json:
        _print_without_runs(records)
    for page in pages:
        typer.echo(f"Page: {page}", err=json)


def _print_without_runs(records: RecordFile) -> None:
    """The lines of the records; of a capacity alone what ``pamprof capacity --json`` prints of it."""
    capacity = latest_capacity(records)
    if capacity is None or records.serve_checks:
        print_records(records)
        return
    from pamprof.render.capacity.export import capacity_export

    print_json(capacity_export(capacity))
