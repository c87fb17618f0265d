"""Linear maps of a decoded token as one kernel: with a residual or a bias, or with the norm and the gates before it.

Axes: B batch, D model_dim, H heads, I = H d, K inputs (in the shape of logits K states), N outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernels.block.norm import ADD_FLOPS, NORM_FLOPS
from pamprof.workloads.kernels.block.norm_gates import SIZE_FLOPS, gate_products, logit_planes, phase_gates
from pamprof.workloads.kernels.decode.tiles import (
    channels,
    input_tile,
    map_work,
    prefetch_later,
    row_factor,
    tile_sizes,
    weight_tile,
)
from pamprof.workloads.kernels.device_functions import await_results, launch_next, modulus, overlaps, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator, require_contiguous

if TYPE_CHECKING:
    from pamprof.workloads.kernel_flops import OperatorWork


@triton.jit
def _logits_of_heads(
    head: tl.tensor, x: tl.tensor, scale: tl.tensor, step_weight: tl.tensor, step_bias: tl.tensor, dt_bias: tl.tensor,
    protect_weight: tl.tensor, protect_bias: tl.tensor, phase_weight: tl.tensor, phase_bias: tl.tensor,
    logits: tl.tensor, inputs: tl.tensor, heads: tl.tensor,
    READS_PARTS: tl.constexpr, PHASES: tl.constexpr, STEPS: tl.constexpr, HEADS: tl.constexpr, BLOCK: tl.constexpr,
    OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    """The logits of some heads of one row, and their phases. A modulus of a normed channel needs the row's factor."""
    inside = head < heads
    head = tl.minimum(head, heads - 1)  # past the end the last head is computed again and not stored
    shift = tl.load(step_bias + head).to(tl.float32) + tl.load(dt_bias + head).to(tl.float32)
    gate_shift = tl.load(protect_bias + head).to(tl.float32)
    await_results(OVERLAPS)
    launch_next(OVERLAPS)
    row = x + tl.program_id(1).to(tl.int64) * (2 * inputs)
    powers = tl.zeros((HEADS, BLOCK), tl.float32)
    for step in tl.static_range(STEPS):
        _, _, power = input_tile(row, scale, channels(step, HEADS, BLOCK), inputs, False)
        powers += power
    reciprocal = row_factor(powers, inputs)[:, None]
    steps = tl.zeros((HEADS, BLOCK), tl.float32)
    gates = tl.zeros((HEADS, BLOCK), tl.float32)
    phases = ()  # type: tuple[tl.tensor, ...]
    for _ in tl.static_range(PHASES):
        phases += (tl.zeros((HEADS, BLOCK), tl.float32),)
    for step in tl.static_range(STEPS):
        channel = channels(step, HEADS, BLOCK)
        within = channel < inputs
        real, imag, _ = input_tile(row, scale, channel, inputs, True)
        real *= reciprocal
        imag *= reciprocal
        of_step = step_weight + head[:, None] * (2 * inputs) + channel
        steps += real * tl.load(of_step, mask=within, other=0.0).to(tl.float32)
        steps += imag * tl.load(of_step + inputs, mask=within, other=0.0).to(tl.float32)
        if READS_PARTS:
            size, _ = modulus(real, imag)
            of_gate = protect_weight + head[:, None] * (2 * inputs) + channel
            gates += real * tl.load(of_gate, mask=within, other=0.0).to(tl.float32)
            gates += imag * tl.load(of_gate + inputs, mask=within, other=0.0).to(tl.float32)
        else:
            of_size = tl.load(protect_weight + head[:, None] * inputs + channel, mask=within, other=0.0).to(tl.float32)
            size, _ = modulus(real, imag)
            gates += size * of_size
        more = ()  # type: tuple[tl.tensor, ...]
        for k in tl.static_range(PHASES):
            of_phase = phase_weight + (head[:, None] * PHASES + k) * inputs + channel
            more += (phases[k] + size * tl.load(of_phase, mask=within, other=0.0).to(tl.float32),)
        phases = more
    target = logits + tl.program_id(1) * heads + head
    tl.store(target, tl.sum(steps, axis=1) + shift, mask=inside)
    tl.store(target + tl.num_programs(1) * heads, tl.sum(gates, axis=1) + gate_shift, mask=inside)
    for k in tl.static_range(PHASES):
        shift = tl.load(phase_bias + head * PHASES + k).to(tl.float32)
        tl.store(target + (2 + k) * tl.num_programs(1) * heads, tl.sum(phases[k], axis=1) + shift, mask=inside)


