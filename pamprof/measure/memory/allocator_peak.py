"""Peak memory of a step by the allocator's own figures, independent of any tracking of tensors.

On CUDA they are the caching allocator's statistics. torch's CPU allocator keeps none, but reports to a profiler every
block that it allocates and frees, buffers inside one operator included; their running sum gives the peak.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.threads import in_every_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any as _Event  # torch's class has no type


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What torch's profiler saw of one step.

    Attributes:
        cpu_peak_bytes: Highest sum of bytes that torch's CPU allocator gave out during the step and had not got back.
            What was allocated before counts neither when it is held nor when it is freed. Memory that a library takes
            from the system by itself (packed operands of a matrix product) is not seen.
        ran_compiled: Whether code of ``torch.compile`` ran, the layer's own included.
    """

    cpu_peak_bytes: int
    ran_compiled: bool


def record(step: Callable[[], object]) -> Recording | None:
    """Run ``step`` under torch's profiler, threads included; None where this torch has no such profiler."""
    # torch's private interface, pinned by a test: the public profiler reports the same blocks, but starts a tracing
    # library that costs seconds and writes to standard error.
    try:
        from torch._C._autograd import _disable_profiler_legacy, _enable_profiler_legacy
        from torch._C._profiler import ProfilerConfig, ProfilerState, _ExperimentalConfig
    except ImportError:
        step()
        return None
    shapes, memory, stack, flops, modules = False, True, False, False, False
    threads: list[list[_Event]] = []

    @contextmanager
    def recorded() -> Iterator[None]:
        _enable_profiler_legacy(
            ProfilerConfig(ProfilerState.CPU, shapes, memory, stack, flops, modules, _ExperimentalConfig())
        )
        try:
            yield
        finally:
            threads.extend(_disable_profiler_legacy())

    gc.collect()  # garbage of an earlier step must not be freed in the middle of this one
    with in_every_thread(recorded):
        step()
    events = [event for thread in threads for event in thread]
    blocks = [event for event in events if str(event.kind()) == "memory_alloc"]
    if len(threads) > 1:
        blocks.sort(key=events[0].cpu_elapsed_us)
    live = peak = 0
    for block in blocks:
        live += block.cpu_memory_usage()
        peak = max(peak, live)
    compiled = any(event.name().startswith("Torch-Compiled Region") for event in events)
    return Recording(cpu_peak_bytes=peak, ran_compiled=compiled)


class CudaPeak:
    """Filled while and after its context.

    Attributes:
        before_bytes: What this arm held when the context began.
        own_bytes: Highest it held until the context ended.
        reserved_bytes: Highest the allocator had reserved.
    """

    before_bytes = 0
    own_bytes = 0
    reserved_bytes = 0


@contextmanager
def cuda_peak(device: torch.device, held: int, allocated_before_bytes: int) -> Iterator[CudaPeak]:
    """Peak of this arm: the allocator's, less what others hold; what they hold is no more than ``held`` leaves.

    Raises:
        UnsupportedError: Not a CUDA device.
    """
    if device.type != "cuda":
        raise UnsupportedError(f"no peak memory on device {device}: only cpu and cuda keep one; choose --device cpu")
    peak = CudaPeak()
    gc.collect()  # garbage of an earlier arm must not be freed in the middle of the step
    torch.cuda.synchronize(device)
    current = cuda_storage_bytes(device, "current")
    foreign_bytes = max(0, min(allocated_before_bytes, current - held))
    peak.before_bytes = current - foreign_bytes
    torch.cuda.reset_peak_memory_stats(device)
    yield peak
    torch.cuda.synchronize(device)
    peak.own_bytes = cuda_storage_bytes(device, "peak") - foreign_bytes
    peak.reserved_bytes = torch.cuda.max_memory_reserved(device)


def cuda_storage_bytes(device: torch.device, moment: Literal["current", "peak"]) -> int:
    """Bytes tensors asked for; the blocks they got are larger by remainders that depend on the allocator's history.

    Only torch's own allocator tells the two apart; another one's blocks are taken for what was asked.
    """
    kind = "requested_bytes" if torch.cuda.get_allocator_backend() == "native" else "allocated_bytes"
    return int(torch.cuda.memory.memory_stats_as_nested_dict(device)[kind]["all"][moment])
