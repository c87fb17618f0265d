"""The machine and the software a number was measured on; carried by every run so that none is ever without it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Everything that moves a measurement and can be read; host names and serial numbers are left out.

    ``None`` means it could not be read; the run's ``unknowns`` have the reason under the field's name.
    """

    device_kind: str  # "cpu" or "cuda"
    device_name: str  # "NVIDIA H200", or the CPU's model name
    device_count: int  # devices of this kind visible
    device_memory_bytes: int
    compute_capability: str | None  # "9.0"; None on a CPU
    multiprocessor_count: int | None
    l2_cache_bytes: int | None
    power_limit_watts: float | None
    maximum_sm_clock_hertz: float | None
    mig_enabled: bool | None
    driver_version: str | None
    cuda_version: str | None
    cpu_name: str
    cpu_core_count: int  # cores this process may use
    cpu_thread_count: int  # torch.get_num_threads()
    host_memory_bytes: int
    operating_system: str  # "Linux 6.1 x86_64", no host name
    python_version: str
    torch_version: str
    triton_version: str | None
    pamprof_version: str
    git_commit: str | None  # of pamprof's own checkout, "-dirty" appended where it has changes
    tf32_allowed: bool
    float32_matmul_precision: str
    sdpa_backends: tuple[str, ...]  # backends enabled, in torch's order of preference
    virtualisation: str | None  # "container", "vm", … where it can be detected
