"""Ways of paying for a measured device: the report's own price, and what every provider in the list charges."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.devices.parts import part_of
from pamprof.errors import PriceError
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
        there = {run.session_id: run for run in records.runs if run.environment.device_name == device_name}
        for session in [each for each in records.sessions if each.session_id in there][-1:]:
            if session.quote is not None:
                return quote_as_measured(session.quote, there[session.session_id].environment)
            reason = reason or session.quote_unknown_reason
    return None, reason


def quote_as_measured(stored: PriceQuote, environment: Environment) -> tuple[PriceQuote | None, str | None]:
    """A stored price for what was measured; None with the reason where it cannot hold.

    It stays as it was stored, unless it is a whole board's and a part of the board was measured: older records were
    priced so. Then the same rows are charged by the part's share.
    """
    part = part_of(environment)
    chosen = stored.chosen
    if part is None or chosen.provider == USER or chosen.share is not None or chosen.device_name == part.name:
        return stored, None
    share = part.priced_share
    if share is None:
        return None, (
            f"{part.unknown_reason}, and the stored rate is that of the whole {chosen.device_name}; give the part's "
            "own USD per hour with --price"
        )
    chosen, low, high = (replace(price, share=share) for price in (stored.chosen, stored.low, stored.high))
    return replace(stored, chosen=chosen, low=low, high=high), None


def offered_rates(catalogue: Catalogue, environment: Environment) -> tuple[Rate, ...]:
    """One rate for each provider and purchase option of the device, as ``--provider`` would choose it.

    On demand first, cheapest first within an option.
    """
    found = []
    for provider, option in sorted({(price.provider, price.purchase_option) for price in catalogue.prices}):
        try:
            rate = rate_of(
                quote(
                    catalogue,
                    environment.device_name,
                    provider=provider,
                    purchase_option=option,
                    device_kind=environment.device_kind,
                    processor=environment.processor_use,
                    part=part_of(environment),
                )
            )
        except PriceError:
            continue  # it does not rent this device
        found.append(rate)
    return tuple(sorted(found, key=lambda rate: (rate.option != "on-demand", rate.option, rate.usd_per_hour)))


def label_of(rate: Rate) -> str:
    """``coreweave on-demand, $2.10``; a rate of the user's own, or a mix, by its option alone."""
    chosen = None if rate.quote is None else rate.quote.chosen
    named = rate.option if chosen is None or chosen.provider == rate.option else f"{chosen.provider} {rate.option}"
    return f"{named}, {units.usd_rate(rate.usd_per_hour)}"
