"""``pamprof prices``: the rates dollars are computed from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.api.texts import names
from pamprof.cli.cost_options import CurrencyCode, ExchangeRate, currency_of
from pamprof.cli.options import Gpu, Instance, Json, PriceFile, Provider, PurchaseOption, reporting_errors
from pamprof.cli.output import print_json, print_table
from pamprof.cli.plain_numbers import PlainNumbers
from pamprof.errors import PriceError, UsageError
from pamprof.units import UNKNOWN

if TYPE_CHECKING:
    from pamprof.records import Price

app = typer.Typer(
    help="List, look up, check and refresh rates. Dollars are computed from them.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@app.command("list", cls=PlainNumbers)
@reporting_errors
def list_(
    gpu: Annotated[
        str | None, typer.Option(help="Only this device or family, such as H100; CPU for machines without GPUs.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    prices: PriceFile = None,
    currency: CurrencyCode = "USD",
    exchange_rate: ExchangeRate = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, the format --prices reads.")] = False,
    json: Json = False,
) -> None:
    """List rates, the cheapest device-hour of each device first. CPU machines come last, by vCPU-hour."""
    from pamprof.pricing.rates.catalogue import list_prices, load_catalogue
    from pamprof.pricing.rates.currency import USD
    from pamprof.pricing.rates.price_file import format_prices
    from pamprof.pricing.rates.processors import usd_per_vcpu_hour

    money = currency_of(currency, exchange_rate)
    if money is not USD and (csv or json):
        raise UsageError("--csv and --json print the list as it is, in USD; leave --currency out")
    catalogue = load_catalogue(prices)
    rows = list_prices(catalogue, gpu=gpu, provider=provider)
    if not rows:
        raise PriceError(f"no rate matches in {catalogue.origin}; leave out --gpu or --provider to see all")
    if csv:
        typer.echo(format_prices(rows), nl=False)
    elif json:
        print_json(rows)
    else:
        print_table(
            (
                "device",
                f"{money.code}/device-hour",
                f"{money.code}/vCPU-hour",
                "provider",
                "instance",
                "region",
                "option",
                "read",
            ),
            [
                (
                    _device(row),
                    money.rate_text(float(row.usd_per_device_hour)),
                    UNKNOWN if row.vcpu_count is None else money.rate_text(float(usd_per_vcpu_hour(row))),
                    row.provider,
                    row.instance,
                    row.region,
                    row.purchase_option,
                    row.observed_on.isoformat() if row.observed_on else row.observed_text,
                )
                for row in rows
            ],
            right=frozenset({1, 2}),
        )
        typer.echo("; ".join(part for part in (f"{len(rows)} rates from {catalogue.origin}", money.sentence) if part))


def _device(row: Price) -> str:
    """``8 × H200``; ``AMD EPYC 9R14, 8 vCPUs, 16 GiB``."""
    if row.vcpu_count is None:
        return f"{row.device_count} × {row.device_name}"
    memory = "" if row.device_memory_gib is None else f", {row.device_memory_gib} GiB"
    return f"{row.device_name}, {row.vcpu_count} vCPUs{memory}"


@app.command("show", cls=PlainNumbers)
@reporting_errors
def show(
    device: Annotated[
        str, typer.Argument(help="A device as its driver or the price list names it, such as H200 or 'AMD EPYC 9R14'.")
    ],
    prices: PriceFile = None,
    gpu: Gpu = None,
    provider: Provider = None,
    instance: Instance = None,
    vcpus: Annotated[int, typer.Option(min=1, help="Of a CPU, how many vCPUs are paid for.")] = 1,
    purchase_option: PurchaseOption = "on-demand",
    currency: CurrencyCode = "USD",
    exchange_rate: ExchangeRate = None,
    strict: Annotated[bool, typer.Option("--strict", help="An old or undated rate fails.")] = False,
    json: Json = False,
) -> None:
    """Show the rate a report uses for a device. Its spread and its source stand beside it."""
    from pamprof.pricing.rates.age import staleness
    from pamprof.pricing.rates.catalogue import device_of_word, load_catalogue
    from pamprof.pricing.rates.currency import USD
    from pamprof.pricing.rates.quote import quote
    from pamprof.pricing.rates.rate_words import hour_of, machine, ordinal, why_this_machine
    from pamprof.records import ProcessorUse

    today = datetime.now(UTC).date()
    money = currency_of(currency, exchange_rate)
    if money is not USD and json:
        raise UsageError("--json prints the rates as they are, in USD; leave --currency out")
    catalogue = load_catalogue(prices)
    found = quote(
        catalogue,
        device_of_word(catalogue, device),
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
        processor=ProcessorUse(architecture=None, vcpu_count=vcpus),
    )
    doubt = staleness(found.chosen, today, strict)
    if doubt is not None:
        typer.echo(f"pamprof: {doubt.severity}: {doubt.subject}: {doubt.sentence}", err=True)
        if strict:
            raise typer.Exit(1)
    if json:
        print_json(found)
        return
    for name, price in (("used", found.chosen), ("lowest", found.low), ("highest", found.high)):
        typer.echo(
            f"{name:9} {money.rate_text(float(price.usd_per_device_hour))} per {hour_of(price)}: {machine(price)}, "
            f"{price.region}, {price.purchase_option}; read {price.observed_text}; {price.source}"
        )
    if why := why_this_machine(found):
        typer.echo(f"{'chosen':9} {why}")
    count = f"{found.candidate_count} comparable rate{'s' if found.candidate_count > 1 else ''}"
    place = f"{count}; the one used is the {ordinal(found.rank or 1)} from the lowest"
    typer.echo("; ".join(part for part in (place, money.sentence) if part))


@app.command("check", cls=PlainNumbers)
@reporting_errors
def check(
    prices: PriceFile = None,
    strict: Annotated[bool, typer.Option("--strict", help="Old or undated rates fail, too.")] = False,
    json: Json = False,
) -> None:
    """Check rates that cannot be true or are old. Device peaks are checked for sparse ones, too."""
    from pamprof.devices.peaks import listed_peaks
    from pamprof.pricing.rates.catalogue import load_catalogue
    from pamprof.pricing.rates.findings import Severity
    from pamprof.pricing.rates.validate import check as find_faults
    from pamprof.pricing.validate_peaks import validate_peaks

    catalogue = load_catalogue(prices, checked=False)
    findings = find_faults(catalogue, datetime.now(UTC).date(), strict=strict) + validate_peaks(listed_peaks())
    failures = sum(finding.severity is Severity.FAILURE for finding in findings)
    if json:
        print_json(findings)
    else:
        for finding in findings:
            typer.echo(f"{finding.severity}: {finding.subject}: {finding.sentence}")
        typer.echo(
            f"{len(catalogue.prices)} rates from {catalogue.origin}: {failures} failures, "
            f"{len(findings) - failures} warnings"
        )
    if failures:
        raise typer.Exit(1)


@app.command("refresh", cls=PlainNumbers)
@reporting_errors
def refresh(
    provider: Annotated[
        str, typer.Option(help="Providers to ask, comma-separated. Default: all that rent the GPUs of the price list.")
    ] = "",
    source: Annotated[str, typer.Option(help="Where to ask: the name of a price source.")] = "gpuhunt",
    timeout: Annotated[float, typer.Option(help="Seconds the providers may take, at most 10.")] = 9.0,
    json: Json = False,
) -> None:
    """Fetch today's rates, by default through gpuhunt. It is the extra `prices`; on failure the old list stays."""
    from pamprof.pricing.sources.refresh import refresh as fetch

    done = fetch(names(provider) or None, source=source, timeout_seconds=timeout)
    if json:
        print_json(done)
        return
    typer.echo(f"{done.price_count} rates of {', '.join(done.providers)} written to {done.path}")
    if done.kept_count:
        typer.echo(f"{done.kept_count} older rates were kept: nothing new of the same device and provider", err=True)
    typer.echo("devices that the new rates of a provider leave out keep the rates of the embedded snapshot", err=True)
    if done.undated_count:
        typer.echo(
            f"{done.undated_count} of the new rates carry no exact day: they are warned of, and used with --provider, "
            "or where no rate of the device was read in the last 90 days",
            err=True,
        )
    if done.missing_providers:
        typer.echo(f"no answer from {', '.join(done.missing_providers)}; their older rates were kept", err=True)
    for reason, count in done.left_out:
        typer.echo(f"{count} rows left out: {reason}", err=True)
