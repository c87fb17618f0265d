"""Cross-entropy and its gradient as one kernel over the logits, which the gradient replaces.

Logits are the largest tensor of a training step; a row is read twice, the second time from the cache, and written once.

Axes: N rows (tokens), V vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block_math import power_of_two, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator

_FLOPS = 11  # per logit, as counted apart: log-softmax 5 and its backward 4, the target taken off, the mean's weight
_BLOCK, _WARPS = 2048, 8


@triton.jit  # type: ignore[untyped-decorator]
def _cross_entropy_kernel(  # type: ignore[no-untyped-def]
    logits, targets, losses, stride, vocabulary, weight, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    at_target = tl.load(logits + target).to(tl.float32)
    column = tl.arange(0, BLOCK)
    # The largest so far and the sum of exponentials relative to it, for each of BLOCK residues of the column.
    largest = tl.full([BLOCK], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocabulary, BLOCK):
        tile = tl.load(logits + start + column, mask=start + column < vocabulary, other=-float("inf")).to(tl.float32)
        higher = tl.maximum(largest, tile)
        # A residue without any column stays at minus infinity, and its sum at zero.
        reached = tl.where(higher == -float("inf"), 0.0, higher)
        total = total * tl.exp(largest - reached) + tl.exp(tile - reached)
        largest = higher
    highest = tl.max(largest, 0)
    total = tl.sum(total * tl.exp(largest - highest), 0)
    logarithm = highest + tl.log(total)
    tl.store(losses + row, logarithm - at_target)
    for start in range(0, stride, BLOCK):
        inside = start + column < vocabulary
        tile = tl.load(logits + start + column, mask=inside, other=-float("inf")).to(tl.float32)
        share = tl.exp(tile - logarithm) - tl.where(start + column == target, 1.0, 0.0)
        store(logits + start + column, share * weight, start + column < stride)


def _fake(logits: Tensor, targets: Tensor, vocabulary_size: int) -> Tensor:
    del targets, vocabulary_size
    return logits.new_empty(logits.shape[0], dtype=torch.float32)


def _work(logits: Tensor, targets: Tensor, vocabulary_size: int, *, output: object) -> OperatorWork:
    del targets, output
    return OperatorWork(elementwise_flop_count=_FLOPS * logits.shape[0] * vocabulary_size)


@kernel_operator("fused_cross_entropy", fake=_fake, work=_work, mutates=("logits",))
def cross_entropy_(logits: Tensor, targets: Tensor, vocabulary_size: int) -> Tensor:
    """Cross-entropy of each row; the logits become the gradient of its mean over rows.

    Args:
        logits: [N, V + padding], contiguous, in float32, bfloat16 or float16; the padding's become zeros.
        targets: Integers [N] in 0 to V - 1.
        vocabulary_size: V.

    Returns:
        float32 [N].
    """
    rows, stride = logits.shape
    losses = logits.new_empty(rows, dtype=torch.float32)
    block = min(_BLOCK, power_of_two(stride))
    _cross_entropy_kernel[(rows,)](
        logits, targets, losses, stride, vocabulary_size, 1.0 / rows, BLOCK=block, num_warps=_WARPS
    )
    return losses
