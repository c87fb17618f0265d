"""Attention of one query a sequence over a cache of which each sequence has filled a part of its own.

A program takes all queries of one group of one sequence and walks over the keys up to the sequence's position, a tile
at a time, with the running maximum and sum of FlashAttention (Dao et al., arXiv:2205.14135). What lies beyond is not
read, so that the kernel takes what the contexts have together.

Axes: B batch, H heads, K heads of keys and values, d head_dim, M cached positions.
"""

from __future__ import annotations

from math import e, log2, sqrt

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.core.tiles import add_product, rounded
from pamprof.workloads.kernels.device_functions import power_of_two, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator

_KEYS = 64  # of a tile
_LEAST_ROWS = 16  # of a matrix product on the tensor cores


@triton.jit
def _attention_kernel(
    query: tl.tensor, keys: tl.tensor, values: tl.tensor, positions: tl.tensor, out: tl.tensor, groups: tl.tensor,
    sequence_step: tl.tensor, group_step: tl.tensor, scale: tl.tensor,
    SHARED: tl.constexpr, HEAD_DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, KEYS: tl.constexpr,
) -> None:  # fmt: skip
    program = tl.program_id(0)
    sequence = (program // groups).to(tl.int64)
    group = program % groups
    row = tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    own = (row < SHARED)[:, None] & (channel < HEAD_DIM)[None, :]
    place = program.to(tl.int64) * (SHARED * HEAD_DIM) + row[:, None] * HEAD_DIM + channel[None, :]
    asked = tl.load(query + place, mask=own, other=0.0)
    first = sequence * sequence_step + group * group_step
    length = tl.load(positions + sequence).to(tl.int32) + 1
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    summed = tl.zeros((ROWS, BLOCK), tl.float32)
    for start in range(0, length, KEYS):
        at = start + tl.arange(0, KEYS)
        inside = (at < length)[:, None] & (channel < HEAD_DIM)[None, :]
        tile = first + at[:, None].to(tl.int64) * HEAD_DIM + channel[None, :]
        key = tl.load(keys + tile, mask=inside, other=0.0)
        value = tl.load(values + tile, mask=inside, other=0.0)
        score = add_product(tl.zeros((ROWS, KEYS), tl.float32), asked, tl.trans(key), "ieee") * scale
        score = tl.where((at < length)[None, :], score, float("-inf"))
        new = tl.maximum(largest, tl.max(score, 1))
        weight = tl.exp2(score - new[:, None])
        kept = tl.exp2(largest - new)
        total = total * kept + tl.sum(weight, 1)
        summed = add_product(summed * kept[:, None], rounded(weight, value.dtype), value, "ieee")
        largest = new
    store(out + place, summed / total[:, None], own)


def _work(query: Tensor, cache: Tensor) -> OperatorWork:
    """Two products over all cached positions: how many are filled is not known where nothing is computed."""
    flops = 4 * query.numel() * cache.shape[3]
    return OperatorWork(matrix_flop_count=flops, matrix_dense_flop_count=flops, elementwise_flop_count=0)


def _fake(query: Tensor, cache: Tensor, positions: Tensor) -> Tensor:
    del cache, positions
    return torch.empty(query.shape, dtype=query.dtype, device=query.device)


@kernel_operator("decode_attention", fake=_fake, work=_work)
def attention_step(query: Tensor, cache: Tensor, positions: Tensor) -> Tensor:
    """Attention of queries [B, H, 1, d] to keys and values [2, B, K, M, d] up to positions [B]: [B, H, 1, d].

    A cache's positions must be contiguous, its sequences and heads may lie apart.
    """
    batch, heads, _, head_dim = query.shape
    groups = cache.shape[2]
    keys, values = cache
    if cache.stride()[-2:] != (head_dim, 1):
        raise ValueError(f"cache has strides {cache.stride()}; a kernel needs each head's positions contiguous")
    out = _fake(query, cache, positions)
    shared = heads // groups
    _attention_kernel[(batch * groups,)](
        query.contiguous(),
        keys,
        values,
        positions,
        out,
        groups,
        keys.stride(0),
        keys.stride(1),
        log2(e) / sqrt(head_dim),
        SHARED=shared,
        HEAD_DIM=head_dim,
        ROWS=max(_LEAST_ROWS, power_of_two(shared)),
        BLOCK=max(_LEAST_ROWS, power_of_two(head_dim)),
        KEYS=_KEYS,
    )
    return out
