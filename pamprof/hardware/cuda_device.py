"""One CUDA device: events, the caching allocator, and a flush of its L2 cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.hardware.memory import DeviceMemory, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


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
        """See ``pamprof.hardware.memory.is_out_of_memory``."""
        return is_out_of_memory(error)
