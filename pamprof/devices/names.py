"""What a price list calls a device, given what its driver calls it; an unknown device is unknown, never a neighbour.

Drivers report the form factor in the name ("NVIDIA H100 80GB HBM3" is the SXM board, "NVIDIA H100 PCIe" the card), and
boards of one family differ in clocks, memory and price, so only complete names match: a laptop part or a China-market
variant of a known GPU finds nothing here, and a MIG slice is a device of its own (``pamprof.devices.parts``).
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pamprof.devices import catalogue
from pamprof.errors import PriceError

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.devices.catalogue import ListedDevice

CPU = "CPU"

_CPU_WORDS = re.compile(
    r"\b(EPYC|XEON|RYZEN|THREADRIPPER|OPTERON|CELERON|PENTIUM|ATOM|CORE\(TM\)|CORE|CPU|GRAVITON\d?|NEOVERSE\S*|CORTEX\S*"
    r"|ALTRA|AXION|APPLE M\d\S*|PROCESSOR|X86_64|X86-64|AMD64|AARCH64|ARM64|ARMV8\S*|I[3-9]86)",
    re.IGNORECASE,
)

# How CUDA and NVML name a slice: "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "MIG 1c.2g.20gb" for part of its compute.
_MIG = re.compile(r"(?P<board>.*\S)\s+MIG\s+(?P<profile>(?:\d+c\.)?\d+g\.\d+gb\S*)", re.IGNORECASE)
_MEMORY = re.compile(r"(\d+)(?:G|GB|GIB)")
_FORM = re.compile(r"SXM\d?|PCIE|NVL|OAM")


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


def board_and_profile(name: str) -> tuple[str, str] | None:
    """The board's part of a MIG slice's name and its profile, such as ``1g.10gb``; None for other names."""
    found = _MIG.fullmatch(name.strip())
    return None if found is None else (found["board"], found["profile"].lower())


def canonical_device(name: str) -> str | None:
    """The canonical name of a device, such as ``H100-SXM`` for ``NVIDIA H100 80GB HBM3``.

    A MIG slice has its board's name with the profile: ``H100-SXM MIG 1g.10gb``.

    Args:
        name: What the driver or the user calls the device.

    Returns:
        The canonical name; ``CPU`` for any processor model; None where the name is not known.
    """
    known = find_device(name)
    if known is not None:
        return known.name
    sliced = board_and_profile(name)
    if sliced is not None:
        board = find_device(sliced[0])
        return None if board is None else f"{board.name} MIG {sliced[1]}"
    is_gpu_brand = re.search(r"\b(NVIDIA|GEFORCE|RADEON|INSTINCT|TESLA|QUADRO)\b", name, re.IGNORECASE)
    return CPU if _CPU_WORDS.search(name) and not is_gpu_brand else None


def variants_of(name: str) -> tuple[str, ...]:
    """Canonical names of the boards that an incomplete name leaves open.

    A name may state the board's model, form factor and memory: ``H100`` has ``H100-NVL``, ``H100-PCIe`` and
    ``H100-SXM``, ``A100 SXM4`` both memories, ``H100 SXM5`` the ``H100-SXM`` alone.
    """
    model, forms, memory = _parts(name)
    return tuple(
        device.name
        for device in catalogue.devices()
        if model
        and _parts(device.name)[0] == model
        and forms <= _parts(device.name)[1] | _forms_known_otherwise(device)
        and memory in (None, device.memory_gib)
    )


def resolve_device(name: str) -> str:
    """The canonical name of the one device that a user's word stands for; a word for no listed device as it is.

    Raises:
        PriceError: Several boards go by that name, or none of its model has that form factor or memory; the text lists
            the variants.
    """
    known = canonical_device(name)
    if known is not None:
        return name if known == CPU else known
    sliced = board_and_profile(name)
    if sliced is not None:
        return f"{resolve_device(sliced[0])} MIG {sliced[1]}"
    variants = variants_of(name)
    if len(variants) == 1:
        return variants[0]
    of_model = variants or variants_of(_parts(name)[0])
    if not of_model:
        return name
    if variants:
        raise PriceError(f"GPU {name!r} comes in several forms, each with its own price; say {one_of(variants)}")
    raise PriceError(f"no {name!r} is listed among the boards of its model; say {one_of(of_model)}")


def one_of(names: tuple[str, ...]) -> str:
    """``A, B or C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _parts(name: str) -> tuple[str, frozenset[str], int | None]:
    """Model, form factors and memory (GiB) that a name states: ``A100``, ``SXM`` and 80 of ``A100-SXM4-80GB``."""
    words = re.findall(r"[A-Z0-9]+", re.sub(r"\b(NVIDIA|TESLA|GEFORCE|AMD|INSTINCT)\b", " ", name.upper()))
    memories = [int(found[1]) for word in words if (found := _MEMORY.fullmatch(word))]
    forms = frozenset("SXM" if word.startswith("SXM") else word for word in words if _FORM.fullmatch(word))
    model = "".join(word for word in words if not (_MEMORY.fullmatch(word) or _FORM.fullmatch(word)))
    return model, forms, memories[0] if len(memories) == 1 else None


def _forms_known_otherwise(device: ListedDevice) -> frozenset[str]:
    """Form factors that the device's other names state, such as SXM of the ``H200``."""
    return frozenset(form for name in device.names for form in _parts(name)[1])
