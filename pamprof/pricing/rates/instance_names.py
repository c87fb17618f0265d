"""What a machine's name says about it: how many devices it carries, and whether it carries GPUs at all."""

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


def is_gpu_machine(provider: str, instance: str) -> bool:
    """Whether the provider sells this machine with GPUs inside."""
    family = _GPU_MACHINES.get(provider.lower())
    return family is not None and family.match(instance) is not None
