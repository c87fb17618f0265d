"""Which rented machine stands for a measured processor, and what a run pays of it: the one rule for CPUs, by vCPU.

**vCPU.** A logical CPU: on x86 a hardware thread (a whole core where the provider rents cores, as aws c7a does), on Arm
a core. A run pays for those it occupies (``pamprof.records.occupied_vcpus``): machine's rate x occupied / machine's
vCPUs. Memory is not priced apart.

**Machine.** Of the machines with that many vCPUs, the rows that compete (``rate_dates``) and are closest to the
measured processor: same make and generation, else same make, else same architecture. A row stands for every processor
its source names ("Ice Lake or Cascade Lake"); one that names none counts by the architecture that its machine's name
tells. Within each provider the median USD per vCPU-hour is taken, sizes of one series (equal to a hundredth of a cent)
counted once and the smallest kept; then the median of the providers. Where the number is even, the cheaper of the
middle two. A machine that the user names stands as it is, unless its architecture differs.

The spread is read from all competing rows as close as that, whatever the provider.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pamprof.devices.names import CPU, canonical_device
from pamprof.errors import PriceError
from pamprof.pricing.rates.instance_names import is_arm_machine
from pamprof.pricing.rates.rate_dates import competing
from pamprof.pricing.rates.spread import rank_key, ranked_quote
from pamprof.records import MachineChoice, PriceQuote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date
    from decimal import Decimal

    from pamprof.records import Price, ProcessorUse

Architecture = Literal["x86", "Arm"]
_CLOSEST_FIRST = (MachineChoice.FAMILY, MachineChoice.MAKE, MachineChoice.ARCHITECTURE)

_MAKES: tuple[tuple[str, Architecture, re.Pattern[str]], ...] = (
    ("Intel Xeon", "x86", re.compile(r"\bXEON\b")),
    ("AMD EPYC", "x86", re.compile(r"\bEPYC\b")),
    ("AWS Graviton", "Arm", re.compile(r"\bGRAVITON")),
    ("Google Axion", "Arm", re.compile(r"\bAXION\b")),
    ("Ampere Altra", "Arm", re.compile(r"\b(?:AMPERE|ALTRA)\b")),
)
_ARCHITECTURES: tuple[tuple[Architecture, re.Pattern[str]], ...] = (
    ("Arm", re.compile(r"\b(?:ARM|AARCH64|NEOVERSE|CORTEX|APPLE M\d)")),
    ("x86", re.compile(r"\b(?:X86|AMD|I[3-6]86|INTEL|RYZEN|THREADRIPPER|OPTERON|CELERON|PENTIUM|ATOM|CORE\b)")),
)

# Intel's names of the generations of Xeon Scalable and Xeon 6 (ark.intel.com); the second digit of a model's number is
# the generation, and Xeon 6 ends in P or E. Models before Scalable (E5-2686 v4) have none.
_XEON_NAMES = (
    ("SKYLAKE", 1), ("CASCADE LAKE", 2), ("ICE LAKE", 3), ("SAPPHIRE RAPIDS", 4), ("EMERALD RAPIDS", 5),
    ("GRANITE RAPIDS", 6), ("SIERRA FOREST", 6),
)  # fmt: skip
_XEON_ORDINAL = re.compile(r"\b(\d)(?:ST|ND|RD|TH) GEN")
_XEON_6 = re.compile(r"\b6\d{3}[PE]\b")
_XEON_MODEL = re.compile(r"\b[3-8]([1-5])\d\d[A-Z]*\b")
_XEON_BEFORE_SCALABLE = re.compile(r"\bE[3579]?-")
# The last digit of an EPYC's number is its generation (amd.com); providers' own models have a letter in it (9R14).
_EPYC_MODEL = re.compile(r"\b[34789][0-9A-Z]\d([1-5])[A-Z]?\b")
_GRAVITON_MODEL = re.compile(r"\bGRAVITON ?(\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Processor:
    """What a name tells: the make and its generations, several where a source leaves them open."""

    make: str | None
    generations: frozenset[int]
    architecture: Architecture | None


def is_cpu_machine(price: Price) -> bool:
    """Whether the row is a machine's without GPUs: its device is a processor."""
    return canonical_device(price.device_name) == CPU


