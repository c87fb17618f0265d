"""Reads the machine and the software a number is measured on; leaves out host names, serial numbers and UUIDs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pamprof.hardware import host
from pamprof.hardware.probe import Reading, known, unknown
from pamprof.records import Environment, Unknown
from pamprof.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device
    from pamprof.hardware.nvml.device import NvmlDevice

Value = TypeVar("Value")

_NOT_A_GPU = "the device is a CPU"
# torch's own names of its attention backends (torch.nn.attention.SDPBackend) and the number each has in its order.
_SDPA_BACKENDS = {0: "math", 1: "flash", 2: "efficient", 3: "cudnn"}
_SDPA_CPU_BACKENDS = ("flash", "math")
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
_CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc", "garden")


def read_environment(device: Device, nvml: NvmlDevice) -> tuple[Environment, tuple[Unknown, ...]]:
    """Everything about ``device`` that moves a measurement, and the reason for every field that is None.

    Args:
        device: The device that is measured.
        nvml: Its NVML side; made by ``open_nvml``, also where there is no GPU.

    Returns:
        The environment, and unknowns whose fields begin with ``environment.``.
    """
    import torch

    unknowns: list[Unknown] = []

    def take(field: str, reading: Reading[Value]) -> Value | None:
        if reading.reason is not None:
            unknowns.append(Unknown(field=f"environment.{field}", reason=reading.reason))
        return reading.value

    cuda = device.kind == "cuda"
    properties = torch.cuda.get_device_properties(device.torch_device) if cuda else None
    cpu_cache = host.l2_cache_bytes()
    environment = Environment(
        device_kind=device.kind,
        device_name=device.name,
        device_count=torch.cuda.device_count() if cuda else 1,
        device_memory_bytes=device.memory().total_bytes,
        compute_capability=take(
            "compute_capability",
            known(f"{properties.major}.{properties.minor}") if properties else unknown(_NOT_A_GPU),
        ),
        multiprocessor_count=take(
            "multiprocessor_count", known(properties.multi_processor_count) if properties else unknown(_NOT_A_GPU)
        ),
        l2_cache_bytes=take("l2_cache_bytes", known(properties.L2_cache_size) if properties else cpu_cache),
        power_limit_watts=take("power_limit_watts", nvml.power_limit_watts() if cuda else unknown(_NOT_A_GPU)),
        maximum_sm_clock_hertz=take(
            "maximum_sm_clock_hertz", nvml.maximum_sm_clock_hertz() if cuda else unknown(_NOT_A_GPU)
        ),
        mig_enabled=take("mig_enabled", nvml.mig_enabled() if cuda else unknown(_NOT_A_GPU)),
        driver_version=take("driver_version", nvml.driver_version() if cuda else unknown(_NOT_A_GPU)),
        cuda_version=take("cuda_version", _cuda_version()),
        cpu_name=host.cpu_name(),
        cpu_core_count=host.cpu_core_count(),
        cpu_thread_count=torch.get_num_threads(),
        host_memory_bytes=host.host_memory_bytes(),
        operating_system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python_version=platform.python_version(),
        torch_version=str(torch.__version__),
        triton_version=take("triton_version", package_version("triton")),
        pamprof_version=__version__,
        git_commit=take("git_commit", own_commit()),
        tf32_allowed=bool(torch.backends.cuda.matmul.allow_tf32),
        float32_matmul_precision=torch.get_float32_matmul_precision(),
        sdpa_backends=sdpa_backends(device.kind),
        virtualisation=take("virtualisation", virtualisation()),
        cpu_threads_per_core=take("cpu_threads_per_core", host.threads_per_core()),
        cpu_architecture=platform.machine(),
        gpu_virtualisation=take("gpu_virtualisation", nvml.virtualisation() if cuda else unknown(_NOT_A_GPU)),
    )
    return environment, tuple(unknowns)


def _cuda_version() -> Reading[str]:
    import torch

    version = torch.version.cuda
    return known(str(version)) if version else unknown(f"torch {torch.__version__} is built without CUDA")


def package_version(name: str) -> Reading[str]:
    """Version of an installed distribution."""
    try:
        return known(metadata.version(name))
    except metadata.PackageNotFoundError:
        return unknown(f"{name} is not installed")


def sdpa_backends(device_kind: str) -> tuple[str, ...]:
    """Attention backends enabled for a device, in torch's order of preference.

    Names are ``flash``, ``efficient``, ``math`` and ``cudnn``. Enabled means allowed, not chosen:
    which one runs depends on dtype, shape and mask.
    """
    import torch

    flags = torch.backends.cuda
    enabled: dict[str, Callable[[], bool]] = {
        "flash": flags.flash_sdp_enabled,
        "efficient": flags.mem_efficient_sdp_enabled,
        "math": flags.math_sdp_enabled,
        "cudnn": flags.cudnn_sdp_enabled,
    }
    # The order has no public reader; where the private one is gone, the order of torch 2.11 to 2.13 is stated.
    order = getattr(torch._C, "_get_sdp_priority_order", lambda: (1, 2, 0, 3))()
    names = tuple(_SDPA_BACKENDS[number] for number in order if number in _SDPA_BACKENDS)
    allowed = names if device_kind == "cuda" else tuple(name for name in names if name in _SDPA_CPU_BACKENDS)
    return tuple(name for name in allowed if enabled[name]())


def own_commit() -> Reading[str]:
    """Commit that pamprof runs from."""
    return git_commit(Path(__file__).resolve().parents[2])


def git_commit(checkout: Path) -> Reading[str]:
    """Commit of a git checkout, ``-dirty`` appended where a tracked file differs from it."""
    if not (checkout / ".git").exists():
        return unknown("pamprof does not run from a git checkout")
    if shutil.which("git") is None:
        return unknown("git is not installed")
    try:
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError) as exc:
        detail = (getattr(exc, "stderr", None) or "").strip().splitlines()
        return unknown(f"git could not read the checkout: {detail[0] if detail else type(exc).__name__}")
    return known(f"{commit}-dirty" if changed else commit)


def _git(checkout: Path, *arguments: str) -> str:
    # Optional locks off: reading the state of a checkout must not write to it.
    command = ("git", "--no-optional-locks", "-C", str(checkout), *arguments)
    # Inside a git hook GIT_DIR points at another repository.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True, timeout=10, env=clean)
    return done.stdout.strip()


def virtualisation(root: Path = Path("/")) -> Reading[str]:
    """``container``, ``vm`` or ``container in vm``, told by the marks they leave in the file system under ``root``."""
    container = any((root / name.lstrip("/")).exists() for name in _CONTAINER_FILES) or any(
        word in _text(root / "proc/1/cgroup") for word in _CONTAINER_WORDS
    )
    machine = any(
        "hypervisor" in line.split()
        for line in _text(root / "proc/cpuinfo").splitlines()
        if line.startswith(("flags", "Features"))
    )
    if container or machine:
        return known("container in vm" if container and machine else "container" if container else "vm")
    return unknown("no mark of a container or hypervisor was found, which does not prove there is none")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
