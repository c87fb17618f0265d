"""FLOPs of flex attention: the pairs that its ``mask_mod`` keeps, and beside them the blocks that are computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from pamprof.measure.flops.attention import ATTENTION_BACKWARD_ELEMENTWISE, ATTENTION_FORWARD_ELEMENTWISE
from pamprof.workloads.kernel_flops import OperatorWork

if TYPE_CHECKING:
    from collections.abc import Sequence

# The higher-order operator and, among its arguments, where the block mask and the buffers of its ``mask_mod`` stand.
FLEX_ATTENTION = {"flex_attention": (4, 8), "flex_attention_backward": (9, 13)}

_MaskMod = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# Pairs for which a mask is evaluated at once; each takes a byte and a few index tensors.
_MASK_ELEMENTS = 1 << 22


def flex_attention_work(operator: str, args: Sequence[object]) -> OperatorWork | None:
    """Work of one call; None where its mask cannot be evaluated, as on the meta device.

    The dense count is that of the blocks that the mask lists, cut at the ends of the sequences. A ``score_mod`` is one
    operation per pair.

    Args:
        operator: A key of ``FLEX_ATTENTION``.
        args: All its arguments.
    """
    block_position, buffers_position = FLEX_ATTENTION[operator]
    query, key, value = (item for item in args[:3] if isinstance(item, torch.Tensor))
    mask, buffers = args[block_position], args[buffers_position] if len(args) > buffers_position else ()
    if not isinstance(mask, tuple) or not isinstance(buffers, tuple) or type(mask[2]) is not torch.Tensor:
        return None
    if mask[2].device.type == "meta":
        return None
    batch, heads, queries, keys = query.shape[0], query.shape[1], query.shape[2], key.shape[2]
    # A mask that is the same for every sequence or head has one entry for all of them.
    copies = batch * heads // (mask[2].shape[0] * mask[2].shape[1])
    backward = operator.endswith("backward")
    flops_per_pair = 2 * (query.shape[3] + value.shape[3]) * (2 if backward else 1)
    pairs = copies * _kept_pairs(mask, buffers, queries, keys)
    per_pair = ATTENTION_BACKWARD_ELEMENTWISE if backward else ATTENTION_FORWARD_ELEMENTWISE
    return OperatorWork(
        matrix_flop_count=flops_per_pair * pairs,
        matrix_dense_flop_count=flops_per_pair * copies * _executed_pairs(mask, queries, keys),
        elementwise_flop_count=(per_pair + 1) * pairs,
    )


def _kept_pairs(mask: tuple[object, ...], buffers: tuple[object, ...], queries: int, keys: int) -> int:
    """Pairs of query and key that the ``mask_mod`` keeps, over all its sequences and heads."""
    from torch.nn.attention.flex_attention import create_mask, noop_mask

    blocks, mask_mod = mask[2], mask[-1]
    assert isinstance(blocks, torch.Tensor)
    assert callable(mask_mod)
    masks, heads = blocks.shape[:2]
    if mask_mod is noop_mask:
        return masks * heads * queries * keys
    kept = 0
    rows = max(1, _MASK_ELEMENTS // max(1, masks * heads * keys))
    for first in range(0, queries, rows):
        count = min(rows, queries - first)
        keeps = _shifted(mask_mod, buffers, first)
        kept += int(create_mask(keeps, masks, heads, count, keys, device=blocks.device.type).sum())
    return kept


def _shifted(mask_mod: Callable[..., torch.Tensor], buffers: tuple[object, ...], first: int) -> _MaskMod:
    """``mask_mod`` with its buffers, of queries counted from ``first``."""
    return lambda b, h, q, kv: mask_mod(b, h, q + first, kv, *buffers)


def _executed_pairs(mask: tuple[object, ...], queries: int, keys: int) -> int:
    """Pairs in the blocks that are computed, in part or in full, over all sequences and heads of the mask."""
    query_block, key_block = mask[-3], mask[-2]
    assert isinstance(query_block, int)
    assert isinstance(key_block, int)
    executed = 0
    for counts, columns in ((mask[2], mask[3]), (mask[4], mask[5])):
        if not isinstance(counts, torch.Tensor) or not isinstance(columns, torch.Tensor):
            continue
        listed = torch.arange(columns.shape[-1], device=columns.device) < counts[..., None]
        widths = (keys - columns.long() * key_block).clamp(0, key_block) * listed
        starts = torch.arange(counts.shape[-1], device=counts.device) * query_block
        heights = (queries - starts).clamp(0, query_block)
        executed += int((widths.sum(-1) * heights).sum())
    return executed
