"""Peak memory against other bookkeepers: the resident set of a process, torch's allocator, the driver."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import msgspec
import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.memory.breakdown import decompose
from pamprof.measure.validation import known_allocation
from pamprof.measure.validation.command import run_command
from pamprof.measure.validation.judge import MEMORY_TOLERANCE, judged, not_available
from pamprof.records import Dtype, Execution, Memory, Phase, Scope, Workload
from pamprof.records.validation import Agreement, ValidationGroup, ValidationRow
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

if TYPE_CHECKING:
    from pamprof.hardware.device import Device
    from pamprof.hardware.nvml import NvmlDevice

_TIMEOUT_SECONDS = 60.0
_ARMS = (("pam", "planar"), ("transformer", "sdpa"))
_SEQUENCE_LENGTH = 2048


def host_memory_rows() -> list[ValidationRow]:
    """The storage tracker against a known allocation and against the resident set of a fresh process."""
    subject = "three tensors of 128 MiB at once, on the CPU"
    found = _of_a_fresh_process()
    if isinstance(found, str):
        return [
            not_available(ValidationGroup.MEMORY, subject, unit="B", witness_source="a fresh process", reason=found)
        ]
    tracked = float(found.tracked_bytes), "storage tracker"
    rows = [_row(subject, tracked, (float(found.known_bytes), "by construction"))]
    if found.resident_rise_bytes is None:
        reason = f"{sys.platform} keeps no high-water mark of the resident set"
        rows.append(not_available(ValidationGroup.MEMORY, subject, unit="B", witness_source="VmHWM", reason=reason))
    else:
        witness = float(found.resident_rise_bytes), "VmHWM of a fresh process, its start taken off"
        rows.append(_row(subject, tracked, witness))
    return rows


def _of_a_fresh_process() -> known_allocation.KnownAllocation | str:
    """What a fresh process saw of its known allocation, or why it could not say."""
    try:
        done = run_command([sys.executable, "-m", known_allocation.__name__], _TIMEOUT_SECONDS)
    except UnsupportedError as exc:
        return str(exc)
    except TimeoutError:
        return f"the process was not done after {_TIMEOUT_SECONDS:g} s"
    if done.status:
        return f"the process ended with status {done.status}: {done.last_words()}"
    return msgspec.json.decode(done.text, type=known_allocation.KnownAllocation)


def device_memory_rows(device: Device, nvml: NvmlDevice) -> list[ValidationRow]:
    """A training step of the 100m models: our peak and reserved bytes against torch's allocator and the driver."""
    if device.kind != "cuda":
        return [
            not_available(
                ValidationGroup.MEMORY,
                "peak of a training step on the GPU",
                unit="B",
                witness_source="torch.cuda.max_memory_allocated, NVML",
                reason="the device is a CPU",
            )
        ]
    rows = []
    for layer, implementation in _ARMS:
        _train(layer, implementation, device, nvml)  # libraries load what they keep on the device
        rows += _train(layer, implementation, device, nvml)
    return rows


def _train(layer: str, implementation: str, device: Device, nvml: NvmlDevice) -> list[ValidationRow]:
    gc.collect()
    device.synchronise()
    device.empty_cache()
    allocated_before = torch.cuda.memory_allocated(device.torch_device)
    reserved_before = torch.cuda.memory_reserved(device.torch_device)
    used_before = nvml.memory_used_bytes()
    found = definition(layer)
    workload = Workload(
        spec=found.preset("100m"),
        implementation=implementation,
        execution=Execution.EAGER,
        phase=Phase.TRAIN,
        scope=Scope.MODEL,
        batch_size=1,
        sequence_length=_SEQUENCE_LENGTH,
        dtype=Dtype.BFLOAT16,
    )
    step = PreparedStep(workload, found, device=device.torch_device, seed=0)
    step.eager()
    memory = decompose(
        step.eager,
        device=device.torch_device,
        module=step.module,
        optimizer=step.optimizer,
        state=step.state,
        inputs=step.kept_tensors,
        allocated_before_bytes=allocated_before,
    )
    used_after = nvml.memory_used_bytes()
    device.reset_peak_memory()
    step.eager()
    device.synchronise()
    allocated = torch.cuda.max_memory_allocated(device.torch_device) - allocated_before
    rise = None
    if used_before.value is not None and used_after.value is not None:
        rise = used_after.value - used_before.value
    return training_rows(
        f"{found.title} {implementation}, 100m, training 1 × {_SEQUENCE_LENGTH}, eager",
        memory,
        allocated_bytes=allocated,
        reserved_before_bytes=reserved_before,
        nvml_rise_bytes=rise,
        nvml_reason=used_before.reason or used_after.reason or "",
    )


def training_rows(
    subject: str,
    memory: Memory,
    *,
    allocated_bytes: int,
    reserved_before_bytes: int,
    nvml_rise_bytes: int | None,
    nvml_reason: str,
) -> list[ValidationRow]:
    """Rows of one training step on CUDA.

    Args:
        subject: What was run.
        memory: As ``decompose`` found it.
        allocated_bytes: Rise of ``max_memory_allocated`` over what was there before, reset for this.
        reserved_before_bytes: What the allocator held before the step was built.
        nvml_rise_bytes: Rise of the device's memory in use, None for the ``nvml_reason``.
        nvml_reason: Why the rise is unknown.
    """
    assert memory.peak_bytes is not None
    peak = float(memory.peak_bytes), "peak_bytes"
    rows = [_row(f"{subject}: peak", peak, (float(allocated_bytes), "torch.cuda.max_memory_allocated"))]
    source = "rise of NVML's memory used"
    if nvml_rise_bytes is None:
        rows.append(not_available(ValidationGroup.MEMORY, subject, unit="B", witness_source=source, reason=nvml_reason))
        return rows
    rise = float(nvml_rise_bytes), source
    reserved = float((memory.reserved_bytes or 0) - reserved_before_bytes), "reserved_bytes"
    rows.append(_row(f"{subject}: reserved", reserved, rise))
    note = "the rest is what the allocator holds beyond the fullest moment"
    rows.append(_row(f"{subject}: peak", peak, rise, agreement=Agreement.LOWER_BOUND, note=note))
    return rows


def _row(
    subject: str,
    ours: tuple[float, str],
    witness: tuple[float, str],
    *,
    agreement: Agreement = Agreement.RELATIVE,
    note: str = "",
) -> ValidationRow:
    """A row from two pairs of bytes and where they come from."""
    return judged(
        ValidationGroup.MEMORY,
        subject,
        unit="B",
        ours=ours[0],
        ours_source=ours[1],
        witness=witness[0],
        witness_source=witness[1],
        tolerance=MEMORY_TOLERANCE,
        agreement=agreement,
        note=note,
    )
