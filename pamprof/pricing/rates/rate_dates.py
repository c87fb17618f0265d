"""How old a rate may be: the newest day its source allows, from an exact day or from the words it uses instead.

Public price files rarely carry a day. Their words bound it: "2026-02" cannot be newer than the last of February 2026,
"2025-H2 to 2026" not newer than the end of 2026. The bound decides which rows compete for the default rate; it never
makes an undated rate pass as dated, which is judged from ``observed_on`` alone.
"""

from __future__ import annotations

import calendar
import re
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Price

# Older than this a rate is doubted, and does not compete with younger ones.
MAXIMUM_AGE = timedelta(days=90)
# Where no row is so young: rows whose newest possible day lies this much or more before the newest comparable row do
# not compete with it. A year, because undated files are bounded by the year they name.
COMPETING_AGE = timedelta(days=365)

_PERIOD = re.compile(r"\b(20\d\d)(?:-(H[12]|0[1-9]|1[0-2])\b)?", re.IGNORECASE)


def _last_day(year: int, part: str | None) -> date:
    if part is None:
        return date(year, 12, 31)
    if part.upper() == "H1":
        return date(year, 6, 30)
    if part.upper() == "H2":
        return date(year, 12, 31)
    month = int(part)
    return date(year, month, calendar.monthrange(year, month)[1])


def newest_possible_day(price: Price) -> date | None:
    """The day the rate was read, or the last day its source's words allow; None where they name no year."""
    if price.observed_on is not None:
        return price.observed_on
    days = [_last_day(int(year), part or None) for year, part in _PERIOD.findall(price.observed_text)]
    return max(days, default=None)


def competing(prices: tuple[Price, ...], on: date) -> tuple[Price, ...]:
    """The rows among ``prices`` that may stand for the market of the day asked about, in their order.

    Those read in the 90 days before it, where there are any. Otherwise rows a year or more behind the newest one are
    left out, and rows that name no year as soon as one does; where no row names a year all stay, because then nothing
    tells them apart.
    """
    recent = tuple(price for price in prices if is_recent(price, on))
    if recent:
        return recent
    days = {price: newest_possible_day(price) for price in prices}
    newest = max((day for day in days.values() if day is not None), default=None)
    if newest is None:
        return prices
    return tuple(price for price in prices if (day := days[price]) is not None and newest - day < COMPETING_AGE)


def is_recent(price: Price, on: date) -> bool:
    """Whether the rate was read on an exact day that lies at most 90 days before ``on``."""
    return price.observed_on is not None and timedelta(0) <= on - price.observed_on <= MAXIMUM_AGE
