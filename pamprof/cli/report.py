"""``pamprof report``: the report again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.prices import capacity_paid_with, paid_with
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
from pamprof.cli.output import print_json, write_and_show
from pamprof.cli.stored_files import bring_traces, counted_once, read_stored
from pamprof.errors import RecordError

if TYPE_CHECKING:
    from pamprof.records import Capacity


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

    records = merged(counted_once(runs, [read_stored(path) for path in runs]))
    if records.capacities and not records.runs:
        latest = max(records.capacities, key=lambda record: record.started_at)
        priced = capacity_paid_with(
            latest,
            price=price,
            prices=prices,
            gpu=gpu,
            provider=provider,
            instance=instance,
            purchase_option=purchase_option,
        )
        _write_capacity(priced, output_dir, earlier=len(records.capacities) - 1, json=json and not records.profiles)
        if not (records.profiles or records.serve_checks):
            return
    if records.serve_checks:
        from pamprof.analysis.simulation.checked import checked_load
        from pamprof.render.simulation.check_page import write_check_page

        page, *_ = write_check_page([checked_load(check) for check in records.serve_checks], output_dir)
        typer.echo(f"Page: {page}", err=json)
        if not (records.runs or records.profiles):
            return
    if not (records.runs or records.profiles):
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
    write_and_show(records, output_dir, quote=quote, json=json, choice=choice)
    bring_traces(runs, records, output_dir)


def _write_capacity(record: Capacity, folder: Path, *, earlier: int, json: bool) -> None:
    """A record of capacity without a comparison becomes a page of its own."""
    from pamprof.render.capacity.page import write_capacity
    from pamprof.render.text import plural

    page, *_ = write_capacity(record, folder)
    if earlier:
        typer.echo(f"pamprof: {plural(earlier, 'earlier record')} of capacity not shown", err=True)
    if json:
        from pamprof.render.capacity.export import capacity_export

        print_json(capacity_export(record))
    typer.echo(f"Page: {page}", err=json)
