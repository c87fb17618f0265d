"""The machine under a measurement behind one protocol: synchronise, mark device time, flush caches, report memory.

``open_device`` is the only place that decides between CPU and CUDA; everything above it asks the protocol.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from pamprof.errors import DeviceError, UsageError
from pamprof.hardware.cpu_device import CpuDevice
from pamprof.hardware.cuda_device import CudaDevice

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from pamprof.hardware.memory import DeviceMemory


class Device(Protocol):
    """What measuring needs of a machine."""

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        ...

    @property
    def name(self) -> str:
        """Product name, such as ``NVIDIA H200`` or the CPU's model name."""
        ...

    @property
    def torch_device(self) -> torch.device:
        """The device tensors are made on."""
        ...

    @property
    def uuid(self) -> str | None:
        """The GPU's UUID as CUDA reports it, for finding it in NVML; never recorded. None on a CPU."""
        ...

    def synchronise(self) -> None:
        """Wait until the device has finished everything submitted."""
        ...

    def start_timer(self) -> object:
        """Mark a moment on the device's own time line."""
        ...

    def stop_timer(self, started: object) -> Callable[[], float] | None:
        """Mark a second moment; call the result after synchronising for the seconds between. None without events."""
        ...

    def flush_cache(self) -> None:
        """Displace the last-level cache by writing a buffer larger than it."""
        ...

    def empty_cache(self) -> None:
        """Give the caching allocator's unused memory, and the flush buffer, back."""
        ...

    def reset_peak_memory(self) -> None:
        """Begin a new peak of tensor storage."""
        ...

    def memory(self) -> DeviceMemory:
        """Memory now."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether ``error``, or one that caused it, says that memory ran out."""
        ...


def open_device(name: str = "auto") -> Device:
    """The device called ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` (the first GPU, else the CPU).

    Raises:
        UsageError: The name is none of these.
        DeviceError: A GPU was asked for and is not there.
    """
    kind, ordinal = resolve_device(name)
    return CpuDevice() if kind == "cpu" else CudaDevice(ordinal)


def resolve_device(name: str) -> tuple[str, int]:
    """Kind (``cpu`` or ``cuda``) and number of a device, without occupying it.

    Raises:
        UsageError: The name is neither ``cpu``, ``cuda``, ``cuda:N`` nor ``auto``.
        DeviceError: A GPU was asked for and is not there.
    """
    kind, colon, number = name.strip().lower().partition(":")
    if kind not in ("cpu", "cuda", "auto") or (colon and (kind != "cuda" or not number.isdecimal())):
        raise UsageError(f"device {name!r} is not known; use cpu, cuda, cuda:N or auto")
    if kind == "cpu":
        return "cpu", 0
    reason = cuda_absent_reason()
    if reason is not None:
        if kind == "auto":
            return "cpu", 0
        raise DeviceError(f"device {name} was asked for, but {reason}; or use --device cpu")
    import torch

    ordinal, count = int(number or 0), torch.cuda.device_count()
    if ordinal >= count:
        there = "cuda:0" if count == 1 else f"cuda:0 to cuda:{count - 1}"
        raise DeviceError(f"device {name} was asked for, but this process sees {count} of them; use {there}")
    return "cuda", ordinal


def cuda_absent_reason() -> str | None:
    """Why no GPU can be used, with the remedy; None when one can."""
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() > 0:
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA; install a CUDA build from https://pytorch.org"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES={visible!r} leaves no usable GPU; unset it or name a GPU that exists"
    return "torch finds no NVIDIA GPU; check the driver with nvidia-smi"
