"""Cross-entropy and its gradient as one kernel over the logits, which the gradient replaces.

Logits are the largest tensor of a training step; a row is read twice, the second time from the cache, and written once.

Axes: N rows (tokens), V vocabulary.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.core.tiles import rounded
from pamprof.workloads.kernels.device_functions import LOG2_E, exp2, power_of_two, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator

_FLOPS = 11  # per logit, as counted apart: log-softmax 5 and its backward 4, the target taken off, the mean's weight
_BLOCK, _WARPS = 16384, 32
_VECTOR_BYTES = 16

_LOWEST = tl.constexpr(-1e30)  # finite, so that nothing subtracts infinities


@triton.jit
def _cross_entropy_kernel(
    logits: tl.tensor,
    targets: tl.tensor,
    losses: tl.tensor,
    stride: tl.tensor,
    vocabulary: tl.tensor,
    log2_weight: tl.tensor,
    BLOCK: tl.constexpr,
    VECTOR: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    at_target = tl.load(logits + target).to(tl.float32)
    column = tl.arange(0, BLOCK // VECTOR)[:, None] * VECTOR + tl.arange(0, VECTOR)[None, :]
    # Columns that are all inside need no mask; a mask at the vocabulary's odd size would split their loads.
    whole = vocabulary // BLOCK * BLOCK
    # The largest so far and the sum of exponentials relative to it, for what one thread loads at once.
    largest = tl.full([BLOCK // VECTOR], _LOWEST, tl.float32)
    total = tl.zeros([BLOCK // VECTOR], tl.float32)
    for start in range(0, whole, BLOCK):
        largest, total = _added(largest, total, tl.load(logits + start + column).to(tl.float32))
    for start in range(whole, stride, BLOCK):
        tile = tl.load(logits + start + column, mask=start + column < stride, other=_LOWEST).to(tl.float32)
        largest, total = _added(largest, total, tl.where(start + column < vocabulary, tile, _LOWEST))
    highest = tl.max(largest, 0)
    total = tl.sum(total * exp2((largest - highest) * LOG2_E), 0)
    logarithm = highest * LOG2_E + tl.log2(total)
    tl.store(losses + row, logarithm / LOG2_E - at_target)
    shift = log2_weight - logarithm
    for start in range(0, whole, BLOCK):
        tile = tl.load(logits + start + column).to(tl.float32)
        tl.store(logits + start + column, rounded(exp2(tile * LOG2_E + shift), logits.dtype.element_ty))
    for start in range(whole, stride, BLOCK):
        tile = tl.load(logits + start + column, mask=start + column < stride, other=0.0).to(tl.float32)
        share = tl.where(start + column < vocabulary, exp2(tile * LOG2_E + shift), 0.0)
        store(logits + start + column, share, start + column < stride)
    tl.debug_barrier()  # the target's share is stored again, after what another thread stored there
    share = exp2(at_target * LOG2_E + shift) - exp2(log2_weight)
    tl.store(logits + target, rounded(share, logits.dtype.element_ty))


@triton.jit
def _added(largest: tl.tensor, total: tl.tensor, tile: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Largest [M] and sum [M] with one more tile [M, VECTOR], whose rows lie in one thread each."""
    higher = tl.maximum(largest, tl.max(tile, 1))
    scaled = higher * LOG2_E
    total = total * exp2(largest * LOG2_E - scaled) + tl.sum(exp2(tile * LOG2_E - scaled[:, None]), 1)
    return higher, total


def _fake(logits: Tensor, targets: Tensor, vocabulary_size: int) -> Tensor:
    del targets, vocabulary_size
    return logits.new_empty(logits.shape[0], dtype=torch.float32)


def _work(logits: Tensor, vocabulary_size: int) -> OperatorWork:
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
    vector = _VECTOR_BYTES // logits.element_size()
    _cross_entropy_kernel[(rows,)](
        logits,
        targets,
        losses,
        stride,
        vocabulary_size,
        -math.log2(rows),
        BLOCK=max(vector, min(_BLOCK, power_of_two(stride))),
        VECTOR=vector,
        num_warps=_WARPS,
    )
    return losses
