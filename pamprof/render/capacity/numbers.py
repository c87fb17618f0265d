"""How numbers of capacity are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units

if TYPE_CHECKING:
    from pamprof.analysis.capacity.conclude import HeldAssociations
    from pamprof.records import Interval

_KIB = 1024


def count(held: HeldAssociations) -> str:
    """How many are held."""
    return f"{'at least ' if held.is_bound else ''}{held.associations:,}"


def per_kib(held: HeldAssociations) -> str:
    """Associations of a KiB of state."""
    return units.UNKNOWN if held.per_state_byte is None else units.significant(held.per_state_byte * _KIB)


def percent(ratio: float) -> str:
    """Percent without its sign, three digits."""
    return units.significant(100 * ratio)


def fitted(interval: Interval) -> str:
    """An exponent or a factor with its interval, three decimals."""
    low, median, high = (f"{value:.3f}".replace("-", "−") for value in (interval.low, interval.median, interval.high))
    return f"{median} [{low}, {high}]"
