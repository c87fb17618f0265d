"""Tokens per second and dollars per hour become dollars per million tokens, with their interval and provenance.

Rounding. Rates are exact decimals until they meet a measured throughput; from there on everything is a float and
nothing is rounded here. Rounding belongs to paper: ``pamprof.units.usd`` keeps three significant digits below one
dollar, cents up to a thousand dollars, whole dollars above.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from pamprof.analysis.results import Basis
from pamprof.errors import PriceError
from pamprof.pricing.quote import user_price
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCost:
    """A request's dollars, split by the device time its two halves take.

    Attributes:
        input_usd_per_million_tokens: Prompt tokens at prefill throughput.
        output_usd_per_million_tokens: Generated tokens at decode throughput.
        blended_usd_per_million_tokens: All tokens of the request.
        device_seconds: Time the request takes of one device.
        usd: Its bill: input tokens x input rate + output tokens x output rate = device seconds x rate per second.
    """

    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    blended_usd_per_million_tokens: float
    device_seconds: float
    usd: float


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
    _check(tokens_per_second)
    _check_share(utilisation, "utilisation")
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
    _check_share(duty, "duty")
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
    _check(tokens_per_second)
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


def request_cost(
    price: PriceQuote | Decimal | float,
    *,
    input_tokens: int,
    output_tokens: int,
    input_tokens_per_second: float,
    output_tokens_per_second: float,
    utilisation: float = 1.0,
) -> RequestCost:
    """Split a request's device time into prices of its input and output tokens; the two add up to its bill.

    Args:
        price: A quote, or USD per device-hour.
        input_tokens: Prompt length.
        output_tokens: Generated length.
        input_tokens_per_second: Prefill throughput of the device, all sequences of the batch together.
        output_tokens_per_second: Decode throughput of the device, likewise.
        utilisation: Share of the rented time the device works, in (0, 1].

    Raises:
        PriceError: A count below zero, no tokens at all, or a throughput or utilisation that cannot be.
    """
    if input_tokens < 0 or output_tokens < 0 or input_tokens + output_tokens == 0:
        raise PriceError(
            f"a request of {input_tokens} input and {output_tokens} output tokens has no price; give counts"
        )
    _check(Interval.exact(input_tokens_per_second))
    _check(Interval.exact(output_tokens_per_second))
    _check_share(utilisation, "utilisation")
    usd_per_second = float(as_quote(price).chosen.usd_per_device_hour) / SECONDS_PER_HOUR / utilisation
    device_seconds = input_tokens / input_tokens_per_second + output_tokens / output_tokens_per_second
    usd = device_seconds * usd_per_second
    return RequestCost(
        input_usd_per_million_tokens=usd_per_second / input_tokens_per_second * MILLION,
        output_usd_per_million_tokens=usd_per_second / output_tokens_per_second * MILLION,
        blended_usd_per_million_tokens=usd / (input_tokens + output_tokens) * MILLION,
        device_seconds=device_seconds,
        usd=usd,
    )


def no_difference(first: Cost, second: Cost) -> bool:
    """Whether the costs' intervals overlap at their chosen rates, which reads "no difference" on paper."""
    one, other = first.usd_per_million_tokens, second.usd_per_million_tokens
    return one.low <= other.high and other.low <= one.high


def _check(tokens_per_second: Interval) -> None:
    if not (isfinite(tokens_per_second.high) and 0 < tokens_per_second.low <= tokens_per_second.high):
        raise PriceError(
            f"a throughput of {tokens_per_second.low} to {tokens_per_second.high} tokens per second has no price; "
            "it must lie above zero"
        )


def _check_share(value: float, name: str) -> None:
    if not 0 < value <= 1:
        raise PriceError(f"{name} {value} is not a share of the rented time; give a ratio above 0, at most 1")