def quote_by_vcpu(
    listed: tuple[Price, ...],
    wanted: tuple[Price, ...],
    name: str,
    processor: ProcessorUse | None,
    *,
    named: bool,
    day: date,
) -> PriceQuote:
    """The quote of the machine among ``wanted`` that stands for a processor.

    Args:
        listed: Rows of CPU machines that the spread is read from.
        wanted: Those that may be chosen.
        name: The processor's model, as its driver names it.
        processor: Its architecture and the vCPUs that the run occupied.
        named: Whether the user named the machine.
        day: The day asked about.

    Raises:
        PriceError: The occupied vCPUs are unknown, no machine has so many, or none is of the processor's architecture.
    """
    used = None if processor is None else processor.vcpu_count
    if processor is None or used is None:
        raise PriceError(
            f"how many vCPUs the run occupied of {name} is not recorded (hardware threads of a core unknown), so no "
            "machine's rate can be shared out; give the machine's USD per hour with --price"
        )
    measured = _told(name, processor.architecture or "")
    candidates = competing(_large_enough(wanted, used), day)
    if not candidates:
        largest = max(price.vcpu_count or 0 for price in wanted)
        raise PriceError(
            f"the run occupied {used} vCPUs and no machine that was asked for has more than {largest}; give the "
            "machine's USD per hour with --price"
        )
    if named:
        _refuse_another_architecture(candidates[0], measured, name)
        chosen, closest = _median_machine(candidates), MachineChoice.ARCHITECTURE
    else:
        near = {price: found for price in candidates if (found := _closeness(price, measured)) is not None}
        if not near:
            raise PriceError(_nothing_near(name, measured))
        closest = min(near.values(), key=_CLOSEST_FIRST.index)
        chosen = _median_machine(tuple(price for price, found in near.items() if found is closest))
    as_close = _CLOSEST_FIRST[: _CLOSEST_FIRST.index(closest) + 1]
    around = (price for price in competing(_large_enough(listed, used), day) if _closeness(price, measured) in as_close)
    return ranked_quote(around, chosen, MachineChoice.NAMED if named else closest)


def _large_enough(prices: tuple[Price, ...], used: int) -> tuple[Price, ...]:
    """The machines with ``used`` vCPUs or more, each as a price of that many."""
    return tuple(
        replace(price, used_vcpu_count=used)
        for price in prices
        if price.vcpu_count is not None and price.vcpu_count >= used
    )


def _closeness(price: Price, measured: _Processor) -> MachineChoice | None:
    """How close a row's processor is to the measured one; None for another architecture."""
    row = _of_row(price)
    if measured.make is not None and row.make == measured.make:
        return MachineChoice.FAMILY if row.generations & measured.generations else MachineChoice.MAKE
    if measured.architecture is None or row.architecture not in (None, measured.architecture):
        return None
    return MachineChoice.ARCHITECTURE


def _of_row(price: Price) -> _Processor:
    told = _told(price.device_name)
    if told.architecture is not None:
        return told
    arm = is_arm_machine(price.provider, price.instance)
    return replace(told, architecture=None if arm is None else "Arm" if arm else "x86")


def _told(name: str, architecture: str = "") -> _Processor:
    """What a processor's name tells, and of its architecture what the operating system says."""
    text = re.sub(r"\((?:R|TM)\)", "", name.upper())
    for make, of_make, pattern in _MAKES:
        if pattern.search(text):
            return _Processor(make=make, generations=_generations(make, text), architecture=of_make)
    words = f"{text} {architecture.upper()}"
    found = next((each for each, pattern in _ARCHITECTURES if pattern.search(words)), None)
    return _Processor(make=None, generations=frozenset(), architecture=found)


def _generations(make: str, text: str) -> frozenset[int]:
    if make == "AMD EPYC":
        return frozenset(map(int, _EPYC_MODEL.findall(text)))
    if make == "AWS Graviton":
        return frozenset(map(int, _GRAVITON_MODEL.findall(text)))
    if make != "Intel Xeon" or _XEON_BEFORE_SCALABLE.search(text):
        return frozenset()
    if _XEON_6.search(text):
        return frozenset({6})
    numbers = (*_XEON_ORDINAL.findall(text), *_XEON_MODEL.findall(text))
    return frozenset(map(int, numbers)) | {number for word, number in _XEON_NAMES if word in text}


def _median_machine(prices: tuple[Price, ...]) -> Price:
    offers: dict[str, dict[Decimal, Price]] = defaultdict(dict)
    for price in sorted(prices, key=lambda row: (row.vcpu_count or 0, *rank_key(row))):
        offers[price.provider].setdefault(round(usd_per_vcpu_hour(price), 4), price)
    return _lower_median(_lower_median(found.values()) for found in offers.values())


def _lower_median(prices: Iterable[Price]) -> Price:
    ranked = sorted(prices, key=rank_key)
    return ranked[(len(ranked) - 1) // 2]


def usd_per_vcpu_hour(price: Price) -> Decimal:
    """A machine's rate over its vCPUs; of the whole machine where they are not listed."""
    return price.usd_per_hour / (price.vcpu_count or 1)


def _refuse_another_architecture(price: Price, measured: _Processor, name: str) -> None:
    rented = _of_row(price).architecture
    if None not in (rented, measured.architecture) and rented != measured.architecture:
        raise PriceError(
            f"the runs were measured on {name} ({measured.architecture}), so a price of {price.instance} ({rented}) "
            "says nothing about them; name another --instance, or give a rate with --price"
        )


def _nothing_near(name: str, measured: _Processor) -> str:
    if measured.architecture is None:
        return (
            f"the name {name} tells neither make nor architecture of a processor, so no machine can stand for it; name "
            "one with --instance, or give USD per hour with --price"
        )
    return (
        f"no machine with an {measured.architecture} processor is listed for {name} where it was asked for; leave out "
        "--provider, name an --instance, or give USD per hour with --price"
    )
