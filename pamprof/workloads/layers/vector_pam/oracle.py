"""Vector-state memory written out naively in complex128, one token after another.

No Fourier transform: circular convolution and correlation as they are defined, sums over all pairs of channels. Axes:
B batch, T time, D model_dim, H heads, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.workloads.layers.recurrent.naive import after_gate_unit, frequencies, linear, norm, size

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
    z = after_gate_unit(weights, planes[:, :, 0] + 1j * planes[:, :, 1])
    x = norm(weights, z, "norm2")
    q, k, v = (
        torch.unflatten(part, -1, (heads, -1)) for part in linear(weights, x, "pam.qkv_proj").chunk(3, -1)
    )  # [B, T, H, d]
    head_dim = q.shape[-1]
    row = torch.cat((x.real, x.imag), -1)
    logits = row @ weights["pam.dt_proj.weight"].T + weights["pam.dt_proj.bias"] + weights["pam.dt_bias"]
    protect = 1 / (1 + torch.exp(-(size(x) @ weights["pam.protect_gate.weight"].T + weights["pam.protect_gate.bias"])))
    decay = torch.exp(-torch.log1p(torch.exp(logits))) * (1 - protect) + protect
    frequency = frequencies(head_dim)
    state = torch.zeros(len(z), heads, head_dim, dtype=z.dtype)
    read = []
    for t in range(z.shape[1]):
        turn = torch.exp(1j * t * frequency)
        written = (1 - protect[:, t, :, None]) * v[:, t]
        state = decay[:, t, :, None] * state + convolved(written, turn * k[:, t])
        read.append(correlated(state, turn * q[:, t]))
    z = z + weights["pam_scale"] * linear(weights, torch.stack(read, 1).flatten(2), "pam.o_proj")
    return torch.stack((z.real, z.imag), 2), state
