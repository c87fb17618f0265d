"""The host's processor as a device: synchronous, without events or a counting allocator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.hardware.host import cpu_name, last_level_cache_bytes, memory_limit_bytes, resident_bytes
from pamprof.hardware.memory import DeviceMemory, is_out_of_memory

if TYPE_CHECKING:
    import torch

_CPU_CACHE_BYTES_WHERE_UNKNOWN = 64 * 2**20
_LARGEST_CPU_FLUSH_BYTES = 512 * 2**20  # a virtual machine may report the cache of the whole host


class CpuDevice:
    """The processor torch calls ``cpu``."""

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

    def memory(self) -> DeviceMemory:
        """The host's memory within the container's limit, and this process's resident set."""
        return DeviceMemory(
            total_bytes=memory_limit_bytes(), used_bytes=resident_bytes(), allocated_bytes=None, reserved_bytes=None
        )

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See ``pamprof.hardware.memory.is_out_of_memory``."""
        return is_out_of_memory(error)
