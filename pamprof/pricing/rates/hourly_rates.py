"""What an hour of one device costs under every way of paying for it: rented on demand, spot, committed, mixed, owned.

Each rate keeps its provenance; a way of paying that no list has a row for stays unknown with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.devices.names import canonical_device
from pamprof.devices.parts import part_of
from pamprof.errors import PriceError, UsageError
from pamprof.pricing.rates.age import staleness
from pamprof.pricing.rates.catalogue import device_of_word
from pamprof.pricing.rates.processors import is_cpu_machine
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.rates.rate_words import USER, hour_of, machine, standing, why_this_machine
from pamprof.units import HOURS_PER_MONTH

if TYPE_CHECKING:
    from datetime import date

    from pamprof.pricing.rates.catalogue import Catalogue
    from pamprof.pricing.rates.findings import Finding
    from pamprof.records import Environment, PriceQuote

ON_DEMAND = "on-demand"
SPOT = "spot"
COMMITTED = "committed"
MIXED = "mixed"
OWNED = "owned"
HOURS_PER_YEAR = 12 * HOURS_PER_MONTH
# PricingCategory of the FinOps Open Cost and Usage Specification (FOCUS 1.x, focus.finops.org).
FOCUS_STANDARD = "Standard"
FOCUS_DYNAMIC = "Dynamic"
FOCUS_COMMITTED = "Committed"
FOCUS_OTHER = "Other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One way of paying.

    Attributes:
        option: ``on-demand``, ``spot``, ``reserved-1yr``, ``mixed``, ``owned`` or ``user``.
        category: FOCUS PricingCategory.
        low: USD per device-hour at the market's cheapest comparable row.
        usd_per_hour: USD per device-hour that is used.
        high: At the most expensive comparable row.
        provenance: Who charges it and where that was read, or what it is computed from.
        quote: The rows of the price list; None for a computed rate.
    """

    option: str
    category: str
    low: float
    usd_per_hour: float
    high: float
    provenance: str
    quote: PriceQuote | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownRate:
    """A way of paying without a rate, and why."""

    option: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """Hardware of one's own, per device.

    Attributes:
        capital_usd: Price of one device with its share of host, network and installation.
        life_years: Years it is written off over.
        usd_per_kilowatt_hour: Electricity.
        power_usage_effectiveness: The building's power over the devices', at least 1.
        watts: Power of one device at work.
        watts_source: Where that was read.
    """

    capital_usd: float
    life_years: float
    usd_per_kilowatt_hour: float
    power_usage_effectiveness: float
    watts: float
    watts_source: str


def rate_of(found: PriceQuote) -> Rate:
    """A quote as a rate."""
    chosen = found.chosen
    return Rate(
        option=chosen.purchase_option,
        category=pricing_category(chosen.purchase_option),
        low=float(found.low.usd_per_device_hour),
        usd_per_hour=float(chosen.usd_per_device_hour),
        high=float(found.high.usd_per_device_hour),
        provenance=_provenance(found),
        quote=found,
    )


def _provenance(found: PriceQuote) -> str:
    chosen = found.chosen
    if chosen.provider == USER:
        return "given by the user"
    parts = (
        f"{machine(chosen)}, {chosen.region}",
        "" if chosen.share is None else hour_of(chosen),
        why_this_machine(found),
        standing(found),
        f"read {chosen.observed_text}",
        chosen.source,
    )
    return "; ".join(part for part in parts if part)


def rented_rates(
    catalogue: Catalogue,
    environment: Environment,
    *,
    gpu: str | None = None,
    provider: str | None = None,
    region: str | None = None,
    instance: str | None = None,
    usd_per_hour: str | None = None,
) -> tuple[Rate | UnknownRate, ...]:
    """On demand, spot and committed, in this order; the user's own rate alone where one was given.

    Raises:
        PriceError: The on-demand rate cannot be had: without it there is no bill to compare the others with.
    """
    rows: list[Rate | UnknownRate] = []
    for option in (ON_DEMAND,) if usd_per_hour is not None else (ON_DEMAND, SPOT, COMMITTED):
        name = _listed_option(catalogue, environment, gpu, option)
        try:
            found = quote(
                catalogue,
                environment.device_name,
                gpu=gpu,
                provider=provider,
                region=region,
                instance=instance,
                purchase_option=name,
                usd_per_hour=usd_per_hour,
                device_kind=environment.device_kind,
                processor=environment.processor_use,
                part=part_of(environment),
            )
        except PriceError as exc:
            if option == ON_DEMAND:
                raise
            rows.append(UnknownRate(option=option, reason=str(exc)))
        else:
            rows.append(rate_of(found))
    return tuple(rows)


