"""What this machine can measure and why not the rest, as facts; whoever asks decides how to print them.

Every answer comes from trying: a reading is read, a compiler is looked for, an API is looked up.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.hardware import host
from pamprof.hardware.device import cuda_absent_reason, open_device
from pamprof.hardware.environment import package_version
from pamprof.hardware.nvml import NvmlDevice, open_nvml
from pamprof.hardware.rapl import RaplCounter

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device
    from pamprof.hardware.probe import Reading

_OLDEST_TORCH = (2, 11)
_BUSY_LOAD_PER_CORE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing a measurement can use.

    Attributes:
        name: What it is, such as ``energy counter``.
        available: Whether it works here.
        detail: What was found, or why it is missing.
        remedy: What would bring it; None where it works or nothing would.
    """

    name: str
    available: bool
    detail: str
    remedy: str | None = None


def diagnose(device: Device | None = None, nvml: NvmlDevice | None = None) -> tuple[Capability, ...]:
    """Everything this machine can measure, and for the rest the reason and the remedy.

    Args:
        device: The device to ask about; by default the one ``compare`` would use.
        nvml: Its NVML side; by default found from the device.
    """
    device = device or open_device("auto")
    nvml = nvml or open_nvml(device.uuid)
    return (
        _torch(),
        _cuda_device(device),
        *_device_clockwork(device),
        *_nvml(nvml),
        _compiler(device),
        _triton(device),
        _profiler(device),
        _flop_counter(),
        _tensor_storage(device),
        *_host(),
    )


def _torch() -> Capability:
    import torch

    numbers = tuple(int(part) for part in str(torch.__version__).split("+")[0].split(".")[:2])
    good = numbers >= _OLDEST_TORCH
    wanted = ".".join(map(str, _OLDEST_TORCH))
    return Capability(
        name="torch",
        available=good,
        detail=f"torch {torch.__version__}, {torch.get_num_threads()} threads",
        remedy=None if good else f"install torch {wanted} or newer",
    )


def _cuda_device(device: Device) -> Capability:
    if device.kind == "cuda":
        gigabytes = device.memory().total_bytes / 2**30
        return Capability(name="CUDA device", available=True, detail=f"{device.name}, {gigabytes:.0f} GiB")
    reason, _, remedy = (cuda_absent_reason() or "the CPU was asked for; use --device cuda").partition("; ")
    return Capability(name="CUDA device", available=False, detail=reason, remedy=remedy or None)


def _device_clockwork(device: Device) -> tuple[Capability, ...]:
    if device.kind != "cuda":
        reason = "a CPU has none; wall time is measured"
        return (
            Capability(name="CUDA events", available=False, detail=reason),
            Capability(name="CUDA graphs", available=False, detail="needs a CUDA device"),
        )
    started = device.start_timer()
    elapsed = device.stop_timer(started)
    device.synchronise()
    detail = "no event could be recorded" if elapsed is None else f"two events lie {elapsed() * 1e6:.1f} µs apart"
    return (
        Capability(name="CUDA events", available=elapsed is not None, detail=detail),
        Capability(name="CUDA graphs", available=True, detail="torch.cuda.graph"),
    )


def _nvml(nvml: NvmlDevice) -> tuple[Capability, ...]:
    driver = nvml.driver_version()
    if driver.value is None:
        remedy = "utilisation, power and clocks stay unknown; install the NVIDIA driver where there is an NVIDIA GPU"
        return (Capability(name="NVML", available=False, detail=driver.reason or "", remedy=remedy),)
    cuda = nvml.cuda_driver_version()
    detail = f"driver {driver.value}, serves CUDA up to {cuda.value or 'an unknown version'}"
    power = nvml.instant_power_watts()
    power = nvml.average_power_watts() if power.value is None else power
    gpm = nvml.gpm_supported()
    throttle = nvml.throttle_reasons().map(lambda reasons: ", ".join(reasons) or "clocks are not held down")
    administrator = "ask the administrator to allow it for users"
    return (
        Capability(name="NVML", available=True, detail=detail),
        _from_reading("GPU busy ratio", nvml.busy_ratio_now(), lambda value: f"{value * 100:.0f} % now"),
        _from_reading("GPU power", power, lambda value: f"{value:.0f} W now"),
        _from_reading("energy counter", nvml.energy_counter_joules(), lambda value: f"{value:.0f} J since driver load"),
        _from_reading("clock-event reasons", throttle, str),
        _from_reading("other processes on the GPU", nvml.other_process_count(os.getpid()), lambda value: f"{value}"),
        Capability(
            name="GPM activity counters",
            available=bool(gpm.value),
            detail=gpm.reason or ("SM, tensor and memory activity" if gpm.value else "needs Hopper or later"),
            remedy=administrator if gpm.reason and "permission" in gpm.reason else None,
        ),
    )


