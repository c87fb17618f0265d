"""Backward of the block's norm, residual add and gate logits as one kernel that recomputes what forward did not keep.

The gradient of the sum is written twice, in the dtype of the residual stream and in that of the branch's product, so
that no pass is spent on a cast. The scale's gradient is summed by each program over the rows it walks and then over the
programs, always in the same order.

Axes: N rows (tokens of all sequences), D model_dim, H heads, K states, B batch, T time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block.norm_gates import gate_products, gate_weights
from pamprof.workloads.kernels.device_functions import (
    DIRECTION,
    MAGNITUDE,
    NORM,
    modulus,
    power_of_two,
    reciprocal,
    reciprocal_root,
    row_tile,
    store,
    summing_grid,
)
from pamprof.workloads.kernels.kernel_operator import kernel_operator

_NORM_BACKWARD_FLOPS = 34  # per channel, the recomputed factor and the scale's sum included
_RESIDUAL_FLOPS = 2  # per channel
_SIZE_BACKWARD_FLOPS = 11  # per channel: the modulus of the normed channel, and what its gradient adds to both parts

_PLAIN_ELEMENTS, _PLAIN_WARPS = 512, 2  # of one plane in one program's tile
_GATED_WARPS, _GATED_STAGES, _GATED_PROGRAMS = 4, 3, 396  # as many programs as registers hold, loads two rows ahead
_CHANNELS_PER_WARP = 256  # at most, of a wide row
_HELD_NUMBERS = 96  # of gates' weights in one thread, at most; beyond that they are loaded for every row


@triton.jit
def _along_gates(
    real: tl.tensor, imag: tl.tensor, along_real: tl.tensor, along_imag: tl.tensor, logits_gradient: tl.tensor,
    step_weight: tl.tensor, protect_weight: tl.tensor, phase_weight: tl.tensor, weights: tl.tensor,
    sizes: tl.tensor, row: tl.tensor, channel: tl.tensor, inside: tl.tensor, rows: tl.tensor, width: tl.tensor,
    HEADS: tl.constexpr, READS_PARTS: tl.constexpr, PHASES: tl.constexpr, HOLDS_WEIGHTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Adds to the gradient [1, D] of one normed row what comes through the logits; stores the row's moduli."""
    size, inverse = modulus(real, imag)
    channel = channel[None, :]
    store(sizes + tl.cast(row, tl.int64) * width + channel, size, inside)
    along_size = tl.zeros((1, BLOCK), tl.float32)
    for head in tl.static_range(HEADS):
        step = tl.load(logits_gradient + head * rows + row)
        gate = tl.load(logits_gradient + (HEADS + head) * rows + row)
        if HOLDS_WEIGHTS:
            of_head = weights[head]
        else:
            of_head = gate_weights(step_weight, protect_weight, phase_weight, head, channel, width, READS_PARTS, PHASES)
        along_real += step * of_head[0]
        along_imag += step * of_head[1]
        if READS_PARTS:
            along_real += gate * of_head[2]
            along_imag += gate * of_head[3]
        else:
            along_size += gate * of_head[2]
        for k in tl.static_range(PHASES):
            phase = tl.load(logits_gradient + ((2 + k) * HEADS + head) * rows + row)
            along_size += phase * of_head[(4 if READS_PARTS else 3) + k]
    along_size *= inverse
    return along_real + along_size * real, along_imag + along_size * imag


