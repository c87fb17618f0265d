"""The Llama-style block written out naively in float64: the oracle every measured block is checked against.

Nothing is shared with the measured code but the parameter values: norms by their definition, rotations as products with
complex numbers, one query head at a time with the keys of its group, the whole score matrix, SwiGLU by its definition.

Axes: B batch, T time, D model_dim, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pamprof.records import LayerSpec

ORACLE_NAME = "naive float64 grouped-query block"

_BASE = 500_000.0
_EPSILON = 1e-5


def naive_block(parameters: Mapping[str, Tensor], hidden: Tensor, spec: LayerSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Output [B, T, D], keys and values [B, K, T, d] of one block on ``hidden`` [B, T, D], all float64."""
    head_dim = spec.head_dim
    groups = spec.heads if spec.key_value_heads is None else spec.key_value_heads
    time = hidden.shape[1]

    def norm(name: str, value: Tensor) -> Tensor:
        return value / (value.square().mean(-1, keepdim=True) + _EPSILON).sqrt() * parameters[f"{name}.weight"]

    def linear(name: str, value: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", value, parameters[f"{name}.weight"])

    frequencies = torch.tensor([_BASE ** (-2 * pair / head_dim) for pair in range(head_dim // 2)], dtype=torch.float64)
    angles = torch.arange(time, dtype=torch.float64)[:, None] * frequencies
    turns = torch.polar(torch.ones_like(angles), angles)

    def turned(head: Tensor) -> Tensor:
        product = torch.complex(head[..., : head_dim // 2], head[..., head_dim // 2 :]) * turns
        return torch.cat((product.real, product.imag), -1)

    heads = torch.split(linear("query_key_value", norm("attention_norm", hidden)), head_dim, -1)
    keys = [turned(head) for head in heads[spec.heads : spec.heads + groups]]
    values = heads[spec.heads + groups :]
    future = torch.ones(time, time, dtype=torch.bool).triu(1)
    attended = []
    for number in range(spec.heads):
        group = number * groups // spec.heads
        scores = torch.einsum("btd,bsd->bts", turned(heads[number]), keys[group]) / sqrt(head_dim)
        weights = scores.masked_fill(future, float("-inf")).exp()
        attended.append(torch.einsum("bts,bsd->btd", weights / weights.sum(-1, keepdim=True), values[group]))
    hidden = hidden + linear("attention_output", torch.cat(attended, dim=-1))
    gate, up = linear("gate_up", norm("feed_forward_norm", hidden)).chunk(2, -1)
    output = hidden + linear("down", gate / (1 + torch.exp(-gate)) * up)
    return output, torch.stack(keys, 1), torch.stack(values, 1)
