"""What the matrix-vector kernels of a decode step share: inputs normed on the way, weight tiles, launch sizes.

At a few rows a product is as fast as its weights can be read. A complex map as a real block holds each weight twice;
here one load of W_r and W_i serves both parts of the product. The norm before a map costs nothing: its row factor is
the same for all channels, so that it multiplies the sums at the end.

Weights are the left half [W_r; W_i] of a block matrix [2 out, 2 in]: rows of ``in`` numbers, 2 ``in`` apart.

Each kernel is over in a few microseconds, nearly all of which is latency, one after the other. So weights, which were
made long ago, are loaded before the results of the kernel before are awaited; what is needed last is loaded first.

Axes: K inputs, N outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.core.tiles import INTERPRETED
from pamprof.workloads.kernels.device_functions import DIRECTION, MAGNITUDE, NORM, power_of_two, prefetch
from pamprof.workloads.kernels.kernel_operator import tensor_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_FEW_ROWS = 2  # up to this many, more programs are faster than reusing a weight from the cache for more rows
_MOST_OUTPUTS = 2  # of one program
_FILLING_PROGRAMS = 4 if INTERPRETED.value else 132  # one for each multiprocessor of an H100 or H200
_BLOCK = 512  # inputs of a step


@triton.jit
def input_tile(
    row: tl.tensor, scale: tl.tensor, channel: tl.tensor, inputs: tl.tensor, NORMS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Both parts of some channels of a row of planes, normed up to the row's factor, and |z|² (0 behind the end)."""
    within = channel < inputs
    real = tl.load(row + channel, mask=within, other=0.0).to(tl.float32)
    imag = tl.load(row + inputs + channel, mask=within, other=0.0).to(tl.float32)
    power = tl.where(within, real * real + imag * imag + MAGNITUDE, 0.0)
    if NORMS:
        size = tl.sqrt(power)
        factor = tl.load(scale + channel, mask=within, other=0.0).to(tl.float32) * (size / (size + DIRECTION))
        real *= factor
        imag *= factor
    return real, imag, power


@triton.jit
def row_factor(powers: tl.tensor, inputs: tl.tensor) -> tl.tensor:
    """1 / sqrt(mean |z|² + 1e-6) from |z|² along the last axis."""
    return 1.0 / tl.sqrt(tl.sum(powers, axis=1) / inputs + NORM)


@triton.jit
def channels(step: tl.tensor, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr) -> tl.tensor:
    """Channels of a step for each output [N, K]: in the shape of weights, so that inputs are loaded where they meet."""
    return step * BLOCK + tl.arange(0, BLOCK)[None, :] + tl.zeros((OUTPUTS, 1), tl.int32)


@triton.jit
def weight_tile(
    weight: tl.tensor, output: tl.tensor, channel: tl.tensor, outputs: tl.tensor, inputs: tl.tensor
) -> tl.tensor:
    """Weights of some outputs [N] and channels [N, K]."""
    inside = (output < outputs)[:, None] & (channel < inputs)
    place = output.to(tl.int64)[:, None] * (2 * inputs) + channel
    return tl.load(weight + place, mask=inside, other=0.0)


@triton.jit
def prefetch_later(
    weight: tl.tensor,
    output: tl.tensor,
    outputs: tl.tensor,
    inputs: tl.tensor,
    PARTS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Prefetch this program's weights of all steps but the first."""
    line: tl.constexpr = 1024 // weight.dtype.element_ty.primitive_bitwidth  # elements of 128 bytes
    lines: tl.constexpr = max(1, BLOCK // line)
    # Past the end the last one is loaded again, so that no load is out of bounds.
    row = weight + tl.minimum(output, outputs - 1).to(tl.int64)[:, None] * (2 * inputs)
    for step in tl.static_range(1, STEPS):
        channel = tl.minimum(step * BLOCK + tl.arange(0, lines) * line, inputs - 1)
        for part in tl.static_range(PARTS):
            prefetch(row + part * (tl.cast(outputs, tl.int64) * 2 * inputs) + channel[None, :])


def tile_sizes(rows: int, outputs: int, inputs: int) -> tuple[int, int, int]:
    """Outputs of one program, of which there is a warp for each, steps over the inputs, and inputs of a step.

    A warp by itself adds up its output without waiting for others.
    """
    share = 1 if rows <= _FEW_ROWS else max(1, outputs // _FILLING_PROGRAMS)
    tile = min(_MOST_OUTPUTS, 1 << (share.bit_length() - 1))
    block = min(power_of_two(inputs), _BLOCK)
    return tile, -(-inputs // block), block


def map_work(
    rows: int, weight: Tensor, moved: Sequence[object], *, elementwise: int, products: int = 0
) -> OperatorWork:
    """Work of a complex map on ``rows`` tokens.

    Args:
        rows: Tokens of all sequences.
        weight: Block matrix [2 out, 2 in], of which the left half is read.
        moved: What is read or written besides.
        elementwise: FLOP of what is not a product.
        products: FLOP of other products.
    """
    total = 2 * rows * weight.numel() + products
    return OperatorWork(
        matrix_flop_count=total,
        matrix_dense_flop_count=total,
        elementwise_flop_count=elementwise,
        byte_count=tensor_bytes(weight) // 2 + tensor_bytes(*moved),
    )
