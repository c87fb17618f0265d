"""Ways of paying for a measured device that the live page offers: what every provider in the list charges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.errors import PriceError
from pamprof.pricing.catalogue import list_prices
from pamprof.pricing.device_names import CPU, canonical_device
from pamprof.pricing.quote import quote
from pamprof.pricing.rates import Rate, rate_of

if TYPE_CHECKING:
    from pamprof.pricing.catalogue import Catalogue
    from pamprof.records import Environment


def offered_rates(catalogue: Catalogue, environment: Environment) -> tuple[Rate, ...]:
    """One rate for each provider and purchase option of the device, as ``--provider`` would choose it.

    On demand first, cheapest first within an option; empty for a processor, whose machines differ too much in cores.
    """
    device = canonical_device(environment.device_name) or environment.device_name
    if environment.device_kind == "cpu" or device == CPU:
        return ()
    named = {(price.provider, price.purchase_option) for price in list_prices(catalogue, gpu=device)}
    found = []
    for provider, option in sorted(named):
        try:
            rate = rate_of(
                quote(catalogue, environment.device_name, provider=provider, purchase_option=option, device_kind="cuda")
            )
        except PriceError:
            continue  # a row of another form of the device is no rate of this one
        found.append(rate)
    return tuple(sorted(found, key=lambda rate: (rate.option != "on-demand", rate.option, rate.usd_per_hour)))


def label_of(rate: Rate) -> str:
    """``coreweave on-demand, $2.10``; a rate of the user's own, or a mix, by its option alone."""
    chosen = None if rate.quote is None else rate.quote.chosen
    named = rate.option if chosen is None or chosen.provider == rate.option else f"{chosen.provider} {rate.option}"
    return f"{named}, {units.usd(rate.usd_per_hour)}"
