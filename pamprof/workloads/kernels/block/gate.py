"""The gate unit between its linear maps as one kernel each way.

y = sigmoid(|g|) g / (|g| + e) · act(u). Forward keeps nothing but the product [g | u] it reads, backward recomputes.
A program takes a tile of rows and channels; gradients of bias and slope are summed by each program over the row tiles
it walks and then over the programs, always in the same order.

Axes: N rows (tokens), h hidden_dim.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.device_functions import (
    DIRECTION,
    await_inputs,
    modulus,
    overlaps,
    power_of_two,
    reciprocal,
    row_tile,
    sigmoid,
    store,
    summing_grid,
)
from pamprof.workloads.kernels.kernel_operator import kernel_operator

GATE_FLOPS = 24  # per channel: two moduli, two sigmoids, the two factors, a complex product and its scale
GATE_BACKWARD_FLOPS = 70  # per channel, what is recomputed included
_BLOCK = 128  # channels of a tile
_ELEMENTS, _WARPS = 1024, 8  # of one tile
_BACKWARD_ELEMENTS, _BACKWARD_WARPS, _BACKWARD_STAGES = 256, 2, 3


@triton.jit
def activated(
    size: tl.tensor, shift: tl.tensor, slope: tl.tensor, HAS_SLOPE: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Weight and real factor of the activation, act(u) = factor · u, and 1 / (|u| + 1e-8)."""
    inverse = reciprocal(size + DIRECTION)
    if HAS_SLOPE:
        weight = sigmoid(slope * size + shift)
        factor = weight * (size * inverse)
    else:
        weight = tl.maximum(size + shift, 0.0)
        factor = weight * inverse
    return weight, factor, inverse


