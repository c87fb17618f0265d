"""PAM written out naively in complex128: every formula from the paper, the recurrence one token after another.

Source: Vishwakarma & Agostino, arXiv:2604.05030. Axes: B batch, T time, D model_dim, H heads, K states, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.workloads.layers.recurrent.naive import after_gate_unit, frequencies, linear, norm, size

if TYPE_CHECKING:
    from collections.abc import Mapping

ORACLE_NAME = "naive complex128 recurrence over tokens"


def naive_block(weights: Mapping[str, Tensor], planes: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Output planes [B, T, 2, D] and final state [B, H, d_v, d_k] of one block on ``planes``, all in float64.

    A head has K states where the weights hold offsets of their decays; the final state is then [B, H, K, d_v, d_k].
    """
    z = after_gate_unit(weights, planes[:, :, 0] + 1j * planes[:, :, 1])
    x = norm(weights, z, "norm2")
    q, k, v = (
        torch.unflatten(part, -1, (heads, -1)) for part in linear(weights, x, "pam.qkv_proj").chunk(3, -1)
    )  # [B, T, H, d]
    head_dim = q.shape[-1]
    row = torch.cat((x.real, x.imag), -1)
    logits = row @ weights["pam.dt_proj.weight"].T + weights["pam.dt_proj.bias"] + weights["pam.dt_bias"]
    gate_weight = weights["pam.protect_gate.weight"]
    gate_input = size(x) if gate_weight.shape[1] == size(x).shape[-1] else row
    protect = 1 / (1 + torch.exp(-(gate_input @ gate_weight.T + weights["pam.protect_gate.bias"])))
    offsets = weights.get("pam.state_dt_offset", torch.zeros(1, dtype=torch.float64))
    phases = torch.zeros(*logits.shape, 1, dtype=torch.float64)
    if "pam.phase_proj.weight" in weights:
        angles = size(x) @ weights["pam.phase_proj.weight"].T + weights["pam.phase_proj.bias"]
        phases = torch.unflatten(angles, -1, (heads, len(offsets)))
    steps = [torch.log1p(torch.exp(logits + offset)) for offset in offsets]
    decays = [torch.exp(-step) * (1 - protect) + protect for step in steps]
    frequency = frequencies(head_dim)
    states = [torch.zeros(len(z), heads, head_dim, head_dim, dtype=z.dtype) for _ in offsets]
    read = []
    for t in range(z.shape[1]):
        turn = torch.exp(1j * t * frequency)
        written = (1 - protect[:, t, :, None]) * v[:, t]
        total = torch.zeros_like(written)
        for number, decay in enumerate(decays):
            added = torch.einsum("bhv,bhk->bhvk", written, (turn * k[:, t]).conj())
            states[number] = decay[:, t, :, None, None] * states[number] + added
            own = torch.einsum("bhvk,bhk->bhv", states[number], turn * q[:, t]) / sqrt(head_dim)
            total = total + torch.exp(1j * phases[:, t, :, number, None]) * own
        read.append(total)
    z = z + weights["pam_scale"] * linear(weights, torch.stack(read, 1).flatten(2), "pam.o_proj")
    return torch.stack((z.real, z.imag), 2), states[0] if len(states) == 1 else torch.stack(states, 2)
