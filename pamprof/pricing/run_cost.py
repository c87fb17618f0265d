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

# The published PAM training run: ten passes over 118.44 million tokens (arXiv:2604.05030).
PAPER_RUN_TOKENS = 10 * 118_440_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Dollars per million tokens.

    Attributes:
        usd_per_million_tokens: At the chosen rate; the interval is the throughput's.
        at_lowest_rate: At the market's cheapest comparable rate.
        at_highest_rate: At its most expensive one.
        quote: The rates, with provider, instance, region, purchase option, date and source.
        basis: Where the throughput comes from.
    """

    usd_per_million_tokens: Interval
    at_lowest_rate: Interval
    at_highest_rate: Interval
    quote: PriceQuote
    basis: Basis = Basis.MEASURED

    @property
    def price(self) -> Price:
        """The rate the dollars are computed from."""
        return self.quote.chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingBill:
    """What a training run costs on one device: hours of the device and USD, with the interval of the throughput."""

    device_hours: Interval
    usd: Interval


def as_quote(price: PriceQuote | Decimal | float) -> PriceQuote:
    """A quote as it is; a bare USD rate per device-hour as a user's rate without a spread."""
    if isinstance(price, PriceQuote):
        return price
    own = user_price(price, device_name="unnamed device")
    return PriceQuote(chosen=own, low=own, high=own, candidate_count=1)


def cost_per_million_tokens(
    price: PriceQuote | Decimal | float,
    tokens_per_second: Interval,
) -> Cost:
    """Dollars per million tokens of one device.

    Args:
        price: A quote, or USD per device-hour.
        tokens_per_second: Throughput of one device, with its interval.

    Raises:
        PriceError: A throughput or rate from which no price follows.
    """
    _check_throughput(tokens_per_second)
    rates = as_quote(price)
    seconds_per_token = tokens_per_second.inverse()

    def at(rate: Price) -> Interval:
        usd_per_second = float(rate.usd_per_device_hour) / SECONDS_PER_HOUR
        return seconds_per_token.scaled(usd_per_second * MILLION)

    return Cost(
        usd_per_million_tokens=at(rates.chosen),
        at_lowest_rate=at(rates.low),
        at_highest_rate=at(rates.high),
        quote=rates,
    )


def training_bill(
    tokens: int,
    tokens_per_second: Interval,
    price: PriceQuote | Decimal | float,
) -> TrainingBill:
    """Bill of a run over ``tokens`` tokens: tokens / tokens_per_second / 3600 x USD per device-hour.

    Raises:
        PriceError: A token count, throughput or rate that is not above zero.
    """
    _check_throughput(tokens_per_second)
    if tokens <= 0:
        raise PriceError(f"a training run of {tokens} tokens has no bill; give a number above zero")
    hours = tokens_per_second.inverse().scaled(tokens / SECONDS_PER_HOUR)
    return TrainingBill(device_hours=hours, usd=hours.scaled(float(as_quote(price).chosen.usd_per_device_hour)))


def _check_throughput(tokens_per_second: Interval) -> None:
    """Raise ``PriceError`` unless the whole interval is finite and above zero."""
    if not (isfinite(tokens_per_second.high) and 0 < tokens_per_second.low <= tokens_per_second.high):
        raise PriceError(
            f"a throughput of {tokens_per_second.low} to {tokens_per_second.high} tokens per second has no price; "
            "it must lie above zero"
        )
