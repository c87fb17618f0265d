"""Peak tensor storage of one step, and what it is made of.

The peak is the allocator's own figure. The parts are the bytes alive at the step's fullest moment, each counted from
the storages that belong to it: parameters, optimizer state, the recurrent state or cache and the inputs are there
throughout; saved activations climb during the forward pass and fall during the backward pass, while gradients rise. A
step whose peak is the turn from forward to backward therefore shows no gradients when it zeroes them to None, and one
that peaks in the optimizer shows no saved activations. Short-lived tensors are the storages of that moment that are
none of these, followed from the operator that made them. What the allocator gave out beyond all that is unaccounted
for: buffers that a kernel takes inside one operator. Compiled code makes tensors where nothing sees them; there the
fullest moment is the fullest at which autograd saved or fetched a tensor, and the rest of the peak is not taken apart.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pamprof.measure.memory.activation_watch import ActivationWatch
from pamprof.measure.memory.allocator_peak import cuda_peak, cuda_storage_bytes, record
from pamprof.measure.memory.storage_tracker import StorageTracker, held_bytes, held_storages
from pamprof.records import Memory, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        tracker = StorageTracker(*holders)
        try:
            with tracker:
                step()
        finally:
            tracker.close()
        return tracker.peak_bytes
    with cuda_peak(device, held_bytes(*holders, device_type="cuda"), allocated_before_bytes) as peak:
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
    """Run ``step`` twice and take its peak apart: once with its tensors followed, once for the allocator's peak.

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
        compiled: Whether the step runs compiled code, whose tensors no tracker sees; found out where it is not said.

    Raises:
        UnsupportedError: The device is neither a CPU nor CUDA.
    """
    resident = _Resident.of(module, optimizer, state, inputs, device_type=device.type)
    watch = ActivationWatch(module, inputs, resident.storages, device_type=device.type)
    if device.type == "cpu":
        found = _on_cpu(step, resident, watch, compiled=compiled)
    else:
        found = _on_cuda(step, device, resident, watch, allocated_before_bytes, compiled=compiled)
    replayed = optimizer is not None and not watch.has_saved
    return Memory(
        peak_bytes=found.peak_bytes,
        parameter_bytes=resident.parameter_bytes,
        gradient_bytes=watch.gradient_bytes_at_peak,
        optimizer_bytes=resident.optimizer_bytes,
        saved_activation_bytes=None if replayed else watch.saved_bytes_at_peak,
        state_bytes=resident.state_bytes,
        state_kind=None if state is None else state.kind,
        input_bytes=resident.input_bytes,
        short_lived_bytes=found.short_lived_bytes,
        workspace_bytes=found.workspace_bytes,
        reserved_bytes=found.reserved_bytes,
        device_used_bytes=device_used_bytes,
        process_peak_bytes=process_peak_bytes(),
    )


def parts_without_peak(
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: State | None,
    inputs: Sequence[torch.Tensor],
    device_used_bytes: int | None,
) -> Memory:
    """What is known of a step's memory without running it: everything that stays, and gradients as they lie there."""
    resident = _Resident.of(module, optimizer, state, inputs, device_type=inputs[0].device.type)
    return Memory(
        peak_bytes=None,
        parameter_bytes=resident.parameter_bytes,
        gradient_bytes=held_bytes([parameter.grad for parameter in module.parameters()]),
        optimizer_bytes=resident.optimizer_bytes,
        saved_activation_bytes=None,
        state_bytes=resident.state_bytes,
        state_kind=None if state is None else state.kind,
        input_bytes=resident.input_bytes,
        reserved_bytes=None,
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
        "peak_bytes": f"torch {torch.__version__} reports no allocations of its {device.type} allocator",
        "short_lived_bytes": "compiled code makes tensors where no operator returns them",
        "workspace_bytes": f"{device.type} libraries take their workspaces from the system, not from torch",
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


def forget_process_peak() -> None:
    """Let ``process_peak_bytes`` count from now on, where the system can: each arm has a peak of its own."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def process_peak_bytes() -> int | None:
    """Highest resident set in bytes since ``forget_process_peak``, else since the process started (VmHWM).

    None where the system keeps none.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024  # the kernel says kB and means KiB
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


# Torch's own fields of every module: submodules, hooks.
_MODULE_FIELDS = frozenset(vars(torch.nn.Module()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peak:
    """What one run of the step showed beside the parts that ``ActivationWatch`` remembers."""

    peak_bytes: int | None
    short_lived_bytes: int | None
    workspace_bytes: int | None = None
    reserved_bytes: int | None = None


def _on_cpu(step: Callable[[], object], resident: _Resident, watch: ActivationWatch, *, compiled: bool) -> _Peak:
    # Gradients of the step before would be freed unseen in the middle of this one.
    watch.drop_gradients()
    recording = record(step)
    short_lived_bytes: int | None = None
    found_bytes = 0
    if compiled or (recording is not None and recording.ran_compiled):
        watch.current_bytes = lambda: watch.saved.live_bytes + watch.gradient_bytes()
        _watched(step, watch)
    else:
        tracker = _tracked(step, resident, watch, device_type="cpu")
        found_bytes = tracker.found_bytes
        short_lived_bytes = tracker.peak_bytes - resident.byte_count - watch.bytes_at_peak
    return _Peak(
        peak_bytes=None if recording is None else resident.byte_count + found_bytes + recording.cpu_peak_bytes,
        short_lived_bytes=short_lived_bytes,
    )


def _on_cuda(
    step: Callable[[], object],
    device: torch.device,
    resident: _Resident,
    watch: ActivationWatch,
    allocated_before_bytes: int,
    *,
    compiled: bool,
) -> _Peak:
    if not compiled:
        recording = record(step)
        compiled = recording is not None and recording.ran_compiled
    short_lived_bytes: int | None = None
    if compiled:
        watch.current_bytes = lambda: cuda_storage_bytes(device, "current")
        _watched(step, watch)
    else:
        tracker = _tracked(step, resident, watch, device_type="cuda")
        short_lived_bytes = tracker.peak_bytes - resident.byte_count - watch.bytes_at_peak
    held = resident.byte_count + watch.gradient_bytes()
    with cuda_peak(device, held, allocated_before_bytes) as peak:
        step()
    return _Peak(
        peak_bytes=peak.own_bytes,
        short_lived_bytes=short_lived_bytes,
        workspace_bytes=max(0, peak.before_bytes - held),
        reserved_bytes=peak.reserved_bytes,
    )


def _watched(step: Callable[[], object], watch: ActivationWatch) -> None:
    """Run a step of compiled code, which makes tensors unseen, and look whenever autograd saves or fetches one."""
    with watch.hooks(look=True):
        step()
    watch.look()


def _tracked(
    step: Callable[[], object], resident: _Resident, watch: ActivationWatch, *, device_type: str
) -> StorageTracker:
    """Run the step with every storage followed; the watch looks whenever they reach a new height."""
    tracker = StorageTracker(
        *resident.storages.values(), *watch.gradients(), at_new_peak=watch.look, device_type=device_type
    )
    watch.current_bytes = lambda: tracker.live_bytes
    watch.at_save = tracker.follow
    try:
        with watch.hooks(look=False), tracker:
            step()
    finally:
        tracker.close()
    return tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resident:
    """What is alive before, during and after the step; a storage belongs to the first part that holds it."""

    parameter_bytes: int
    optimizer_bytes: int
    state_bytes: int
    input_bytes: int
    storages: dict[int, torch.UntypedStorage]

    @property
    def byte_count(self) -> int:
        """All of it."""
        return self.parameter_bytes + self.optimizer_bytes + self.state_bytes + self.input_bytes

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
        fixed, filled = _parts_of(module)
        for holder in (fixed, optimizer, (state, filled), list(inputs)):
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


def _parts_of(module: nn.Module) -> tuple[list[object], list[object]]:
    """What a module keeps: parameters, buffers and plain attributes; and the lists, dictionaries and deques it fills.

    What steps leave in a container is state that they keep, such as a cache as a list, and no parameter.
    """
    fixed: list[object] = []
    filled: list[object] = []
    for part in module.modules():
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers"):
                fixed.append(value)
            elif name not in _MODULE_FIELDS:
                (filled if _is_filled(value) else fixed).append(value)
    return fixed, filled


def _is_filled(value: object) -> bool:
    """Whether a module's attribute is a container of anything but parameters and modules."""
    if not isinstance(value, (list, dict, deque)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return not any(isinstance(item, (torch.nn.Module, torch.nn.Parameter)) for item in items)
