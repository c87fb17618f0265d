"""The norm before the recurrence: as ``block.norm``, with the logits of the decay's gates from the same pass.

Products with the gates' weights and everything that leads to a decay are float32 whatever the dtypes; they are made
with the normed row before it is rounded.

Axes: N rows (tokens of all sequences), D model_dim, H heads, K states, B batch, T time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from collections.abc import Sequence

_GATES_OF_ONE_STATE = 5  # tensors
SIZE_FLOPS = 5  # per channel: modulus of a normed channel
_WARPS = 1  # of a program of one row, the fastest on an H200
_PROGRAMS = 64 if INTERPRETED.value else 1056  # up to this many, a row's heads are split among programs


@triton.jit
def gate_weights(
    step_weight: tl.tensor, protect_weight: tl.tensor, phase_weight: tl.tensor, head: tl.tensor, channel: tl.tensor,
    width: tl.tensor, READS_PARTS: tl.constexpr, PHASES: tl.constexpr,
) -> tuple[tl.tensor, ...]:  # fmt: skip
    """One head's weights as rows [1, D]: the step's of real and imaginary parts, the gate's, and the phases' of moduli.

    The gate's are of moduli, or of real and imaginary parts with READS_PARTS.
    """
    within = channel < width
    of_step = step_weight + head * 2 * width + channel
    of_real = tl.load(of_step, mask=within, other=0.0).to(tl.float32)
    of_imag = tl.load(of_step + width, mask=within, other=0.0).to(tl.float32)
    of_gate = protect_weight + head * (2 * width if READS_PARTS else width) + channel
    of_third = tl.load(of_gate, mask=within, other=0.0).to(tl.float32)
    weights = (of_real, of_imag, of_third)  # type: tuple[tl.tensor, ...]
    if READS_PARTS:
        weights += (tl.load(of_gate + width, mask=within, other=0.0).to(tl.float32),)
    for k in tl.static_range(PHASES):
        of_phase = phase_weight + (head * PHASES + k) * width + channel
        weights += (tl.load(of_phase, mask=within, other=0.0).to(tl.float32),)
    return weights


@triton.jit(do_not_specialize=["length"])
def _gated_norm_kernel(
    planes: tl.tensor, branch: tl.tensor, branch_scale: tl.tensor, scale: tl.tensor, total: tl.tensor,
    normed: tl.tensor,
    step_weight: tl.tensor, step_bias: tl.tensor, dt_bias: tl.tensor, protect_weight: tl.tensor,
    protect_bias: tl.tensor, phase_weight: tl.tensor, phase_bias: tl.tensor, step_logits: tl.tensor,
    gate_logits: tl.tensor, phase_logits: tl.tensor,
    rows: tl.tensor, length: tl.tensor, width: tl.tensor,
    PARTS: tl.constexpr, HAS_BRANCH_SCALE: tl.constexpr, READS_PARTS: tl.constexpr, PHASES: tl.constexpr,
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
    steps, gates, phases = (), (), ()  # type: tuple[tl.tensor, ...], tuple[tl.tensor, ...], tuple[tl.tensor, ...]
    for index in tl.static_range(GROUP):
        head = index if GROUP == HEADS else tl.program_id(1) * GROUP + index
        weights = gate_weights(step_weight, protect_weight, phase_weight, head, channel, width, READS_PARTS, PHASES)
        step = tl.sum(tl.sum(real * weights[0] + imag * weights[1], axis=1), axis=0)
        if READS_PARTS:
            gate = tl.sum(tl.sum(real * weights[2] + imag * weights[3], axis=1), axis=0)
        else:
            gate = tl.sum(tl.sum(size * weights[2], axis=1), axis=0)
        step += tl.load(step_bias + head).to(tl.float32) + tl.load(dt_bias + head).to(tl.float32)
        gate += tl.load(protect_bias + head).to(tl.float32)
        steps += (step,)
        gates += (gate,)
        for k in tl.static_range(PHASES):
            phase = tl.sum(tl.sum(size * weights[(4 if READS_PARTS else 3) + k], axis=1), axis=0)
            phases += (phase + tl.load(phase_bias + head * PHASES + k).to(tl.float32),)
    # After all loads, because no load may be moved across a store.
    target = (row // length).to(tl.int64) * HEADS * length + row % length
    for index in tl.static_range(GROUP):
        head = index if GROUP == HEADS else tl.program_id(1) * GROUP + index
        tl.store(step_logits + target + head * length, steps[index])
        tl.store(gate_logits + target + head * length, gates[index])
        for k in tl.static_range(PHASES):
            plane = tl.cast(rows, tl.int64) * (HEADS * k)
            tl.store(phase_logits + plane + target + head * length, phases[index * PHASES + k])


def heads_per_program(rows: int, heads: int) -> int:
    """Heads of one program: all where the rows alone fill the device, else fewer."""
    return min(
        (group for group in range(1, heads + 1) if heads % group == 0 and rows * heads // group <= _PROGRAMS),
        default=heads,
    )


def gate_products(rows: int, step_weight: Tensor, protect_weight: Tensor, phase_weight: Tensor | None) -> int:
    """FLOP of the gates' products with ``rows`` tokens: a multiply-add for each weight."""
    weights = step_weight.numel() + protect_weight.numel() + (0 if phase_weight is None else phase_weight.numel())
    return 2 * rows * weights


