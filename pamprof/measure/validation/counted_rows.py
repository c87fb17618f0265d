"""FLOPs and bytes against the hardware counters: the tasks run under ``ncu``, kernel by kernel beside our own count."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pamprof.errors import UnsupportedError
from pamprof.measure.validation.counted_tasks import MARKER_KERNEL, CountedTask, read_tasks
from pamprof.measure.validation.counters import (
    DRAM_BYTES,
    FUSED_MULTIPLY_ADDS,
    TENSOR_BFLOAT16,
    Alternatives,
    CountedKernel,
    NsightCompute,
    first_available,
)
from pamprof.measure.validation.judge import FLOP_TOLERANCE, MEMORY_TOLERANCE, judged, not_available
from pamprof.measure.validation.tiles import executed_range, tile_of
from pamprof.records.validation import Agreement, ValidationGroup, ValidationRow
from pamprof.units import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.hardware.device import Device
    from pamprof.measure.validation.product_trace import Product

_MODULE = "pamprof.measure.validation.counted_tasks"
_WORTH_NAMING = 0.001  # share of a task's FLOPs
_MOST_NAMED = 4
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class _Executed:
    """What the hardware did for one product.

    Attributes:
        product: The product.
        tensor_flops: On the tensor pipe.
        float32_flops: On the float32 units, where the tensor pipe had no part in the kernel.
        kernel: Name of the kernel that did most.
    """

    product: Product
    tensor_flops: float
    float32_flops: float
    kernel: str

    @property
    def flops(self) -> float:
        return self.tensor_flops + self.float32_flops


def flop_rows(device: Device, ncu: NsightCompute | None, reason: str, timeout_seconds: float) -> list[ValidationRow]:
    """FLOPs of known products and of whole blocks against tensor-pipe operations and fused multiply-adds.

    Args:
        device: A CUDA device, else the rows are not available.
        ncu: Where the counters come from, None for the ``reason`` given.
        reason: Why there is no ``ncu``.
        timeout_seconds: For the whole program.
    """
    subject = "matrix FLOPs of products and blocks"
    names = f"ncu: {TENSOR_BFLOAT16[0][0]}, {FUSED_MULTIPLY_ADDS[0][0]}"
    try:
        profiler, existing = _usable(device, ncu, reason)
        tensor = _chosen(TENSOR_BFLOAT16, existing)
        float32 = _chosen(FUSED_MULTIPLY_ADDS, existing)
        tasks, groups = _profile(profiler, "flops", (*tensor, *float32), device, timeout_seconds)
        source = f"ncu: {' + '.join(tensor)}; where a kernel has none, 2 × {' + '.join(float32)}"
        remaining = iter(groups)
        return [
            _flop_row(
                task,
                [_executed(product, next(remaining), tensor, float32) for product in task.products],
                source,
            )
            for task in tasks
        ]
    except UnsupportedError as exc:
        return [not_available(ValidationGroup.FLOPS, subject, unit="FLOP", witness_source=names, reason=str(exc))]


def byte_rows(device: Device, ncu: NsightCompute | None, reason: str, timeout_seconds: float) -> list[ValidationRow]:
    """Bytes of a known pass over memory, and the least traffic we state, against DRAM bytes; arguments as above."""
    try:
        profiler, existing = _usable(device, ncu, reason)
        dram = _chosen(DRAM_BYTES, existing)
        tasks, groups = _profile(profiler, "bytes", dram, device, timeout_seconds)
        return [
            judged(
                ValidationGroup.BYTES,
                task.subject,
                unit="B",
                ours=float(task.ours),
                ours_source="least traffic" if task.lower_bound else "known size",
                witness=sum(kernel.total(dram) for kernel in kernels),
                witness_source=f"ncu: {' + '.join(dram)}",
                tolerance=MEMORY_TOLERANCE,
                agreement=Agreement.LOWER_BOUND if task.lower_bound else Agreement.RELATIVE,
                note=f"{len(kernels)} kernels" if len(kernels) > 1 else "",
            )
            for task, kernels in zip(tasks, groups, strict=True)
        ]
    except UnsupportedError as exc:
        return [
            not_available(
                ValidationGroup.BYTES,
                "bytes read and written",
                unit="B",
                witness_source=f"ncu: {' + '.join(DRAM_BYTES[0])}",
                reason=str(exc),
            )
        ]


def _usable(device: Device, ncu: NsightCompute | None, reason: str) -> tuple[NsightCompute, frozenset[str]]:
    """Nsight Compute and the counters there are."""
    if device.kind != "cuda":
        raise UnsupportedError("the device is a CPU; its counters are not read")
    if ncu is None:
        raise UnsupportedError(reason)
    return ncu, ncu.metrics()


def _chosen(alternatives: Alternatives, existing: frozenset[str]) -> tuple[str, ...]:
    found = first_available(alternatives, existing)
    if found is None:
        asked = "; ".join(" + ".join(names) for names in alternatives)
        raise UnsupportedError(f"this GPU has none of the counters asked for: {asked}")
    return found


def _profile(
    ncu: NsightCompute, kind: str, metrics: Sequence[str], device: Device, timeout_seconds: float
) -> tuple[tuple[CountedTask, ...], list[list[CountedKernel]]]:
    """Our tasks, and the counted kernels behind each marker."""
    with tempfile.TemporaryDirectory(prefix="pamprof-validate-") as folder:
        path = Path(folder) / "tasks.json"
        arguments = [kind, str(device.torch_device), str(path)]
        kernels = ncu.profile(metrics, _MODULE, arguments, timeout_seconds=timeout_seconds)
        if not path.exists():
            raise UnsupportedError("the program under ncu ended without a result")
        tasks = read_tasks(path)
    groups = split_at_markers(kernels)
    expected = sum(task.marker_count for task in tasks)
    if len(groups) != expected:
        raise UnsupportedError(f"ncu saw {len(groups)} of {expected} markers, so that kernels cannot be told apart")
    return tasks, groups


def split_at_markers(kernels: Sequence[CountedKernel]) -> list[list[CountedKernel]]:
    """The kernels behind each marker, without the markers.

    Raises:
        UnsupportedError: A kernel comes before the first marker.
    """
    groups: list[list[CountedKernel]] = []
    for kernel in kernels:
        if MARKER_KERNEL in kernel.name:
            groups.append([])
        elif groups:
            groups[-1].append(kernel)
        else:
            raise UnsupportedError(f"ncu saw {kernel.name} before the first marker")
    return groups


def _executed(
    product: Product, kernels: Sequence[CountedKernel], tensor: Sequence[str], float32: Sequence[str]
) -> _Executed:
    tensor_flops = float32_flops = most = 0.0
    name = "no kernel"
    for kernel in kernels:
        on_tensor = kernel.total(tensor)
        # Beside tensor operations the float32 units work on softmax and scaling, which are no product's.
        on_float32 = 0.0 if on_tensor else 2 * kernel.total(float32)
        tensor_flops += on_tensor
        float32_flops += on_float32
        if on_tensor + on_float32 >= most:
            most, name = on_tensor + on_float32, kernel.name
    return _Executed(product, tensor_flops, float32_flops, name)


def _flop_row(task: CountedTask, executed: Sequence[_Executed], source: str) -> ValidationRow:
    if task.unsupported_reason:
        reason = task.unsupported_reason
        return not_available(ValidationGroup.FLOPS, task.subject, unit="FLOP", witness_source=source, reason=reason)
    ranges = [executed_range(one.product, tile_of(one.kernel)) for one in executed]
    low, high = sum(least for least, _ in ranges), sum(most for _, most in ranges)
    total = sum(one.flops for one in executed)
    traced = sum(one.product.flop_count for one in executed)
    notes = []
    if traced != task.ours:
        notes.append(f"products add up to {traced:,}, the step to {task.ours:,}")
    tensor = sum(one.tensor_flops for one in executed)
    if 0 < tensor < total * (1 - _WORTH_NAMING):
        notes.append(f"{percent(tensor / total, 4)} on the tensor pipe, the rest on float32 units")
    if high > task.ours * (1 + _WORTH_NAMING):
        notes.append(f"whole tiles make it {low / task.ours - 1:+.2%} to {high / task.ours - 1:+.2%} of ours")
    notes += [
        f"attention executed {one.flops / one.product.dense_flop_count:.3f} of the dense count, ours is "
        f"{one.product.flop_count / one.product.dense_flop_count:.3f}"
        for one in executed
        if one.product.attention
    ]
    notes += _furthest_apart(executed, task.ours)
    return judged(
        ValidationGroup.FLOPS,
        task.subject,
        unit="FLOP",
        ours=float(task.ours),
        ours_source="FLOP counter",
        witness=total,
        witness_source=source,
        tolerance=FLOP_TOLERANCE,
        # Tiles explain the products that were seen; they do not explain a product that was not.
        explained=(low, high) if traced == task.ours else None,
        note="; ".join(notes),
    )


def _furthest_apart(executed: Sequence[_Executed], ours: int) -> list[str]:
    """Sentences about the products whose count is furthest from the hardware's, if that is worth a word."""
    ours_by_kind: Counter[str] = Counter()
    theirs_by_kind: Counter[str] = Counter()
    for one in executed:
        sizes = f"{one.product.batch} × [{one.product.rows} × {one.product.inner} × {one.product.columns}]"
        kind = f"{one.product.operator} {sizes} in {one.kernel[:_LONGEST_NAME]}"
        ours_by_kind[kind] += one.product.flop_count
        theirs_by_kind[kind] += round(one.flops)
    apart = sorted(ours_by_kind, key=lambda kind: -abs(theirs_by_kind[kind] - ours_by_kind[kind]))
    return [
        f"hardware {theirs_by_kind[kind] / ours_by_kind[kind] - 1:+.1%} for {kind}"
        for kind in apart[:_MOST_NAMED]
        if abs(theirs_by_kind[kind] - ours_by_kind[kind]) > _WORTH_NAMING * ours
    ]
