"""A product added to a sum in place, also where a compiler would copy the sum first."""

from __future__ import annotations

from torch import Tensor  # noqa: TC002 - operators are declared from their annotations

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.kernel_operator import kernel_operator


def _work(total: Tensor, weight: Tensor) -> OperatorWork:
    products = 2 * total.numel() * weight.shape[1]
    return OperatorWork(
        matrix_flop_count=products,
        matrix_dense_flop_count=products,
        elementwise_flop_count=total.numel(),
        byte_count=0,  # the library's kernel, whose bytes are not among those of ours
    )


def _fake(total: Tensor, planes: Tensor, weight: Tensor) -> None:
    del total, planes, weight


@kernel_operator("fused_add_product", fake=_fake, work=_work, mutates=("total",))
def add_product_(total: Tensor, planes: Tensor, weight: Tensor) -> None:
    """Add the product of rows [x_r, x_i] with a block matrix to planes, by the library.

    Args:
        total: Planes [B, T, 2, N], contiguous.
        planes: [B, T, 2, K] or [B, T, 2, H, d] with K = H d, contiguous, in the same dtype.
        weight: [2 N, 2 K].
    """
    rows = total.view(-1, weight.shape[0])
    rows.addmm_(planes.reshape(rows.shape[0], -1), weight.mT)
