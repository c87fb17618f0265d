"""Peak tensor storage of one step, and what it is made of.

The peak is measured: from the allocator on CUDA, from a storage tracker on the CPU. Its parts are the bytes alive at
the step's fullest moment, so that they never add up to more than the peak: parameters, optimizer state, the recurrent
state or cache and the inputs are there throughout; saved activations climb during the forward pass and fall during the
backward pass, while gradients rise. A step whose peak is the turn from forward to backward therefore shows no gradients
when it zeroes them to None, and one that peaks in the optimizer shows no saved activations. On the CPU the fullest
moment is exact; on CUDA it is the fullest at which autograd saved or fetched a tensor. What remains of the peak is
transient: intermediate results and workspaces.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.activation_watch import ActivationWatch
from pamprof.measure.storage_tracker import CpuStorageTracker, held_bytes, held_storages
from pamprof.records import Memory, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from pamprof.workloads.base import State


def measure_peak(
    step: Callable[[], object], device: torch.device, *holders: object, allocated_before_bytes: int = 0
) -> int:
    """Highest tensor storage in bytes while ``step`` runs once.

    Args:
        step: One step; on CUDA it is synchronised.
        device: A CPU or CUDA device.
        holders: What is alive before the step and belongs to it (modules, optimizer, state, inputs).
        allocated_before_bytes: On CUDA, what the allocator held before any of this was built; more than the holders
            leave is not believed, since garbage of an earlier arm may have been counted and freed since.

    Raises:
        UnsupportedError: The device has neither a storage tracker nor an allocator with a peak.
    """
    if device.type == "cpu":
        tracker = CpuStorageTracker(*holders)
        try:
            with tracker:
                step()
        finally:
            tracker.close()
        return tracker.peak_bytes
    with _cuda_peak(device, held_bytes(*holders, device_type="cuda"), allocated_before_bytes) as peak:
        step()
    return peak.own_bytes


def decompose(
    step: Callable[[], object],
    *,
    device: torch.device,
    module: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: State | None,
    inputs: Sequence[torch.Tensor],
    allocated_before_bytes: int = 0,
    device_used_bytes: int | None = None,
    compiled: bool = False,
) -> Memory:
    """Run ``step`` once and take its peak apart.

    The step should have run before, so that lazily made optimizer state and workspaces exist. Give the plain or
    compiled step, not the replay of a CUDA graph: a replay allocates nothing, its pool was filled at capture.

    Args:
        step: One step.
        device: Where it runs.
        module: Block or model; tensors it keeps as plain attributes count as parameters.
        optimizer: Its optimizer in training, None otherwise.
        state: Recurrent state or KV cache, None in training.
        inputs: Tensors the step reads and those it leaves its results in.
        allocated_before_bytes: On CUDA, what the allocator held before the module was built, as in ``measure_peak``.
        device_used_bytes: Device memory in use as the driver sees it; None where it cannot be read.
        compiled: Whether the step runs compiled code, whose allocations a CPU tracker cannot see.

    Raises:
        UnsupportedError: The device is neither a CPU nor CUDA.
    """
    resident = _Resident.of(module, optimizer, state, inputs, device_type=device.type)
    watch = ActivationWatch(module, inputs, resident.storages, device_type=device.type)
    reserved_bytes: int | None = None
    peak_bytes: int | None
    if device.type == "cpu" and compiled:
        watch.current_bytes = lambda: watch.saved.live_bytes + watch.gradient_bytes()
        with watch.hooks(look=True):
            step()
        watch.look()
        peak_bytes = None
    elif device.type == "cpu":
        tracker = CpuStorageTracker(*resident.storages.values(), *watch.gradients(), at_new_peak=watch.look)
        watch.current_bytes = lambda: tracker.live_bytes
        watch.at_save = tracker.follow
        try:
            with watch.hooks(look=False), tracker:
                step()
        finally:
            tracker.close()
        peak_bytes = tracker.peak_bytes
    else:
        watch.current_bytes = lambda: _cuda_storage_bytes(device, "current")
        held = sum(storage.nbytes() for storage in resident.storages.values()) + watch.gradient_bytes()
        with _cuda_peak(device, held, allocated_before_bytes) as peak, watch.hooks(look=True):
            step()
            watch.look()
        peak_bytes = peak.own_bytes
        reserved_bytes = peak.reserved_bytes
    replayed = optimizer is not None and not watch.has_saved
    return Memory(
        peak_bytes=peak_bytes,
        parameter_bytes=resident.parameter_bytes,
        gradient_bytes=watch.gradient_bytes_at_peak,
        optimizer_bytes=resident.optimizer_bytes,
        saved_activation_bytes=None if replayed else watch.saved_bytes_at_peak,
        state_bytes=resident.state_bytes,
        state_kind=None if state is None else state.kind,
        input_bytes=resident.input_bytes,
        reserved_bytes=reserved_bytes,
        device_used_bytes=device_used_bytes,
        process_peak_bytes=process_peak_bytes(),
    )


def memory_unknowns(memory: Memory, device: torch.device, *, device_used_reason: str) -> tuple[Unknown, ...]:
    """Why fields of ``memory`` are None, except ``state_kind``, which training does not have.

    Args:
        memory: What ``decompose`` returned.
        device: Where it was measured.
        device_used_reason: Why the driver's figure is missing, if it is.
    """
    reasons = {
        "peak_bytes": f"compiled code allocates where no tracker of {device.type} storage sees it",
        "saved_activation_bytes": "autograd saved nothing while the step ran: it was a replay",
        "reserved_bytes": f"{device.type} has no caching allocator that reserves memory",
        "device_used_bytes": device_used_reason,
        "process_peak_bytes": f"{sys.platform} keeps no high-water mark of the resident set",
    }
    return tuple(
        Unknown(field=f"memory.{name}", reason=reason)
        for name, reason in reasons.items()
        if getattr(memory, name) is None
    )


def process_peak_bytes() -> int | None:
    """Highest resident set of this process in bytes since it started (VmHWM); None where the system keeps none."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024  # the kernel says kB and means KiB
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resident:
    """What is alive before, during and after the step; a storage belongs to the first part that holds it."""

    parameter_bytes: int
    optimizer_bytes: int
    state_bytes: int
    input_bytes: int
    storages: dict[int, torch.UntypedStorage]

    @classmethod
    def of(
        cls,
        module: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        state: State | None,
        inputs: Sequence[torch.Tensor],
        *,
        device_type: str,
    ) -> _Resident:
        storages: dict[int, torch.UntypedStorage] = {}
        part_bytes: list[int] = []
        for holder in (module, optimizer, state, list(inputs)):
            found = held_storages(holder, device_type=device_type)
            new = {key: storage for key, storage in found.items() if key not in storages}
            part_bytes.append(sum(storage.nbytes() for storage in new.values()))
            storages |= new
        return cls(
            parameter_bytes=part_bytes[0],
            optimizer_bytes=part_bytes[1],
            state_bytes=part_bytes[2],
            input_bytes=part_bytes[3],
            storages=storages,
        )


