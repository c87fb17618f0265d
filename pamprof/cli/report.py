"""``pamprof report``: the report again, from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.cli.options import (
    Gpu,
    Instance,
    Json,
    PriceFile,
    Provider,
    PurchaseOption,
    UsdPerHour,
    price_lookup,
    reporting_errors,
)
from pamprof.cli.output import price_choice, write_and_show
from pamprof.cli.stored_files import counted_once, read_stored
from pamprof.errors import RecordError

if TYPE_CHECKING:
    from pamprof.measure.session.request import PriceLookup
    from pamprof.records import Environment, PriceQuote


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
    from pamprof.records.sweeps import split_sweeps

    records = merged(counted_once(runs, [read_stored(path) for path in runs]))
    if not records.runs:
        raise RecordError("the records hold no run to report; measure with pamprof compare")
    quote = choice = None
    if price or prices or gpu or provider or instance or purchase_option != "on-demand":
        look_up = price_lookup(
            price=price,
            prices=prices,
            gpu=gpu,
            provider=provider,
            instance=instance,
            purchase_option=purchase_option,
        )
        comparison, sweep = split_sweeps(records)
        measured = comparison.runs[-1].environment
        quote = _asked(look_up, measured)
        swept = {run.environment.device_name: run.environment for run in sweep.runs}
        found = {name: _asked(look_up, each) for name, each in swept.items()}
        quotes = {name: each for name, each in found.items() if each is not None}
        if swept:
            choice = price_choice(prices, quotes=quotes, gpu=gpu, provider=provider, instance=instance)
    write_and_show(records, output_dir, quote=quote, json=json, choice=choice)


def _asked(look_up: PriceLookup, measured: Environment) -> PriceQuote | None:
    from pamprof.devices.parts import part_of

    return look_up(measured.device_kind, measured.device_name, measured.processor_use, part_of(measured))[0]
