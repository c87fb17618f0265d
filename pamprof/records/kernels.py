"""The kernels of one step as data: operator, class, shapes, work, bytes and time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pamprof.records.workload import Execution


class KernelClass(StrEnum):
    """What limits a kernel, and so by which figures of a device its time is carried to another one."""

    MATRIX_PRODUCT = "matrix-product"
    ATTENTION = "attention"  # softmax attention, fused
    MEMORY_CORE = "memory-core"  # a recurrent memory's chunked or stepwise core in a kernel of its own
    ELEMENTWISE = "elementwise"
    REDUCTION = "reduction"  # norms, softmax, sums, losses
    COPY = "copy"  # copies, fills, gathers, casts
    OTHER = "other"  # what moves no data that is known: launches alone, views on a CPU, kernels nobody has a class for


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelUse:
    """Calls of one operator on tensors of the same shapes and dtype, with what they launched; all sums are over them.

    On a GPU time is that of kernels, copies and fills; on a CPU, which runs its operators itself, that of the operator.

    Attributes:
        operator: That launched them, such as ``aten::mm`` or ``pamprof::fused_core``; a compiled kernel's own name; the
            kernel's short name where no operator is known.
        kernel: Short name of the one that took most of the time; None on a CPU.
        kernel_class: By operator, else by the kernel's name.
        shapes: Of the operator's tensor arguments in order; a list of tensors stands as one row of all its elements.
            Empty where they are not known.
        dtype: Of the first of them that holds floating-point numbers, in torch's word, such as ``bfloat16``; None
            where there is none or it is not known.
        call_count: Calls of the operator in one step.
        kernel_count: Kernels, copies and fills that they launched; 0 on a CPU.
        matrix_flop_count: Multiply-adds of matrix products, as in ``FlopCount``; None where nobody counted the call.
        elementwise_flop_count: Pointwise and reduction work likewise.
        byte_count: Least bytes moved: every tensor that is read or written, once each; None likewise.
        seconds: Summed time.
    """

    operator: str
    kernel: str | None
    kernel_class: KernelClass
    shapes: tuple[tuple[int, ...], ...]
    dtype: str | None
    call_count: int
    kernel_count: int
    matrix_flop_count: int | None
    elementwise_flop_count: int | None
    byte_count: int | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKernels:
    """The kernels of one step, profiled outside every sample; on a CPU of the fastest of a few.

    Attributes:
        uses: Those that took longest first.
        execution: How the profiled step ran: a captured graph hides which operator launched what, so a step that is
            replayed is profiled as the step that was captured, ``eager`` for ``graph``.
        busy_seconds: Time in which at least one of them ran; less than the sum of ``uses`` where they overlap.
    """

    uses: tuple[KernelUse, ...]
    execution: Execution
    busy_seconds: float
