"""The block's norm as one kernel: residual add, norm, and where asked for the logits of the decay's gates, in one pass.

A row is one token's planes [2, D]. The norm's statistics, the gates' products and everything that leads to a decay are
float32 whatever the dtypes. Gate logits are products with the normed row before it is rounded.

Axes: N rows (tokens of all sequences), D model_dim, H heads, B batch, T time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block_math import (
    DIRECTION,
    MAGNITUDE,
    NORM,
    await_inputs,
    modulus,
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
ADD_FLOPS = 2  # per channel; a scale on what is added, or adding up its rows, costs as much again
SIZE_FLOPS = 5  # modulus of a normed channel

# The fastest on an H200, as all such sizes of these kernels.
_ELEMENTS, _WARPS = 1024, 4  # of one plane in one program's tile
_GATED_WARPS = 1  # of a program of one row
_CHANNELS_PER_WARP = 512  # at most, of a wide row


@triton.jit  # type: ignore[untyped-decorator]
def normed_rows(  # type: ignore[no-untyped-def]
    planes, branch, branch_scale, scale, total, normed, row, channel, rows, width,
    HAS_BRANCH: tl.constexpr, PAIRED: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
):  # fmt: skip
    """Sums and norms of some rows, stored; the norms as float32 [ROWS, D] real and imaginary."""
    within = channel < width
    inside = (row < rows)[:, None] & within[None, :]
    place = row.to(tl.int64)[:, None] * (2 * width) + channel[None, :]
    real = tl.load(planes + place, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(planes + place + width, mask=inside, other=0.0).to(tl.float32)
    if HAS_BRANCH:
        if PAIRED:
            # Rows W x_r and W x_i, each as planes: W x = W x_r + i W x_i.
            first = row.to(tl.int64)[:, None] * (4 * width) + channel[None, :]
            added_real = tl.load(branch + first, mask=inside, other=0.0).to(tl.float32)
            added_real -= tl.load(branch + first + 3 * width, mask=inside, other=0.0).to(tl.float32)
            added_imag = tl.load(branch + first + width, mask=inside, other=0.0).to(tl.float32)
            added_imag += tl.load(branch + first + 2 * width, mask=inside, other=0.0).to(tl.float32)
        else:
            added_real = tl.load(branch + place, mask=inside, other=0.0).to(tl.float32)
            added_imag = tl.load(branch + place + width, mask=inside, other=0.0).to(tl.float32)
        if HAS_BRANCH_SCALE:
            weight = tl.load(branch_scale).to(tl.float32)
            added_real *= weight
            added_imag *= weight
        real += added_real
        imag += added_imag
        store(total + place, real, inside)
        store(total + place + width, imag, inside)
    power = real * real + imag * imag + MAGNITUDE
    mean = tl.sum(tl.where(within[None, :], power, 0.0), axis=1) / width
    size = power * reciprocal_root(power)
    channel_scale = tl.load(scale + channel, mask=within, other=0.0).to(tl.float32)
    factor = channel_scale[None, :] * tl.rsqrt(mean + NORM)[:, None] * (size * reciprocal(size + DIRECTION))
    real *= factor
    imag *= factor
    store(normed + place, real, inside)
    store(normed + place + width, imag, inside)
    return real, imag


@triton.jit  # type: ignore[untyped-decorator]
def _norm_kernel(  # type: ignore[no-untyped-def]
    planes, branch, branch_scale, scale, total, normed, rows, width,
    HAS_BRANCH: tl.constexpr, PAIRED: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
):  # fmt: skip
    await_inputs(OVERLAPS)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    normed_rows(
        planes, branch, branch_scale, scale, total, normed, row, tl.arange(0, BLOCK), rows, width,
        HAS_BRANCH, PAIRED, HAS_BRANCH_SCALE,
    )  # fmt: skip


@triton.jit(do_not_specialize=["length"])  # type: ignore[untyped-decorator]
def _gated_norm_kernel(  # type: ignore[no-untyped-def]
    planes, branch, branch_scale, scale, total, normed,
    step_weight, step_bias, dt_bias, protect_weight, protect_bias, step_logits, gate_logits,
    rows, length, width,
    PAIRED: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    HEADS: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
):  # fmt: skip
    """One row, so that its logits are numbers: vectors of a few would be laid out anew for each store."""
    await_inputs(OVERLAPS)
    row = tl.program_id(0)
    channel = tl.arange(0, BLOCK)
    real, imag = normed_rows(
        planes, branch, branch_scale, scale, total, normed, row + tl.arange(0, 1), channel, rows, width,
        True, PAIRED, HAS_BRANCH_SCALE,
    )  # fmt: skip
    size, _ = modulus(real, imag)
    channel = channel[None, :]
    inside = channel < width
    steps, gates = (), ()
    for head in tl.static_range(HEADS):
        of_step = step_weight + head * 2 * width + channel
        of_real = tl.load(of_step, mask=inside, other=0.0).to(tl.float32)
        of_imag = tl.load(of_step + width, mask=inside, other=0.0).to(tl.float32)
        of_size = tl.load(protect_weight + head * width + channel, mask=inside, other=0.0).to(tl.float32)
        step = tl.sum(tl.sum(real * of_real + imag * of_imag, axis=1), axis=0)
        gate = tl.sum(tl.sum(size * of_size, axis=1), axis=0)
        step += tl.load(step_bias + head).to(tl.float32) + tl.load(dt_bias + head).to(tl.float32)
        gate += tl.load(protect_bias + head).to(tl.float32)
        steps = steps + (step,)  # type: ignore[assignment]  # noqa: RUF005 - Triton knows no starred tuples
        gates = gates + (gate,)  # type: ignore[assignment]  # noqa: RUF005
    # Behind all loads, since none may overtake a store.
    target = (row // length).to(tl.int64) * HEADS * length + row % length
    for head in tl.static_range(HEADS):
        tl.store(step_logits + target + head * length, steps[head])
        tl.store(gate_logits + target + head * length, gates[head])


def _norm_work(planes: Tensor, scale: Tensor, dtype: torch.dtype, *, output: object) -> OperatorWork:
    del scale, dtype, output
    return OperatorWork(elementwise_flop_count=NORM_FLOPS * (planes.numel() // 2))


def _add_norm_work(
    planes: Tensor, branch: Tensor, branch_scale: Tensor | None, scale: Tensor, dtype: torch.dtype, *, output: object
) -> OperatorWork:
    del scale, dtype, output
    adding = ADD_FLOPS * (1 + (branch_scale is not None) + (branch.ndim > planes.ndim))
    return OperatorWork(elementwise_flop_count=(NORM_FLOPS + adding) * (planes.numel() // 2))


def gate_products(rows: int, width: int, heads: int) -> int:
    """FLOP of the gates' products with ``rows`` tokens: 3 D H multiply-adds each."""
    return 2 * 3 * rows * width * heads


