"""What an hour of a device costs, with the provenance an auditor asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One rate.

    Attributes:
        provider: Who sends the bill, such as ``aws``; ``user`` for a rate given on the command line.
        instance: The provider's name of the machine.
        region: The provider's name of the place, or ``unspecified``.
        purchase_option: ``on-demand``, ``spot``, ``reserved-1yr``, ``owned-tco-…`` or ``user``.
        device_name: Canonical device, such as ``H200`` or ``CPU``; form factors are distinct (``H100-SXM``).
        device_count: Devices in the instance (GPUs; 1 for a CPU instance).
        usd_per_hour: Rate of the whole instance.
        observed_on: Day the rate was read, None where the source carries no exact day.
        observed_text: The date in the source's own words.
        source: Where the rate was read.
        device_memory_gib: Memory of one device, GiB; None where the source does not say, or for a CPU.
    """

    provider: str
    instance: str
    region: str
    purchase_option: str
    device_name: str
    device_count: int
    usd_per_hour: Decimal
    observed_on: date | None
    observed_text: str
    source: str
    device_memory_gib: int | None = None

    @property
    def usd_per_device_hour(self) -> Decimal:
        """Rate of one device, USD per hour."""
        return self.usd_per_hour / self.device_count


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuote:
    """The rate a report uses, and the spread of the market around it.

    Attributes:
        chosen: The rate every dollar of the report is computed from.
        low: Cheapest comparable rate (same device, same purchase option) in the catalogue.
        high: Dearest comparable rate.
        candidate_count: Comparable rates the spread was read from; 1 where the user gave the rate.
    """

    chosen: Price
    low: Price
    high: Price
    candidate_count: int
