"""What the options of ``pamprof cost`` say: durations, shares, numbers in scientific form, a currency."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from pamprof.errors import UsageError
from pamprof.units import plain_number

if TYPE_CHECKING:
    from pamprof.pricing.rates.currency import Currency

CurrencyCode = Annotated[
    str, typer.Option("--currency", help="Show amounts in this currency, ISO code such as EUR; needs --exchange-rate.")
]
ExchangeRate = Annotated[
    str | None,
    typer.Option("--exchange-rate", help="Units of --currency for 1 USD, as you state it today, such as 0.92."),
]

_STEPS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(r"\s*([0-9.eE+-]+)\s*(us|µs|ms|s|min)\s*")


def currency_of(code: str, exchange_rate: str | None) -> Currency:
    """The currency of the two options, its rate stated for today. Raises ``UsageError`` like ``stated_currency``."""
    from pamprof.pricing.rates.currency import stated_currency

    return stated_currency(code, exchange_rate, datetime.now(UTC).date())


def duration_seconds(text: str, option: str) -> float:
    """0.05 from ``50ms``.

    Raises:
        UsageError: Not a duration above zero with its unit.
    """
    found = _DURATION.fullmatch(text)
    value = _number(found[1]) * _STEPS[found[2]] if found else 0.0
    if not value > 0:
        raise UsageError(f"{option} {text!r} is not a duration above zero; write it with its unit, like 50ms or 2s")
    return value


def positive_number(text: str, option: str) -> float:
    """1e9 from ``1e9`` or ``1000000000``.

    Raises:
        UsageError: Not a finite number above zero.
    """
    value = _number(text)
    if not value > 0:
        raise UsageError(f"{option} {text!r} is not a number above zero; write it like 1e9")
    return value


def api_prices(input_usd: float | None, output_usd: float | None) -> tuple[float, float] | None:
    """An API's two prices; None where neither was given.

    Raises:
        UsageError: One without the other, below zero, or both zero.
    """
    if input_usd is None and output_usd is None:
        return None
    if input_usd is None or output_usd is None:
        raise UsageError("an API has two prices; give both --api-price-input and --api-price-output")
    if not (0 <= input_usd < inf and 0 <= output_usd < inf and input_usd + output_usd > 0):
        raise UsageError(f"an API at {input_usd:g} in and {output_usd:g} out has no price; give USD per million tokens")
    return input_usd, output_usd


def shares(text: str) -> tuple[tuple[str, float], ...]:
    """``on-demand=0.4,spot=0.6`` as pairs; that they add up to 1 is checked where they meet the rates.

    Raises:
        UsageError: Not of that form.
    """
    found = []
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        value = _number(number)
        if not (equals and name and value > 0):
            raise UsageError(f"--mix {text!r} is not of the form on-demand=0.4,spot=0.6")
        found.append((name.strip(), value))
    return tuple(found)


def _number(text: str) -> float:
    """A finite number; 0 where it is none, which every caller refuses."""
    value = float(plain_number(text) or 0)
    return value if isfinite(value) else 0.0