def _from_reading(name: str, reading: Reading[object], show: Callable[..., str]) -> Capability:
    if reading.value is None:
        return Capability(name=name, available=False, detail=reading.reason or "unknown")
    return Capability(name=name, available=True, detail=show(reading.value))


def _compiler(device: Device) -> Capability:
    candidates = [os.environ.get("CXX"), "g++", "clang++", "c++"]
    if device.kind == "cuda":  # triton builds its launchers in C
        candidates = [os.environ.get("CC"), "gcc", "clang", "cc"]
    found = next((path for name in candidates if name and (path := shutil.which(name))), None)
    if found is None:
        kind = "C" if device.kind == "cuda" else "C++"
        return Capability(
            name="torch.compile",
            available=False,
            detail=f"no {kind} compiler on the PATH",
            remedy="install gcc and g++, or point CC and CXX at a compiler",
        )
    if device.kind == "cuda" and package_version("triton").value is None:
        return Capability(
            name="torch.compile", available=False, detail="triton is not installed", remedy="pip install triton"
        )
    return Capability(name="torch.compile", available=True, detail=f"compiles with {os.path.basename(found)}")


def _triton(device: Device) -> Capability:
    version = package_version("triton")
    if version.value is None:
        remedy = "pip install triton" if device.kind == "cuda" else None
        return Capability(name="triton", available=False, detail=version.reason or "", remedy=remedy)
    if device.kind != "cuda":
        return Capability(name="triton", available=False, detail=f"triton {version.value} needs a CUDA device")
    return Capability(name="triton", available=True, detail=f"triton {version.value}")


def _profiler(device: Device) -> Capability:
    import torch

    activities = torch.profiler.ProfilerActivity
    supported: Callable[[], set[torch.profiler.ProfilerActivity]] = torch.profiler.supported_activities
    good = (activities.CUDA if device.kind == "cuda" else activities.CPU) in supported()
    if device.kind == "cuda":
        found = "kernel times through CUPTI" if good else "torch.profiler does not reach the device (no CUPTI)"
        return Capability(name="kernel profiler", available=good, detail=found)
    detail = "a CPU runs no kernels; operators can be profiled" if good else "torch.profiler is not built in"
    return Capability(name="kernel profiler", available=False, detail=detail)


def _flop_counter() -> Capability:
    from torch.utils.flop_counter import FlopCounterMode

    good = callable(getattr(FlopCounterMode, "_count_flops", None))
    detail = "torch's dispatch hook is there" if good else "this torch has moved the hook that FLOPs are counted by"
    return Capability(
        name="FLOP counter", available=good, detail=detail, remedy=None if good else "use a tested torch version"
    )


def _tensor_storage(device: Device) -> Capability:
    if device.kind == "cuda":
        return Capability(name="peak tensor memory", available=True, detail="from torch's caching allocator")
    from torch.utils import _python_dispatch

    good = hasattr(_python_dispatch, "TorchDispatchMode")
    detail = "storages are followed operator by operator" if good else "this torch has no dispatch mode"
    return Capability(name="peak tensor memory", available=good, detail=detail)


def _host() -> tuple[Capability, ...]:
    cores = host.cpu_core_count()
    load, governor, energy = host.load_average(), host.governor(), RaplCounter().joules()
    quiet = load.value is None or load.value <= _BUSY_LOAD_PER_CORE * cores
    steady = governor.value == "performance"
    return (
        Capability(name="CPU cores", available=True, detail=f"{cores} usable, {host.cpu_name()}"),
        Capability(
            name="quiet machine",
            available=quiet and load.value is not None,
            detail=load.reason or f"load average {load.value:.1f} on {cores} cores",
            remedy=None if quiet else "stop other work; intervals will be wide otherwise",
        ),
        Capability(
            name="steady CPU clock",
            available=steady,
            detail=governor.reason or f"frequency governor {governor.value}",
            remedy=None if steady or governor.value is None else "sudo cpupower frequency-set -g performance",
        ),
        _from_reading(
            "process peak memory", host.process_peak_bytes(), lambda value: f"{value / 2**20:.0f} MiB so far"
        ),
        Capability(
            name="CPU energy (RAPL)",
            available=energy.value is not None,
            detail=energy.reason or "package counters can be read",
        ),
    )
