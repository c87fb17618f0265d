"""``pamprof simulate``: requests that arrive as they do, served on measured step times; waiting, replicas and bills."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import duration
from pamprof.cli.cost_options import CurrencyCode, ExchangeRate, currency_of, duration_seconds
from pamprof.cli.options import Gpu, Instance, Json, PriceFile, Provider, UsdPerHour, reporting_errors
from pamprof.cli.output import print_json, print_tables
from pamprof.cli.paying import warn_of_age, ways_of_paying
from pamprof.cli.predicted import CalibrationFiles, PredictedGpus, with_predicted
from pamprof.cli.stored_files import SkipDamaged, counted_once, read_stored, require_sweep
from pamprof.errors import UsageError
from pamprof.pricing.serving import defaults

if TYPE_CHECKING:
    from pamprof.render.simulation.view import LoadView


@reporting_errors
def simulate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Files of records, or folders that hold a runs.jsonl, of a sweep."),
    ],
    arrivals: Annotated[
        str,
        typer.Option(
            help="All requests: poisson:12/s, bursty:12/s, bursty:12/s:cv=5 (gaps' deviation over their mean), "
            "even:12/s, in /s, /min, /h or /day; or a trace.csv with time, input_tokens and output_tokens."
        ),
    ],
    input_tokens: Annotated[
        str | None,
        typer.Option(
            help="Prompt of a request: 1500, lognormal:1500, lognormal:1500:sigma=0.8 (mean tokens), or trace. "
            f"Default: {defaults.INPUT_TOKENS}, or the trace's."
        ),
    ] = None,
    output_tokens: Annotated[
        str | None,
        typer.Option(help=f"Generated tokens, written likewise. Default: {defaults.OUTPUT_TOKENS}, or the trace's."),
    ] = None,
    shared_prefix: Annotated[
        str | None,
        typer.Option(
            help="Prompts that begin alike, and whose beginning is kept: 1000, 1000:share=0.5 or "
            "1000:share=0.5:count=8 (tokens, share of the prompts, how many such beginnings). Default: none."
        ),
    ] = None,
    slo_ttft: Annotated[
        str, typer.Option(help="Time to the first token allowed, such as 2s.")
    ] = f"{defaults.SECONDS_TO_FIRST_TOKEN}s",
    slo_tpot: Annotated[
        str, typer.Option(help="Time per output token allowed, a request's mean, such as 50ms.")
    ] = f"{defaults.MILLISECONDS_PER_OUTPUT_TOKEN}ms",
    percentile: Annotated[
        float, typer.Option(help="Share of the requests within each limit, percent, above 0 to 100.")
    ] = defaults.PERCENTILE,
    requests: Annotated[
        int,
        typer.Option(help="Requests simulated at each rate; the first fifth fills the server. A trace has its own."),
    ] = defaults.REQUESTS,
    seed: Annotated[
        int, typer.Option(help="Of the random numbers; the same seed gives the same answer.")
    ] = defaults.SEED,
    max_batch: Annotated[
        int | None, typer.Option(help="Sequences at once. Default: the batch of pamprof cost --steady.")
    ] = None,
    chunk_tokens: Annotated[
        int | None,
        typer.Option(
            help="Prompt tokens a step reads at most. Default: what joins that batch at a step, 2048 at least."
        ),
    ] = None,
    kv_policy: Annotated[
        str,
        typer.Option(
            help="When caches outgrow memory: recompute (the last admitted is read again) or reserve (admit only what "
            "will fit)."
        ),
    ] = "recompute",
    day_profile: Annotated[
        str | None,
        typer.Option(
            help="How busy each hour of a day is, 24 numbers separated by commas; --arrivals is their mean. Default: "
            "all alike."
        ),
    ] = None,
    start_up: Annotated[
        str,
        typer.Option(help="From the order of a replica to its first request, such as 90s or 5m; with --day-profile."),
    ] = "0s",
    replicas: Annotated[
        int | None, typer.Option(help="Rent so many, whatever they hold. Default: the fewest that hold the limits.")
    ] = None,
    crossover: Annotated[
        bool,
        typer.Option(
            help="From which load on a fixed state or a cache needs fewer replicas, also at prompts a quarter, four "
            "and sixteen times as long; takes about as long as the rest."
        ),
    ] = True,
    minimum_replicas: Annotated[int, typer.Option(help="Never rent fewer.")] = defaults.MINIMUM_REPLICAS,
    price: UsdPerHour = None,
    prices: PriceFile = None,
    provider: Provider = None,
    region: Annotated[str | None, typer.Option(help="Only rates of this region. Default: any.")] = None,
    instance: Instance = None,
    gpu: Gpu = None,
    currency: CurrencyCode = "USD",
    exchange_rate: ExchangeRate = None,
    strict: Annotated[bool, typer.Option("--strict", help="Old or undated rates fail.")] = False,
    predict: PredictedGpus = None,
    calibration: CalibrationFiles = None,
    measured: Annotated[
        list[Path] | None,
        typer.Option(
            help="Show beside it what was measured of a real server: JSON of vllm bench serve --save-result or of "
            "aiperf profile. Repeatable; several rates of one model make a curve."
        ),
    ] = None,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="Also write simulate.html and its pictures. Default: no."),
    ] = None,
) -> None:
    """Simulate serving under load on measured step times.

    Tells waiting, the rate that a device holds, replicas and bills.
    """
    from pamprof.analysis.serving.from_records import serving_curves
    from pamprof.analysis.simulation.arm import ServerSettings
    from pamprof.analysis.simulation.measured_elsewhere import curves_of, read_served_elsewhere
    from pamprof.analysis.simulation.server import MemoryPolicy
    from pamprof.cli.load_options import level_of, prefix_of, profile_of, requests_of
    from pamprof.pricing.rates.hourly_rates import Rate
    from pamprof.pricing.serving.load_crossings import load_crossings
    from pamprof.pricing.serving.load_study import LoadQuestion, load_study
    from pamprof.records.store import merged
    from pamprof.render.simulation.export import load_export
    from pamprof.render.simulation.view import load_view
    from pamprof.render.text import cleaned

    if kv_policy not in {policy.value for policy in MemoryPolicy}:
        raise UsageError(f"--kv-policy {kv_policy!r} is none; give recompute or reserve")
    question = LoadQuestion(
        requests=requests_of(
            arrivals,
            input_tokens,
            output_tokens,
            default=(defaults.INPUT_TOKENS, defaults.OUTPUT_TOKENS),
            count=requests,
            seed=seed,
            prefix=prefix_of(shared_prefix),
        ),
        level=level_of(duration_seconds(slo_tpot, "--slo-tpot"), duration_seconds(slo_ttft, "--slo-ttft"), percentile),
        settings=ServerSettings(largest_batch=max_batch, chunk_tokens=chunk_tokens, policy=MemoryPolicy(kv_policy)),
        profile=profile_of(day_profile, duration(start_up, "--start-up", zero=True) or 0.0),
        minimum_replicas=minimum_replicas,
        replicas=replicas,
    )
    money = currency_of(currency, exchange_rate)
    records = merged(counted_once(runs, [read_stored(path, skip_damaged=skip_damaged) for path in runs]))
    curves = with_predicted(serving_curves(records.runs, records.skips), records, predict, calibration)
    rates = {
        curve.environment.device_name: ways_of_paying(
            curve.environment,
            price=price,
            prices=prices,
            gpu=gpu,
            provider=provider,
            region=region,
            instance=instance,
            mix=None,
            owned=None,
        )
        for curve in curves
    }
    damage = () if records.damage is None else (f"{records.damage}. Any workload may be in them.",)
    billed = [next((rate for rate in found if isinstance(rate, Rate)), None) for found in rates.values()]
    alerts = (*damage, *warn_of_age([rate for rate in billed if rate is not None], strict=strict))
    percentile = question.level.percentile
    files = dict.fromkeys(measured or ())
    elsewhere = curves_of((run for path in files for run in read_served_elsewhere(path, percentile)), percentile)
    study = load_study(curves, question, rates)
    require_sweep(records, [arm.steady for arm in study.arms])
    layers = [facts for session in records.sessions for facts in session.layers]
    crossings = load_crossings(study, layers) if crossover else ()
    view = load_view(study, money, alerts=alerts, seed=seed, crossings=crossings, measured=elsewhere)
    page = None
    if output_dir is not None:
        from pamprof.render.simulation.charts import load_charts
        from pamprof.render.simulation.live import live_inputs
        from pamprof.render.simulation.page import write_load_page

        charts = cleaned(load_charts(study, records.sessions, elsewhere))
        page, *_ = write_load_page(view, charts, output_dir, live_inputs(study, money))
    if json:
        print_json(
            load_export(
                study,
                money,
                seed=seed,
                unreadable=records.problems,
                alerts=alerts,
                crossings=crossings,
                measured=elsewhere,
            )
        )
    else:
        _show(replace(view, alerts=damage))  # rates' ages were told on standard error
    if page is not None:
        typer.echo(f"Page: {page}", err=True)


def _show(view: LoadView) -> None:
    typer.echo(f"{view.title}: {view.asked}")
    for line in (*view.alerts, *view.differences, *view.crossings):
        typer.echo(line)
    print_tables(view.tables, view.notes)
