"""The only formatter of quantities: seconds, bytes, FLOPs, dollars, ratios, counts; and the reader of numbers.

GiB is 2**30 bytes, GB is 10**9 bytes. An unknown value is an en dash; its reason belongs beside it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from math import floor, isfinite, log10

UNKNOWN = "–"
GIB = 2**30
MIB = 2**20
HOURS_PER_MONTH = 730
RATE_DECIMALS = 6

SI_STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
SECOND_STEPS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
BYTE_STEPS = ((2**40, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (2**10, "KiB"), (1.0, "B"))
THIN_SPACE = "\u2009"
DIGITS = 3  # significant ones of a number
PERCENT_DIGITS = 2
MOST_DECIMALS = 12
MINUTES_FROM_SECONDS = 120
CENTS_FROM_USD, CENTS_BELOW_USD = 1, 1000
TOKENS_OF_K = 1024

_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def plain_number(text: str) -> Decimal | None:
    """The number that a person wrote, such as ``2.95``, ``-1`` or ``1e9``; None for everything else.

    Python also reads ``2_990`` as 2990, digits of other scripts, ``nan`` and ``inf``; none of these is a number here.
    """
    return Decimal(text.strip()) if _PLAIN_NUMBER.fullmatch(text.strip()) else None


def significant(value: float | None, digits: int = DIGITS) -> str:
    """``value`` rounded to ``digits`` significant digits, thin spaces between thousands, never in exponent form."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{round(value, digits - 1 - floor(log10(abs(value)))):,.{min(decimals, MOST_DECIMALS)}f}"
    return text.replace(",", THIN_SPACE).replace("-", "−")


def si(value: float | None, unit: str = "", digits: int = DIGITS) -> str:
    """``value`` with an SI step: ``430k``, ``1.54 TFLOP/s`` for ``unit='FLOP/s'``."""
    if value is None or not isfinite(value):
        return UNKNOWN
    for step, prefix in SI_STEPS:
        if abs(value) >= step * (1 - 0.5 * 10**-digits):
            return f"{significant(value / step, digits)}{' ' if unit else ''}{prefix}{unit}"
    return f"{significant(value, digits)}{' ' + unit if unit else ''}"


def _stepped(value: float, steps: tuple[tuple[float, str], ...], digits: int) -> str:
    """``value`` in the largest unit in which it rounds to 1 or more; in the last one where there is none."""
    rounded_to_one = 1 - 0.5 * 10**-digits
    step, unit = next((s for s in steps if abs(value) >= s[0] * rounded_to_one), steps[-1])
    return f"{significant(value / step, digits)} {unit}"


def seconds(value: float | None, digits: int = DIGITS) -> str:
    """A duration: ``1.14 s``, ``2.34 ms``, ``19.0 µs``, ``2 min 5 s`` above two minutes."""
    if value is None or not isfinite(value):
        return UNKNOWN
    if abs(value) >= MINUTES_FROM_SECONDS:
        return f"{int(value // 60)} min {round(value % 60)} s"
    return _stepped(value, SECOND_STEPS, digits)


def rough_seconds(value: float) -> str:
    """A duration as people plan with it: ``40 s``, ``4 min``, ``1.5 h``."""
    if value < 90:
        return f"{max(1, round(value))} s"
    return f"{significant(value / 60, 2)} min" if value < 5400 else f"{significant(value / 3600, 2)} h"


def binary_bytes(value: float | None, digits: int = DIGITS) -> str:
    """A memory size in binary steps: ``1.50 GiB``, ``192 MiB``."""
    if value is None or not isfinite(value):
        return UNKNOWN
    return _stepped(value, BYTE_STEPS, digits)


def usd(value: float | None, digits: int = DIGITS) -> str:
    """Dollars: ``$0.0123``, ``$63.30``, ``$3 504``; cents are kept below 1,000 dollars and above one."""
    if value is None or not isfinite(value):
        return UNKNOWN
    sign = "−" if value < 0 else ""
    magnitude = abs(value)
    if CENTS_FROM_USD <= magnitude < CENTS_BELOW_USD:
        return f"{sign}${magnitude:.2f}"
    if magnitude >= CENTS_BELOW_USD:
        return f"{sign}${magnitude:,.0f}".replace(",", THIN_SPACE)
    return f"{sign}${significant(magnitude, digits)}"


def usd_rate(value: float | None) -> str:
    """An hourly rate with its own digits, ``$6.3055``, so that rate x hours on paper gives the bill on paper."""
    if value is None or not isfinite(value):
        return UNKNOWN
    whole, _, decimals = f"{abs(value):,.{RATE_DECIMALS}f}".partition(".")
    digits = decimals.rstrip("0").ljust(2, "0")
    return f"{'−' if value < 0 else ''}${whole.replace(',', THIN_SPACE)}.{digits}"


def ratio(value: float | None, digits: int = DIGITS) -> str:
    """A factor: ``14.3×``."""
    return UNKNOWN if value is None or not isfinite(value) else f"{significant(value, digits)}×"


def percent(value: float | None, digits: int = PERCENT_DIGITS) -> str:
    """A 0..1 ratio on paper: ``37 %``."""
    return UNKNOWN if value is None or not isfinite(value) else f"{significant(value * 100, digits)} %"


def plus_minus(half_width: float, digits: int = PERCENT_DIGITS) -> str:
    """A relative half width: ``±1.2 %``. Above 1 a percentage says nothing more than that: ``more than ±100 %``."""
    return f"±{percent(half_width, digits)}" if half_width <= 1 else f"more than ±{percent(1.0, digits)}"


def tokens(value: int) -> str:
    """A context length as people say it: ``2k`` for 2,048, ``16k`` for 16,384, ``1,000`` as it is."""
    if value >= TOKENS_OF_K and value % TOKENS_OF_K == 0:
        return f"{value // TOKENS_OF_K}k"
    return whole(value)


def whole(value: int) -> str:
    """All digits of a count, thousands set apart as everywhere: ``7 636``."""
    return f"{value:,}".replace(",", THIN_SPACE)
