"""What a price list calls a device, given what its driver calls it; an unknown device is unknown, never a neighbour.

Drivers report the form factor in the name ("NVIDIA H100 80GB HBM3" is the SXM board, "NVIDIA H100 PCIe" the card), and
boards of one family differ in clocks, memory and price, so only complete names match: a laptop part, a MIG slice or a
China-market variant of a known GPU finds nothing here.
"""

from __future__ import annotations

import re

CPU = "CPU"

# Canonical name -> names reported by NVML, torch or rocm-smi (vendor prefix and punctuation do not matter).
_REPORTED_NAMES: dict[str, tuple[str, ...]] = {
    "A10": ("A10",),
    "A10G": ("A10G",),
    "A100-40GB-PCIe": ("A100-PCIE-40GB",),
    "A100-40GB-SXM": ("A100-SXM4-40GB",),
    "A100-80GB-PCIe": ("A100 80GB PCIe", "A100-PCIE-80GB"),
    "A100-80GB-SXM": ("A100-SXM4-80GB",),
    "A40": ("A40",),
    "B200": ("B200", "B200 SXM6"),
    "B300": ("B300", "B300 SXM6 AC"),
    "GH200": ("GH200 480GB", "GH200"),
    "H100-NVL": ("H100 NVL",),
    "H100-PCIe": ("H100 PCIe",),
    "H100-SXM": ("H100 80GB HBM3", "H100 SXM5 80GB", "H100 SXM"),
    "H200": ("H200", "H200 SXM"),
    "H200-NVL": ("H200 NVL",),
    "L4": ("L4",),
    "L40": ("L40",),
    "L40S": ("L40S",),
    "MI300X": ("AMD Instinct MI300X", "AMD Instinct MI300X OAM", "MI300X"),
    "MI355X": ("AMD Instinct MI355X", "AMD Instinct MI355X OAM", "MI355X"),
    "RTX3090": ("GeForce RTX 3090",),
    "RTX4090": ("GeForce RTX 4090",),
    "RTX5090": ("GeForce RTX 5090",),
    "RTXPRO6000": ("RTX PRO 6000 Blackwell Server Edition",),
    "T4": ("Tesla T4",),
    "V100-16GB-PCIe": ("Tesla V100-PCIE-16GB",),
    "V100-16GB-SXM": ("Tesla V100-SXM2-16GB",),
    "V100-32GB-SXM": ("Tesla V100-SXM2-32GB",),
}

# Nominal memory of one device, GiB as vendors write it (B200 and B300 as providers list them).
MEMORY_GIB: dict[str, int] = {
    "A10": 24,
    "A10G": 24,
    "A100-40GB-PCIe": 40,
    "A100-40GB-SXM": 40,
    "A100-80GB-PCIe": 80,
    "A100-80GB-SXM": 80,
    "A40": 48,
    "B200": 180,
    "B300": 270,
    "GH200": 96,
    "H100-NVL": 94,
    "H100-PCIe": 80,
    "H100-SXM": 80,
    "H200": 141,
    "H200-NVL": 141,
    "L4": 24,
    "L40": 48,
    "L40S": 48,
    "MI300X": 192,
    "MI355X": 288,
    "RTX3090": 24,
    "RTX4090": 24,
    "RTX5090": 32,
    "RTXPRO6000": 96,
    "T4": 16,
    "V100-16GB-PCIe": 16,
    "V100-16GB-SXM": 16,
    "V100-32GB-SXM": 32,
}

# Devices whose package holds two dies; half of their figures is one die's.
TWO_DIE_DEVICES = frozenset({"B200", "B300"})

_CPU_WORDS = re.compile(
    r"\b(EPYC|XEON|RYZEN|THREADRIPPER|OPTERON|CELERON|PENTIUM|ATOM|CORE\(TM\)|CORE|CPU|GRAVITON\d?|NEOVERSE\S*|CORTEX\S*"
    r"|ALTRA|APPLE M\d\S*|PROCESSOR|X86_64|X86-64|AMD64|AARCH64|ARM64|ARMV8\S*|I[3-9]86)",
    re.IGNORECASE,
)


def _key(name: str) -> str:
    """``name`` without vendor, brand and punctuation, in capitals."""
    words = re.sub(r"\b(NVIDIA|TESLA|GEFORCE)\b", " ", name.upper())
    return re.sub(r"[^A-Z0-9]", "", words)


_CANONICAL_BY_KEY = {
    _key(spelling): canonical for canonical, reported in _REPORTED_NAMES.items() for spelling in (canonical, *reported)
}


def canonical_device(name: str) -> str | None:
    """The canonical name of a device, such as ``H100-SXM`` for ``NVIDIA H100 80GB HBM3``.

    Args:
        name: What the driver or the user calls the device.

    Returns:
        The canonical name; ``CPU`` for any processor model; None where the name is not known.
    """
    known = _CANONICAL_BY_KEY.get(_key(name))
    if known is not None:
        return known
    is_gpu_brand = re.search(r"\b(NVIDIA|GEFORCE|RADEON|INSTINCT|TESLA|QUADRO)\b", name, re.IGNORECASE)
    return CPU if _CPU_WORDS.search(name) and not is_gpu_brand else None


def variants_of(name: str) -> tuple[str, ...]:
    """Canonical names that begin like an incomplete one: ``H100`` has ``H100-NVL``, ``H100-PCIe`` and ``H100-SXM``."""
    key = _key(name)
    return tuple(canonical for canonical in _REPORTED_NAMES if key and canonical.upper().split("-")[0] == key)


def known_devices() -> tuple[str, ...]:
    """Every canonical name, sorted."""
    return tuple(sorted(_REPORTED_NAMES))
