"""Which board a machine carries where a price list names the family alone, such as ``H100`` or ``A100``.

An SXM board and a PCIe card of one family differ in speed and price, so a row whose board cannot be told from the
machine's name is left out instead of being guessed. Families follow the providers' public machine documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.devices.catalogue import devices
from pamprof.devices.names import find_device

if TYPE_CHECKING:
    from pamprof.devices.catalogue import ListedDevice

_MEMORY_TOLERANCE = 0.1


def board(provider: str, instance: str, family: str, memory_gib: float | None) -> str | None:
    """The canonical device of a row, such as ``H100-SXM``; None where it cannot be told.

    Args:
        provider: As in the catalogue, such as ``lambda``.
        instance: The machine's name.
        family: What the list calls the GPU.
        memory_gib: Listed memory of one device, GiB; it must fit the board's nominal memory within a tenth, so that a
            fraction of a device never passes as a whole one.
    """
    if memory_gib is None:
        return None
    name = family.upper().replace(" ", "")
    members = [device for device in devices() if device.family == name]
    if not members:
        known = find_device(family)
        return known.name if known is not None and _fits(known, memory_gib) else None
    # What the machine's own name says of its board comes before what its provider is known to use.
    for by_provider in (False, True):
        for device in members:
            if _fits(device, memory_gib) and _carries(device, provider if by_provider else None, instance):
                return device.name
    return None


def _fits(device: ListedDevice, memory_gib: float) -> bool:
    return abs(memory_gib - device.memory_gib) <= _MEMORY_TOLERANCE * device.memory_gib


def _carries(device: ListedDevice, provider: str | None, instance: str) -> bool:
    return any(machine.provider == provider and machine.name.search(instance) for machine in device.machines)