@triton.jit
def _norm_backward_kernel(
    planes: tl.tensor, scale: tl.tensor, gradient: tl.tensor, residual: tl.tensor, logits_gradient: tl.tensor,
    step_weight: tl.tensor, protect_weight: tl.tensor, phase_weight: tl.tensor,
    planes_gradient: tl.tensor, branch_gradient: tl.tensor, scale_gradient: tl.tensor, sizes: tl.tensor,
    rows: tl.tensor, width: tl.tensor,
    HEADS: tl.constexpr, READS_PARTS: tl.constexpr, PHASES: tl.constexpr,
    HAS_RESIDUAL: tl.constexpr, HAS_BRANCH: tl.constexpr, HAS_GATES: tl.constexpr, HOLDS_WEIGHTS: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
) -> None:  # fmt: skip
    channel = tl.arange(0, BLOCK)
    within = channel < width
    channel_scale = tl.load(scale + channel, mask=within, other=0.0).to(tl.float32)[None, :]
    summed = tl.zeros((ROWS, BLOCK), tl.float32)
    weights = ()  # type: tuple[tuple[tl.tensor, ...], ...]
    if HAS_GATES and HOLDS_WEIGHTS:
        for head in tl.static_range(HEADS):
            of_head = gate_weights(
                step_weight, protect_weight, phase_weight, head, channel[None, :], width, READS_PARTS, PHASES
            )
            weights += (of_head,)
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0), num_stages=STAGES):
        row = tile * ROWS + tl.arange(0, ROWS)
        inside = (row < rows)[:, None] & within[None, :]
        place = row.to(tl.int64)[:, None] * (2 * width) + channel[None, :]
        real = tl.load(planes + place, mask=inside, other=0.0).to(tl.float32)
        imag = tl.load(planes + place + width, mask=inside, other=0.0).to(tl.float32)
        along_real = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        along_imag = tl.load(gradient + place + width, mask=inside, other=0.0).to(tl.float32)
        if HAS_RESIDUAL:  # loaded before the first sum is needed
            past_real = tl.load(residual + place, mask=inside, other=0.0).to(tl.float32)
            past_imag = tl.load(residual + place + width, mask=inside, other=0.0).to(tl.float32)
        power = real * real + imag * imag + MAGNITUDE
        mean = tl.sum(tl.where(within[None, :], power, 0.0), axis=1) / width
        inverse_mean = tl.rsqrt(mean + NORM)[:, None]
        inverse_size = reciprocal_root(power)
        size = power * inverse_size
        inverse_shifted = reciprocal(size + DIRECTION)
        direction = inverse_mean * (size * inverse_shifted)
        factor = channel_scale * direction
        if HAS_GATES:
            tl.static_assert(ROWS == 1)
            along_real, along_imag = _along_gates(
                real * factor, imag * factor, along_real, along_imag, logits_gradient, step_weight, protect_weight,
                phase_weight, weights, sizes, tile, channel, inside, rows, width, HEADS, READS_PARTS, PHASES,
                HOLDS_WEIGHTS, BLOCK,
            )  # fmt: skip
        aligned = along_real * real + along_imag * imag
        summed += aligned * direction
        shared = (tl.sum(factor * aligned, axis=1) / width)[:, None] * (inverse_mean * inverse_mean)
        bend = DIRECTION * inverse_shifted * inverse_shifted * inverse_size
        radial = aligned * (channel_scale * inverse_mean * bend) - shared
        real = along_real * factor + real * radial
        imag = along_imag * factor + imag * radial
        if HAS_RESIDUAL:
            real += past_real
            imag += past_imag
        store(planes_gradient + place, real, inside)
        store(planes_gradient + place + width, imag, inside)
        if HAS_BRANCH:
            store(branch_gradient + place, real, inside)
            store(branch_gradient + place + width, imag, inside)
    tl.store(scale_gradient + tl.program_id(0) * width + channel, tl.sum(summed, axis=0), mask=within)


