"""The tied projection and its cross-entropy as one autograd function, which keeps a single tensor of logits' size.

Axes: N rows (tokens), V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pamprof.workloads.autograd import Function
from pamprof.workloads.kernels.cross_entropy import cross_entropy_

if TYPE_CHECKING:
    from torch import Tensor


class FusedCrossEntropyFunction(Function):
    """Mean cross-entropy of rows against a table."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor, targets: Tensor, vocabulary_size: int) -> Tensor:
        """A float32 scalar.

        Args:
            ctx: Autograd's.
            rows: [N, width].
            table: [V + padding, width] in the dtype of ``rows``.
            targets: Integers [N].
            vocabulary_size: V.
        """
        gradient = rows @ table.mT
        losses = cross_entropy_(gradient, targets, vocabulary_size)
        ctx.save_for_backward(rows, table, gradient)
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Gradients of rows and table."""
        rows, table, gradient = ctx.saved_tensors
        (scale,) = gradients
        return (gradient @ table) * scale.to(rows.dtype), (gradient.mT @ rows) * scale.to(rows.dtype), None, None
