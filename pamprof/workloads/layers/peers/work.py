"""Matrix FLOPs of a recurrence's kernels, which no counter sees: of the chunked form, argued term by term.

A chunk has C positions, of which P = C (C + 1) / 2 pairs are causal. A real multiply-add is 2. What a kernel computes
anew in its backward pass is no part of the work; a backward pass has two products for each of the forward one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork, register_kernel_flops

Rule = Literal["linear", "delta", "diagonal_plus_low_rank"]

# Products over pairs of positions with K and with V channels, and over the state, by rule:
# - linear (GLA, arXiv 2312.06635, section 4; RetNet; mLSTM, arXiv 2503.14376; Mamba-2, arXiv 2405.21060, section 6):
#   scores q k, outputs by v; the state is written and read.
# - delta (arXiv 2406.06484, section 3; Gated DeltaNet, arXiv 2412.06464; KDA, arXiv 2510.26692): besides these, scores
#   k k, and the inverted triangle times keys (W) and values (U); the state is also read by W.
# - diagonal plus low rank (RWKV-7, arXiv 2503.14456): four scores of q and a with k and b; the triangle of a and b
#   inverted times a and times (a k) v, that product itself, outputs by v and by U; the state is read twice and written
#   twice.
_PRODUCTS: dict[Rule, tuple[int, int, int]] = {
    "linear": (1, 1, 2),
    "delta": (3, 2, 3),
    "diagonal_plus_low_rank": (5, 4, 4),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrenceWork:
    """What the kernels of one layer do.

    Attributes:
        rule: How the state is written.
        heads: States.
        key_dim: Rows of one state.
        value_dim: Its columns.
        chunk_size: Positions that the kernel takes together.
        score_heads: Heads that scores are computed for, where heads share them; None: all.
        convolved_weights: Weights of short convolutions, which are kernels too: one multiply-add each a position.
    """

    rule: Rule
    heads: int
    key_dim: int
    value_dim: int
    chunk_size: int = 64
    score_heads: int | None = None
    convolved_weights: int = 0

    def forward(self, batch_size: int, length: int) -> OperatorWork:
        """Of sequences of ``length`` positions; a single position takes the recurrence itself, without pairs."""
        by_key, by_value, by_state = _PRODUCTS[self.rule]
        chunks, rest = divmod(length, self.chunk_size)
        sizes = [self.chunk_size] * chunks + [rest] * bool(rest)
        causal, dense = sum(size * (size + 1) // 2 for size in sizes), sum(size * size for size in sizes)
        if length == 1:
            causal = dense = 0
        score_heads = self.heads if self.score_heads is None else self.score_heads
        channels = by_key * self.key_dim * score_heads + by_value * self.value_dim * self.heads
        states = by_state * 2 * length * self.key_dim * self.value_dim * self.heads
        # A unit triangle of n rows is inverted with n^3 / 6 multiply-adds.
        inverse = 0 if self.rule == "linear" or length == 1 else self.heads * sum(size**3 // 3 for size in sizes)
        rest_of_it = states + inverse + 2 * length * self.convolved_weights
        return OperatorWork(
            matrix_flop_count=batch_size * (2 * causal * channels + rest_of_it),
            matrix_dense_flop_count=batch_size * (2 * dense * channels + rest_of_it),
        )


def told(output: Tensor, work: OperatorWork) -> Tensor:
    """``output`` [B, T, D] of kernels that did ``work``; whoever counts operators learns of it, and of the backward."""
    told_output: Tensor = _Told.apply(output, work)  # type: ignore[no-untyped-call]
    return told_output


class _Told(torch.autograd.Function):
    """Dispatches an operator that does nothing and has a formula, beside kernels that no operator stands for."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, work: OperatorWork) -> Tensor:
        ctx.work = work
        _tell(output, work, 1)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        _tell(gradient, ctx.work, 2)
        return gradient, None


def _tell(like: Tensor, work: OperatorWork, times: int) -> None:
    torch.ops.pamprof_peers.kernels_ran(
        like.detach(), times * work.matrix_flop_count, times * work.matrix_dense_flop_count
    )


_LIBRARY = torch.library.Library("pamprof_peers", "DEF")
_LIBRARY.define("kernels_ran(Tensor like, int matrix_flop_count, int matrix_dense_flop_count) -> ()")
_LIBRARY.impl("kernels_ran", lambda like, causal, dense: None, "CompositeExplicitAutograd")
register_kernel_flops(
    "pamprof_peers::kernels_ran",
    lambda like, causal, dense, *, output: OperatorWork(matrix_flop_count=causal, matrix_dense_flop_count=dense),
)
