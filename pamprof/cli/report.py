"""``pamprof report``: the report again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from pamprof.cli.output import write_and_show
from pamprof.cli.stored_files import bring_traces, counted_once, read_stored
from pamprof.errors import RecordError


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
    """Rebuild the report from records, with another price if you like; needs neither torch nor a GPU.

    With a sweep among the records, the report has a section on what serving costs.
    """
    from pamprof.records.store import merged

    records = merged(counted_once(runs, [read_stored(path) for path in runs]))
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
