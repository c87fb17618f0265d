"""Which board a machine carries where a price list names the family alone, such as ``H100`` or ``A100``.

An SXM board and a PCIe card of one family differ in speed and price, so a row whose board cannot be told from the
machine's name is left out instead of being guessed. Families follow the providers' public machine documentation.
"""

from __future__ import annotations

import re

from pamprof.pricing.device_names import MEMORY_GIB, canonical_device

# (provider or None for any, machine name, listed family, memory in GiB) -> board. The first match decides.
_BOARDS: tuple[tuple[str | None, re.Pattern[str], str, int, str], ...] = tuple(
    (provider, re.compile(machine, re.IGNORECASE), family, memory, board)
    for provider, machine, family, memory, board in (
        (None, r"H100[ -_]?NVL", "H100", 94, "H100-NVL"),
        (None, r"H100.*(SXM|HBM3)", "H100", 80, "H100-SXM"),
        (None, r"H100.*PCIE", "H100", 80, "H100-PCIe"),
        (None, r"A100.*SXM", "A100", 80, "A100-80GB-SXM"),
        (None, r"A100.*SXM", "A100", 40, "A100-40GB-SXM"),
        (None, r"A100.*PCIE", "A100", 80, "A100-80GB-PCIe"),
        (None, r"A100.*PCIE", "A100", 40, "A100-40GB-PCIe"),
        ("aws", r"^p5\.", "H100", 80, "H100-SXM"),
        ("aws", r"^p4d\.", "A100", 40, "A100-40GB-SXM"),
        ("aws", r"^p4de\.", "A100", 80, "A100-80GB-SXM"),
        ("aws", r"^p3\.", "V100", 16, "V100-16GB-SXM"),
        ("aws", r"^p3dn\.", "V100", 32, "V100-32GB-SXM"),
        ("aws", r"^g7e\.", "RTXPRO6000", 96, "RTXPRO6000"),
        ("azure", r"^Standard_ND\d+i?s?r?.*H100", "H100", 80, "H100-SXM"),
        ("azure", r"^Standard_NC\d+ad[si]s?_H100", "H100", 94, "H100-NVL"),
        ("azure", r"^Standard_NC\d+ads_A100", "A100", 80, "A100-80GB-PCIe"),
        ("azure", r"^Standard_ND96a[ms]+r_A100", "A100", 80, "A100-80GB-SXM"),
        ("azure", r"^Standard_ND96asr_v4", "A100", 40, "A100-40GB-SXM"),
        ("azure", r"^Standard_NC\d+r?s_v3", "V100", 16, "V100-16GB-PCIe"),
        ("gcp", r"^a3-(highgpu|megagpu)-", "H100", 80, "H100-SXM"),
        ("gcp", r"^a2-ultragpu-", "A100", 80, "A100-80GB-SXM"),
        ("gcp", r"^a2-(highgpu|megagpu)-", "A100", 40, "A100-40GB-SXM"),
        ("lambda", r"^gpu_1x_a100$", "A100", 40, "A100-40GB-PCIe"),
        ("oci", r"^BM\.GPU\.H100\.8$", "H100", 80, "H100-SXM"),
        ("oci", r"^BM\.GPU4\.8$", "A100", 40, "A100-40GB-SXM"),
        ("oci", r"^BM\.GPU\.A100-v2\.8$", "A100", 80, "A100-80GB-SXM"),
        ("oci", r"^(BM|VM)\.GPU3\.", "V100", 16, "V100-16GB-SXM"),
    )
)

# Families sold in several forms: only the table above may name their board.
_SEVERAL_FORMS = frozenset({"A100", "H100", "V100", "RTXPRO6000", "GH200"})


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
    if name == "H200" and "NVL" in instance.upper():
        return "H200-NVL"
    if name not in _SEVERAL_FORMS:
        known = canonical_device(family)
        return known if known is not None and _fits(known, memory_gib) else None
    for owner, machine, listed, memory, device in _BOARDS:
        of_provider = owner is None or owner == provider
        if of_provider and listed == name and abs(memory_gib - memory) <= 0.1 * memory and machine.search(instance):
            return device
    return None


def _fits(device: str, memory_gib: float) -> bool:
    nominal = MEMORY_GIB.get(device)
    return nominal is not None and abs(memory_gib - nominal) <= 0.1 * nominal
