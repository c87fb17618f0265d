"""The price that a user asked for, by device, for the command line and the Python door alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pamprof.errors import PriceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from pamprof.devices.parts import BoardPart
    from pamprof.measure.session.request import PriceLookup
    from pamprof.pricing.rates.price_choice import PriceChoice
    from pamprof.records import Environment, PriceQuote, ProcessorUse
    from pamprof.records.store import RecordFile

ON_DEMAND = "on-demand"


class PriceOptions(TypedDict):
    """The options that choose a price, as texts of the command line or as given in Python.

    Attributes:
        price: The user's own rate, USD per device-hour; on a CPU of the vCPUs used.
        prices: The user's price list, a CSV file.
        gpu: The device to price as.
        provider: Of the rate.
        instance: The machine of the price list to price as.
        purchase_option: ``on-demand``, ``spot``, or a committed option of the list.
    """

    price: float | str | None
    prices: str | Path | None
    gpu: str | None
    provider: str | None
    instance: str | None
    purchase_option: str


def is_asked(options: PriceOptions) -> bool:
    """Whether a particular price is asked for."""
    named = options["price"], options["prices"], options["gpu"], options["provider"], options["instance"]
    return any(each not in (None, "") for each in named) or options["purchase_option"] != ON_DEMAND


def price_lookup(**options: Unpack[PriceOptions]) -> PriceLookup:
    """The price of a device, which is known once measuring begins.

    What is returned gives, for a device's kind, name, processor and part of a board, the quote, or None with the reason
    where nobody asked for a particular one. It raises ``PriceError`` where the price that was asked for cannot be had.
    """

    def look_up(
        device_kind: str, device_name: str, processor: ProcessorUse | None, part: BoardPart | None
    ) -> tuple[PriceQuote | None, str | None]:
        from pamprof.pricing.rates.catalogue import load_catalogue
        from pamprof.pricing.rates.quote import quote

        try:
            found = quote(
                load_catalogue(_path(options["prices"])),
                device_name,
                gpu=options["gpu"],
                provider=options["provider"],
                instance=options["instance"],
                purchase_option=options["purchase_option"],
                usd_per_hour=None if options["price"] is None else str(options["price"]),
                device_kind=device_kind,
                processor=processor,
                part=part,
            )
        except PriceError as error:
            if is_asked(options):
                raise
            return None, str(error)
        return found, None

    return look_up


def price_choice(
    prices: Path | None,
    *,
    quotes: Mapping[str, PriceQuote] | None = None,
    gpu: str | None = None,
    provider: str | None = None,
    instance: str | None = None,
) -> PriceChoice:
    """Prices for serving: the price list in ``prices``, or the default one, and the prices asked for."""
    from pamprof.pricing.rates.catalogue import load_catalogue
    from pamprof.pricing.rates.price_choice import PriceChoice

    return PriceChoice(
        catalogue=load_catalogue(prices), quotes=quotes or {}, gpu=gpu, provider=provider, instance=instance
    )


def paid_with(
    records: RecordFile, **options: Unpack[PriceOptions]
) -> tuple[RecordFile, PriceQuote | None, PriceChoice | None]:
    """How records are priced where another price than their own is asked for.

    Returns:
        The records, their training loops at the price asked for, and where nothing was compared capacities, too; the
        quote that replaces that of their comparisons, if one was asked for; and what their sweeps may be paid with.

    Raises:
        PriceError: The price that was asked for cannot be had.
    """
    from pamprof.records.sweeps import split_sweeps

    comparison, sweep = split_sweeps(records)
    if not is_asked(options):
        return records, None, price_choice(None) if sweep.runs else None
    look_up = price_lookup(**options)
    loops = tuple(replace(each, quote=_of_measured(look_up, each.environment)) for each in records.profiles)
    records = replace(records, profiles=loops)
    if not records.runs:
        held = [(each, _of_measured(look_up, each.environment)) for each in records.capacities]
        priced = tuple(replace(each, quote=rate, quote_unknown_reason=None) for each, rate in held)
        records = replace(records, capacities=priced)
    quote = _of_measured(look_up, comparison.runs[-1].environment) if comparison.runs else None
    swept = {run.environment.device_name: run.environment for run in sweep.runs}
    if not swept:
        return records, quote, None
    found = {name: _of_measured(look_up, each) for name, each in swept.items()}
    quotes = {name: each for name, each in found.items() if each is not None}
    gpu, provider, instance = (options["gpu"], options["provider"], options["instance"])
    prices = _path(options["prices"])
    return records, quote, price_choice(prices, quotes=quotes, gpu=gpu, provider=provider, instance=instance)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _of_measured(look_up: PriceLookup, measured: Environment) -> PriceQuote | None:
    from pamprof.devices.parts import part_of

    return look_up(measured.device_kind, measured.device_name, measured.processor_use, part_of(measured))[0]
