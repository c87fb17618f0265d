"""What a machine's name says about it: how many devices or vCPUs it carries, GPUs or none, an Arm processor or x86."""

from __future__ import annotations

import re

# Names that spell the count out, whoever rents the machine.
_SPELLED = (
    re.compile(r"^(\d+)x[-_ ]", re.IGNORECASE),  # 8x-H100_SXM, 8x H200, 1x_L4_SECURE
    re.compile(r"^gpu_(\d+)x_", re.IGNORECASE),  # gpu_8x_h100_sxm5
    re.compile(r"_(\d+)gpu\b", re.IGNORECASE),  # gpu-h100-sxm_8gpu-128vcpu
    re.compile(r"\b(\d+)gpu-", re.IGNORECASE),
    re.compile(r"^(?:BM|VM)\.GPU.*\.(\d+)$"),  # BM.GPU.H100.8, VM.GPU3.1
    re.compile(r"^a[234][a-z]?-(?:high|mega|ultra|edge)gpu-(\d+)g(?:-|$)"),  # a3-highgpu-8g
    re.compile(r"^n3-.*x(\d+)$"),  # n3-H100x1, n3-H100-SXM5x8
)

# Machines whose size word stands for a whole server of eight devices.
_WHOLE_SERVERS: dict[str, re.Pattern[str]] = {
    "aws": re.compile(r"^p(?:3\.16|3dn\.24|4d\.24|4de\.24|5\.48|5e\.48|5en\.48|6-b200\.48|6-b300\.48)xlarge$"),
    "azure": re.compile(r"^Standard_ND96", re.IGNORECASE),
}

_GPU_MACHINES: dict[str, re.Pattern[str]] = {
    "aws": re.compile(r"^(?:p\d|g\d|gr\d)"),
    "azure": re.compile(r"^Standard_N[CDV]", re.IGNORECASE),
    "gcp": re.compile(r"^(?:a2|a3|a4x?|g2|g4)-"),
    "oci": re.compile(r"^(?:BM|VM)\.GPU"),
}

# Machines that hold a fraction of a GPU: AWS's and Azure's sizes with shared L4 and A10, Google's with shared RTX PRO
# 6000, and every name that spells a MIG profile or a fraction out.
_PARTS: dict[str, re.Pattern[str]] = {
    "aws": re.compile(r"^gr?6f\."),
    "azure": re.compile(r"^Standard_NV(?:6|12|18)ad[a-z]*s_A10_", re.IGNORECASE),
    "gcp": re.compile(r"^g4-standard-(?:6|12|24)$"),
}
_SPELLED_PART = re.compile(r"\bMIG\b|\b\d+g\.\d+gb|\b1/\d\b|\bfraction|\bvGPU\b", re.IGNORECASE)

# Providers' own rules of naming: AWS marks Graviton with a g after the generation, Azure Arm with a p among the
# features; Google and Oracle have families for it.
_ARM_MACHINES: dict[str, re.Pattern[str]] = {
    "aws": re.compile(r"^(?:a1|[a-z]+\d+g[a-z]*)\."),
    "azure": re.compile(r"^Standard_[A-Z]+\d+(?:-\d+)?[a-z]*p"),
    "gcp": re.compile(r"^(?:t2a|c4a|n4a)-"),
    "oci": re.compile(r"^(?:BM|VM)\.Standard\.A\d"),
}

# AWS sizes are multiples of xlarge, four vCPUs; its older families rent cores, four to an xlarge, too.
_AWS_SIZE = re.compile(r"^[^.]+\.(\d*)xlarge$")
_VCPUS: dict[str, re.Pattern[str]] = {
    "azure": re.compile(r"^Standard_[A-Z]+(\d+)[a-z]*_"),  # a constrained size (E4-2s) is left out
    "gcp": re.compile(r"^[a-z]\w*-(?:standard|highcpu|highmem)-(\d+)$"),
}


def device_count_in_name(provider: str, instance: str) -> int | None:
    """Devices the name states, such as 8 for ``p5.48xlarge`` or ``BM.GPU.H100.8``; None where it states none."""
    whole = _WHOLE_SERVERS.get(provider.lower())
    if whole is not None and whole.match(instance):
        return 8
    for pattern in _SPELLED:
        found = pattern.search(instance)
        if found:
            return int(found[1])
    return None


def vcpu_count_in_name(provider: str, instance: str) -> int | None:
    """How many vCPUs a CPU machine's name states, such as 8 for ``c7i.2xlarge`` or ``Standard_D8s_v5``; or None."""
    if provider.lower() == "aws":
        size = _AWS_SIZE.match(instance)
        return 4 * int(size[1] or 1) if size else None
    pattern = _VCPUS.get(provider.lower())
    found = pattern.match(instance) if pattern is not None else None
    return int(found[1]) if found else None


def is_arm_machine(provider: str, instance: str) -> bool | None:
    """Whether the machine has an Arm processor; None where the provider's rule of naming is not known."""
    family = _ARM_MACHINES.get(provider.lower())
    return None if family is None else family.match(instance) is not None


def is_part_of_device(provider: str, instance: str) -> bool:
    """Whether the machine holds a part of a GPU by its name, such as AWS's ``g6f.large``."""
    family = _PARTS.get(provider.lower())
    return (family is not None and family.match(instance) is not None) or _SPELLED_PART.search(instance) is not None


def is_gpu_machine(provider: str, instance: str) -> bool:
    """Whether the provider sells this machine with GPUs inside."""
    family = _GPU_MACHINES.get(provider.lower())
    return family is not None and family.match(instance) is not None
