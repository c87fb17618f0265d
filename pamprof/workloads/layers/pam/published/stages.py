"""The elementwise stages of the published code, which keep as little for backward as that code: their inputs alone.

Norm, activation, gate and decay matrix are autograd functions there, too: forward one fused kernel on a GPU, backward
separate operators that recompute what they need. Left to automatic differentiation, the same stages would keep some
thirty tensors the size of the hidden sequence per block and not fit where the published code fits.

Interleaved pairs z [..., n, 2]; sizes [..., n] are moduli, always float32 (float64 for float64 pairs).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from pamprof.workloads.autograd import Function
from pamprof.workloads.layers.recurrent.epsilons import DIRECTION_EPSILON, MAGNITUDE_EPSILON, NORM_EPSILON
from pamprof.workloads.layers.recurrent.precision import precise

HAS_KERNELS = torch.cuda.is_available() and find_spec("triton") is not None
if HAS_KERNELS:
    from pamprof.workloads.kernels import published_elementwise


def modulus(z: Tensor) -> Tensor:
    """sqrt(re² + im² + 1e-8) of pairs [..., 2], real [...]."""
    return torch.sqrt(z[..., 0].square() + z[..., 1].square() + MAGNITUDE_EPSILON)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Complex product of interleaved pairs [..., 2].

    In the published code a TorchScript function, whose slices cost the host next to nothing without gradients.
    """
    if not torch.is_grad_enabled():
        a_real, a_imag = a.unbind(-1)
        b_real, b_imag = b.unbind(-1)
        return torch.stack((a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real), dim=-1)
    real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    imag = a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]
    return torch.stack((real, imag), dim=-1)


def norm(z: Tensor, scale: Tensor) -> Tensor:
    """Complex norm of pairs [..., D, 2] by ``scale`` [D], statistics in float32, in the dtype of ``z``."""
    if torch.is_grad_enabled():
        result: Tensor = _Norm.apply(z, scale)
        return result
    return _norm_forward(z, scale)