class _CudaPeak:
    """Filled when its context ends."""

    own_bytes = 0
    reserved_bytes = 0


@contextmanager
def _cuda_peak(device: torch.device, held: int, allocated_before_bytes: int) -> Iterator[_CudaPeak]:
    """Peak of this arm: the allocator's, less what others hold; what they hold is no more than ``held`` leaves."""
    if device.type != "cuda":
        raise UnsupportedError(f"no peak memory on device {device}: only cpu and cuda keep one; choose --device cpu")
    peak = _CudaPeak()
    gc.collect()  # garbage of an earlier arm must not be freed in the middle of the step
    torch.cuda.synchronize(device)
    foreign_bytes = max(0, min(allocated_before_bytes, _cuda_storage_bytes(device, "current") - held))
    torch.cuda.reset_peak_memory_stats(device)
    yield peak
    torch.cuda.synchronize(device)
    peak.own_bytes = _cuda_storage_bytes(device, "peak") - foreign_bytes
    peak.reserved_bytes = torch.cuda.max_memory_reserved(device)


def _cuda_storage_bytes(device: torch.device, moment: Literal["current", "peak"]) -> int:
    """Bytes tensors asked for; the blocks they got are larger by remainders that depend on the allocator's history.

    Only torch's own allocator tells the two apart; another one's blocks are taken for what was asked.
    """
    kind = "requested_bytes" if torch.cuda.get_allocator_backend() == "native" else "allocated_bytes"
    return int(torch.cuda.memory.memory_stats_as_nested_dict(device)[kind]["all"][moment])
