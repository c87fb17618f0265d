"""Vector-state memory written out naively in complex128, one token after another.

No Fourier transform: circular convolution and correlation as they are defined, sums over all pairs of channels. Axes:
B batch, T time, D model_dim, H heads, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

ORACLE_NAME = "naive complex128 recurrence over tokens, convolutions as sums"


def convolved(value: Tensor, key: Tensor) -> Tensor:
    """The convolution k ⊛ v / sqrt(d), entry n the sum over m of k_m v_(n - m): [B, H, d]."""
    place = torch.arange(key.shape[-1])
    shifted = value[..., (place[:, None] - place) % len(place)]  # [..., n, m]
    return torch.einsum("bhm,bhnm->bhn", key, shifted) / sqrt(len(place))


def correlated(state: Tensor, query: Tensor) -> Tensor:
    """The correlation q ⋆ s / sqrt(d), entry n the sum over m of conj(q_m) s_(n + m): [B, H, d]."""
    place = torch.arange(query.shape[-1])
    shifted = state[..., (place[:, None] + place) % len(place)]  # [..., n, m]
    return torch.einsum("bhm,bhnm->bhn", query.conj(), shifted) / sqrt(len(place))


def naive_block(weights: Mapping[str, Tensor], planes: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Output planes [B, T, 2, D] and final state [B, H, d] of one block on ``planes``, all in float64."""

    def size(z: Tensor) -> Tensor:
        return (z.real**2 + z.imag**2 + 1e-8).sqrt()

    def norm(z: Tensor, name: str) -> Tensor:
        mean = (size(z) ** 2).mean(-1, keepdim=True)
        return weights[f"{name}.scale"] * size(z) / (mean + 1e-6).sqrt() * (z / (size(z) + 1e-8))

    def linear(z: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.weight_real"] + 1j * weights[f"{name}.weight_imag"]
        return torch.einsum("oi,bti->bto", weight, z)

    def activation(z: Tensor) -> Tensor:
        bias = weights["cgu.act.bias"]
        if "cgu.act.beta" in weights:
            bent = size(z) / (1 + torch.exp(-(weights["cgu.act.beta"] * size(z) + bias)))
        else:
            bent = (size(z) + bias).clamp_min(0)
        return bent * z / (size(z) + 1e-8)

    z = planes[:, :, 0] + 1j * planes[:, :, 1]
    x = norm(z, "norm1")
    gate = linear(x, "cgu.gate_proj")
    opened = gate / (size(gate) + 1e-8) / (1 + torch.exp(-size(gate)))
    z = z + weights["cgu_scale"] * linear(opened * activation(linear(x, "cgu.up_proj")), "cgu.down_proj")
    x = norm(z, "norm2")
    q, k, v = (
        torch.unflatten(part, -1, (heads, -1)) for part in linear(x, "pam.qkv_proj").chunk(3, -1)
    )  # [B, T, H, d]
    head_dim = q.shape[-1]
    row = torch.cat((x.real, x.imag), -1)
    logits = row @ weights["pam.dt_proj.weight"].T + weights["pam.dt_proj.bias"] + weights["pam.dt_bias"]
    protect = 1 / (1 + torch.exp(-(size(x) @ weights["pam.protect_gate.weight"].T + weights["pam.protect_gate.bias"])))
    decay = torch.exp(-torch.log1p(torch.exp(logits))) * (1 - protect) + protect
    frequency = torch.tensor([10_000.0 ** (-j / head_dim) for j in range(head_dim)], dtype=torch.float64)
    state = torch.zeros(len(z), heads, head_dim, dtype=z.dtype)
    read = []
    for t in range(z.shape[1]):
        turn = torch.exp(1j * t * frequency)
        written = (1 - protect[:, t, :, None]) * v[:, t]
        state = decay[:, t, :, None] * state + convolved(written, turn * k[:, t])
        read.append(correlated(state, turn * q[:, t]))
    z = z + weights["pam_scale"] * linear(torch.stack(read, 1).flatten(2), "pam.o_proj")
    return torch.stack((z.real, z.imag), 2), state
