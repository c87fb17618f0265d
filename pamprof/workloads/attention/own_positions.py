"""Attention of one query a sequence, each at a position of its own: what a server decodes.

On a GPU a hand-written kernel reads the keys up to each sequence's position and no others, so that a step takes what
the contexts in it have together; elsewhere torch computes all of them and masks those beyond.

Axes: B batch, H heads, K heads of keys and values, d head_dim, M cached positions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.kernels.availability import missing_triton


def attend_each(query: Tensor, written: Tensor, cache: Tensor, positions: Tensor) -> Tensor:
    """Write keys and values of one token a sequence, then attend to all up to it: [B, H, 1, d].

    Args:
        query: [B, H, 1, d].
        written: Keys and values of the token, [2, B, K, 1, d].
        cache: Keys and values [2, B, K, M, d]; the token's are written at its position.
        positions: Of each sequence's token [B], int64.
    """
    cache.scatter_(3, positions[None, :, None, None, None].expand(written.shape), written)
    if query.is_cuda and missing_triton() is None:
        from pamprof.workloads.kernels.decode.attention import attention_step

        return attention_step(query, cache, positions)
    return masked(query, cache, positions)


def masked(query: Tensor, cache: Tensor, positions: Tensor) -> Tensor:
    """The same by torch, of the keys up to the furthest position; the queries of one group are rows of one product."""
    heads, groups, head_dim = query.shape[1], cache.shape[2], query.shape[-1]
    length = int(positions.max()) + 1
    key, value = cache[:, :, :, :length]
    seen = torch.arange(length, device=query.device) <= positions[:, None]
    rows = query.reshape(-1, groups, heads // groups, head_dim)
    attended = functional.scaled_dot_product_attention(rows, key, value, attn_mask=seen[:, None, None])
    return attended.reshape(query.shape)
