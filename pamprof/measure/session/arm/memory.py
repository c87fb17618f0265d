"""Memory of one arm by part, as far as its code can be followed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.hardware.probe import unknown
from pamprof.measure.memory.breakdown import decompose, memory_unknowns, parts_without_peak
from pamprof.measure.session.layer_fault import fault_sentence
from pamprof.records import Execution
from pamprof.workloads.steps import check_output

if TYPE_CHECKING:
    from pamprof.hardware.device import Device
    from pamprof.hardware.nvml.device import NvmlDevice
    from pamprof.records import Memory, Unknown
    from pamprof.workloads.steps import PreparedStep

# Of a step whose tensors could not be followed.
_FOLLOWED = tuple(f"memory.{name}" for name in ("peak_bytes", "short_lived_bytes", "saved_activation_bytes"))

_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)


def memory_of(
    step: PreparedStep, before: int, *, device: Device, nvml: NvmlDevice, has_companions: bool
) -> tuple[Memory, tuple[Unknown, ...]]:
    """Memory of the plain or compiled step: a replay allocates nothing, its pool was filled by the same step.

    Args:
        step: Built, and compiled where its execution is.
        before: Bytes that the allocator held before it was built.
        device: Where it runs.
        nvml: Of that device.
        has_companions: Whether other processes of the session are on it.
    """
    step.reset()
    check_output(step)  # optimizer state and workspaces are made by the first step
    used = nvml.memory_used_bytes()
    if has_companions:
        used = unknown("processes that compiled for arms to come held memory on the device")
    try:
        memory = decompose(
            step.eager,
            device=device.torch_device,
            module=step.module,
            optimizer=step.optimizer,
            state=step.state,
            inputs=step.kept_tensors,
            allocated_before_bytes=before,
            device_used_bytes=used.value,
            compiled=step.workload.execution in _COMPILED,
        )
    except Exception as exc:  # a tracker that a layer's own code does not go with costs the memory alone
        if device.is_out_of_memory(exc):
            raise
        reason = f"could not be followed: {fault_sentence(step.workload.spec.layer, exc)}"
        memory = parts_without_peak(
            module=step.module,
            optimizer=step.optimizer,
            state=step.state,
            inputs=step.kept_tensors,
            device_used_bytes=used.value,
        )
        unknowns = memory_unknowns(memory, device.torch_device, device_used_reason=used.reason or "")
        return memory, tuple(replace(each, reason=reason) if each.field in _FOLLOWED else each for each in unknowns)
    return memory, memory_unknowns(memory, device.torch_device, device_used_reason=used.reason or "")
