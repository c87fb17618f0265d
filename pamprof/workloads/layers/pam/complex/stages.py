"""Complex building blocks on torch complex tensors: magnitude, norm, activations, gate unit, linear map, rotation.

These are the definitions in their plainest form: what the ``complex`` implementation runs and what every other
implementation is checked against. Source: Vishwakarma & Agostino, arXiv:2604.05030.

Axes: B batch, T time, D channels (complex), d head_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.layers.recurrent.epsilons import DIRECTION_EPSILON, MAGNITUDE_EPSILON, NORM_EPSILON

ACTIVATIONS = ("modswish", "modrelu")


def magnitude(z: Tensor) -> Tensor:
    """sqrt(re² + im² + 1e-8) of complex ``z``, real, same shape."""
    return torch.sqrt(z.real.square() + z.imag.square() + MAGNITUDE_EPSILON)


def complex_norm(z: Tensor, scale: Tensor) -> Tensor:
    """Root-mean-square norm of the magnitudes over the last axis; the direction of each channel is kept.

    Args:
        z: Complex [..., D].
        scale: Real [D].

    Returns:
        scale · |z| / sqrt(mean |z|² + 1e-6) · z / (|z| + 1e-8), complex [..., D].
    """
    size = magnitude(z)
    root_mean_square = torch.sqrt(size.square().mean(-1, keepdim=True) + NORM_EPSILON)
    return z * (scale * size / (root_mean_square * (size + DIRECTION_EPSILON)))


def mod_relu(z: Tensor, bias: Tensor) -> Tensor:
    """relu(|z| + bias) · z / (|z| + 1e-8); ``z`` complex [..., D], ``bias`` real [D]."""
    size = magnitude(z)
    return z * (functional.relu(size + bias) / (size + DIRECTION_EPSILON))


def mod_swish(z: Tensor, bias: Tensor, beta: Tensor) -> Tensor:
    """|z| · sigmoid(beta |z| + bias) · z / (|z| + 1e-8); ``z`` complex [..., D], ``bias`` and ``beta`` real [D]."""
    size = magnitude(z)
    return z * (size * torch.sigmoid(beta * size + bias) / (size + DIRECTION_EPSILON))


def activate(z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """``mod_swish`` where there is a ``beta``, ``mod_relu`` where there is none."""
    return mod_relu(z, bias) if beta is None else mod_swish(z, bias, beta)


def gate(g: Tensor, u: Tensor) -> Tensor:
    """sigmoid(|g|) · g / (|g| + 1e-8) · u, the gate of the complex gate unit; all complex [..., D]."""
    size = magnitude(g)
    return g * (torch.sigmoid(size) / (size + DIRECTION_EPSILON)) * u


def complex_linear(
    x: Tensor,
    weight_real: Tensor,
    weight_imag: Tensor,
    bias_real: Tensor | None = None,
    bias_imag: Tensor | None = None,
) -> Tensor:
    """W x + b with W = weight_real + i weight_imag, real [out, in]; ``x`` complex [..., in], result [..., out]."""
    y = functional.linear(x, torch.complex(weight_real, weight_imag))
    if bias_real is None or bias_imag is None:
        return y
    return y + torch.complex(bias_real, bias_imag)


def rotate(z: Tensor, angles: Tensor) -> Tensor:
    """exp(i angles) · z; ``z`` complex [..., T, d], ``angles`` real [T, d] of any floating dtype."""
    return z * torch.polar(torch.ones_like(angles), angles).to(z.dtype)
