"""The real twin written out naively in float64: the recurrence one token after another.

Axes: B batch, T time, D model_dim, H heads, K states, d head_dim.
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
    """Output [B, T, D] and final state [B, H, d_v, d_k] of one block on ``z`` [B, T, D], all in float64.

    A head has K states where the weights hold offsets of their decays; the final state is then [B, H, K, d_v, d_k].
    """

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
    offsets = weights.get("memory.state_dt_offset", torch.zeros(1, dtype=torch.float64))
    shares = torch.ones(*logits.shape, 1, dtype=torch.float64)
    if "memory.phase_proj.weight" in weights:
        phases = linear(x.abs(), "memory.phase_proj") + weights["memory.phase_proj.bias"]
        shares = 1 + torch.unflatten(phases, -1, (heads, len(offsets)))
    steps = [torch.log1p(torch.exp(logits + offset)) for offset in offsets]
    decays = [torch.exp(-step) * (1 - protect) + protect for step in steps]
    frequency = torch.tensor([10_000.0 ** (-2 * j / head_dim) for j in range(head_dim // 2)], dtype=torch.float64)

    def turned(x: Tensor, t: int) -> Tensor:
        first, second = x[..., : head_dim // 2], x[..., head_dim // 2 :]
        cosine, sine = torch.cos(t * frequency), torch.sin(t * frequency)
        return torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1)

    states = [torch.zeros(len(z), heads, head_dim, head_dim, dtype=z.dtype) for _ in offsets]
    read = []
    for t in range(z.shape[1]):
        written = (1 - protect[:, t, :, None]) * v[:, t]
        total = torch.zeros_like(written)
        for number, decay in enumerate(decays):
            added = torch.einsum("bhv,bhk->bhvk", written, turned(k[:, t], t))
            states[number] = decay[:, t, :, None, None] * states[number] + added
            own = torch.einsum("bhvk,bhk->bhv", states[number], turned(q[:, t], t)) / sqrt(head_dim)
            total = total + shares[:, t, :, number, None] * own
        read.append(total)
    output = z + weights["pam_scale"] * linear(torch.stack(read, 1).flatten(2), "memory.o_proj")
    return output, states[0] if len(states) == 1 else torch.stack(states, 2)
