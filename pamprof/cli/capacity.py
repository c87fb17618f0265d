"""``pamprof capacity``: how many random associations a memory holds, beside its bytes and dollars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pamprof.api.prices import price_lookup
from pamprof.api.texts import choice, counts, duration, some_names
from pamprof.cli.configuration.invocation import recorded_command
from pamprof.cli.options import (
    DeviceName,
    Gpu,
    Instance,
    Json,
    PriceFile,
    Provider,
    PurchaseOption,
    UsdPerHour,
    reporting_errors,
)
from pamprof.cli.output import print_json, print_tables
from pamprof.errors import UsageError
from pamprof.records import AssociativeMemory, RetrievalScore


@reporting_errors
def capacity(
    state: Annotated[str, typer.Option(help="Memories, comma-separated. Default: all of them.")] = ",".join(
        AssociativeMemory
    ),
    head_dim: Annotated[str, typer.Option(help="Channels of keys and values, comma-separated.")] = "64",
    associations: Annotated[
        str | None,
        typer.Option(help="Pairs written, comma-separated, 2k means 2048. Default: powers of two to 8 head_dim."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Random sets of pairs for each size.")] = 20,
    seed: Annotated[int, typer.Option(help="The first of them.")] = 0,
    score: Annotated[
        str,
        typer.Option(
            help="How the closest value is found: absolute-real, as the published figure, or modulus, by inner product."
        ),
    ] = RetrievalScore.ABSOLUTE_REAL.value,
    device: DeviceName = "auto",
    time_budget: Annotated[
        str, typer.Option("--time-budget", help="After this no further point begins, such as 90s or 5m.")
    ] = "60s",
    price: UsdPerHour = None,
    prices: PriceFile = None,
    gpu: Gpu = None,
    provider: Provider = None,
    instance: Instance = None,
    purchase_option: PurchaseOption = "on-demand",
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "-o",
            help="Folder for the record (runs.jsonl), capacity.html, capacity.csv and pictures. Default: print only.",
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print one row a memory and size, as CSV.")] = False,
    json: Json = False,
) -> None:
    """Write random associations into memories and read them back.

    Tells accuracy, bytes and dollars of each kind of memory. Finds the largest number of which 99 % come back; the page
    and pamprof report show the same.
    """
    from pamprof.measure.capacity.probe import CapacityRequest, measure_capacity

    if json and csv:
        raise UsageError("--json and --csv exclude each other; give one")
    seconds = duration(time_budget, "--time-budget")
    request = CapacityRequest(
        command=recorded_command(),
        device=device,
        states=tuple(choice(AssociativeMemory, name, "--state") for name in some_names(state, "--state")),
        head_dims=counts(head_dim, "--head-dim"),
        associations=() if associations is None else counts(associations, "--associations"),
        score=choice(RetrievalScore, score, "--score"),
        seeds=seeds,
        first_seed=seed,
        time_budget_seconds=seconds or 0.0,
    )
    look_up = price_lookup(
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    record = measure_capacity(request, look_up)
    from pamprof.render.capacity.export import capacity_csv, capacity_export
    from pamprof.render.capacity.view import capacity_view

    page = None
    if output_dir is not None:
        from pamprof.records.store import RECORDS_FILE, RunStore
        from pamprof.render.capacity.page import write_capacity

        store = RunStore(output_dir / RECORDS_FILE)
        store.append(record)
        store.close()
        page, *_ = write_capacity(record, output_dir)
    if json:
        print_json(capacity_export(record))
    elif csv:
        typer.echo(capacity_csv(record), nl=False)
    else:
        view = capacity_view(record)
        for line in (view.title, *view.alerts, *view.sentences, view.price):
            typer.echo(line)
        print_tables(view.tables, view.notes)
    if page is not None:
        typer.echo(f"Page: {page}", err=True)
