"""Ways of paying for a measured device: the report's own price, and what every provider in the list charges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.devices.names import CPU, canonical_device
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import list_prices
from pamprof.pricing.rates.hourly_rates import ON_DEMAND, Rate, UnknownRate, rate_of, rented_rates
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.rates.rate_words import USER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.pricing.rates.catalogue import Catalogue
    from pamprof.records import Environment, PriceQuote
    from pamprof.records.store import RecordFile


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChoice:
    """What a reader of records may pay with beside the price the records hold.

    Attributes:
        catalogue: The list that spot, committed and other providers' rates are read from.
        quotes: Prices that were asked for, by the device's reported name.
        gpu, provider, instance: The user's words they were looked up with.
    """

    catalogue: Catalogue
    quotes: Mapping[str, PriceQuote] = field(default_factory=dict)
    gpu: str | None = None
    provider: str | None = None
    instance: str | None = None


def device_rates(
    environment: Environment, stored: tuple[PriceQuote | None, str | None], choice: PriceChoice | None
) -> tuple[Rate | UnknownRate, ...]:
    """The price asked for, or else the one ``stored`` with the records; after it the list's other purchase options.

    A rate of the user's own stands alone, and so does the reason why there is none.
    """
    found, reason = stored
    if choice is not None:
        found = choice.quotes.get(environment.device_name, found)
    if found is None:
        return (UnknownRate(option=ON_DEMAND, reason=reason or "no price was given; give one with --price"),)
    first = rate_of(found)
    if choice is None or found.chosen.provider == USER:
        return (first,)
    try:
        listed = rented_rates(
            choice.catalogue, environment, gpu=choice.gpu, provider=choice.provider, instance=choice.instance
        )
    except PriceError:
        return (first,)  # the list does not know the device, so it has no other option of it either
    return (first, *(rate for rate in listed if rate.option != first.option))


def stored_quote(device_name: str, *parts: RecordFile) -> tuple[PriceQuote | None, str | None]:
    """The price under which the first of ``parts`` that has one was last measured on a device, or why none has."""
    reason = None
    for records in parts:
        there = {run.session_id for run in records.runs if run.environment.device_name == device_name}
        for session in [each for each in records.sessions if each.session_id in there][-1:]:
            if session.quote is not None:
                return session.quote, None
            reason = reason or session.quote_unknown_reason
    return None, reason


def offered_rates(catalogue: Catalogue, environment: Environment) -> tuple[Rate, ...]:
    """One rate for each provider and purchase option of the device, as ``--provider`` would choose it.

    On demand first, cheapest first within an option.
    """
    is_cpu = environment.device_kind == "cpu"
    device = CPU if is_cpu else canonical_device(environment.device_name) or environment.device_name
    named = {(price.provider, price.purchase_option) for price in list_prices(catalogue, gpu=device)}
    found = []
    for provider, option in sorted(named):
        try:
            rate = rate_of(
                quote(
                    catalogue,
                    environment.device_name,
                    provider=provider,
                    purchase_option=option,
                    device_kind="cpu" if is_cpu else "cuda",
                    processor=environment.processor_use,
                )
            )
        except PriceError:
            continue  # a row of another form of the device is no rate of this one
        found.append(rate)
    return tuple(sorted(found, key=lambda rate: (rate.option != "on-demand", rate.option, rate.usd_per_hour)))


def label_of(rate: Rate) -> str:
    """``coreweave on-demand, $2.10``; a rate of the user's own, or a mix, by its option alone."""
    chosen = None if rate.quote is None else rate.quote.chosen
    named = rate.option if chosen is None or chosen.provider == rate.option else f"{chosen.provider} {rate.option}"
    return f"{named}, {units.usd_rate(rate.usd_per_hour)}"
