"""Tokens per second and dollars per hour become dollars per million tokens, with their interval and provenance.

Rounding. Rates are exact decimals until they meet a measured throughput; from there on everything is a float and
nothing is rounded here. Rounding belongs to paper: ``pamprof.units.usd`` keeps three significant digits below one
dollar, cents up to a thousand dollars, whole dollars above.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.errors import PriceError
from pamprof.pricing.rates.quote import user_price
from pamprof.records import Interval, Price, PriceQuote

if TYPE_CHECKING:
    from decimal import Decimal

MILLION = 1_000_000
SECONDS_PER_HOUR = 3600
FORMULA = "usd_per_hour x 1e6 / (tokens_per_second x 3600 x utilisation)"

# The published PAM training run: ten passes over 118.44 million tokens (arXiv:2604.05030).
PAPER_RUN_TOKENS = 10 * 118_440_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Dollars per million tokens.

    Attributes:
        usd_per_million_tokens: At the chosen rate; the interval is the throughput's.
        at_lowest_rate: At the market's cheapest comparable rate.
        at_highest_rate: At its dearest.
        quote: The rates, with provider, instance, region, purchase option, date and source.
        utilisation: Share of the rented time the device works at this throughput, in (0, 1].
        basis: Whether the throughput was measured or modelled.
        formula: How the number came about.
    """

    usd_per_million_tokens: Interval
    at_lowest_rate: Interval
    at_highest_rate: Interval
    quote: PriceQuote
    utilisation: float
    basis: Basis
    formula: str

    @property
    def price(self) -> Price:
        """The rate the dollars are computed from."""
        return self.quote.chosen

    @property
    def market(self) -> Interval:
        """Both uncertainties at once: cheapest rate at the fastest end, dearest rate at the slowest end."""
        return Interval(
            low=self.at_lowest_rate.low,
            median=self.usd_per_million_tokens.median,
            high=self.at_highest_rate.high,
            confidence=self.usd_per_million_tokens.confidence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBill:
    """What a training run costs on one device.

    Attributes:
        tokens: Tokens the run reads.
        device_hours: Hours of one device; interval of the throughput.
        usd: Bill at the chosen rate.
        usd_at_lowest_rate: Bill at the market's cheapest comparable rate.
        usd_at_highest_rate: Bill at its dearest.
        quote: The rates.
        basis: Whether the throughput was measured or modelled.
    """

    tokens: int
    device_hours: Interval
    usd: Interval
    usd_at_lowest_rate: Interval
    usd_at_highest_rate: Interval
    quote: PriceQuote
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageAndAllocation:
    """Cost of the working time alone, and of the whole rented time, idle included; equal where duty is 1."""

    usage: Cost
    allocation: Cost


def as_quote(price: PriceQuote | Decimal | float) -> PriceQuote:
    """A quote as it is; a bare USD rate per device-hour as a user's rate without a spread."""
    if isinstance(price, PriceQuote):
        return price
    own = user_price(price, device_name="unnamed device")
    return PriceQuote(chosen=own, low=own, high=own, candidate_count=1)


def cost_per_million_tokens(
    price: PriceQuote | Decimal | float,
    tokens_per_second: Interval,
    utilisation: float = 1.0,
    *,
    basis: Basis = Basis.MEASURED,
) -> Cost:
    """Dollars per million tokens of one device.

    Args:
        price: A quote, or USD per device-hour.
        tokens_per_second: Throughput of one device, with its interval.
        utilisation: Share of the rented time at this throughput, in (0, 1].
        basis: Where the throughput comes from.

    Raises:
        PriceError: A throughput, rate or utilisation from which no price follows.
    """
    check_throughput(tokens_per_second)
    check_share(utilisation, "utilisation")
    rates = as_quote(price)
    seconds_per_token = tokens_per_second.inverse()

    def at(rate: Price) -> Interval:
        usd_per_second = float(rate.usd_per_device_hour) / SECONDS_PER_HOUR
        return seconds_per_token.scaled(usd_per_second * MILLION / utilisation)

    return Cost(
        usd_per_million_tokens=at(rates.chosen),
        at_lowest_rate=at(rates.low),
        at_highest_rate=at(rates.high),
        quote=rates,
        utilisation=utilisation,
        basis=basis,
        formula=FORMULA,
    )


def usage_and_allocation(
    price: PriceQuote | Decimal | float, tokens_per_second: Interval, duty: float, *, basis: Basis = Basis.MEASURED
) -> UsageAndAllocation:
    """Cost without and with idle time; ``duty`` is the working share of the rented time, in (0, 1].

    Raises:
        PriceError: As for ``cost_per_million_tokens``.
    """
    check_share(duty, "duty")
    return UsageAndAllocation(
        usage=cost_per_million_tokens(price, tokens_per_second, basis=basis),
        allocation=cost_per_million_tokens(price, tokens_per_second, duty, basis=basis),
    )


def training_bill(
    tokens: int,
    tokens_per_second: Interval,
    price: PriceQuote | Decimal | float,
    *,
    basis: Basis = Basis.MEASURED,
) -> TrainingBill:
    """Bill of a run over ``tokens`` tokens: tokens / tokens_per_second / 3600 x USD per device-hour.

    Raises:
        PriceError: A token count, throughput or rate that is not above zero.
    """
    check_throughput(tokens_per_second)
    if tokens <= 0:
        raise PriceError(f"a training run of {tokens} tokens has no bill; give a number above zero")
    rates = as_quote(price)
    hours = tokens_per_second.inverse().scaled(tokens / SECONDS_PER_HOUR)
    return TrainingBill(
        tokens=tokens,
        device_hours=hours,
        usd=hours.scaled(float(rates.chosen.usd_per_device_hour)),
        usd_at_lowest_rate=hours.scaled(float(rates.low.usd_per_device_hour)),
        usd_at_highest_rate=hours.scaled(float(rates.high.usd_per_device_hour)),
        quote=rates,
        basis=basis,
    )


def no_difference(first: Cost, second: Cost) -> bool:
    """Whether the costs' intervals overlap at their chosen rates, which reads "no difference" on paper."""
    one, other = first.usd_per_million_tokens, second.usd_per_million_tokens
    return one.low <= other.high and other.low <= one.high


def check_throughput(tokens_per_second: Interval) -> None:
    """Raise ``PriceError`` unless the whole interval is finite and above zero."""
    if not (isfinite(tokens_per_second.high) and 0 < tokens_per_second.low <= tokens_per_second.high):
        raise PriceError(
            f"a throughput of {tokens_per_second.low} to {tokens_per_second.high} tokens per second has no price; "
            "it must lie above zero"
        )


def check_share(value: float, name: str) -> None:
    """Raise ``PriceError`` unless ``value`` lies above 0 and at most at 1; ``name`` stands for it in the text."""
    if not 0 < value <= 1:
        raise PriceError(f"{name} {value} is not a share of the rented time; give a ratio above 0, at most 1")