def activation(z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """ModSwish of pairs [..., h, 2] with ``bias`` and ``beta`` [h], or modReLU where ``beta`` is None."""
    if torch.is_grad_enabled():
        result: Tensor = _Activation.apply(z, bias, beta)
        return result
    return _activation_forward(z, bias, beta)


def gate(g: Tensor, u: Tensor) -> Tensor:
    """sigmoid(|g|) g / (|g| + 1e-8) · u of pairs [..., h, 2], in the dtype of ``u``."""
    if torch.is_grad_enabled():
        result: Tensor = _Gate.apply(g, u)
        return result
    return _gate_forward(g, u)


def decay_matrix(cumulative: Tensor, causal: Tensor) -> Tensor:
    """exp(c_t - c_s) for s <= t, else 0: [..., C] to [..., C, C]; ``causal`` [C, C] is 1 on and below the diagonal."""
    if torch.is_grad_enabled():
        result: Tensor = _DecayMatrix.apply(cumulative, causal)
        return result
    return _decay_forward(cumulative, causal)


def _runs_kernels(z: Tensor) -> bool:
    """Whether the fused kernels run: on a GPU, unless a compiler is to fuse the operators itself."""
    return HAS_KERNELS and z.is_cuda and not torch.compiler.is_compiling()


def _norm_forward(z: Tensor, scale: Tensor) -> Tensor:
    if _runs_kernels(z):
        return published_elementwise.fused_norm(z, scale)
    wide = precise(z)
    size = modulus(wide)
    root_mean_square = torch.sqrt(size.square().mean(dim=-1, keepdim=True) + NORM_EPSILON)
    factor = size / root_mean_square * scale / (size + DIRECTION_EPSILON)
    return (wide * factor.unsqueeze(-1)).to(z.dtype)


def _activated(size: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    return torch.relu(size + bias) if beta is None else size * torch.sigmoid(beta * size + bias)


def _activation_forward(z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    if _runs_kernels(z):
        return published_elementwise.fused_activation(z, bias, beta)
    wide = precise(z)
    size = modulus(wide)
    factor = _activated(size, bias, beta) / (size + DIRECTION_EPSILON)
    return (wide * factor.unsqueeze(-1)).to(z.dtype)


def _gate_forward(g: Tensor, u: Tensor) -> Tensor:
    if _runs_kernels(u):
        return published_elementwise.fused_gate(g, u)
    wide = precise(g)
    size = modulus(wide)
    factor = torch.sigmoid(size) / (size + DIRECTION_EPSILON)
    return product(wide * factor.unsqueeze(-1), precise(u)).to(u.dtype)


def _decay_forward(cumulative: Tensor, causal: Tensor) -> Tensor:
    if _runs_kernels(cumulative):
        return published_elementwise.fused_decay(cumulative)
    difference = (cumulative.unsqueeze(-1) - cumulative.unsqueeze(-2)).clamp(max=0.0)
    return torch.exp(difference) * causal


def _aligned(a: Tensor, b: Tensor) -> Tensor:
    """Re(a conj b) of pairs [..., 2], real [...]."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]


def _times_conjugate(a: Tensor, b: Tensor) -> Tensor:
    """A conj(b) of pairs [..., 2]."""
    real = a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1]
    imag = a[..., 1] * b[..., 0] - a[..., 0] * b[..., 1]
    return torch.stack((real, imag), dim=-1)


def _over_tokens(values: Tensor, like: Tensor) -> Tensor:
    """Sum over everything but the channel, in the dtype of the parameter it belongs to."""
    return values.sum(dim=tuple(range(values.dim() - 1))).to(like.dtype)


class _Norm(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(z, scale)
        return _norm_forward(z, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Y = s f r z with f = |z| / (|z| + e): along z through f and through the root mean square, else by s f r."""
        z, scale = ctx.saved_tensors
        wide, dy = precise(z), precise(gradient)
        size = modulus(wide)
        reciprocal = torch.rsqrt(size.square().mean(dim=-1, keepdim=True) + NORM_EPSILON)
        shifted = size + DIRECTION_EPSILON
        share = size / shifted
        aligned = _aligned(dy, wide)
        scaled = scale * share * reciprocal
        radial = aligned * scale * reciprocal * DIRECTION_EPSILON / (shifted.square() * size)
        shared = (scaled * aligned).sum(dim=-1, keepdim=True) * reciprocal.square() / size.shape[-1]
        z_gradient = dy * scaled.unsqueeze(-1) + wide * (radial - shared).unsqueeze(-1)
        return z_gradient.to(z.dtype), _over_tokens(aligned * share * reciprocal, scale)


class _Activation(Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
        ctx.save_for_backward(z, bias, beta)
        return _activation_forward(z, bias, beta)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Y = t(|z|) z with t = a / (|z| + e): t dy, and t' along z."""
        z, bias, beta = ctx.saved_tensors
        wide, dy = precise(z), precise(gradient)
        size = modulus(wide)
        shifted = size + DIRECTION_EPSILON
        if beta is None:
            slope = (size + bias > 0).to(size.dtype)
            by_bias = slope
        else:
            opening = torch.sigmoid(beta * size + bias)
            by_bias = size * opening * (1 - opening)
            slope = opening + beta * by_bias
        factor = _activated(size, bias, beta) / shifted
        along = _aligned(dy, wide) / shifted
        radial = along * (slope - factor) / size
        z_gradient = dy * factor.unsqueeze(-1) + wide * radial.unsqueeze(-1)
        beta_gradient = None if beta is None else _over_tokens(along * by_bias * size, beta)
        return z_gradient.to(z.dtype), _over_tokens(along * by_bias, bias), beta_gradient


class _Gate(Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, u: Tensor) -> Tensor:
        ctx.save_for_backward(g, u)
        return _gate_forward(g, u)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Y = c u with c = t(|g|) g, t = sigmoid(|g|) / (|g| + e): the product rule, and t' along g."""
        g, u = ctx.saved_tensors
        wide, dy = precise(g), precise(gradient)
        size = modulus(wide)
        opening = torch.sigmoid(size)
        shifted = size + DIRECTION_EPSILON
        factor = opening / shifted
        u_gradient = _times_conjugate(dy, wide * factor.unsqueeze(-1))
        c_gradient = _times_conjugate(dy, precise(u))
        radial = _aligned(c_gradient, wide) * (opening * (1 - opening) - factor) / (shifted * size)
        g_gradient = c_gradient * factor.unsqueeze(-1) + wide * radial.unsqueeze(-1)
        return g_gradient.to(g.dtype), u_gradient.to(u.dtype)


class _DecayMatrix(Function):
    @staticmethod
    def forward(ctx: Any, cumulative: Tensor, causal: Tensor) -> Tensor:
        ctx.save_for_backward(cumulative, causal)
        return _decay_forward(cumulative, causal)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Each weight is the exponential of a difference: row sums minus column sums of gradient times weight."""
        pairs = gradient * _decay_forward(*ctx.saved_tensors)
        return pairs.sum(dim=-1) - pairs.sum(dim=-2), None
