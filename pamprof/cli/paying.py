"""Prices that ``pamprof cost`` computes with: rented under every option, mixed, owned; and the age of those rates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from pamprof.cli.cost_options import positive_number, shares
from pamprof.errors import PriceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pamprof.pricing.rates.hourly_rates import Owned, Rate, UnknownRate
    from pamprof.records import Environment, Run


def ways_of_paying(
    environment: Environment,
    *,
    price: str | None,
    prices: Path | None,
    gpu: str | None,
    provider: str | None,
    region: str | None,
    instance: str | None,
    mix: str | None,
    owned: Owned | None,
) -> tuple[Rate | UnknownRate, ...]:
    """Every way of paying for one device that was asked for or can be looked up."""
    from pamprof.pricing.rates.catalogue import load_catalogue
    from pamprof.pricing.rates.hourly_rates import mixed_rate, owned_rate, rented_rates

    rented = rented_rates(
        load_catalogue(prices),
        environment,
        gpu=gpu,
        provider=provider,
        region=region,
        instance=instance,
        usd_per_hour=price,
    )
    mixed = () if mix is None else (mixed_rate(shares(mix), rented),)
    return (*rented, *mixed, *(() if owned is None else (owned_rate(owned),)))


def owned_hardware(
    runs: Sequence[Run],
    capex: str,
    life_years: float | None,
    kwh_price: float | None,
    pue: float | None,
    watts: float | None,
) -> Owned:
    """Owned hardware from the options and the measured power.

    Raises:
        UsageError: A required option is missing, or no power was measured and none given.
    """
    from pamprof.pricing.rates.hourly_rates import Owned
    from pamprof.pricing.serving.bill import measured_watts

    if life_years is None or kwh_price is None or pue is None:
        raise UsageError("--capex alone is no rate; give --life-years, --kwh-price and --pue with it")
    power = measured_watts(runs) if watts is None else watts
    if power is None:
        raise UsageError("the records hold no power, and owned hardware needs it; give the device's --watts")
    return Owned(
        capital_usd=positive_number(capex, "--capex"),
        life_years=life_years,
        usd_per_kilowatt_hour=kwh_price,
        power_usage_effectiveness=pue,
        watts=power,
        watts_source="measured" if watts is None else "given by the user",
    )


def warn_of_age(rates: Sequence[Rate | UnknownRate], *, strict: bool) -> tuple[str, ...]:
    """Say on standard error which rates are old or undated, and return that as an alert.

    Raises:
        PriceError: There is one, and ``strict`` asks for none.
    """
    from pamprof.pricing.rates.hourly_rates import rate_doubts

    doubts = rate_doubts(tuple(rates), datetime.now(UTC).date(), strict=strict)
    for doubt in doubts:
        typer.echo(f"pamprof: {doubt.severity}: {doubt.subject}: {doubt.sentence}", err=True)
    if strict and doubts:
        raise PriceError(f"{len(doubts)} rates are old or undated and --strict asks for none; give --price or refresh")
    return (" ".join(f"{doubt.subject}: {doubt.sentence}" for doubt in doubts),) if doubts else ()
