"""What a price list calls a device, given what its driver calls it; an unknown device is unknown, never a neighbour.

Drivers report the form factor in the name ("NVIDIA H100 80GB HBM3" is the SXM board, "NVIDIA H100 PCIe" the card), and
boards of one family differ in clocks, memory and price, so only complete names match: a laptop part, a MIG slice or a
China-market variant of a known GPU finds nothing here.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pamprof.devices import catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.devices.catalogue import ListedDevice

CPU = "CPU"

_CPU_WORDS = re.compile(
    r"\b(EPYC|XEON|RYZEN|THREADRIPPER|OPTERON|CELERON|PENTIUM|ATOM|CORE\(TM\)|CORE|CPU|GRAVITON\d?|NEOVERSE\S*|CORTEX\S*"
    r"|ALTRA|AXION|APPLE M\d\S*|PROCESSOR|X86_64|X86-64|AMD64|AARCH64|ARM64|ARMV8\S*|I[3-9]86)",
    re.IGNORECASE,
)


def _key(name: str) -> str:
    """``name`` without vendor, brand and punctuation, in capitals."""
    words = re.sub(r"\b(NVIDIA|TESLA|GEFORCE)\b", " ", name.upper())
    return re.sub(r"[^A-Z0-9]", "", words)


@cache
def _by_key(path: Path) -> dict[str, ListedDevice]:
    return {_key(spelling): device for device in catalogue.read_devices(path) for spelling in device.names}


def find_device(name: str) -> ListedDevice | None:
    """The device with this name, canonical or reported, whatever its punctuation; None where it is not known."""
    return _by_key(catalogue.DEVICES_FILE).get(_key(name))


def canonical_device(name: str) -> str | None:
    """The canonical name of a device, such as ``H100-SXM`` for ``NVIDIA H100 80GB HBM3``.

    Args:
        name: What the driver or the user calls the device.

    Returns:
        The canonical name; ``CPU`` for any processor model; None where the name is not known.
    """
    known = find_device(name)
    if known is not None:
        return known.name
    is_gpu_brand = re.search(r"\b(NVIDIA|GEFORCE|RADEON|INSTINCT|TESLA|QUADRO)\b", name, re.IGNORECASE)
    return CPU if _CPU_WORDS.search(name) and not is_gpu_brand else None


def variants_of(name: str) -> tuple[str, ...]:
    """Canonical names that begin like an incomplete one: ``H100`` has ``H100-NVL``, ``H100-PCIe`` and ``H100-SXM``."""
    key = _key(name)
    return tuple(device.name for device in catalogue.devices() if key and device.name.upper().split("-")[0] == key)
