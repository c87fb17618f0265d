"""``pamprof cost``: measured serving curves, a demand and a price become replicas, bills and one decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import perplexity as parse_perplexity
from pamprof.cli.configuration.invocation import note_result
from pamprof.cli.cost_options import (
    CurrencyCode,
    ExchangeRate,
    api_prices,
    currency_of,
    duration_seconds,
    positive_number,
)
from pamprof.cli.options import Gpu, Instance, Json, PriceFile, Provider, UsdPerHour, reporting_errors
from pamprof.cli.output import print_json, print_tables
from pamprof.cli.paying import owned_hardware, warn_of_age, ways_of_paying
from pamprof.cli.predicted import CalibrationFiles, PredictedGpus, with_predicted
from pamprof.cli.stored_files import SkipDamaged, counted_once, read_stored, require_sweep
from pamprof.errors import UsageError
from pamprof.pricing.serving import defaults

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.pricing.rates.hourly_rates import Rate
    from pamprof.pricing.serving.study import ServingStudy
    from pamprof.records import Environment, Session


@reporting_errors
def cost(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Files of records, or folders that hold a runs.jsonl, of a sweep."),
    ],
    tokens_per_day: Annotated[str, typer.Option(help="Demand, input and output tokens together, such as 1e9.")],
    input_tokens: Annotated[int, typer.Option(help="Prompt of a request, tokens.")] = defaults.INPUT_TOKENS,
    output_tokens: Annotated[int, typer.Option(help="Tokens generated for a request.")] = defaults.OUTPUT_TOKENS,
    peak: Annotated[
        float, typer.Option(help="The busiest moment's demand over the day's mean.")
    ] = defaults.PEAK_FACTOR,
    duty: Annotated[
        float, typer.Option(help="Share of a replica's time to plan with at the peak, above 0 to 1; 1: no headroom.")
    ] = defaults.DUTY,
    minimum_replicas: Annotated[int, typer.Option(help="Never rent fewer.")] = defaults.MINIMUM_REPLICAS,
    slo_tpot: Annotated[
        str, typer.Option(help="Time per output token allowed, mean, such as 50ms.")
    ] = f"{defaults.MILLISECONDS_PER_OUTPUT_TOKEN}ms",
    slo_ttft: Annotated[
        str, typer.Option(help="Time to the first token allowed, such as 2s.")
    ] = f"{defaults.SECONDS_TO_FIRST_TOKEN}s",
    percentile: Annotated[
        float, typer.Option(help="Share of the requests within each limit under load, percent, above 0 to 100.")
    ] = defaults.PERCENTILE,
    steady: Annotated[
        bool,
        typer.Option(
            "--steady",
            help="Replicas and first tokens of a steady batch: every device always full, nobody waits. Default: both "
            "are simulated, with requests that arrive at random.",
        ),
    ] = False,
    price: UsdPerHour = None,
    prices: PriceFile = None,
    provider: Provider = None,
    region: Annotated[str | None, typer.Option(help="Only rates of this region. Default: any.")] = None,
    instance: Instance = None,
    gpu: Gpu = None,
    mix: Annotated[
        str | None,
        typer.Option(help="Replicas paid in several ways, shares such as on-demand=0.4,spot=0.6. Default: none."),
    ] = None,
    capex: Annotated[
        str | None,
        typer.Option(
            help="Price of one owned device with its share of host and installation, USD. Default: not owned."
        ),
    ] = None,
    life_years: Annotated[
        float | None, typer.Option(help="Years an owned device is written off over; needed with --capex.")
    ] = None,
    kwh_price: Annotated[
        float | None, typer.Option(help="Electricity of owned devices, USD per kWh; needed with --capex.")
    ] = None,
    pue: Annotated[
        float | None, typer.Option(help="The building's power over the devices', 1 or more; needed with --capex.")
    ] = None,
    watts: Annotated[
        float | None,
        typer.Option(help="Power of one owned device at work. Default: the highest mean of a measured step."),
    ] = None,
    api_price_input: Annotated[
        float | None, typer.Option(help="An API's price to beat, USD per million input tokens. Default: none.")
    ] = None,
    api_price_output: Annotated[float | None, typer.Option(help="The same for output tokens. Default: none.")] = None,
    perplexity: Annotated[
        list[str] | None, typer.Option(help="Quality beside cost, as pam=30.0. Repeatable. Default: the records' own.")
    ] = None,
    currency: CurrencyCode = "USD",
    exchange_rate: ExchangeRate = None,
    strict: Annotated[bool, typer.Option("--strict", help="Old or undated rates fail.")] = False,
    predict: PredictedGpus = None,
    calibration: CalibrationFiles = None,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the bills as CSV, FOCUS names where one exists.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a CI job's summary.")] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir", "-o", help="Also write cost.html, a page with live inputs, and its pictures. Default: no."
        ),
    ] = None,
) -> None:
    """Work out replicas, bills and the cheaper architecture. They are for a demand, from measured serving curves."""
    from pamprof.analysis.serving.from_records import serving_curves
    from pamprof.cli.load_options import level_of
    from pamprof.pricing.serving.arithmetic import Demand
    from pamprof.pricing.serving.study import Request, study
    from pamprof.records.store import merged

    if json + csv + markdown > 1:
        raise UsageError("--json, --csv and --markdown exclude each other; give one")
    demand = Demand(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        tokens_per_day=positive_number(tokens_per_day, "--tokens-per-day"),
        peak_factor=peak,
        duty=duty,
        minimum_replicas=minimum_replicas,
    )
    level = level_of(duration_seconds(slo_tpot, "--slo-tpot"), duration_seconds(slo_ttft, "--slo-ttft"), percentile)
    money = currency_of(currency, exchange_rate)
    api = api_prices(api_price_input, api_price_output)
    records = merged(counted_once(runs, [read_stored(path, skip_damaged=skip_damaged) for path in runs]))
    curves = with_predicted(serving_curves(records.runs, records.skips), records, predict, calibration)
    swept = [run for curve in curves for run in curve.runs]
    owned = None if capex is None else owned_hardware(swept, capex, life_years, kwh_price, pue, watts)
    environments = {curve.runs[0].environment.device_name: curve.runs[0].environment for curve in curves}
    rates = {
        name: ways_of_paying(
            found,
            price=price,
            prices=prices,
            gpu=gpu,
            provider=provider,
            region=region,
            instance=instance,
            mix=mix,
            owned=owned,
        )
        for name, found in environments.items()
    }
    damage = () if records.damage is None else (f"{records.damage}. Any workload may be in them.",)
    alerts = (*damage, *warn_of_age([rate for found in rates.values() for rate in found], strict=strict))
    given = [parse_perplexity(text) for text in perplexity or ()]
    stored = [figure for session in records.sessions for figure in session.perplexities]
    found = study(
        curves,
        Request(
            demand=demand,
            limits=level.limits,
            api_usd_per_million=api,
            owned=owned,
            currency=money,
            percentile=None if steady else level.percentile,
        ),
        rates,
        perplexities=[*stored, *given],
        runs=records.runs,
        layers=[facts for session in records.sessions for facts in session.layers],
    )
    require_sweep(records, [arm.deployment for each in found.classes for arm in each.arms])
    page = None
    if output_dir is not None:
        offered = _offered(environments.values(), prices)
        page = _write_page(found, curves, offered, records.sessions, alerts, output_dir)
    # On a terminal the age of rates was told on standard error.
    told = alerts if json or csv or markdown else damage
    _show(found, records.problems, told, json=json, csv=csv, markdown=markdown)
    if page is not None:
        note_result("done", page)
        typer.echo(f"Page: {page}", err=True)


def _offered(environments: Iterable[Environment], prices: Path | None) -> dict[str, tuple[Rate, ...]]:
    """What every provider in the list charges for the measured devices."""
    from pamprof.pricing.rates.catalogue import load_catalogue
    from pamprof.pricing.rates.price_choice import offered_rates

    catalogue = load_catalogue(prices)
    return {found.device_name: offered_rates(catalogue, found) for found in environments}


def _write_page(
    found: ServingStudy,
    curves: Sequence[ServingCurve],
    offered: Mapping[str, Sequence[Rate]],
    sessions: Sequence[Session],
    alerts: Sequence[str],
    folder: Path,
) -> Path:
    from pamprof.render.serving.page import write_cost_page
    from pamprof.render.serving.page_view import serving_page_view

    view = serving_page_view(found, curves, offered=offered, sessions=sessions, alerts=alerts)
    page, *_ = write_cost_page(view, folder)
    return page


def _show(
    found: ServingStudy, unreadable: Sequence[str], alerts: Sequence[str], *, json: bool, csv: bool, markdown: bool
) -> None:
    from pamprof.render.serving.export import serving_csv, serving_export
    from pamprof.render.serving.view import render_serving_markdown, serving_view

    if json:
        print_json(serving_export(found, unreadable, alerts))
        return
    if csv:
        typer.echo(serving_csv(found, unreadable), nl=False)
        return
    view = serving_view(found, alerts)
    if markdown:
        typer.echo(render_serving_markdown(view), nl=False)
        return
    typer.echo(f"{view.title}: {view.asked}")
    for alert in view.alerts:
        typer.echo(alert)
    for decision in view.decisions:
        typer.echo(decision)
    print_tables(view.tables, view.notes)