def logit_planes(gates: Sequence[Tensor]) -> int:
    """Logits of one head: step and gate, and the phase of each of several states."""
    return 2 + (gates[5].shape[0] // gates[3].shape[0] if len(gates) > _GATES_OF_ONE_STATE else 0)


def phase_gates(gates: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Weight and bias of the phases among the gates; None for one state."""
    return (gates[5], gates[6]) if len(gates) > _GATES_OF_ONE_STATE else (None, None)


def _gated_norm_work(planes: Tensor, branch: Tensor, branch_scale: Tensor | None, gates: list[Tensor]) -> OperatorWork:
    channels, width = planes.numel() // 2, planes.shape[-1]
    norm = add_norm_work(planes, branch, branch_scale)
    products = gate_products(channels // width, gates[0], gates[3], phase_gates(gates)[0])
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
    logits = planes.new_empty((logit_planes(gates), batch, gates[3].shape[0], length), dtype=torch.float32)
    return total, normed, logits


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
            protect weight [H, D] and protect bias [H], for the protect gate's from |x|, or [H, 2 D] for one from
            [x_r, x_i]. For several states two more: phase weight [H K, D] and phase bias [H K], from |x|.
        dtype: Of the normed row.

    Returns:
        Sum and normed row [B, T, 2, D]; both logits, float32 [2, B, H, T], with the phases [2 + K, B, H, T].
    """
    planes = planes.contiguous()
    total, normed, logits = _fake_gated(planes, branch, branch_scale, scale, gates, dtype)
    width, heads = planes.shape[-1], gates[3].shape[0]
    rows = planes.numel() // (2 * width)
    group = heads_per_program(rows, heads)
    _gated_norm_kernel[rows, heads // group](
        *norm_tensors(planes, branch, branch_scale, scale, total, normed),
        *(gate.contiguous() for gate in gates[:5]),
        *phase_gates(gates),
        logits[0],
        logits[1],
        logits[2:] if len(logits) > 2 else None,
        rows,
        planes.shape[1],
        width,
        PARTS=part_count(planes, branch),
        HAS_BRANCH_SCALE=branch_scale is not None,
        READS_PARTS=gates[3].shape[1] > width,
        PHASES=len(logits) - 2,
        HEADS=heads,
        GROUP=group,
        BLOCK=power_of_two(width),
        OVERLAPS=overlaps(planes.device),
        num_warps=max(_WARPS, power_of_two(width) // CHANNELS_PER_WARP),
        launch_pdl=overlaps(planes.device),
    )
    return total, normed, logits
