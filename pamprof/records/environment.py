"""The machine and the software a number was measured on; carried by every run so that none is ever without it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorUse:
    """What a price by vCPU needs to know of a measured processor.

    Attributes:
        architecture: As the operating system names it, such as ``x86_64`` or ``aarch64``; None where it is not known.
        vcpu_count: vCPUs that the run occupied; None where it is not known.
    """

    architecture: str | None
    vcpu_count: int | None


def occupied_vcpus(*, logical_cpu_count: int, thread_count: int, threads_per_core: int | None) -> int | None:
    """Number of vCPUs that a run occupies: those of the cores its threads keep busy, at most what the process may use.

    A vCPU is a logical CPU: on x86 a hardware thread, on Arm a core. Torch runs one thread a core, and a core that is
    busy is rented with all its hardware threads.

    Args:
        logical_cpu_count: Logical CPUs that the process may use.
        thread_count: Threads of torch.
        threads_per_core: Hardware threads of a core; None where it is not known.

    Returns:
        The number; None where it hangs on an unknown ``threads_per_core``.
    """
    if thread_count >= logical_cpu_count:
        return logical_cpu_count
    return None if threads_per_core is None else min(logical_cpu_count, thread_count * threads_per_core)


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
    cpu_core_count: int  # logical CPUs this process may use
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
    cpu_threads_per_core: int | None = None  # hardware threads; None, too, in records from before this field
    cpu_architecture: str | None = None  # "x86_64", "aarch64"; None likewise
    gpu_virtualisation: str | None = None  # "none", "passthrough", "vgpu", "host vgpu", "host vsga"; None likewise

    @property
    def processor_use(self) -> ProcessorUse:
        """The processor as a price by vCPU sees it."""
        return ProcessorUse(
            architecture=self.cpu_architecture,
            vcpu_count=occupied_vcpus(
                logical_cpu_count=self.cpu_core_count,
                thread_count=self.cpu_thread_count,
                threads_per_core=self.cpu_threads_per_core,
            ),
        )
