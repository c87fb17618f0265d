"""The real twin written out naively in float64: the recurrence one token after another.

Axes: B batch, T time, D model_dim, H heads, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

ORACLE_NAME = "naive float64 recurrence over tokens"


def naive_block(weights: Mapping[str, Tensor], z: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Output [B, T, D] and final state [B, H, d_v, d_k] of one block on ``z`` [B, T, D], all in float64."""

    def sigmoid(x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-x))

    def norm(x: Tensor, name: str) -> Tensor:
        return weights[f"{name}.scale"] * x / ((x**2).mean(-1, keepdim=True) + 1e-6).sqrt()

    def linear(x: Tensor, name: str) -> Tensor:
        return torch.einsum("oi,bti->bto", weights[f"{name}.weight"], x)

    def activation(x: Tensor) -> Tensor:
        bias = weights["gate_unit.act.bias"]
        if "gate_unit.act.beta" in weights:
            return x * sigmoid(weights["gate_unit.act.beta"] * x + bias)
        return (x + bias).clamp_min(0)

    x = norm(z, "norm1")
    gated = sigmoid(linear(x, "gate_unit.gate_proj")) * activation(linear(x, "gate_unit.up_proj"))
    z = z + weights["cgu_scale"] * linear(gated, "gate_unit.down_proj")
    x = norm(z, "norm2")
    q, k, v = (torch.unflatten(part, -1, (heads, -1)) for part in linear(x, "memory.qkv_proj").chunk(3, -1))
    head_dim = q.shape[-1]
    logits = linear(x, "memory.dt_proj") + weights["memory.dt_proj.bias"] + weights["memory.dt_bias"]
    protect = sigmoid(linear(x.abs(), "memory.protect_gate") + weights["memory.protect_gate.bias"])
    decay = torch.exp(-torch.log1p(torch.exp(logits))) * (1 - protect) + protect
    frequency = torch.tensor([10_000.0 ** (-2 * j / head_dim) for j in range(head_dim // 2)], dtype=torch.float64)

    def turned(x: Tensor, t: int) -> Tensor:
        first, second = x[..., : head_dim // 2], x[..., head_dim // 2 :]
        cosine, sine = torch.cos(t * frequency), torch.sin(t * frequency)
        return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)

    state = torch.zeros(len(z), heads, head_dim, head_dim, dtype=z.dtype)
    read = []
    for t in range(z.shape[1]):
        written = (1 - protect[:, t, :, None]) * v[:, t]
        state = decay[:, t, :, None, None] * state + torch.einsum("bhv,bhk->bhvk", written, turned(k[:, t], t))
        read.append(torch.einsum("bhvk,bhk->bhv", state, turned(q[:, t], t)) / sqrt(head_dim))
    return z + weights["pam_scale"] * linear(torch.stack(read, 1).flatten(2), "memory.o_proj"), state