@triton.jit
def gated(
    gate_real: tl.tensor,
    gate_imag: tl.tensor,
    up_real: tl.tensor,
    up_imag: tl.tensor,
    shift: tl.tensor,
    slope: tl.tensor,
    HAS_SLOPE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Real and imaginary part of the gate unit."""
    size, _ = modulus(gate_real, gate_imag)
    up_size, _ = modulus(up_real, up_imag)
    _, up_factor, _ = activated(up_size, shift, slope, HAS_SLOPE)
    factor = sigmoid(size) * reciprocal(size + DIRECTION) * up_factor
    return factor * (gate_real * up_real - gate_imag * up_imag), factor * (gate_real * up_imag + gate_imag * up_real)


@triton.jit
def _gate_kernel(
    gate_up: tl.tensor, bias: tl.tensor, beta: tl.tensor, out: tl.tensor, rows: tl.tensor, width: tl.tensor,
    HAS_SLOPE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    await_inputs(OVERLAPS)
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = channel < width
    inside = (row < rows)[:, None] & within[None, :]
    shift = tl.load(bias + channel, mask=within, other=0.0).to(tl.float32)[None, :]
    slope = tl.load(beta + channel, mask=within, other=0.0).to(tl.float32)[None, :]
    source = row[:, None] * (4 * width) + channel[None, :]
    gate_real = tl.load(gate_up + source, mask=inside, other=0.0).to(tl.float32)
    up_real = tl.load(gate_up + source + width, mask=inside, other=0.0).to(tl.float32)
    gate_imag = tl.load(gate_up + source + 2 * width, mask=inside, other=0.0).to(tl.float32)
    up_imag = tl.load(gate_up + source + 3 * width, mask=inside, other=0.0).to(tl.float32)
    real, imag = gated(gate_real, gate_imag, up_real, up_imag, shift, slope, HAS_SLOPE)
    target = row[:, None] * (2 * width) + channel[None, :]
    store(out + target, real, inside)
    store(out + target + width, imag, inside)


@triton.jit
def _gate_backward_kernel(
    gate_up: tl.tensor, gradient: tl.tensor, bias: tl.tensor, beta: tl.tensor, out: tl.tensor,
    bias_gradient: tl.tensor, beta_gradient: tl.tensor, rows: tl.tensor, width: tl.tensor,
    HAS_SLOPE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
) -> None:  # fmt: skip
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    within = channel < width
    shift = tl.load(bias + channel, mask=within, other=0.0).to(tl.float32)[None, :]
    slope = tl.load(beta + channel, mask=within, other=0.0).to(tl.float32)[None, :]
    bias_sum = tl.zeros((ROWS, BLOCK), tl.float32)
    beta_sum = tl.zeros((ROWS, BLOCK), tl.float32)
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0), num_stages=STAGES):
        row = (tile * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        inside = (row < rows)[:, None] & within[None, :]
        source = row[:, None] * (4 * width) + channel[None, :]
        gate_real = tl.load(gate_up + source, mask=inside, other=0.0).to(tl.float32)
        up_real = tl.load(gate_up + source + width, mask=inside, other=0.0).to(tl.float32)
        gate_imag = tl.load(gate_up + source + 2 * width, mask=inside, other=0.0).to(tl.float32)
        up_imag = tl.load(gate_up + source + 3 * width, mask=inside, other=0.0).to(tl.float32)
        place = row[:, None] * (2 * width) + channel[None, :]
        real = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        imag = tl.load(gradient + place + width, mask=inside, other=0.0).to(tl.float32)
        gate_size, gate_inverse = modulus(gate_real, gate_imag)
        up_size, up_inverse = modulus(up_real, up_imag)
        weight, up_factor, up_shifted = activated(up_size, shift, slope, HAS_SLOPE)
        opening = sigmoid(gate_size)
        gate_shifted = reciprocal(gate_size + DIRECTION)
        gate_factor = opening * gate_shifted
        # Gradient of the real factor s t in y = s(|g|) t(|u|) g u.
        along = real * (gate_real * up_real - gate_imag * up_imag) + imag * (gate_real * up_imag + gate_imag * up_real)
        gate_slope = (opening * (1.0 - opening) - gate_factor) * gate_shifted
        gate_radial = along * up_factor * gate_slope * gate_inverse
        up_along = along * gate_factor
        if HAS_SLOPE:
            bend = up_factor * (1.0 - weight)
            up_slope = weight * DIRECTION * (up_shifted * up_shifted) + bend * slope
            shifts = up_along * bend
            beta_sum += shifts * up_size
        else:
            is_open = tl.where(weight > 0.0, 1.0, 0.0)
            up_slope = (is_open - up_factor) * up_shifted
            shifts = up_along * is_open * up_shifted
        bias_sum += shifts
        up_radial = up_along * up_slope * up_inverse
        real *= gate_factor * up_factor
        imag *= gate_factor * up_factor
        store(out + source, real * up_real + imag * up_imag + gate_radial * gate_real, inside)
        store(out + source + width, real * gate_real + imag * gate_imag + up_radial * up_real, inside)
        store(out + source + 2 * width, imag * up_real - real * up_imag + gate_radial * gate_imag, inside)
        store(out + source + 3 * width, imag * gate_real - real * gate_imag + up_radial * up_imag, inside)
    target = tl.program_id(0) * width + channel
    tl.store(bias_gradient + target, tl.sum(bias_sum, axis=0), mask=within)
    if HAS_SLOPE:
        tl.store(beta_gradient + target, tl.sum(beta_sum, axis=0), mask=within)


def _gate_work(gate_up: Tensor) -> OperatorWork:
    return OperatorWork(elementwise_flop_count=GATE_FLOPS * (gate_up.numel() // 4))


def _gate_backward_work(gradient: Tensor) -> OperatorWork:
    return OperatorWork(elementwise_flop_count=GATE_BACKWARD_FLOPS * (gradient.numel() // 2))


def _fake_gate(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    del beta
    return gate_up.new_empty((*gate_up.shape[:-3], 2, bias.shape[0]))


@kernel_operator("fused_gate_unit", fake=_fake_gate, work=_gate_work)
def gate_unit(gate_up: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """The gate unit of planes [..., 2 (plane), 2 (g, u), h]; planes [..., 2, h].

    Args:
        gate_up: As said.
        bias: Activation bias [h].
        beta: Slope [h] of modSwish; None for modReLU.
    """
    gate_up = gate_up.contiguous()
    out = _fake_gate(gate_up, bias, beta)
    width = bias.shape[0]
    rows = out.numel() // (2 * width)
    block = min(_BLOCK, power_of_two(width))
    tile = row_tile(rows, block, _ELEMENTS, columns=triton.cdiv(width, block))
    _gate_kernel[triton.cdiv(rows, tile), triton.cdiv(width, block)](
        gate_up,
        bias,
        bias if beta is None else beta,
        out,
        rows,
        width,
        HAS_SLOPE=beta is not None,
        ROWS=tile,
        BLOCK=block,
        OVERLAPS=overlaps(gate_up.device),
        num_warps=_WARPS,
        launch_pdl=overlaps(gate_up.device),
    )
    return out


def _fake_gate_backward(
    gate_up: Tensor, gradient: Tensor, bias: Tensor, beta: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    del gradient
    return gate_up.new_empty(gate_up.shape), torch.empty_like(bias), bias.new_empty(0 if beta is None else bias.shape)


@kernel_operator("fused_gate_unit_backward", fake=_fake_gate_backward, work=_gate_backward_work)
def gate_unit_backward(
    gate_up: Tensor, gradient: Tensor, bias: Tensor, beta: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``gate_up`` [..., 2, 2, h], bias [h] and slope [h] (empty without one) from that of the result."""
    gate_up, gradient = gate_up.contiguous(), gradient.contiguous()
    width = bias.shape[0]
    rows = gate_up.numel() // (4 * width)
    block = min(_BLOCK, power_of_two(width))
    columns = triton.cdiv(width, block)
    tile = row_tile(rows, block, _BACKWARD_ELEMENTS, columns=columns)
    grid = summing_grid(triton.cdiv(rows, tile), columns=columns)
    out = torch.empty_like(gate_up)
    sums = bias.new_empty((1 if beta is None else 2, grid, width), dtype=torch.float32)
    _gate_backward_kernel[grid, columns](
        gate_up,
        gradient,
        bias,
        bias if beta is None else beta,
        out,
        sums[0],
        sums[-1],
        rows,
        width,
        HAS_SLOPE=beta is not None,
        ROWS=tile,
        BLOCK=block,
        STAGES=_BACKWARD_STAGES,
        num_warps=_BACKWARD_WARPS,
    )
    beta_gradient = bias.new_empty(0) if beta is None else sums[1].sum(0).to(beta.dtype)
    return out, sums[0].sum(0).to(bias.dtype), beta_gradient
