"""Another currency at a rate the user states, with its day; every calculation stays in USD until it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.units import UNKNOWN, plain_number, usd, usd_rate

if TYPE_CHECKING:
    from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """What amounts are shown in.

    Attributes:
        code: ISO 4217 code, such as ``EUR``.
        units_per_usd: What one USD is worth.
        stated_on: Day the rate is stated for; None for USD itself.
    """

    code: str
    units_per_usd: Decimal
    stated_on: date | None

    def convert(self, amount_usd: float) -> float:
        """An amount of USD in this currency."""
        return amount_usd * float(self.units_per_usd)

    def text(self, amount_usd: float | None) -> str:
        """An amount of USD as it is shown: ``$3 504``, or ``EUR 3 224``."""
        if amount_usd is None:
            return UNKNOWN
        return self._in_code(usd(self.convert(amount_usd)))

    def rate_text(self, usd_per_hour: float) -> str:
        """A rate in USD per hour with its own digits: ``$6.3055``, or ``EUR 5.80106``."""
        return self._in_code(usd_rate(self.convert(usd_per_hour)))

    def _in_code(self, written: str) -> str:
        return written if self.code == "USD" else written.replace("$", f"{self.code} ")

    @property
    def sentence(self) -> str:
        """Where the amounts come from: ``1 USD = 0.92 EUR, as stated for 2026-11-22``; empty for USD."""
        if self.stated_on is None:
            return ""
        return f"1 USD = {self.units_per_usd} {self.code}, as stated for {self.stated_on.isoformat()}"


USD = Currency(code="USD", units_per_usd=Decimal(1), stated_on=None)


def stated_currency(code: str, rate: str | None, day: date) -> Currency:
    """A currency from the user's words.

    Args:
        code: Three letters.
        rate: Units of it for one USD; needed for every currency but USD, which has none.
        day: Day the rate holds for.

    Raises:
        UsageError: Not a code, no rate or a rate that cannot be.
    """
    name = code.upper()
    if not (len(name) == 3 and name.isascii() and name.isalpha()):
        raise UsageError(f"--currency {code!r} is not a code of three letters; give one like EUR")
    if name == "USD":
        if rate is not None:
            raise UsageError("--exchange-rate says what a USD is worth in --currency; give that, too, like EUR")
        return USD
    if rate is None:
        raise UsageError(f"rates are in USD; say what one is worth with --exchange-rate, {name} for 1 USD")
    value = plain_number(rate)
    if value is None or value <= 0:
        raise UsageError(f"--exchange-rate {rate!r} is not a number above zero; give {name} for 1 USD")
    return Currency(code=name, units_per_usd=value, stated_on=day)
