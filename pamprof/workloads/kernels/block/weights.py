"""The block matrix [[W_r, -W_i], [W_i, W_r]] of a complex linear map, made in one pass over its weights; and backward.

Plain operators take eight passes for it: a scale, casts, a negation, concatenations. Backward folds the matrix's
gradient into those of W_r, W_i and a scale that both were multiplied by.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.device_functions import store
from pamprof.workloads.kernels.kernel_operator import kernel_operator, tensor_bytes

_ROWS, _COLUMNS, _WARPS = 8, 128, 4


@triton.jit
def _block_kernel(
    weight_real: tl.tensor, weight_imag: tl.tensor, scale: tl.tensor, block: tl.tensor, outputs: tl.tensor,
    inputs: tl.tensor, first: tl.tensor, total: tl.tensor,
    HAS_SCALE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < outputs)[:, None] & (column < inputs)[None, :]
    source = row[:, None] * inputs + column[None, :]
    real = tl.load(weight_real + source, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(weight_imag + source, mask=inside, other=0.0).to(tl.float32)
    if HAS_SCALE:
        factor = tl.load(scale).to(tl.float32)
        real *= factor
        imag *= factor
    target = (first + row).to(tl.int64)[:, None] * (2 * inputs) + column[None, :]
    below = target + total * 2 * inputs
    store(block + target, real, inside)
    store(block + target + inputs, -imag, inside)
    store(block + below, imag, inside)
    store(block + below + inputs, real, inside)


@triton.jit
def _fold_kernel(
    gradient: tl.tensor, weight_real: tl.tensor, weight_imag: tl.tensor, scale: tl.tensor, real_gradient: tl.tensor,
    imag_gradient: tl.tensor, scale_gradient: tl.tensor,
    outputs: tl.tensor, inputs: tl.tensor, first: tl.tensor, total: tl.tensor,
    HAS_SCALE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = (row < outputs)[:, None] & (column < inputs)[None, :]
    source = (first + row).to(tl.int64)[:, None] * (2 * inputs) + column[None, :]
    below = source + total * 2 * inputs
    real = tl.load(gradient + source, mask=inside, other=0.0).to(tl.float32)
    real += tl.load(gradient + below + inputs, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(gradient + below, mask=inside, other=0.0).to(tl.float32)
    imag -= tl.load(gradient + source + inputs, mask=inside, other=0.0).to(tl.float32)
    target = row[:, None] * inputs + column[None, :]
    if HAS_SCALE:
        along = real * tl.load(weight_real + target, mask=inside, other=0.0).to(tl.float32)
        along += imag * tl.load(weight_imag + target, mask=inside, other=0.0).to(tl.float32)
        program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
        tl.store(scale_gradient + program, tl.sum(tl.sum(along, axis=1), axis=0))
        factor = tl.load(scale).to(tl.float32)
        real *= factor
        imag *= factor
    store(real_gradient + target, real, inside)
    store(imag_gradient + target, imag, inside)


def _block_work(reals: list[Tensor], scale: Tensor | None) -> OperatorWork:
    per_weight = 1 if scale is None else 3  # the negation, and a product for each part
    return OperatorWork(elementwise_flop_count=per_weight * sum(weight.numel() for weight in reals))


def _fold_work(
    gradient: Tensor, weight_real: Tensor, weight_imag: Tensor, scale: Tensor | None, *, output: object
) -> OperatorWork:
    # The map's own rows of the gradient alone; the weights only where the scale has a gradient.
    read = 4 * weight_real.numel() * gradient.element_size()
    if scale is not None:
        read += tensor_bytes(weight_real, weight_imag, scale)
    return OperatorWork(
        elementwise_flop_count=(2 if scale is None else 8) * weight_real.numel(),
        byte_count=read + tensor_bytes(output),
    )


def _fake_block(reals: list[Tensor], imags: list[Tensor], scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    del imags, scale
    total = sum(weight.shape[0] for weight in reals)
    return reals[0].new_empty((2 * total, 2 * reals[0].shape[1]), dtype=dtype)


@kernel_operator("fused_block_weight", fake=_fake_block, work=_block_work)
def block_weight(reals: list[Tensor], imags: list[Tensor], scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[[W_r, -W_i], [W_i, W_r]] · ``scale`` in ``dtype``, [2 out, 2 in], of maps stacked along their outputs.

    Args:
        reals: W_r of each map, [out_i, in].
        imags: W_i of each map.
        scale: Scalar; None for 1.
        dtype: Of the result.
    """
    block = _fake_block(reals, imags, scale, dtype)
    first, total = 0, block.shape[0] // 2
    for real, imag in zip(reals, imags, strict=True):
        outputs, inputs = real.shape
        grid = (triton.cdiv(outputs, _ROWS), triton.cdiv(inputs, _COLUMNS))
        _block_kernel[grid](
            real.contiguous(),
            imag.contiguous(),
            real if scale is None else scale,
            block,
            outputs,
            inputs,
            first,
            total,
            HAS_SCALE=scale is not None,
            ROWS=_ROWS,
            COLUMNS=_COLUMNS,
            num_warps=_WARPS,
        )
        first += outputs
    return block


def _fake_fold(
    gradient: Tensor, weight_real: Tensor, weight_imag: Tensor, scale: Tensor | None, first: int
) -> tuple[Tensor, Tensor, Tensor]:
    del gradient, first
    return (
        weight_real.new_empty(weight_real.shape),
        weight_imag.new_empty(weight_imag.shape),
        weight_real.new_empty((0,) if scale is None else ()),
    )


@kernel_operator("fused_block_weight_backward", fake=_fake_fold, work=_fold_work)
def fold_gradient(
    gradient: Tensor, weight_real: Tensor, weight_imag: Tensor, scale: Tensor | None, first: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of W_r, W_i and ``scale`` (empty without one) of the map whose outputs begin at row ``first``.

    ``gradient`` is that of the block matrix, [2 total outputs, 2 in], contiguous.
    """
    outputs, inputs = weight_real.shape
    grid = (triton.cdiv(outputs, _ROWS), triton.cdiv(inputs, _COLUMNS))
    real_gradient = weight_real.new_empty((outputs, inputs))
    imag_gradient = weight_imag.new_empty((outputs, inputs))
    scale_gradient = weight_real.new_empty(0 if scale is None else grid[0] * grid[1], dtype=torch.float32)
    _fold_kernel[grid](
        gradient.contiguous(),
        weight_real.contiguous(),
        weight_imag.contiguous(),
        weight_real if scale is None else scale,
        real_gradient,
        imag_gradient,
        scale_gradient,
        outputs,
        inputs,
        first,
        gradient.shape[0] // 2,
        HAS_SCALE=scale is not None,
        ROWS=_ROWS,
        COLUMNS=_COLUMNS,
        num_warps=_WARPS,
    )
    if scale is not None:
        return real_gradient, imag_gradient, scale_gradient.sum().to(scale.dtype)
    return real_gradient, imag_gradient, scale_gradient.to(weight_real.dtype)