def _norm_backward_work(planes: Tensor, residual: Tensor | None) -> OperatorWork:
    each = _NORM_BACKWARD_FLOPS + (0 if residual is None else _RESIDUAL_FLOPS)
    return OperatorWork(elementwise_flop_count=each * (planes.numel() // 2))


def _gated_backward_work(
    planes: Tensor, residual: Tensor, step_weight: Tensor, protect_weight: Tensor, phase_weight: Tensor | None
) -> OperatorWork:
    norm = _norm_backward_work(planes, residual)
    channels, width = planes.numel() // 2, planes.shape[-1]
    products = gate_products(channels // width, step_weight, protect_weight, phase_weight)
    return OperatorWork(
        matrix_flop_count=products,
        matrix_dense_flop_count=products,
        elementwise_flop_count=norm.elementwise_flop_count + _SIZE_BACKWARD_FLOPS * channels,
    )


def _fake_backward(
    planes: Tensor, scale: Tensor, gradient: Tensor, residual: Tensor | None, branch_dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    del gradient, residual
    branch = planes.new_empty(0) if branch_dtype is None else planes.new_empty(planes.shape, dtype=branch_dtype)
    return planes.new_empty(planes.shape), branch, scale.new_empty(scale.shape)


@kernel_operator("fused_norm_backward", fake=_fake_backward, work=_norm_backward_work)
def norm_backward(
    planes: Tensor, scale: Tensor, gradient: Tensor, residual: Tensor | None, branch_dtype: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``norm`` and ``add_norm`` from that of the normed row and that of the sum itself.

    Args:
        planes: What was normed, [..., 2, D].
        scale: [D].
        gradient: Of the normed row, same shape as ``planes``.
        residual: Gradient that reaches the sum past the norm, same shape; None for zero.
        branch_dtype: Dtype of a second copy of the sum's gradient; None for no copy.

    Returns:
        Gradient of the sum in the dtype of ``planes``, the copy (empty where none is wanted), and the scale's.
    """
    return _launch(planes, scale, gradient, residual, branch_dtype, None)


def _fake_gated(
    planes: Tensor,
    scale: Tensor,
    gradient: Tensor,
    residual: Tensor,
    logits_gradient: Tensor,
    step_weight: Tensor,
    protect_weight: Tensor,
    phase_weight: Tensor | None,
    branch_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del step_weight, protect_weight, phase_weight
    sizes = gradient.new_empty((logits_gradient.shape[-1], planes.shape[-1]))
    return *_fake_backward(planes, scale, gradient, residual, branch_dtype), sizes


@kernel_operator("fused_add_norm_gates_backward", fake=_fake_gated, work=_gated_backward_work)
def gated_norm_backward(
    planes: Tensor,
    scale: Tensor,
    gradient: Tensor,
    residual: Tensor,
    logits_gradient: Tensor,
    step_weight: Tensor,
    protect_weight: Tensor,
    phase_weight: Tensor | None,
    branch_dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of ``add_norm_gates``, except the two small products for the gates' weights.

    Args:
        planes: The sum that was normed, [B, T, 2, D].
        scale: [D].
        gradient: Of the normed row, as far as it does not come through the gates.
        residual: Gradient that reaches the sum past the norm.
        logits_gradient: Of both logits, float32 [2, H, N], contiguous; with the phases [2 + K, H, N].
        step_weight: [H, 2 D].
        protect_weight: [H, D], or [H, 2 D].
        phase_weight: [H K, D]; None for one state.
        branch_dtype: Dtype of the copy of the sum's gradient.

    Returns:
        Gradient of the sum, its copy, the scale's; and |x| [N, D] in the dtype of ``gradient``, for the product that
        gives the protect weight's.
    """
    sizes = gradient.new_empty((logits_gradient.shape[-1], planes.shape[-1]))
    phases = None if phase_weight is None else phase_weight.contiguous()
    gates = (logits_gradient, step_weight.contiguous(), protect_weight.contiguous(), phases, sizes)
    return *_launch(planes, scale, gradient, residual, branch_dtype, gates), sizes


def _launch(
    planes: Tensor,
    scale: Tensor,
    gradient: Tensor,
    residual: Tensor | None,
    branch_dtype: torch.dtype | None,
    gates: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    planes = planes.contiguous()
    width = planes.shape[-1]
    rows = planes.numel() // (2 * width)
    block = power_of_two(width)
    heads = gates[2].shape[0] if gates else 0
    warps = max(_GATED_WARPS if gates else _PLAIN_WARPS, block // _CHANNELS_PER_WARP)
    reads_parts = gates is not None and gates[2].shape[1] > width
    phases = gates[3].shape[0] // heads if gates is not None and gates[3] is not None else 0
    held = (3 + reads_parts + phases) * heads * block
    if phases and held > _HELD_NUMBERS * 32 * warps:
        warps *= 2
    holds = held <= _HELD_NUMBERS * 32 * warps
    if gates:
        tile, grid = 1, min(summing_grid(rows), _GATED_PROGRAMS * _GATED_WARPS // warps)
    else:
        tile = row_tile(rows, block, _PLAIN_ELEMENTS)
        grid = summing_grid(triton.cdiv(rows, tile))
    planes_gradient, branch_gradient, _ = _fake_backward(planes, scale, gradient, residual, branch_dtype)
    scale_gradient = scale.new_empty((grid, width), dtype=torch.float32)
    _norm_backward_kernel[(grid,)](
        planes,
        scale,
        gradient.contiguous(),
        planes if residual is None else residual.contiguous(),
        *(gates[:4] if gates else (scale,) * 4),
        planes_gradient,
        branch_gradient,
        scale_gradient,
        gates[4] if gates else scale,
        rows,
        width,
        heads,
        READS_PARTS=reads_parts,
        PHASES=phases,
        HAS_RESIDUAL=residual is not None,
        HAS_BRANCH=branch_dtype is not None,
        HAS_GATES=gates is not None,
        HOLDS_WEIGHTS=holds,
        ROWS=tile,
        BLOCK=block,
        STAGES=_GATED_STAGES if gates and holds else 1,
        num_warps=warps,
    )
    return planes_gradient, branch_gradient, scale_gradient.sum(0).to(scale.dtype)
