"""The norm before the recurrence: as ``block.norm``, with the logits of the decay's gates from the same pass.

Products with the gates' weights and everything that leads to a decay are float32 whatever the dtypes; they are made
with the normed row before it is rounded.

Axes: N rows (tokens of all sequences), D model_dim, H heads, B batch, T time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block.norm import (
    CHANNELS_PER_WARP,
    add_norm_work,
    fake_add_norm,
    norm_tensors,
    normed_rows,
    part_count,
)
from pamprof.workloads.kernels.core.tiles import INTERPRETED
from pamprof.workloads.kernels.device_functions import await_inputs, modulus, overlaps, power_of_two
from pamprof.workloads.kernels.kernel_operator import kernel_operator

SIZE_FLOPS = 5  # per channel: modulus of a normed channel
_WARPS = 1  # of a program of one row, the fastest on an H200
_PROGRAMS = 64 if INTERPRETED.value else 1056  # up to this many, a row's heads are split among programs


@triton.jit
def gate_weights(
    step_weight: tl.tensor, protect_weight: tl.tensor, head: tl.tensor, channel: tl.tensor, width: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """One head's weights of real parts, imaginary parts and moduli, as rows [1, D]."""
    within = channel < width
    of_step = step_weight + head * 2 * width + channel
    of_real = tl.load(of_step, mask=within, other=0.0).to(tl.float32)
    of_imag = tl.load(of_step + width, mask=within, other=0.0).to(tl.float32)
    return of_real, of_imag, tl.load(protect_weight + head * width + channel, mask=within, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["length"])
def _gated_norm_kernel(
    planes: tl.tensor, branch: tl.tensor, branch_scale: tl.tensor, scale: tl.tensor, total: tl.tensor,
    normed: tl.tensor,
    step_weight: tl.tensor, step_bias: tl.tensor, dt_bias: tl.tensor, protect_weight: tl.tensor,
    protect_bias: tl.tensor, step_logits: tl.tensor, gate_logits: tl.tensor,
    rows: tl.tensor, length: tl.tensor, width: tl.tensor,
    PARTS: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr,
    HEADS: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    """Norms one row, so that its logits are scalars: short vectors would be converted to another layout for each store.

    GROUP is how many heads a program takes. Every program of a row computes its norm; the first one stores it.
    """
    await_inputs(OVERLAPS)
    row = tl.program_id(0)
    channel = tl.arange(0, BLOCK)
    stored = rows if GROUP == HEADS else tl.where(tl.program_id(1) == 0, rows, 0)
    real, imag = normed_rows(
        planes, branch, branch_scale, scale, total, normed, row + tl.arange(0, 1), channel, rows, stored, width,
        PARTS, HAS_BRANCH_SCALE,
    )  # fmt: skip
    size, _ = modulus(real, imag)
    channel = channel[None, :]
    steps, gates = (), ()  # type: tuple[tl.tensor, ...], tuple[tl.tensor, ...]
    for index in tl.static_range(GROUP):
        head = index if GROUP == HEADS else tl.program_id(1) * GROUP + index
        of_real, of_imag, of_size = gate_weights(step_weight, protect_weight, head, channel, width)
        step = tl.sum(tl.sum(real * of_real + imag * of_imag, axis=1), axis=0)
        gate = tl.sum(tl.sum(size * of_size, axis=1), axis=0)
        step += tl.load(step_bias + head).to(tl.float32) + tl.load(dt_bias + head).to(tl.float32)
        gate += tl.load(protect_bias + head).to(tl.float32)
        steps += (step,)
        gates += (gate,)
    # After all loads, because no load may be moved across a store.
    target = (row // length).to(tl.int64) * HEADS * length + row % length
    for index in tl.static_range(GROUP):
        head = index if GROUP == HEADS else tl.program_id(1) * GROUP + index
        tl.store(step_logits + target + head * length, steps[index])
        tl.store(gate_logits + target + head * length, gates[index])


def heads_per_program(rows: int, heads: int) -> int:
    """Heads of one program: all where the rows alone fill the device, else fewer."""
    return min(
        (group for group in range(1, heads + 1) if heads % group == 0 and rows * heads // group <= _PROGRAMS),
        default=heads,
    )


def gate_products(rows: int, width: int, heads: int) -> int:
    """FLOP of the gates' products with ``rows`` tokens: 3 D H multiply-adds each."""
    return 2 * 3 * rows * width * heads


def _gated_norm_work(planes: Tensor, branch: Tensor, branch_scale: Tensor | None, gates: list[Tensor]) -> OperatorWork:
    channels, width = planes.numel() // 2, planes.shape[-1]
    norm = add_norm_work(planes, branch, branch_scale)
    products = gate_products(channels // width, width, gates[3].shape[0])
    return OperatorWork(
        matrix_flop_count=products,
        matrix_dense_flop_count=products,
        elementwise_flop_count=norm.elementwise_flop_count + SIZE_FLOPS * channels,
    )


def _fake_gated(
    planes: Tensor,
    branch: Tensor,
    branch_scale: Tensor | None,
    scale: Tensor,
    gates: list[Tensor],
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    total, normed = fake_add_norm(planes, branch, branch_scale, scale, dtype)
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
    """``add_norm``, and from the normed row x the logits of the decay's gates.

    Args:
        planes: Residual stream [B, T, 2, D].
        branch: What is added to it, same shape, or in parts as in ``add_norm``.
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
    group = heads_per_program(rows, heads)
    _gated_norm_kernel[rows, heads // group](
        *norm_tensors(planes, branch, branch_scale, scale, total, normed),
        *(gate.contiguous() for gate in gates),
        *logits,
        rows,
        planes.shape[1],
        width,
        PARTS=part_count(planes, branch),
        HAS_BRANCH_SCALE=branch_scale is not None,
        HEADS=heads,
        GROUP=group,
        BLOCK=power_of_two(width),
        OVERLAPS=overlaps(planes.device),
        num_warps=max(_WARPS, power_of_two(width) // CHANNELS_PER_WARP),
        launch_pdl=overlaps(planes.device),
    )
    return total, normed, logits
