"""NVML's error codes and clock-event bits in words.

The numbers are those of nvml.h, stable by contract: https://docs.nvidia.com/deploy/nvml-api/ (read November 2026).
"""

from __future__ import annotations

ERROR_SENTENCES: dict[int, str] = {
    1: "NVML is not initialised",
    2: "NVML refused the request as invalid for this device",
    3: "not supported by this GPU or driver",
    4: "permission denied by the driver",
    6: "NVML found no such device or value",
    8: "the GPU's external power cables are not attached",
    9: "the NVIDIA driver is not loaded",
    10: "the driver did not answer in time",
    12: "the NVML library (libnvidia-ml.so.1) is not installed",
    13: "this driver is too old to offer it",
    15: "the GPU is lost: it fell off the bus or the driver stopped serving it",
    16: "the GPU needs a reset",
    17: "the operating system blocked the request",
    18: "the NVML library and the kernel driver have different versions",
    21: "the driver has no data",
    23: "the driver is out of resources",
    25: "this driver does not know the structure version",
    27: "the driver is not ready",
}

# Bits that mean "held below what the load asked for". The idle bit and the two settings a person chooses (application
# clocks, display clock) are left out: they throttle nothing.
THROTTLE_BITS: tuple[tuple[int, str], ...] = (
    (0x04, "software power cap"),
    (0x08, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "hardware power brake slowdown"),
)

VIRTUALISATION_MODES: dict[int, str] = {0: "none", 1: "passthrough", 2: "vgpu", 3: "host vgpu", 4: "host vsga"}


def describe(error: Exception) -> str:
    """The sentence for whatever a call of NVML raised: an error code, the binding's own fault, text it cannot read.

    A code we have no sentence for is named by its number and NVML's own words.
    """
    code = getattr(error, "value", None)  # of an NVMLError
    if code is not None:
        return ERROR_SENTENCES.get(code) or f"NVML error {code}: {error}"
    if isinstance(error, UnicodeDecodeError):  # seen with WSL 2 drivers
        return "the driver answers with text that is not UTF-8"
    return f"the NVML binding failed with {type(error).__name__}: {error}"
