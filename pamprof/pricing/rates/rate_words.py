"""A rate in words that every page, table and terminal shares: what an hour of it buys, and from which machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records import MachineChoice

if TYPE_CHECKING:
    from pamprof.records import Price, PriceQuote

USER = "user"

# What the number of vCPUs that a run pays for means.
VCPU_MEANING = (
    "A vCPU is a logical CPU: a hardware thread on x86, a core on Arm; a run pays for those of the cores its threads "
    "keep busy, at most those it may use."
)

_CHOICES = {
    MachineChoice.NAMED: "the machine that was named",
    MachineChoice.FAMILY: "the median machine with a processor of the same make and generation",
    MachineChoice.MAKE: "the median machine with a processor of the same make",
    MachineChoice.ARCHITECTURE: "the median machine of the same architecture, whatever its processor",
}


def hour_of(price: Price) -> str:
    """What an hour buys: ``device-hour``, ``hour of 2 vCPUs`` or ``hour of MIG 1g.10gb (1/7 of the H100-SXM)``."""
    share = price.share
    if share is not None:
        return f"hour of {share.part} ({share.numerator}/{share.denominator} of the {price.device_name})"
    used = price.used_vcpu_count
    return "device-hour" if used is None else f"hour of {used} vCPU{'s' if used != 1 else ''}"


def hours_of(price: Price) -> str:
    """``hour_of`` of several."""
    return hour_of(price).replace("hour", "hours", 1)


def rate_per_hour(price: Price) -> str:
    """``$6.305 per device-hour``, or ``$0.08925 per hour of 2 vCPUs``."""
    return f"{units.usd_rate(float(price.usd_per_device_hour))} per {hour_of(price)}"


def standing(quote: PriceQuote) -> str:
    """Where the rate stands in its market: ``3rd of 9 on-demand rates, $1.49 to $5.50``; empty for an only one.

    Records from before ranks were stored have the number of rates and the span alone.
    """
    if quote.candidate_count < 2:
        return ""
    low, high = (units.usd_rate(float(price.usd_per_device_hour)) for price in (quote.low, quote.high))
    option = quote.chosen.purchase_option
    place = f"{quote.candidate_count}" if quote.rank is None else f"{ordinal(quote.rank)} of {quote.candidate_count}"
    return f"{place} {option} rates, {low} to {high}"


def ordinal(number: int) -> str:
    """``3rd``."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def machine(price: Price) -> str:
    """``coreweave 8x H200``; ``as on aws c7a.2xlarge by vCPU, 2 of 8``; ``your own rate``."""
    if price.provider == USER:
        return "your own rate"
    named = f"{price.provider} {price.instance}"
    if price.used_vcpu_count is None:
        return named
    return f"as on {named} by vCPU, {price.used_vcpu_count} of {price.vcpu_count}"


def why_this_machine(quote: PriceQuote) -> str:
    """Why a CPU machine stands for the measured processor, and what it holds; empty for a GPU and a user's rate."""
    if quote.machine_choice is None:
        return ""
    chosen = quote.chosen
    memory = f", {chosen.device_memory_gib} GiB" if chosen.device_memory_gib is not None else ""
    processor = "its processor not told by the source" if chosen.device_name == "CPU" else chosen.device_name
    return f"{_CHOICES[quote.machine_choice]}: {processor}, {chosen.vcpu_count} vCPUs{memory}"