def _gated_norm_work(
    planes: Tensor,
    branch: Tensor,
    branch_scale: Tensor | None,
    scale: Tensor,
    gates: list[Tensor],
    dtype: torch.dtype,
    *,
    output: object,
) -> OperatorWork:
    channels, width = planes.numel() // 2, planes.shape[-1]
    norm = _add_norm_work(planes, branch, branch_scale, scale, dtype, output=output)
    products = gate_products(channels // width, width, gates[3].shape[0])
    return OperatorWork(
        matrix_flop_count=products,
        matrix_dense_flop_count=products,
        elementwise_flop_count=norm.elementwise_flop_count + SIZE_FLOPS * channels,
    )


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


def _fake_add_norm(
    planes: Tensor, branch: Tensor, branch_scale: Tensor | None, scale: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    del branch, branch_scale, scale
    return planes.new_empty(planes.shape), planes.new_empty(planes.shape, dtype=dtype)


@kernel_operator("fused_add_norm", fake=_fake_add_norm, work=_add_norm_work)
def add_norm(
    planes: Tensor, branch: Tensor, branch_scale: Tensor | None, scale: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The sum of ``planes`` and ``branch_scale`` · ``branch`` in the dtype of ``planes``, and its norm in ``dtype``.

    All are [..., 2, D], or ``branch`` [..., 2 (row), 2, D]: a map's products with x_r and with x_i, still to be added.
    """
    planes = planes.contiguous()
    total, normed = _fake_add_norm(planes, branch, branch_scale, scale, dtype)
    _launch(planes, branch, branch_scale, scale, total, normed)
    return total, normed


def _fake_gated(
    planes: Tensor,
    branch: Tensor,
    branch_scale: Tensor | None,
    scale: Tensor,
    gates: list[Tensor],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    total, normed = _fake_add_norm(planes, branch, branch_scale, scale, dtype)
    batch, length = planes.shape[:2]
    return total, normed, planes.new_empty((2, batch, gates[3].shape[0], length), dtype=torch.float32)


@kernel_operator("fused_add_norm_gates", fake=_fake_gated, work=_gated_norm_work)
def add_norm_gates(
    planes: Tensor,
    branch: Tensor,
    branch_scale: Tensor | None,
    scale: Tensor,
    gates: list[Tensor],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """``add_norm``, and from the normed row x the logits of the memory's gates.

    Args:
        planes: Residual stream [B, T, 2, D].
        branch: What is added to it, same shape, or in rows as in ``add_norm``.
        branch_scale: Scalar on ``branch``; None for 1.
        scale: Of the norm, [D].
        gates: Five tensors: step weight [H, 2 D], step bias [H] and dt bias [H], for the step's logit from [x_r, x_i];
            protect weight [H, D] and protect bias [H], for the protect gate's from |x|.
        dtype: Of the normed row.

    Returns:
        Sum and normed row [B, T, 2, D]; both logits, float32 [2, B, H, T].
    """
    planes = planes.contiguous()
    total, normed, logits = _fake_gated(planes, branch, branch_scale, scale, gates, dtype)
    width, heads = planes.shape[-1], gates[3].shape[0]
    rows = planes.numel() // (2 * width)
    _gated_norm_kernel[(rows,)](
        *_tensors(planes, branch, branch_scale, scale, total, normed),
        *(gate.contiguous() for gate in gates),
        *logits,
        rows,
        planes.shape[1],
        width,
        PAIRED=branch.ndim > planes.ndim,
        HAS_BRANCH_SCALE=branch_scale is not None,
        HEADS=heads,
        BLOCK=power_of_two(width),
        OVERLAPS=overlaps(planes.device),
        num_warps=max(_GATED_WARPS, power_of_two(width) // _CHANNELS_PER_WARP),
        launch_pdl=overlaps(planes.device),
    )
    return total, normed, logits


def _launch(
    planes: Tensor, branch: Tensor | None, branch_scale: Tensor | None, scale: Tensor, total: Tensor, normed: Tensor
) -> None:
    width = planes.shape[-1]
    rows = planes.numel() // (2 * width)
    block = power_of_two(width)
    tile = row_tile(rows, block, _ELEMENTS)
    _norm_kernel[(triton.cdiv(rows, tile),)](
        *_tensors(planes, branch, branch_scale, scale, total, normed),
        rows,
        width,
        HAS_BRANCH=branch is not None,
        PAIRED=branch is not None and branch.ndim > planes.ndim,
        HAS_BRANCH_SCALE=branch_scale is not None,
        ROWS=tile,
        BLOCK=block,
        OVERLAPS=overlaps(planes.device),
        num_warps=max(_WARPS, block // _CHANNELS_PER_WARP),
        launch_pdl=overlaps(planes.device),
    )


def _tensors(
    planes: Tensor, branch: Tensor | None, branch_scale: Tensor | None, scale: Tensor, total: Tensor, normed: Tensor
) -> tuple[Tensor, ...]:
    """What both kernels begin with; something stands in where there is nothing."""
    added = planes if branch is None else branch.contiguous()
    return planes, added, scale if branch_scale is None else branch_scale, scale, total, normed
