"""Parts of PAM's block written out naively in complex128, for the oracles of its layers.

Source: Vishwakarma & Agostino, arXiv:2604.05030. Axes: B batch, T time, D model_dim.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    Weights = Mapping[str, Tensor]


def size(z: Tensor) -> Tensor:
    """The modulus, as every formula of the paper takes it."""
    return (z.real**2 + z.imag**2 + 1e-8).sqrt()


def norm(weights: Weights, z: Tensor, name: str) -> Tensor:
    """Moduli over their root mean square; phases stay."""
    mean = (size(z) ** 2).mean(-1, keepdim=True)
    return weights[f"{name}.scale"] * size(z) / (mean + 1e-6).sqrt() * (z / (size(z) + 1e-8))


def linear(weights: Weights, z: Tensor, name: str) -> Tensor:
    """[B, T, D] by a complex matrix."""
    weight = weights[f"{name}.weight_real"] + 1j * weights[f"{name}.weight_imag"]
    return torch.einsum("oi,bti->bto", weight, z)


def after_gate_unit(weights: Weights, z: Tensor) -> Tensor:
    """``z`` and what the complex gated unit adds to it."""
    x = norm(weights, z, "norm1")
    gate = linear(weights, x, "cgu.gate_proj")
    opened = gate / (size(gate) + 1e-8) / (1 + torch.exp(-size(gate)))
    bent = _activation(weights, linear(weights, x, "cgu.up_proj"))
    return z + weights["cgu_scale"] * linear(weights, opened * bent, "cgu.down_proj")


def frequencies(head_dim: int) -> Tensor:
    """Radians a token of each channel's rotation."""
    return torch.tensor([10_000.0 ** (-j / head_dim) for j in range(head_dim)], dtype=torch.float64)


def _activation(weights: Weights, z: Tensor) -> Tensor:
    bias = weights["cgu.act.bias"]
    if "cgu.act.beta" in weights:
        bent = size(z) / (1 + torch.exp(-(weights["cgu.act.beta"] * size(z) + bias)))
    else:
        bent = (size(z) + bias).clamp_min(0)
    return bent * z / (size(z) + 1e-8)
