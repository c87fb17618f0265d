"""The first half of a decoded token's gate unit as one kernel: norm, gate and upward map, and what is between them.

Axes: B batch, D model_dim, h hidden_dim, K inputs, N outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl
from torch import Tensor  # noqa: TC002 - operators are declared from their annotations

from pamprof.workloads.kernels.block.gate import GATE_FLOPS, gated
from pamprof.workloads.kernels.block.norm import NORM_FLOPS
from pamprof.workloads.kernels.decode.tiles import (
    channels,
    input_tile,
    map_work,
    prefetch_later,
    row_factor,
    tile_sizes,
    weight_tile,
)
from pamprof.workloads.kernels.device_functions import await_results, launch_next, overlaps, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator, require_contiguous

if TYPE_CHECKING:
    from pamprof.workloads.kernel_flops import OperatorWork


@triton.jit
def _gate_unit_kernel(
    hidden: tl.tensor, scale: tl.tensor, weight: tl.tensor, bias: tl.tensor, beta: tl.tensor, out: tl.tensor,
    inputs: tl.tensor, width: tl.tensor,
    HAS_SLOPE: tl.constexpr, STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr,
    OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    launch_next(OVERLAPS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    within = output < width
    plane = tl.cast(width, tl.int64) * 2 * inputs
    channel = channels(0, OUTPUTS, BLOCK)
    of_gate_real = weight_tile(weight, output, channel, width, inputs)
    of_up_real = weight_tile(weight + plane, output, channel, width, inputs)
    of_gate_imag = weight_tile(weight + 2 * plane, output, channel, width, inputs)
    of_up_imag = weight_tile(weight + 3 * plane, output, channel, width, inputs)
    if OVERLAPS:
        prefetch_later(weight, output, width, inputs, 4, STEPS, BLOCK)
    shift = tl.load(bias + output, mask=within, other=0.0).to(tl.float32)
    slope = tl.load(beta + output, mask=within, other=0.0).to(tl.float32)
    await_results(OVERLAPS)
    row = hidden + tl.program_id(1).to(tl.int64) * (2 * inputs)
    real, imag, powers = input_tile(row, scale, channel, inputs, True)
    gate_real = of_gate_real * real - of_gate_imag * imag
    gate_imag = of_gate_imag * real + of_gate_real * imag
    up_real = of_up_real * real - of_up_imag * imag
    up_imag = of_up_imag * real + of_up_real * imag
    for step in tl.static_range(1, STEPS):
        channel = channels(step, OUTPUTS, BLOCK)
        real, imag, power = input_tile(row, scale, channel, inputs, True)
        powers += power
        of_gate_real = weight_tile(weight, output, channel, width, inputs)
        of_up_real = weight_tile(weight + plane, output, channel, width, inputs)
        of_gate_imag = weight_tile(weight + 2 * plane, output, channel, width, inputs)
        of_up_imag = weight_tile(weight + 3 * plane, output, channel, width, inputs)
        gate_real += of_gate_real * real - of_gate_imag * imag
        gate_imag += of_gate_imag * real + of_gate_real * imag
        up_real += of_up_real * real - of_up_imag * imag
        up_imag += of_up_imag * real + of_up_real * imag
    reciprocal = row_factor(powers, inputs)
    real, imag = gated(
        tl.sum(gate_real, axis=1) * reciprocal,
        tl.sum(gate_imag, axis=1) * reciprocal,
        tl.sum(up_real, axis=1) * reciprocal,
        tl.sum(up_imag, axis=1) * reciprocal,
        shift,
        slope,
        HAS_SLOPE,
    )
    target = out + tl.program_id(1).to(tl.int64) * (2 * width) + output
    store(target, real, within)
    store(target + width, imag, within)


def _work(
    hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None, *, output: object
) -> OperatorWork:
    width, inputs = bias.shape[0], hidden.shape[-1]
    rows = hidden.numel() // (2 * inputs)
    elementwise = rows * (NORM_FLOPS * inputs + GATE_FLOPS * width)
    return map_work(rows, weight, (hidden, scale, bias, beta, output), elementwise=elementwise)


def _fake(hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    del scale, beta
    return hidden.new_empty((*hidden.shape[:-1], bias.shape[0]), dtype=weight.dtype)


@kernel_operator("fused_decode_gate_unit", fake=_fake, work=_work)
def norm_gate_unit(hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """Norm, gate and upward map, and the gate unit between them: planes [..., 2, D] to [..., 2, h].

    Args:
        hidden: Residual stream.
        scale: Of the norm, [D].
        weight: Block matrix of both maps, gate first, [4 h, 2 D].
        bias: Activation bias [h].
        beta: Slope [h] of modSwish; None for modReLU.
    """
    require_contiguous(scale=scale, weight=weight, bias=bias)
    hidden = hidden.contiguous()
    out = _fake(hidden, scale, weight, bias, beta)
    inputs, width = hidden.shape[-1], bias.shape[0]
    row_count = hidden.numel() // (2 * inputs)
    tile, steps, block = tile_sizes(row_count, width, inputs)
    _gate_unit_kernel[triton.cdiv(width, tile), row_count](
        hidden,
        scale,
        weight,
        bias,
        bias if beta is None else beta,
        out,
        inputs,
        width,
        HAS_SLOPE=beta is not None,
        STEPS=steps,
        OUTPUTS=tile,
        BLOCK=block,
        OVERLAPS=overlaps(hidden.device),
        num_warps=tile,
        launch_pdl=overlaps(hidden.device),
    )
    return out
