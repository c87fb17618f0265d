"""Where a step's kernel time went, class by class, and how near each class is to what the device allows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import CeilingKind
from pamprof.records import KernelClass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.records import KernelUse, StepKernels

# Read weights, keys or states and write little; the others write about as much as they read.
_READING = {KernelClass.MATRIX_PRODUCT, KernelClass.ATTENTION, KernelClass.MEMORY_CORE}


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelClassTime:
    """The kernels of one class in one step.

    Attributes:
        kernel_class: Which.
        seconds: Summed time.
        share_ratio: Of the time of all kernels, 0..1.
        count: Kernels; on a CPU calls of operators.
        matrix_flop_count: None where nobody counted one of them.
        byte_count: Least bytes moved; None likewise.
        ceiling_ratio: Least time that FLOPs or bytes allow over the time taken, of those whose ceiling is known; above
            1 where tensors stayed in a cache. None without any.
    """

    kernel_class: KernelClass
    seconds: float
    share_ratio: float
    count: int
    matrix_flop_count: int | None
    byte_count: int | None
    ceiling_ratio: float | None


def kernel_class_times(kernels: StepKernels, roof: Roof | None) -> tuple[KernelClassTime, ...]:
    """The classes of a step, that which took longest first."""
    by_class: dict[KernelClass, list[KernelUse]] = defaultdict(list)
    for use in kernels.uses:
        by_class[use.kernel_class].append(use)
    total = sum(use.seconds for use in kernels.uses)
    found = (_class_time(kernel_class, uses, total, roof) for kernel_class, uses in by_class.items())
    return tuple(sorted(found, key=lambda each: -each.seconds))


def least_seconds(use: KernelUse, roof: Roof | None) -> float | None:
    """What the device's ceilings allow the calls of ``use``; None where bytes or ceilings are not known.

    Matrix FLOPs have a ceiling in the dtype of ``roof`` alone: a product in another one may be several times slower.
    """
    bandwidth = None
    if roof is not None:
        bandwidth = roof.bandwidth(CeilingKind.READ if use.kernel_class in _READING else CeilingKind.COPY)
    if roof is None or bandwidth is None or not use.byte_count:
        return None
    moving = use.byte_count / bandwidth.bytes_per_second
    if not use.matrix_flop_count:
        return None if use.matrix_flop_count is None and use.kernel_class in _READING else moving
    if use.dtype != roof.dtype.value or roof.peak_flops_per_second is None:
        return None
    return max(moving, use.matrix_flop_count / roof.peak_flops_per_second)


def _class_time(kernel_class: KernelClass, uses: list[KernelUse], total: float, roof: Roof | None) -> KernelClassTime:
    seconds = sum(use.seconds for use in uses)
    known = [(least, use.seconds) for use in uses if (least := least_seconds(use, roof)) is not None]
    return KernelClassTime(
        kernel_class=kernel_class,
        seconds=seconds,
        share_ratio=seconds / total,
        count=sum(use.kernel_count or use.call_count for use in uses),
        matrix_flop_count=_sum(use.matrix_flop_count for use in uses),
        byte_count=_sum(use.byte_count for use in uses),
        ceiling_ratio=sum(least for least, _ in known) / sum(taken for _, taken in known) if known else None,
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)