@triton.jit
def _project_tile(
    output: tl.tensor, x: tl.tensor, scale: tl.tensor, weight: tl.tensor, residual: tl.tensor,
    residual_scale: tl.tensor, bias_real: tl.tensor, bias_imag: tl.tensor, out: tl.tensor, inputs: tl.tensor,
    outputs: tl.tensor,
    NORMS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_RESIDUAL_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    """Some outputs of one row."""
    within = output < outputs
    plane = tl.cast(outputs, tl.int64) * 2 * inputs
    channel = channels(0, OUTPUTS, BLOCK)
    of_real = weight_tile(weight, output, channel, outputs, inputs)
    of_imag = weight_tile(weight + plane, output, channel, outputs, inputs)
    if OVERLAPS:
        prefetch_later(weight, output, outputs, inputs, 2, STEPS, BLOCK)
    if HAS_BIAS:
        shift_real = tl.load(bias_real + output, mask=within, other=0.0).to(tl.float32)
        shift_imag = tl.load(bias_imag + output, mask=within, other=0.0).to(tl.float32)
    if HAS_RESIDUAL_SCALE:
        factor = tl.load(residual_scale).to(tl.float32)
    await_results(OVERLAPS)
    if NORMS:
        launch_next(OVERLAPS)
    target = tl.program_id(1).to(tl.int64) * (2 * outputs) + output
    if HAS_RESIDUAL:
        base_real = tl.load(residual + target, mask=within, other=0.0).to(tl.float32)
        base_imag = tl.load(residual + target + outputs, mask=within, other=0.0).to(tl.float32)
    row = x + tl.program_id(1).to(tl.int64) * (2 * inputs)
    real, imag, powers = input_tile(row, scale, channel, inputs, NORMS)
    reals = of_real * real - of_imag * imag
    imags = of_imag * real + of_real * imag
    for step in tl.static_range(1, STEPS):
        channel = channels(step, OUTPUTS, BLOCK)
        real, imag, power = input_tile(row, scale, channel, inputs, NORMS)
        powers += power
        of_real = weight_tile(weight, output, channel, outputs, inputs)
        of_imag = weight_tile(weight + plane, output, channel, outputs, inputs)
        reals += of_real * real - of_imag * imag
        imags += of_imag * real + of_real * imag
    real = tl.sum(reals, axis=1)
    imag = tl.sum(imags, axis=1)
    if NORMS:
        reciprocal = row_factor(powers, inputs)
        real *= reciprocal
        imag *= reciprocal
    if HAS_BIAS:
        real += shift_real
        imag += shift_imag
    if HAS_RESIDUAL_SCALE:
        real *= factor
        imag *= factor
    if HAS_RESIDUAL:
        real += base_real
        imag += base_imag
    store(out + target, real, within)
    store(out + target + outputs, imag, within)


@triton.jit
def _project_kernel(
    x: tl.tensor, weight: tl.tensor, residual: tl.tensor, residual_scale: tl.tensor, bias_real: tl.tensor,
    bias_imag: tl.tensor, out: tl.tensor, inputs: tl.tensor, outputs: tl.tensor,
    HAS_RESIDUAL: tl.constexpr, HAS_RESIDUAL_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr,
    STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr, OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    launch_next(OVERLAPS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    _project_tile(
        output, x, x, weight, residual, residual_scale, bias_real, bias_imag, out, inputs, outputs,
        False, HAS_RESIDUAL, HAS_RESIDUAL_SCALE, HAS_BIAS, STEPS, OUTPUTS, BLOCK, OVERLAPS,
    )  # fmt: skip


@triton.jit
def _memory_inputs_kernel(
    hidden: tl.tensor, scale: tl.tensor, weight: tl.tensor, step_weight: tl.tensor, step_bias: tl.tensor,
    dt_bias: tl.tensor, protect_weight: tl.tensor, protect_bias: tl.tensor, phase_weight: tl.tensor,
    phase_bias: tl.tensor, qkv: tl.tensor, logits: tl.tensor, inputs: tl.tensor, outputs: tl.tensor, heads: tl.tensor,
    READS_PARTS: tl.constexpr, PHASES: tl.constexpr, STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr,
    OVERLAPS: tl.constexpr,
) -> None:  # fmt: skip
    # The next kernel is launched when the one before has ended: it may read what older kernels wrote.
    of_heads = tl.cdiv(heads, OUTPUTS)
    program = tl.program_id(0)
    if program < of_heads:
        _logits_of_heads(
            program * OUTPUTS + tl.arange(0, OUTPUTS), hidden, scale, step_weight, step_bias, dt_bias, protect_weight,
            protect_bias, phase_weight, phase_bias, logits, inputs, heads, READS_PARTS, PHASES, STEPS, OUTPUTS, BLOCK,
            OVERLAPS,
        )  # fmt: skip
    else:
        output = (program - of_heads) * OUTPUTS + tl.arange(0, OUTPUTS)
        _project_tile(
            output, hidden, scale, weight, weight, weight, weight, weight, qkv, inputs, outputs,
            True, False, False, False, STEPS, OUTPUTS, BLOCK, OVERLAPS,
        )  # fmt: skip


def _project_work(
    x: Tensor,
    weight: Tensor,
    residual: Tensor | None,
    residual_scale: Tensor | None,
    bias_real: Tensor | None,
    bias_imag: Tensor | None,
    *,
    output: object,
) -> OperatorWork:
    outputs, inputs = weight.shape[0] // 2, x.shape[-1]
    rows = x.numel() // (2 * inputs)
    added = sum(addend is not None for addend in (residual, residual_scale, bias_real))
    moved = (x, residual, residual_scale, bias_real, bias_imag, output)
    return map_work(rows, weight, moved, elementwise=ADD_FLOPS * added * rows * outputs)


def _fake_project(
    x: Tensor,
    weight: Tensor,
    residual: Tensor | None,
    residual_scale: Tensor | None,
    bias_real: Tensor | None,
    bias_imag: Tensor | None,
) -> Tensor:
    del residual_scale, bias_real, bias_imag
    dtype = weight.dtype if residual is None else residual.dtype
    return x.new_empty((*x.shape[:-1], weight.shape[0] // 2), dtype=dtype)


@kernel_operator("fused_decode_project", fake=_fake_project, work=_project_work)
def project(
    x: Tensor,
    weight: Tensor,
    residual: Tensor | None,
    residual_scale: Tensor | None,
    bias_real: Tensor | None,
    bias_imag: Tensor | None,
) -> Tensor:
    """A residual and ``residual_scale`` · (W x + b), planes [..., 2, K] to [..., 2, N].

    Args:
        x: Input.
        weight: Block matrix [2 N, 2 K].
        residual: Added to the result, which then has its dtype; None for nothing.
        residual_scale: Scalar on the map where there is a ``residual``; None for 1.
        bias_real: [N], with ``bias_imag``; None for no bias.
        bias_imag: [N].
    """
    require_contiguous(weight=weight)
    x = x.contiguous()
    out = _fake_project(x, weight, residual, residual_scale, bias_real, bias_imag)
    inputs, outputs = x.shape[-1], weight.shape[0] // 2
    row_count = x.numel() // (2 * inputs)
    tile, steps, block = tile_sizes(row_count, outputs, inputs)
    _project_kernel[triton.cdiv(outputs, tile), row_count](
        x,
        weight,
        weight if residual is None else residual.contiguous(),
        weight if residual_scale is None else residual_scale,
        weight if bias_real is None else bias_real,
        weight if bias_imag is None else bias_imag,
        out,
        inputs,
        outputs,
        HAS_RESIDUAL=residual is not None,
        HAS_RESIDUAL_SCALE=residual is not None and residual_scale is not None,
        HAS_BIAS=bias_real is not None,
        STEPS=steps,
        OUTPUTS=tile,
        BLOCK=block,
        OVERLAPS=overlaps(x.device),
        num_warps=tile,
        launch_pdl=overlaps(x.device),
    )
    return out


def _memory_inputs_work(
    hidden: Tensor, scale: Tensor, weight: Tensor, gates: list[Tensor], *, output: object
) -> OperatorWork:
    inputs = hidden.shape[-1]
    rows = hidden.numel() // (2 * inputs)
    products = gate_products(rows, gates[0], gates[3], phase_gates(gates)[0])
    elementwise = (NORM_FLOPS + SIZE_FLOPS) * rows * inputs
    return map_work(rows, weight, (hidden, scale, gates, output), elementwise=elementwise, products=products)


def _fake_memory_inputs(hidden: Tensor, scale: Tensor, weight: Tensor, gates: list[Tensor]) -> tuple[Tensor, Tensor]:
    del scale
    qkv = hidden.new_empty((*hidden.shape[:-1], weight.shape[0] // 2), dtype=weight.dtype)
    return qkv, hidden.new_empty((logit_planes(gates), hidden.shape[0], gates[3].shape[0], 1), dtype=torch.float32)


@kernel_operator("fused_decode_memory_inputs", fake=_fake_memory_inputs, work=_memory_inputs_work)
def norm_memory_inputs(hidden: Tensor, scale: Tensor, weight: Tensor, gates: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Norm, joint map to q, k, v, and the logits of the decay's gates.

    Args:
        hidden: Residual stream [B, 1, 2, D].
        scale: Of the norm, [D].
        weight: Block matrix of the joint map, [6 I, 2 D].
        gates: As in ``add_norm_gates``.

    Returns:
        Planes [B, 1, 2, 3 I], not turned yet; both logits, float32 [2, B, H, 1], with the phases [2 + K, B, H, 1].
    """
    require_contiguous(scale=scale, weight=weight)
    hidden = hidden.contiguous()
    qkv, logits = _fake_memory_inputs(hidden, scale, weight, gates)
    inputs, outputs, heads = hidden.shape[-1], weight.shape[0] // 2, gates[3].shape[0]
    tile, steps, block = tile_sizes(hidden.shape[0], outputs, inputs)
    _memory_inputs_kernel[triton.cdiv(heads, tile) + triton.cdiv(outputs, tile), hidden.shape[0]](
        hidden,
        scale,
        weight,
        *(gate.contiguous() for gate in gates[:5]),
        *phase_gates(gates),
        qkv,
        logits,
        inputs,
        outputs,
        heads,
        READS_PARTS=gates[3].shape[1] > inputs,
        PHASES=len(logits) - 2,
        STEPS=steps,
        OUTPUTS=tile,
        BLOCK=block,
        OVERLAPS=overlaps(hidden.device),
        num_warps=tile,
        launch_pdl=overlaps(hidden.device),
    )
    return qkv, logits
