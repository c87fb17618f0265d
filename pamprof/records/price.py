"""What an hour of a device costs, with the provenance an auditor asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardShare:
    """The share of a board's rate that a part of it is charged.

    Attributes:
        part: Which part, such as ``MIG 1g.10gb``.
        numerator, denominator: The share.
    """

    part: str
    numerator: int
    denominator: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One rate.

    Attributes:
        provider: Who sends the bill, such as ``aws``; ``user`` for a rate given on the command line.
        instance: The provider's name of the machine.
        region: The provider's name of the place, or ``unspecified``.
        purchase_option: ``on-demand``, ``spot``, ``reserved-1yr``, ``owned-tco-…`` or ``user``.
        device_name: Canonical device, such as ``H200``; form factors are distinct (``H100-SXM``). Of a CPU machine the
            processor's model, or ``CPU`` where the source does not say.
        device_count: Devices in the instance (GPUs; 1 for a CPU instance).
        usd_per_hour: Rate of the whole instance.
        observed_on: Day the rate was read, None where the source carries no exact day.
        observed_text: The date in the source's own words.
        source: Where the rate was read.
        device_memory_gib: Memory of one device, GiB, and of a CPU machine the whole machine's; None where the source
            does not say.
        vcpu_count: vCPUs of a CPU machine; None where the source does not say, or for a GPU.
        used_vcpu_count: vCPUs of a CPU machine that are paid for; None for the whole machine.
        share: The share of one device that is paid for, where a part of a board was measured; None for whole devices.
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
    vcpu_count: int | None = None
    used_vcpu_count: int | None = None
    share: BoardShare | None = None

    @property
    def usd_per_device_hour(self) -> Decimal:
        """Rate of one device, USD per hour; of the vCPUs used, or the share of a board, where those are paid for."""
        if self.share is not None:
            return self.usd_per_hour * self.share.numerator / (self.device_count * self.share.denominator)
        if self.vcpu_count is not None and self.used_vcpu_count is not None:
            return self.usd_per_hour * self.used_vcpu_count / self.vcpu_count
        return self.usd_per_hour / self.device_count


class MachineChoice(StrEnum):
    """Why a CPU machine of the price list stands for the measured processor, the closest reason first."""

    NAMED = "named"  # the user named it
    FAMILY = "family"  # same make and generation of processor
    MAKE = "make"  # same make, another or an untold generation
    ARCHITECTURE = "architecture"  # same instruction set


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceQuote:
    """The rate a report uses, and the spread of the market around it.

    Attributes:
        chosen: The rate every dollar of the report is computed from.
        low: Cheapest comparable rate (same device, same purchase option) in the catalogue.
        high: Dearest comparable rate.
        candidate_count: Comparable rates the spread was read from; 1 where the user gave the rate.
        rank: Place of the chosen rate among them, 1 for the cheapest; None in records from before this field.
        machine_choice: Why this machine stands for the measured processor; None for a GPU and for a user's rate.
    """

    chosen: Price
    low: Price
    high: Price
    candidate_count: int
    machine_choice: MachineChoice | None = None
    rank: int | None = None
