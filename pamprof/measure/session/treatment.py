"""What the built step of an arm ran: head width, kernel configurations and the kernels that took longest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.records import KernelShare
from pamprof.workloads.base import KernelNotes, NotesKernels
from pamprof.workloads.registry import definition

if TYPE_CHECKING:
    import torch

    from pamprof.measure.machine.kernels.profile import KernelProfile
    from pamprof.records import Workload


def kernel_notes(workload: Workload, device: torch.device) -> KernelNotes:
    """How kernels of the layer's own were launched, where it has any and says so; a fault in telling is told itself."""
    found = definition(workload.spec.layer)
    if not isinstance(found, NotesKernels):
        return KernelNotes()
    try:
        return found.kernel_notes(workload, device)
    except Exception as exc:  # noqa: BLE001 - whatever a layer raises here must not cost a time that was taken
        return KernelNotes(configurations=(f"not told: {fault_sentence(workload.spec.layer, exc)}",))


def logits_width(module: nn.Module) -> int | None:
    """Columns of the head's product, by what the head says of itself; None where no module is a head."""
    for part in module.modules():
        size, padding = getattr(part, "vocabulary_size", None), getattr(part, "padding", None)
        if isinstance(size, int) and isinstance(padding, int):
            return size + padding
    return None


def position_parameter_count(module: nn.Module) -> int | None:
    """Real scalars of the model's table of learned positions, by what it calls ``position_embedding``; None without."""
    table = getattr(module, "position_embedding", None)
    return table.numel() if isinstance(table, nn.Parameter) else None


def kernel_shares(kernels: KernelProfile | str) -> tuple[KernelShare, ...]:
    """The largest kernels of a profiled step with their share of its kernel time; none where it was not profiled."""
    if isinstance(kernels, str):
        return ()
    return tuple(KernelShare(kernel=name, share_ratio=share) for name, share in kernels.largest)
