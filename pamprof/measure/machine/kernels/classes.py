"""Which class a kernel is of: by the operator that launched it, or by its own name where that is not known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pamprof.measure.flops.attention import ATTENTION_OPERATORS
from pamprof.measure.flops.elementwise import is_reduction
from pamprof.records import KernelClass

if TYPE_CHECKING:
    from pamprof.workloads.kernel_flops import OperatorWork

# Products of weights with what is around them fused in; other operators outside ``aten`` that multiply matrices are
# cores of a memory.
_OWN_PRODUCTS = re.compile(
    r"pamprof::fused_(add_product|decode_(partial_products|product|gate_product|project|gate_unit|memory_inputs))$"
)
_ROWS = re.compile(r"norm|softmax|cross_entropy|nll_loss|reduc|sum|mean|_fft", re.IGNORECASE)

# By what torch, cuBLAS, cuDNN, Inductor and Triton call their kernels; the first that fits.
_KERNEL_NAMES = (
    (re.compile(r"^triton_poi_"), KernelClass.ELEMENTWISE),  # whatever is fused into it stands in its name
    (re.compile(r"^triton_(red|per)_"), KernelClass.REDUCTION),
    (re.compile(r"flash|fmha|attention|sdpa", re.IGNORECASE), KernelClass.ATTENTION),
    (
        re.compile(r"gemm|gemv|cutlass|xmma|nvjet|cublas|splitK|triton_(tem|mm)", re.IGNORECASE),
        KernelClass.MATRIX_PRODUCT,
    ),
    (re.compile(r"memcpy|memset|copy|index|gather|scatter|fill", re.IGNORECASE), KernelClass.COPY),
    (_ROWS, KernelClass.REDUCTION),
    (re.compile(r"elementwise|multi_tensor|foreach", re.IGNORECASE), KernelClass.ELEMENTWISE),
)


def operator_class(name: str, work: OperatorWork | None, moved_bytes: int | None) -> KernelClass | None:
    """The class of an operator's kernels.

    Args:
        name: ``namespace::name``.
        work: What a call costs; None where no formula covers it.
        moved_bytes: What a call moves; None where that is not known.

    Returns:
        The class; None where neither name nor work tell.
    """
    if name.removesuffix("_") in ATTENTION_OPERATORS or "attention" in name:
        return KernelClass.ATTENTION
    own = not name.startswith("aten::")
    if own and "norm" in name:
        return KernelClass.REDUCTION  # also with a small product fused in
    if work is not None and work.matrix_dense_flop_count:
        return KernelClass.MEMORY_CORE if own and not _OWN_PRODUCTS.match(name) else KernelClass.MATRIX_PRODUCT
    if (own and _ROWS.search(name)) or (not own and is_reduction(name)):
        return KernelClass.REDUCTION
    if work is None or moved_bytes == 0:
        return None if work is None else KernelClass.OTHER
    return KernelClass.ELEMENTWISE if work.elementwise_flop_count or own else KernelClass.COPY


def kernel_name_class(kernel: str) -> KernelClass:
    """The class of a kernel of which only the name is known."""
    return next((found for pattern, found in _KERNEL_NAMES if pattern.search(kernel)), KernelClass.OTHER)
