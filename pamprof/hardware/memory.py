"""Memory of a device, and the errors that say it ran out."""

from __future__ import annotations

from dataclasses import dataclass

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",  # CUDA allocations inside and outside the caching allocator
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
)


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
