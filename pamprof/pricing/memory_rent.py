"""What holding a byte of device memory costs: the device's rate shared out over its memory.

A state or a KV cache that waits for its sequence's next token costs no arithmetic; it occupies memory, and memory
limits how many sequences a device serves. So its price is that of the device for an hour, shared out over all of its
memory; weights and activations would raise the price of every kind of memory by the same factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.devices.catalogue import devices
from pamprof.pricing.rates.rate_words import USER
from pamprof.units import GIB

if TYPE_CHECKING:
    from pamprof.records import Environment, Price, PriceQuote


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRent:
    """USD per GiB of memory and hour.

    Attributes:
        usd_per_hour: What is shared out: the rate of one whole device, or of a whole CPU machine.
        memory_gib: Over the memory of it.
        reason: Why it is unknown; empty otherwise.
    """

    usd_per_hour: float | None
    memory_gib: float | None
    reason: str = ""

    @property
    def usd_per_gib_hour(self) -> float | None:
        """None where it cannot be known."""
        return None if self.usd_per_hour is None or self.memory_gib is None else self.usd_per_hour / self.memory_gib

    @property
    def usd_per_byte_hour(self) -> float | None:
        """Of a byte of state; None likewise."""
        return None if self.usd_per_gib_hour is None else self.usd_per_gib_hour / GIB

    def associations_per_usd_hour(self, associations: int | None, state_bytes: int) -> float | None:
        """How many associations one dollar holds for an hour; None where that is unknown."""
        if self.usd_per_gib_hour is None or associations is None:
            return None
        return associations / (state_bytes / GIB * self.usd_per_gib_hour)


def memory_rent(quote: PriceQuote | None, reason: str | None, environment: Environment) -> MemoryRent:
    """The rent of memory at ``quote``, or why there is none (``reason`` where there is no quote)."""
    if quote is None:
        return MemoryRent(usd_per_hour=None, memory_gib=None, reason=reason or "the device has no price")
    price = quote.chosen
    memory_gib = _memory_gib(price, environment)
    if memory_gib is None:
        reason = f"the rate of {price.provider} {price.instance} does not say how much memory it has"
        return MemoryRent(usd_per_hour=None, memory_gib=None, reason=reason)
    return MemoryRent(usd_per_hour=float(price.usd_per_hour) / price.device_count, memory_gib=memory_gib)


def _memory_gib(price: Price, environment: Environment) -> float | None:
    if price.device_memory_gib is not None:
        return float(price.device_memory_gib)
    listed = next((device.memory_gib for device in devices() if device.name == price.device_name), None)
    if listed is not None:
        return float(listed)
    return environment.device_memory_bytes / GIB if price.provider == USER else None
