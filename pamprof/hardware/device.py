"""The machine under a measurement behind one protocol: synchronise, mark device time, flush caches, report memory.

``open_device`` is the only place that decides between CPU and CUDA; everything above it asks the protocol.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pamprof.errors import DeviceError, UsageError
from pamprof.hardware.host import cpu_name, last_level_cache_bytes, memory_limit_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA allocations inside and outside the caching allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)
_CPU_CACHE_BYTES_WHERE_UNKNOWN = 64 * 2**20
_LARGEST_CPU_FLUSH_BYTES = 512 * 2**20  # a virtual machine may report the cache of the whole host


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """Memory of a device, bytes.

    Attributes:
        total_bytes: What this process could use at most: the GPU's memory, or the host's within its container limit.
        used_bytes: In use by everything on the device; on a CPU the resident set of this process.
        allocated_bytes: Live tensors of this process; None where no allocator counts them.
        reserved_bytes: Held by the caching allocator; None without one.
    """

    total_bytes: int
    used_bytes: int
    allocated_bytes: int | None
    reserved_bytes: int | None


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

    def peak_memory_bytes(self) -> int | None:
        """Highest tensor storage since the reset; None where the device does not count it (a CPU)."""
        ...

    def memory(self) -> DeviceMemory:
        """Memory now."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether ``error``, or one that caused it, says that memory ran out."""
        ...


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or one it was raised from, says that memory ran out; compilers wrap the original."""
    import torch

    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        if isinstance(current, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(current, RuntimeError) and any(text in str(current) for text in _OUT_OF_MEMORY_TEXTS):
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False


class CpuDevice:
    """The host's processor: synchronous, without events or a counting allocator."""

    kind = "cpu"
    uuid: str | None = None

    def __init__(self) -> None:
        import torch

        self.torch_device = torch.device("cpu")
        self.name = cpu_name()
        self._flush_buffer: torch.Tensor | None = None

    def synchronise(self) -> None:
        """Nothing to wait for: a CPU operator returns when it is done."""

    def start_timer(self) -> object:
        """Nothing to mark."""
        return None

    def stop_timer(self, started: object) -> None:
        """A CPU has no events."""
        return

    def flush_cache(self) -> None:
        """Write twice the last-level cache, at most 512 MiB."""
        if self._flush_buffer is None:
            import torch

            cache = last_level_cache_bytes().value or _CPU_CACHE_BYTES_WHERE_UNKNOWN
            self._flush_buffer = torch.empty(min(2 * cache, _LARGEST_CPU_FLUSH_BYTES) // 4, dtype=torch.int32)
        self._flush_buffer.add_(1)

    def empty_cache(self) -> None:
        """Drop the flush buffer."""
        self._flush_buffer = None

    def reset_peak_memory(self) -> None:
        """Nothing to reset: tensor storage on a CPU is followed by a storage tracker, not by the device."""

    def peak_memory_bytes(self) -> int | None:
        """Not counted by the device."""
        return None

    def memory(self) -> DeviceMemory:
        """The host's memory within the container's limit, and this process's resident set."""
        return DeviceMemory(
            total_bytes=memory_limit_bytes(), used_bytes=resident_bytes(), allocated_bytes=None, reserved_bytes=None
        )

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See ``is_out_of_memory``."""
        return is_out_of_memory(error)


class CudaDevice:
    """One CUDA device of this process, by CUDA's own number."""

    kind = "cuda"

    def __init__(self, ordinal: int) -> None:
        import torch

        self.torch_device = torch.device("cuda", ordinal)
        torch.cuda.set_device(self.torch_device)
        properties = torch.cuda.get_device_properties(self.torch_device)
        self.name: str = properties.name
        self.uuid: str | None = str(properties.uuid)
        self._l2_cache_bytes: int = properties.L2_cache_size
        self._flush_buffer: torch.Tensor | None = None

    def synchronise(self) -> None:
        """Wait for every stream of the device."""
        import torch

        torch.cuda.synchronize(self.torch_device)

    def start_timer(self) -> torch.cuda.Event:
        """Record an event on the current stream."""
        import torch

        make_event: Callable[..., torch.cuda.Event] = torch.cuda.Event
        event = make_event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.torch_device))
        return event

    def stop_timer(self, started: object) -> Callable[[], float]:
        """Record a second event; the result gives seconds."""
        import torch

        if not isinstance(started, torch.cuda.Event):
            raise TypeError(f"stop_timer takes what start_timer returned, not {type(started).__name__}")
        begin = started
        end = self.start_timer()
        return lambda: float(begin.elapsed_time(end)) / 1e3

    def flush_cache(self) -> None:
        """Write twice the L2 cache on the current stream."""
        import torch

        if self._flush_buffer is None:
            self._flush_buffer = torch.empty(2 * self._l2_cache_bytes // 4, dtype=torch.int32, device=self.torch_device)
        self._flush_buffer.zero_()

    def empty_cache(self) -> None:
        """Give unused blocks back to the driver."""
        import torch

        self._flush_buffer = None
        torch.cuda.empty_cache()

    def reset_peak_memory(self) -> None:
        """Reset the caching allocator's peaks."""
        import torch

        torch.cuda.reset_peak_memory_stats(self.torch_device)

    def peak_memory_bytes(self) -> int | None:
        """``max_memory_allocated`` since the reset."""
        import torch

        return int(torch.cuda.max_memory_allocated(self.torch_device))

    def memory(self) -> DeviceMemory:
        """The driver's view of the device and the caching allocator's of this process."""
        import torch

        free, total = torch.cuda.mem_get_info(self.torch_device)
        return DeviceMemory(
            total_bytes=total,
            used_bytes=total - free,
            allocated_bytes=int(torch.cuda.memory_allocated(self.torch_device)),
            reserved_bytes=int(torch.cuda.memory_reserved(self.torch_device)),
        )

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See ``is_out_of_memory``."""
        return is_out_of_memory(error)


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
