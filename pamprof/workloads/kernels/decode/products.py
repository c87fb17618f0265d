"""Linear maps of a decode step of some tens of sequences, by matrix units: whole, in parts, or with the gate unit.

At so few rows a product takes as long as its weights take to arrive. A complex map as a real block holds each weight
twice; here one tile of [W_r; W_i] meets the rows x_r and the rows x_i, and both products are added up in registers:
W x = W x_r + i W x_i. Maps to few outputs are split along their inputs, so that every multiprocessor has something to
load; the norm that comes next adds up the parts, always in the same order.

Weights are the left half [W_r; W_i] of a block matrix [2 out, 2 in]. Small ones are prefetched while the kernel before
still runs, into L2 only, where a weight that kernel was still writing would be seen.

Axes: N rows (sequences), K inputs, M outputs, S parts.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernels.block.gate import GATE_FLOPS, gated
from pamprof.workloads.kernels.core.tiles import INTERPRETED, add_product, parted
from pamprof.workloads.kernels.decode.tiles import map_work
from pamprof.workloads.kernels.device_functions import (
    await_results,
    launch_next,
    overlaps,
    power_of_two,
    prefetch,
    store,
)
from pamprof.workloads.kernels.kernel_operator import kernel_operator, require_contiguous

if TYPE_CHECKING:
    from pamprof.workloads.kernel_flops import OperatorWork

_FEWEST_ROWS, _MOST_ROWS = 16, 64  # of a tile
_OUTPUTS, _MOST_OUTPUTS = 16, 32  # of a tile
# Inputs of a step, and the most steps in flight at once if shared memory holds them: of whole maps, of parts.
_BLOCK, _PART_BLOCK = (16, 16) if INTERPRETED.value else (64, 128)
_STAGES, _PART_STAGES, _FEWEST_STAGES = 6, 4, 2
_OVERLAPPING_PART_STAGES = 3
_FILLING_PROGRAMS = 16 if INTERPRETED.value else 132  # one for each multiprocessor of an H100 or H200
_WARPS = 4
# The largest weight whose kernel may begin before the one in front of it ends. On an H200 the early start gains 3 % at
# 100M and 64 sequences, and costs 40 to 70 % at 1B and 16.
_OVERLAPPING_BYTES = 4 << 20


@triton.jit
def _products_kernel(
    x: tl.tensor, weight: tl.tensor, bias: tl.tensor, beta: tl.tensor, out: tl.tensor, rows: tl.tensor,
    inputs: tl.tensor, outputs: tl.tensor,
    GATES: tl.constexpr, HAS_SLOPE: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, STEPS: tl.constexpr,
    BLOCK: tl.constexpr, STAGES: tl.constexpr, PRECISION: tl.constexpr, OVERLAPS: tl.constexpr,
    LAUNCHES_LATE: tl.constexpr,
) -> None:  # fmt: skip
    if not LAUNCHES_LATE:
        launch_next(OVERLAPS)
    columns: tl.constexpr = (4 if GATES else 2) * OUTPUTS
    # Parts of the same outputs side by side: [W_r | W_i], or [g_r | u_r | g_i | u_i].
    column = tl.arange(0, columns)
    output = tl.program_id(0) * OUTPUTS + column % OUTPUTS
    within = output < outputs
    of_output = weight + (column // OUTPUTS * outputs + tl.minimum(output, outputs - 1)).to(tl.int64) * (2 * inputs)
    begin = tl.program_id(1) * (STEPS * BLOCK)
    if OVERLAPS:
        lines: tl.constexpr = STEPS * BLOCK * weight.dtype.element_ty.primitive_bitwidth // 1024  # of 128 bytes
        for line in tl.static_range(lines):
            prefetch(of_output + tl.minimum(begin + line * (STEPS * BLOCK // lines), inputs - 1))
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    of_row = x + row.to(tl.int64) * (2 * inputs)
    await_results(OVERLAPS)
    if LAUNCHES_LATE:
        launch_next(OVERLAPS)
    by_real = tl.zeros((ROWS, columns), tl.float32)
    by_imag = tl.zeros((ROWS, columns), tl.float32)
    for step in tl.range(STEPS, num_stages=STAGES):
        channel = begin + step * BLOCK + tl.arange(0, BLOCK)
        inside = (row < rows)[:, None] & (channel < inputs)[None, :]
        tile = tl.load(
            of_output[None, :] + channel[:, None], mask=within[None, :] & (channel < inputs)[:, None], other=0.0
        )
        by_real = add_product(
            by_real, tl.load(of_row[:, None] + channel[None, :], mask=inside, other=0.0), tile, PRECISION
        )
        by_imag = add_product(
            by_imag, tl.load(of_row[:, None] + (inputs + channel)[None, :], mask=inside, other=0.0), tile, PRECISION
        )
    real, imag = parted(by_real)
    turned_real, turned_imag = parted(by_imag)
    real -= turned_imag
    imag += turned_real
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    if GATES:
        gate_real, up_real = parted(real)
        gate_imag, up_imag = parted(imag)
        shift = tl.load(bias + output, mask=output < outputs, other=0.0).to(tl.float32)[None, :]
        slope = tl.load(beta + output, mask=output < outputs, other=0.0).to(tl.float32)[None, :]
        real, imag = gated(gate_real, gate_imag, up_real, up_imag, shift, slope, HAS_SLOPE)
    inside = (row < rows)[:, None] & (output < outputs)[None, :]
    place = out + (tl.program_id(1) * rows + row).to(tl.int64)[:, None] * (2 * outputs) + output[None, :]
    store(place, real, inside)
    store(place + outputs, imag, inside)


class TileSizes(NamedTuple):
    """Sizes of one launch: tiles of rows and outputs, inputs of a step, steps, and how many are on their way."""

    rows: int
    outputs: int
    block: int
    steps: int
    stages: int


def product_tiles(
    rows: int,
    outputs: int,
    inputs: int,
    *,
    parts: int,
    gates: bool,
    overlapping: bool,
    element_size: int,
    shared_memory: int,
) -> TileSizes:
    """Sizes for a map in some parts, or in none (0).

    Tiles of 32 outputs are taken where those of 16 would be more programs than an H100 or H200 has multiprocessors. At
    the presets' sizes every program then starts at once.

    Args:
        rows: Tokens of all sequences.
        outputs: Of the map, or of each of both maps of a gate unit.
        inputs: Of the map.
        parts: Into which inputs are split; 0 for a result in the dtype of the weight.
        gates: Whether it is a gate unit's.
        overlapping: Whether it may begin before its turn. Beside the kernel before, half empty tiles of 64 rows are
            faster on an H200 than tiles of 32.
        element_size: Bytes of a number.
        shared_memory: Bytes that a program may have.
    """
    row_tile = min(_MOST_ROWS, max(_FEWEST_ROWS, power_of_two(rows)))
    if overlapping and row_tile > _FEWEST_ROWS:
        row_tile = _MOST_ROWS
    programs = triton.cdiv(outputs, _OUTPUTS) * triton.cdiv(rows, row_tile)
    tile = _MOST_OUTPUTS if programs > _FILLING_PROGRAMS and not parts else _OUTPUTS
    part_stages = _OVERLAPPING_PART_STAGES if overlapping else _PART_STAGES
    block, stages = (_PART_BLOCK, part_stages) if parts else (_BLOCK, _STAGES)
    of_step = (2 * row_tile + (4 if gates else 2) * tile) * block * element_size
    steps = triton.cdiv(triton.cdiv(inputs, block), max(parts, 1))
    return TileSizes(row_tile, tile, block, steps, max(_FEWEST_STAGES, min(stages, shared_memory // of_step)))


def map_tiles(
    rows: int, outputs: int, inputs: int, *, dtype: torch.dtype, device: torch.device, parts: bool, gates: bool
) -> TileSizes:
    """Sizes for a map on a device, in parts or whole; ``outputs`` as in ``product_tiles``."""
    element_size = dtype.itemsize
    weight_bytes = (4 if gates else 2) * outputs * inputs * element_size
    return product_tiles(
        rows,
        outputs,
        inputs,
        parts=_part_count(rows, outputs, inputs) if parts else 0,
        gates=gates,
        overlapping=_overlapping(weight_bytes, device),
        element_size=element_size,
        shared_memory=_shared_memory(device),
    )


def _launch(x: Tensor, weight: Tensor, out: Tensor, *, bias: Tensor | None = None, beta: Tensor | None = None) -> None:
    require_contiguous(weight=weight)
    inputs, outputs = x.shape[-1], out.shape[-1]
    rows = x.numel() // (2 * inputs)
    gates, in_parts = bias is not None, out.ndim > x.ndim
    parts = out.shape[0] if in_parts else 1
    tiles = map_tiles(rows, outputs, inputs, dtype=weight.dtype, device=x.device, parts=in_parts, gates=gates)
    overlapping = _overlapping(weight.numel() // 2 * weight.element_size(), x.device)
    _products_kernel[triton.cdiv(outputs, tiles.outputs), parts, triton.cdiv(rows, tiles.rows)](
        x.contiguous(),
        weight,
        weight if bias is None else bias,
        weight if beta is None else beta,
        out,
        rows,
        inputs,
        outputs,
        GATES=gates,
        HAS_SLOPE=beta is not None,
        ROWS=tiles.rows,
        OUTPUTS=tiles.outputs,
        STEPS=tiles.steps,
        BLOCK=tiles.block,
        STAGES=tiles.stages,
        PRECISION="ieee",  # of float32; others have but one
        OVERLAPS=overlapping,
        LAUNCHES_LATE=not gates and not in_parts,  # the next kernel may read what older kernels wrote
        num_warps=_WARPS,
        launch_pdl=overlapping,
    )


def _overlapping(weight_bytes: int, device: torch.device) -> bool:
    """Whether a product with a weight, of which it reads so many bytes, may begin before its turn."""
    return overlaps(device) and weight_bytes <= _OVERLAPPING_BYTES


@cache
def _shared_memory(device: torch.device) -> int:
    """Bytes that a program can have."""
    if device.type != "cuda":
        return 0
    properties: object = torch.cuda.get_device_properties(device)
    return int(getattr(properties, "shared_memory_per_block_optin"))  # noqa: B009 - torch's types do not name it


def _part_count(rows: int, outputs: int, inputs: int) -> int:
    """Into how many parts a map is split along its inputs."""
    programs = triton.cdiv(outputs, _OUTPUTS) * triton.cdiv(rows, _MOST_ROWS)
    blocks: int = triton.cdiv(inputs, _PART_BLOCK)
    steps = triton.cdiv(blocks, max(1, min(blocks, _FILLING_PROGRAMS // programs)))
    return int(triton.cdiv(blocks, steps))


def _parts_work(x: Tensor, weight: Tensor, *, output: object) -> OperatorWork:
    return map_work(x.numel() // (2 * x.shape[-1]), weight, (x, output), elementwise=0)


def _fake_parts(x: Tensor, weight: Tensor) -> Tensor:
    inputs, outputs = x.shape[-1], weight.shape[0] // 2
    parts = _part_count(x.numel() // (2 * inputs), outputs, inputs)
    return x.new_empty((parts, *x.shape[:-1], outputs), dtype=torch.float32)


@kernel_operator("fused_decode_partial_products", fake=_fake_parts, work=_parts_work)
def partial_products(x: Tensor, weight: Tensor) -> Tensor:
    """W x in float32 parts that are still to be added up: planes [..., 2, K] to [S, ..., 2, M].

    Args:
        x: Input.
        weight: Block matrix [2 M, 2 K].
    """
    out = _fake_parts(x, weight)
    _launch(x, weight, out)
    return out


def _fake_product(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0] // 2), dtype=weight.dtype)


@kernel_operator("fused_decode_product", fake=_fake_product, work=_parts_work)
def product(x: Tensor, weight: Tensor) -> Tensor:
    """W x in the dtype of the weight: planes [..., 2, K] to [..., 2, M]; arguments as in ``partial_products``."""
    out = _fake_product(x, weight)
    _launch(x, weight, out)
    return out


def _gate_work(x: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None, *, output: object) -> OperatorWork:
    rows = x.numel() // (2 * x.shape[-1])
    return map_work(rows, weight, (x, bias, beta, output), elementwise=GATE_FLOPS * rows * bias.shape[0])


def _fake_gate(x: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    del beta
    return x.new_empty((*x.shape[:-1], bias.shape[0]), dtype=weight.dtype)


@kernel_operator("fused_decode_gate_product", fake=_fake_gate, work=_gate_work)
def gate_product(x: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """Gate and upward map and the gate unit between them: planes [..., 2, D] to [..., 2, h].

    Args:
        x: Normed rows.
        weight: Block matrix of both maps, gate first, [4 h, 2 D].
        bias: Activation bias [h].
        beta: Slope [h] of modSwish; None for modReLU.
    """
    out = _fake_gate(x, weight, bias, beta)
    _launch(x, weight, out, bias=bias, beta=beta)
    return out
