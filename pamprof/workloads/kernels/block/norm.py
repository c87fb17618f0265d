"""The block's norm as one kernel: residual add and norm in one pass.

A row is one token's planes [2, D]. The norm's statistics are float32 whatever the dtypes.

Axes: N rows (tokens of all sequences), D model_dim.
"""

from __future__ import annotations

import torch  # noqa: TC002 - operators are declared from their annotations
import triton
import triton.language as tl
from torch import Tensor  # noqa: TC002 - likewise

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.device_functions import (
    DIRECTION,
    MAGNITUDE,
    NORM,
    await_inputs,
    overlaps,
    power_of_two,
    reciprocal,
    reciprocal_root,
    row_tile,
    store,
)
from pamprof.workloads.kernels.kernel_operator import kernel_operator

# Real operations by the counter's convention: add, multiply, divide, root, exponential, sigmoid are 1 each.
NORM_FLOPS = 12  # per channel
ADD_FLOPS = 2  # per channel; a scale on what is added, or another part of it, costs as much again

# Tile sizes and warps here and in the other kernels are the fastest on an H200.
_ELEMENTS, _WARPS = 1024, 4  # of one plane in one program's tile
CHANNELS_PER_WARP = 512  # at most, of a wide row


@triton.jit
def normed_rows(
    planes: tl.tensor, branch: tl.tensor, branch_scale: tl.tensor, scale: tl.tensor, total: tl.tensor,
    normed: tl.tensor, row: tl.tensor, channel: tl.tensor, rows: tl.tensor, stored: tl.tensor, width: tl.tensor,
    PARTS: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Sums and norms of some rows, stored; the norms as float32 [ROWS, D] real and imaginary.

    ``stored`` is how many rows are stored: all, or none where another program does it. PARTS is how many there are of
    the branch, one after the other and to be added up; 0 without a branch.
    """
    within = channel < width
    inside = (row < rows)[:, None] & within[None, :]
    kept = (row < stored)[:, None] & within[None, :]
    place = row.to(tl.int64)[:, None] * (2 * width) + channel[None, :]
    real = tl.load(planes + place, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(planes + place + width, mask=inside, other=0.0).to(tl.float32)
    if PARTS > 0:
        added_real = tl.load(branch + place, mask=inside, other=0.0).to(tl.float32)
        added_imag = tl.load(branch + place + width, mask=inside, other=0.0).to(tl.float32)
        for part in tl.static_range(1, PARTS):
            of_part = branch + tl.cast(part, tl.int64) * rows * (2 * width) + place
            added_real += tl.load(of_part, mask=inside, other=0.0).to(tl.float32)
            added_imag += tl.load(of_part + width, mask=inside, other=0.0).to(tl.float32)
        if HAS_BRANCH_SCALE:
            weight = tl.load(branch_scale).to(tl.float32)
            added_real *= weight
            added_imag *= weight
        real += added_real
        imag += added_imag
        store(total + place, real, kept)
        store(total + place + width, imag, kept)
    power = real * real + imag * imag + MAGNITUDE
    mean = tl.sum(tl.where(within[None, :], power, 0.0), axis=1) / width
    size = power * reciprocal_root(power)
    channel_scale = tl.load(scale + channel, mask=within, other=0.0).to(tl.float32)
    factor = channel_scale[None, :] * tl.rsqrt(mean + NORM)[:, None] * (size * reciprocal(size + DIRECTION))
    real *= factor
    imag *= factor
    store(normed + place, real, kept)
    store(normed + place + width, imag, kept)
    return real, imag


@triton.jit
def _norm_kernel(
    planes: tl.tensor, branch: tl.tensor, branch_scale: tl.tensor, scale: tl.tensor, total: tl.tensor,
    normed: tl.tensor, rows: tl.tensor, width: tl.tensor,
    PARTS: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    await_inputs(OVERLAPS)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    normed_rows(
        planes, branch, branch_scale, scale, total, normed, row, tl.arange(0, BLOCK), rows, rows, width,
        PARTS, HAS_BRANCH_SCALE,
    )  # fmt: skip


def part_count(planes: Tensor, branch: Tensor) -> int:
    """Parts of a branch [S, ..., 2, D]; 1 for one of the shape of ``planes``."""
    return branch.shape[0] if branch.ndim > planes.ndim else 1


def _norm_work(planes: Tensor) -> OperatorWork:
    return OperatorWork(elementwise_flop_count=NORM_FLOPS * (planes.numel() // 2))


def add_norm_work(planes: Tensor, branch: Tensor, branch_scale: Tensor | None) -> OperatorWork:
    """Work of ``add_norm``."""
    adding = ADD_FLOPS * (part_count(planes, branch) + (branch_scale is not None))
    return OperatorWork(elementwise_flop_count=(NORM_FLOPS + adding) * (planes.numel() // 2))


def _fake_norm(planes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    del scale
    return planes.new_empty(planes.shape, dtype=dtype)


@kernel_operator("fused_norm", fake=_fake_norm, work=_norm_work)
def norm(planes: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Norm of planes [..., 2, D] by ``scale`` [D], in ``dtype``."""
    planes = planes.contiguous()
    normed = planes.new_empty(planes.shape, dtype=dtype)
    _launch(planes, None, None, scale, planes, normed)
    return normed


def fake_add_norm(
    planes: Tensor, branch: Tensor, branch_scale: Tensor | None, scale: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Room for what ``add_norm`` returns."""
    del branch, branch_scale, scale
    return planes.new_empty(planes.shape), planes.new_empty(planes.shape, dtype=dtype)


@kernel_operator("fused_add_norm", fake=fake_add_norm, work=add_norm_work)
def add_norm(
    planes: Tensor, branch: Tensor, branch_scale: Tensor | None, scale: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The sum of ``planes`` and ``branch_scale`` · ``branch`` in the dtype of ``planes``, and its norm in ``dtype``.

    All are [..., 2, D], or ``branch`` [S, ..., 2, D], in parts that are still to be added up.
    """
    planes = planes.contiguous()
    total, normed = fake_add_norm(planes, branch, branch_scale, scale, dtype)
    _launch(planes, branch, branch_scale, scale, total, normed)
    return total, normed


def _launch(
    planes: Tensor, branch: Tensor | None, branch_scale: Tensor | None, scale: Tensor, total: Tensor, normed: Tensor
) -> None:
    width = planes.shape[-1]
    rows = planes.numel() // (2 * width)
    block = power_of_two(width)
    tile = row_tile(rows, block, _ELEMENTS)
    _norm_kernel[(triton.cdiv(rows, tile),)](
        *norm_tensors(planes, branch, branch_scale, scale, total, normed),
        rows,
        width,
        PARTS=0 if branch is None else part_count(planes, branch),
        HAS_BRANCH_SCALE=branch_scale is not None,
        ROWS=tile,
        BLOCK=block,
        OVERLAPS=overlaps(planes.device),
        num_warps=max(_WARPS, block // CHANNELS_PER_WARP),
        launch_pdl=overlaps(planes.device),
    )


def norm_tensors(
    planes: Tensor, branch: Tensor | None, branch_scale: Tensor | None, scale: Tensor, total: Tensor, normed: Tensor
) -> tuple[Tensor, ...]:
    """What both kernels begin with; something stands in where there is nothing."""
    added = planes if branch is None else branch.contiguous()
    return planes, added, scale if branch_scale is None else branch_scale, scale, total, normed