def mixed_rate(shares: tuple[tuple[str, float], ...], rates: tuple[Rate | UnknownRate, ...]) -> Rate | UnknownRate:
    """Replicas rented under several options at once, at their mean rate; ``committed`` stands for any committed one.

    Raises:
        UsageError: Shares that do not add up to 1, or an option that does not exist.
    """
    by_name: dict[str, Rate | UnknownRate] = {}
    for rate in rates:
        by_name[rate.option] = rate
        if isinstance(rate, Rate) and rate.category == FOCUS_COMMITTED:
            by_name[COMMITTED] = rate
    parts: list[tuple[float, Rate]] = []
    for name, share in shares:
        found = by_name.get(name)
        if found is None:
            raise UsageError(f"--mix names {name!r}, which has no rate here; use {', '.join(by_name)}")
        if isinstance(found, UnknownRate):
            return UnknownRate(option=MIXED, reason=found.reason)
        parts.append((share, found))
    low = mixed_usd_per_hour(tuple((share, rate.low) for share, rate in parts))
    middle = mixed_usd_per_hour(tuple((share, rate.usd_per_hour) for share, rate in parts))
    high = mixed_usd_per_hour(tuple((share, rate.high) for share, rate in parts))
    words = " + ".join(f"{share:.0%} {rate.option}" for share, rate in parts)
    return Rate(option=MIXED, category=FOCUS_OTHER, low=low, usd_per_hour=middle, high=high, provenance=words)


def owned_rate(owned: Owned) -> Rate:
    """Hardware of one's own as a rate per device-hour; without a spread, since no market sets it."""
    rate = owned_usd_per_hour(
        capital_usd=owned.capital_usd,
        life_years=owned.life_years,
        usd_per_kilowatt_hour=owned.usd_per_kilowatt_hour,
        power_usage_effectiveness=owned.power_usage_effectiveness,
        watts=owned.watts,
    )
    if rate <= 0:
        raise UsageError("owned hardware without a price and without power costs nothing; give --capex above zero")
    words = (
        f"{owned.capital_usd:,.0f} USD over {owned.life_years:g} years, {owned.watts:.0f} W ({owned.watts_source}) "
        f"at PUE {owned.power_usage_effectiveness:g}, {owned.usd_per_kilowatt_hour:g} USD/kWh; staff and space left out"
    )
    return Rate(option=OWNED, category=FOCUS_OTHER, low=rate, usd_per_hour=rate, high=rate, provenance=words)


def owned_usd_per_hour(
    *,
    capital_usd: float,
    life_years: float,
    usd_per_kilowatt_hour: float,
    power_usage_effectiveness: float,
    watts: float,
) -> float:
    """One owned device an hour: its price spread over its life, and its power with the building's share (PUE) on it.

    Raises:
        UsageError: A life, price, PUE or power that cannot be.
    """
    if not (life_years > 0 and capital_usd >= 0 and usd_per_kilowatt_hour >= 0 and watts >= 0):
        raise UsageError("owned hardware needs a life above zero, and no price and no power below zero")
    if power_usage_effectiveness < 1:
        raise UsageError(f"PUE {power_usage_effectiveness:g} is below 1; it is the building's power over the devices'")
    power = watts / 1000 * power_usage_effectiveness * usd_per_kilowatt_hour
    return capital_usd / (life_years * HOURS_PER_YEAR) + power


def mixed_usd_per_hour(shares: tuple[tuple[float, float], ...]) -> float:
    """The mean hourly rate of replicas rented at several, from pairs of share and USD per hour; shares add up to 1.

    Raises:
        UsageError: Shares outside 0 to 1 or with another sum.
    """
    if any(not 0 <= share <= 1 for share, _ in shares) or abs(sum(share for share, _ in shares) - 1) > 1e-9:
        raise UsageError(f"shares {', '.join(f'{share:g}' for share, _ in shares)} do not add up to 1; correct the mix")
    return sum(share * rate for share, rate in shares)


def rate_doubts(rates: tuple[Rate | UnknownRate, ...], today: date, *, strict: bool) -> tuple[Finding, ...]:
    """The doubts about the age of the rates used, each once."""
    findings = (
        staleness(rate.quote.chosen, today, strict)
        for rate in rates
        if isinstance(rate, Rate) and rate.quote is not None
    )
    return tuple(dict.fromkeys(finding for finding in findings if finding is not None))


def _listed_option(catalogue: Catalogue, environment: Environment, gpu: str | None, option: str) -> str:
    """What the price list calls a way of paying: a committed one has the name of its term, the shortest one here."""
    if option != COMMITTED:
        return option
    part, known = part_of(environment), canonical_device(environment.device_name)
    wanted = {known or environment.device_name}
    if part is not None and part.board is not None:
        wanted.add(part.board.name)
    elif known is None and gpu is not None:
        wanted.add(device_of_word(catalogue, gpu))
    is_cpu = environment.device_kind == "cpu"
    listed = {
        price.purchase_option
        for price in catalogue.prices
        if (is_cpu_machine(price) if is_cpu else price.device_name in wanted)
        and pricing_category(price.purchase_option) == FOCUS_COMMITTED
    }
    return min(listed, default=COMMITTED)


def pricing_category(purchase_option: str) -> str:
    """FOCUS PricingCategory of a purchase option: Standard, Dynamic (spot), Committed or Other."""
    if purchase_option == ON_DEMAND:
        return FOCUS_STANDARD
    if purchase_option == SPOT:
        return FOCUS_DYNAMIC
    return FOCUS_COMMITTED if purchase_option.startswith(("reserved", "committed")) else FOCUS_OTHER
