"""Elementwise stages of the planar implementation, each with a hand-written backward that recomputes.

Automatic differentiation would keep every intermediate of the norm and of the gate unit, about thirty tensors the size
of the hidden sequence per block; these keep their inputs alone. Compiled, each direction becomes one pass or two.

Planes: a complex sequence is real [B, T, 2, D], real parts in plane 0, imaginary parts in plane 1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pamprof.workloads.autograd import Function
from pamprof.workloads.layers.recurrent.epsilons import DIRECTION_EPSILON, MAGNITUDE_EPSILON, NORM_EPSILON
from pamprof.workloads.layers.recurrent.precision import compute_dtype, precise


def plane_magnitude(planes: Tensor) -> Tensor:
    """sqrt(re² + im² + 1e-8) of planes [..., 2, D], real [..., D]."""
    return (planes.square().sum(-2) + MAGNITUDE_EPSILON).sqrt()


def plane_norm(planes: Tensor, scale: Tensor) -> Tensor:
    """Complex norm of planes [..., 2, D] in float32, in the dtype the products after it want."""
    dtype = compute_dtype(planes)
    if torch.is_grad_enabled():
        normed: Tensor = _PlaneNorm.apply(planes, scale, dtype)
        return normed
    return _norm_parts(planes, scale)[0].to(dtype)


def _norm_parts(planes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normed planes, their per-channel factor, magnitudes and reciprocal root mean square."""
    z = precise(planes)
    power = z.square().sum(-2) + MAGNITUDE_EPSILON
    reciprocal = torch.rsqrt(power.mean(-1, keepdim=True) + NORM_EPSILON)
    size = power.sqrt()
    factor = scale * reciprocal * (size / (size + DIRECTION_EPSILON))
    return z * factor.unsqueeze(-2), factor, size, reciprocal


class _PlaneNorm(Function):
    @staticmethod
    def forward(ctx: Any, planes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(planes, scale)
        return _norm_parts(planes, scale)[0].to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradient of y = s f(|z|) r z, with f(x) = x / (x + e) and r the reciprocal root mean square.

        dz = s f r dy + z (s r a f' / |z| - r³ / D · sum(s f a)), a = Re(dy conj z), f' = e / (x + e)².
        """
        planes, scale = ctx.saved_tensors
        z, dy = precise(planes), precise(gradient)
        _, factor, size, reciprocal = _norm_parts(planes, scale)
        aligned = (dy * z).sum(-2)
        shifted = size + DIRECTION_EPSILON
        radial = aligned * scale * reciprocal * (DIRECTION_EPSILON / (shifted * shifted * size))
        shared = (factor * aligned).sum(-1, keepdim=True) * reciprocal.square() / size.shape[-1]
        z_gradient = dy * factor.unsqueeze(-2) + z * (radial - shared).unsqueeze(-2)
        scale_gradient = (aligned * reciprocal * (size / shifted)).flatten(0, -2).sum(0)
        return z_gradient.to(planes.dtype), scale_gradient.to(scale.dtype), None


def plane_gate(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """The gate unit between its linear maps.

    Args:
        gate_up: [..., 2, 2, h]: planes of the gate g and of the upward branch u, in this order on axis -2.
        bias: Activation bias [h].
        beta: Slope [h] of modSwish; None for modReLU.

    Returns:
        sigmoid(|g|) g / (|g| + 1e-8) · act(u), planes [..., 2, h].
    """
    if torch.is_grad_enabled():
        gated: Tensor = _PlaneGate.apply(gate_up, bias, beta)
        return gated
    return _gate_forward(gate_up, bias, beta)


def _gate_factors(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> tuple[Tensor, ...]:
    """|g|, |u|, sigmoid(|g|), the activation's weight of u, and the two real factors of g and u."""
    size = (gate_up.square().sum(-3) + MAGNITUDE_EPSILON).sqrt()
    gate_size, up_size = size.unbind(-2)
    opening = torch.sigmoid(gate_size)
    if beta is None:
        weight = torch.relu(up_size + bias.to(up_size.dtype))
        up_factor = weight / (up_size + DIRECTION_EPSILON)
    else:
        weight = torch.sigmoid(torch.addcmul(bias.to(up_size.dtype), up_size, beta.to(up_size.dtype)))
        up_factor = weight * (up_size / (up_size + DIRECTION_EPSILON))
    return gate_size, up_size, opening, weight, opening / (gate_size + DIRECTION_EPSILON), up_factor


def _gate_forward(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    *_, gate_factor, up_factor = _gate_factors(gate_up, bias, beta)
    (gate_real, up_real), (gate_imag, up_imag) = (plane.unbind(-2) for plane in gate_up.unbind(-3))
    factor = gate_factor * up_factor
    real = gate_real * up_real - gate_imag * up_imag
    imag = gate_real * up_imag + gate_imag * up_real
    return torch.stack((factor * real, factor * imag), -2)


class _PlaneGate(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
        ctx.save_for_backward(gate_up, bias, beta)
        return _gate_forward(gate_up, bias, beta)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """With y = s(|g|) t(|u|) g u: the product rule, and s' g / |g|, t' u / |u| for the moduli."""
        gate_up, bias, beta = ctx.saved_tensors
        gate_size, up_size, opening, weight, gate_factor, up_factor = _gate_factors(gate_up, bias, beta)
        (gate_real, up_real), (gate_imag, up_imag) = (plane.unbind(-2) for plane in gate_up.unbind(-3))
        real, imag = gradient.unbind(-2)
        factor = gate_factor * up_factor
        # Gradient with respect to the real factor s t.
        along = real * (gate_real * up_real - gate_imag * up_imag) + imag * (gate_real * up_imag + gate_imag * up_real)
        gate_slope = (opening * (1 - opening) - gate_factor) / (gate_size + DIRECTION_EPSILON)
        gate_radial = along * up_factor * gate_slope / gate_size
        up_along = along * gate_factor
        shifted = up_size + DIRECTION_EPSILON
        if beta is None:
            open_channels = (weight > 0).to(along.dtype)
            up_slope = (open_channels - up_factor) / shifted
            bias_terms = up_along * open_channels / shifted
            beta_gradient = None
        else:
            bend = up_factor * (1 - weight)
            up_slope = weight * DIRECTION_EPSILON / (shifted * shifted) + bend * beta.to(along.dtype)
            bias_terms = up_along * bend
            beta_gradient = _sum_over_tokens(bias_terms * up_size).to(beta.dtype)
        up_radial = up_along * up_slope / up_size
        real, imag = real * factor, imag * factor
        planes = (
            torch.stack((real * up_real + imag * up_imag + gate_radial * gate_real,
                         real * gate_real + imag * gate_imag + up_radial * up_real), -2),
            torch.stack((imag * up_real - real * up_imag + gate_radial * gate_imag,
                         imag * gate_real - real * gate_imag + up_radial * up_imag), -2),
        )  # fmt: skip
        return torch.stack(planes, -3), _sum_over_tokens(bias_terms).to(bias.dtype), beta_gradient


def _sum_over_tokens(values: Tensor) -> Tensor:
    return values.flatten(0, -2).sum(0, dtype=torch.float64 if values.dtype == torch.float64 else torch.float32)
