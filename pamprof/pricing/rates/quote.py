"""The rate a report uses: the user's own, or a real row of the catalogue chosen by one rule that anyone can repeat.

The rule. Comparable rows have the same device and purchase option. Those read in the 90 days before the day asked about
compete; where there is none, those that may not be a year older than the newest (``pamprof.pricing.rates.rate_dates``).
Each provider takes part with one row, its cheapest device-hour: of a machine with one device where it rents one,
otherwise the device's share of its larger machines. The default is the median of those, the cheaper of the middle two
where their number is even, so that it is always a row someone can rent and neither a marketplace bargain nor one
hyperscaler's list price. The spread, and the rank of the chosen rate in it, are read from all competing rows.

A MIG slice has a rate of its own where a row names it, otherwise its share of the board's rate
(``pamprof.devices.parts``); no share is known of a virtual GPU, so that without such a row it has no dollars.

A processor is priced as its share of a machine that stands for it, by vCPU (``pamprof.pricing.rates.processors``).
Where no row says how many vCPUs its machine has, the whole machine is the price: a row must then name the processor's
model, or be the only row of an unnamed processor that provider, region and instance leave.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from pamprof.devices.names import CPU, canonical_device, one_of, variants_of
from pamprof.devices.parts import part_named
from pamprof.errors import PriceError
from pamprof.pricing.rates.catalogue import device_of_word
from pamprof.pricing.rates.processors import is_cpu_machine, quote_by_vcpu
from pamprof.pricing.rates.rate_dates import competing
from pamprof.pricing.rates.rate_words import USER
from pamprof.pricing.rates.spread import rank_key, ranked_quote
from pamprof.records import Price, PriceQuote
from pamprof.units import plain_number

if TYPE_CHECKING:
    from datetime import date
    from decimal import Decimal

    from pamprof.devices.parts import BoardPart
    from pamprof.pricing.rates.catalogue import Catalogue
    from pamprof.records import ProcessorUse

_CPU_MACHINE = "a CPU machine"


def quote(
    catalogue: Catalogue,
    device_name_of_environment: str,
    *,
    gpu: str | None = None,
    provider: str | None = None,
    purchase_option: str = "on-demand",
    region: str | None = None,
    instance: str | None = None,
    usd_per_hour: Decimal | float | str | None = None,
    device_kind: Literal["cpu", "cuda"] | str | None = None,
    processor: ProcessorUse | None = None,
    part: BoardPart | None = None,
    on: date | None = None,
) -> PriceQuote:
    """What an hour of the measured device costs, with the spread of the market around it.

    Args:
        catalogue: Where to look.
        device_name_of_environment: What the driver calls the device, or the processor's model name.
        gpu: The user's word for a device whose reported name is unknown; it may not contradict a known name.
        provider: Only this provider's rows may be chosen; the spread stays the market's.
        purchase_option: ``on-demand``, ``spot``, ``reserved-1yr`` and so on, as in the catalogue.
        region: Only rows of this region, or of a zone inside it (``us-east-1`` holds ``us-east-1/use1-az2``).
        instance: Only this machine of the provider.
        usd_per_hour: The user's own rate of one device, USD per hour; nothing else is then looked up.
        device_kind: ``cpu`` or ``cuda`` as recorded; None to tell it from the name.
        processor: Of a CPU, its architecture and how many vCPUs are paid for.
        part: The part of a board that was measured; None for what the name alone tells.
        on: The day asked about, from which a rate's age is counted; None for today.

    Raises:
        PriceError: The device is unknown or has no row, the user's words contradict the measurement, or the rate is not
            a positive number.
    """
    day = on or datetime.now(UTC).date()
    rate_given = usd_per_hour is not None
    is_cpu = _is_cpu(device_name_of_environment, device_kind)
    part = None if is_cpu else part or part_named(device_name_of_environment)
    if part is None:
        device = _device(catalogue, device_name_of_environment, gpu=gpu, is_cpu=is_cpu, rate_given=rate_given)
    else:
        device = _device_of_part(catalogue, part, gpu=gpu, rate_given=rate_given)
    if usd_per_hour is not None:
        given = [name for name, value in (("provider", provider), ("region", region), ("instance", instance)) if value]
        if given:
            raise PriceError(f"--price already is the rate; leave out the {' and the '.join(given)}, or --price")
        own = user_price(usd_per_hour, device_name=device)
        return PriceQuote(chosen=own, low=own, high=own, candidate_count=1)
    share = None if part is None or device == part.name else part.priced_share
    of_device = tuple(
        price if share is None else replace(price, share=share)
        for price in catalogue.prices
        if (is_cpu_machine(price) if is_cpu else price.device_name.casefold() == device.casefold())
    )
    comparable = tuple(price for price in of_device if price.purchase_option == purchase_option)
    if not comparable:
        options = tuple(sorted({price.purchase_option for price in of_device}))
        raise PriceError(_no_row(catalogue, _CPU_MACHINE if is_cpu else device, purchase_option, options))
    wanted = tuple(
        price
        for price in comparable
        if (provider is None or price.provider.casefold() == provider.casefold())
        and (region is None or price.region.split("/")[0] == region or price.region == region)
        and (instance is None or price.instance.casefold() == instance.casefold())
    )
    if not wanted:
        named = _CPU_MACHINE if is_cpu else device
        raise PriceError(_no_match(comparable, named, provider=provider, region=region, instance=instance))
    if is_cpu:
        counted = tuple(price for price in wanted if price.vcpu_count is not None)
        if counted:
            return quote_by_vcpu(comparable, counted, device, processor, named=instance is not None, day=day)
        return _whole_machine(wanted, device)
    chosen = _median_of_providers(competing(wanted, day))
    return ranked_quote(competing(comparable, day), chosen)


def user_price(usd_per_hour: Decimal | float | str, *, device_name: str) -> Price:
    """A rate the user gave for one device, as a row like any other. Raises ``PriceError`` unless it is above zero."""
    rate = plain_number(str(usd_per_hour))
    if rate is None:
        raise PriceError(f"price {usd_per_hour!r} is not a number; give USD per device-hour like 2.95")
    if rate <= 0:
        raise PriceError(f"price {usd_per_hour} is not a rate; give USD per device-hour above zero, like 2.95")
    return Price(
        provider=USER,
        instance="own rate",
        region="unspecified",
        purchase_option=USER,
        device_name=device_name,
        device_count=1,
        usd_per_hour=rate,
        observed_on=None,
        observed_text="given by the user",
        source="given by the user",
    )


def _is_cpu(name: str, device_kind: str | None) -> bool:
    return device_kind == "cpu" if device_kind is not None else canonical_device(name) == CPU


def _device(catalogue: Catalogue, name: str, *, gpu: str | None, is_cpu: bool, rate_given: bool) -> str:
    """The name rows are looked up by: canonical for a known GPU, the model name for a processor."""
    if is_cpu:
        if gpu is not None:
            raise PriceError(
                f"the runs were measured on a processor ({name}), so a price of {gpu} says nothing about them; "
                "name the machine it is priced as with --instance, or give its own rate with --price"
            )
        return name
    known = canonical_device(name)
    if gpu is None:
        # An unknown device may still have a row under its own name in the user's file.
        return known or name
    if known is not None and known in variants_of(gpu):
        return known
    wanted = device_of_word(catalogue, gpu)
    if known is not None and wanted != known and not rate_given:
        raise PriceError(
            f"the runs were measured on {name} ({known}), so a price of {wanted} says nothing about them; "
            f"leave --gpu out, or give a rate with --price"
        )
    return known or wanted


def _device_of_part(catalogue: Catalogue, part: BoardPart, *, gpu: str | None, rate_given: bool) -> str:
    """The part's own name where a row has it, otherwise its board's, of which it is charged a share."""
    if rate_given:
        return part.name
    if gpu is not None:
        wanted = device_of_word(catalogue, gpu)
        if wanted not in (part.name, None if part.board is None else part.board.name):
            raise PriceError(
                f"the runs were measured on {part.words}, so a price of {wanted} says nothing about them; leave --gpu "
                "out, or give a rate with --price"
            )
    if any(price.device_name.casefold() == part.name.casefold() for price in catalogue.prices):
        return part.name
    if part.board is None or part.price is None:
        raise PriceError(
            f"{part.unknown_reason}, so no share of a board's rate can be charged; give the part's own USD per hour "
            "with --price, or a row of its own name with --prices"
        )
    return part.board.name


def _median_of_providers(prices: tuple[Price, ...]) -> Price:
    best: dict[str, Price] = {}
    for price in sorted(prices, key=lambda row: (row.device_count > 1, *rank_key(row))):
        best.setdefault(price.provider, price)
    ranked = sorted(best.values(), key=rank_key)
    return ranked[(len(ranked) - 1) // 2]


def _whole_machine(prices: tuple[Price, ...], name: str) -> PriceQuote:
    of_model = tuple(price for price in prices if price.device_name.casefold() == name.casefold())
    rows = of_model or tuple(price for price in prices if price.device_name == CPU)
    if len(rows) != 1:
        raise PriceError(
            f"the CPU machines listed ({', '.join(price.instance for price in (rows or prices)[:5])}) have no "
            f"vcpu_count, and not one alone is for {name}, so none can be shared out; add that column, or give the "
            "machine's own rate with --price"
        )
    return PriceQuote(chosen=rows[0], low=rows[0], high=rows[0], candidate_count=1, rank=1)


def _no_row(catalogue: Catalogue, device: str, purchase_option: str, options: tuple[str, ...]) -> str:
    if options:
        return f"no {purchase_option} rate of {device} in {catalogue.origin}; choose {one_of(options)}, or give --price"
    if device == _CPU_MACHINE:
        return (
            f"not one CPU machine is listed in {catalogue.origin}; give USD per hour with --price, or a list with "
            "--prices FILE"
        )
    return (
        f"no price is known for {device} in {catalogue.origin}, and a similar device's price would be wrong; "
        "give USD per hour with --price, or a list with --prices FILE"
    )


def _no_match(
    comparable: tuple[Price, ...], device: str, *, provider: str | None, region: str | None, instance: str | None
) -> str:
    asked = ", ".join(
        f"{name} {value}"
        for name, value in (("provider", provider), ("region", region), ("instance", instance))
        if value
    )
    listed = sorted({f"{price.provider} {price.instance} in {price.region}" for price in comparable})
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    return f"no rate of {device} matches {asked}; there are {'; '.join(listed[:6])}{more}, or give --price"
