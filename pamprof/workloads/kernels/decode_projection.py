"""Linear maps of single tokens as matrix-vector kernels that read each weight once, with what surrounds them inside.

At a few rows a product is as fast as its weights can be read. A complex map as a real block holds each weight twice;
here one load of W_r and W_i serves both parts of the product. The norm before a map costs nothing: its row factor is
the same for all channels, so that it multiplies the sums at the end.

Weights are the left half [W_r; W_i] of a block matrix [2 out, 2 in]: rows of ``in`` numbers, 2 ``in`` apart.

Axes: B batch, D model_dim, h hidden_dim, H heads, K inputs, N outputs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block_gate import GATE_FLOPS as GATE_UNIT_FLOPS, gated
from pamprof.workloads.kernels.block_math import DIRECTION, MAGNITUDE, NORM, log_of_decay, power_of_two, store
from pamprof.workloads.kernels.block_norm import GATE_FLOPS, NORM_FLOPS, SIZE_FLOPS, gate_products
from pamprof.workloads.kernels.kernel_operator import kernel_operator

_FILLING_PROGRAMS = 132  # one for each multiprocessor of an H100 or H200
_MOST_OUTPUTS = 8  # of one program
_ELEMENTS = 1024  # of one weight tile
_WARPS = 4


@triton.jit  # type: ignore[untyped-decorator]
def _row_reciprocal(row, inputs, STEPS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """1 / sqrt(mean |z|² + 1e-6) of planes [2, K]."""
    summed = tl.zeros((BLOCK,), tl.float32)
    for step in tl.static_range(STEPS):
        channel = step * BLOCK + tl.arange(0, BLOCK)
        within = channel < inputs
        real = tl.load(row + channel, mask=within, other=0.0).to(tl.float32)
        imag = tl.load(row + inputs + channel, mask=within, other=0.0).to(tl.float32)
        summed += tl.where(within, real * real + imag * imag + MAGNITUDE, 0.0)
    return 1.0 / tl.sqrt(tl.sum(summed, axis=0) / inputs + NORM)


@triton.jit  # type: ignore[untyped-decorator]
def _inputs(row, scale, channel, inputs, NORMS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Both parts of the channels, normed up to the row's factor, and |z|² (0 behind the end)."""
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


@triton.jit  # type: ignore[untyped-decorator]
def _weight_tile(weight, output, channel, outputs, inputs):  # type: ignore[no-untyped-def]
    """Weights [N, K] of some outputs and channels, float32."""
    inside = (output < outputs)[:, None] & (channel < inputs)[None, :]
    place = output.to(tl.int64)[:, None] * (2 * inputs) + channel[None, :]
    return tl.load(weight + place, mask=inside, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _gate_unit_kernel(hidden, scale, weight, bias, beta, out, inputs, width, HAS_SLOPE: tl.constexpr, STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    row = hidden + tl.program_id(1).to(tl.int64) * (2 * inputs)
    gate_real = tl.zeros((OUTPUTS, BLOCK), tl.float32)
    gate_imag = tl.zeros((OUTPUTS, BLOCK), tl.float32)
    up_real = tl.zeros((OUTPUTS, BLOCK), tl.float32)
    up_imag = tl.zeros((OUTPUTS, BLOCK), tl.float32)
    powers = tl.zeros((BLOCK,), tl.float32)
    plane = width * 2 * inputs
    for step in tl.static_range(STEPS):
        channel = step * BLOCK + tl.arange(0, BLOCK)
        real, imag, power = _inputs(row, scale, channel, inputs, True)
        powers += power
        real = real[None, :]
        imag = imag[None, :]
        of_gate_real = _weight_tile(weight, output, channel, width, inputs)
        of_up_real = _weight_tile(weight + plane, output, channel, width, inputs)
        of_gate_imag = _weight_tile(weight + 2 * plane, output, channel, width, inputs)
        of_up_imag = _weight_tile(weight + 3 * plane, output, channel, width, inputs)
        gate_real += of_gate_real * real - of_gate_imag * imag
        gate_imag += of_gate_imag * real + of_gate_real * imag
        up_real += of_up_real * real - of_up_imag * imag
        up_imag += of_up_imag * real + of_up_real * imag
    reciprocal = 1.0 / tl.sqrt(tl.sum(powers, axis=0) / inputs + NORM)
    within = output < width
    shift = tl.load(bias + output, mask=within, other=0.0).to(tl.float32)
    slope = tl.load(beta + output, mask=within, other=0.0).to(tl.float32)
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


@triton.jit  # type: ignore[untyped-decorator]
def _project_tile(first, x, scale, weight, residual, residual_scale, bias_real, bias_imag, out, inputs, outputs, NORMS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_RESIDUAL_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr, STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    output = first + tl.arange(0, OUTPUTS)
    row = x + tl.program_id(1).to(tl.int64) * (2 * inputs)
    reals = tl.zeros((OUTPUTS, BLOCK), tl.float32)
    imags = tl.zeros((OUTPUTS, BLOCK), tl.float32)
    powers = tl.zeros((BLOCK,), tl.float32)
    plane = outputs * 2 * inputs
    for step in tl.static_range(STEPS):
        channel = step * BLOCK + tl.arange(0, BLOCK)
        real, imag, power = _inputs(row, scale, channel, inputs, NORMS)
        powers += power
        real = real[None, :]
        imag = imag[None, :]
        of_real = _weight_tile(weight, output, channel, outputs, inputs)
        of_imag = _weight_tile(weight + plane, output, channel, outputs, inputs)
        reals += of_real * real - of_imag * imag
        imags += of_imag * real + of_real * imag
    real = tl.sum(reals, axis=1)
    imag = tl.sum(imags, axis=1)
    within = output < outputs
    target = tl.program_id(1).to(tl.int64) * (2 * outputs) + output
    if NORMS:
        reciprocal = 1.0 / tl.sqrt(tl.sum(powers, axis=0) / inputs + NORM)
        real *= reciprocal
        imag *= reciprocal
    if HAS_BIAS:
        real += tl.load(bias_real + output, mask=within, other=0.0).to(tl.float32)
        imag += tl.load(bias_imag + output, mask=within, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        if HAS_RESIDUAL_SCALE:
            factor = tl.load(residual_scale).to(tl.float32)
            real *= factor
            imag *= factor
        real += tl.load(residual + target, mask=within, other=0.0).to(tl.float32)
        imag += tl.load(residual + target + outputs, mask=within, other=0.0).to(tl.float32)
    store(out + target, real, within)
    store(out + target + outputs, imag, within)


@triton.jit  # type: ignore[untyped-decorator]
def _decay_of_head(head, x, scale, step_weight, step_bias, dt_bias, protect_weight, protect_bias, log_decay, write, inputs, heads, STEPS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    row = x + tl.program_id(1).to(tl.int64) * (2 * inputs)
    reciprocal = _row_reciprocal(row, inputs, STEPS, BLOCK)
    steps = tl.zeros((BLOCK,), tl.float32)
    gates = tl.zeros((BLOCK,), tl.float32)
    for step in tl.static_range(STEPS):
        channel = step * BLOCK + tl.arange(0, BLOCK)
        within = channel < inputs
        real, imag, _ = _inputs(row, scale, channel, inputs, True)
        real *= reciprocal
        imag *= reciprocal
        steps += real * tl.load(step_weight + head * 2 * inputs + channel, mask=within, other=0.0).to(tl.float32)
        steps += imag * tl.load(step_weight + (head * 2 + 1) * inputs + channel, mask=within, other=0.0).to(tl.float32)
        size = tl.sqrt(real * real + imag * imag + MAGNITUDE)
        gates += size * tl.load(protect_weight + head * inputs + channel, mask=within, other=0.0).to(tl.float32)
    logit = tl.sum(steps, axis=0) + tl.load(step_bias + head).to(tl.float32) + tl.load(dt_bias + head).to(tl.float32)
    gate = tl.sum(gates, axis=0) + tl.load(protect_bias + head).to(tl.float32)
    target = tl.program_id(1) * heads + head
    tl.store(log_decay + target, log_of_decay(logit, gate))
    tl.store(write + target, tl.sigmoid(-gate))


@triton.jit  # type: ignore[untyped-decorator]
def _project_kernel(x, scale, weight, residual, residual_scale, bias_real, bias_imag, step_weight, step_bias, dt_bias, protect_weight, protect_bias, out, log_decay, write, inputs, outputs, heads, NORMS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_RESIDUAL_SCALE: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_GATES: tl.constexpr, STEPS: tl.constexpr, OUTPUTS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    program = tl.program_id(0)
    if HAS_GATES:
        if program < heads:
            _decay_of_head(program, x, scale, step_weight, step_bias, dt_bias, protect_weight, protect_bias, log_decay, write, inputs, heads, STEPS, BLOCK)  # fmt: skip
        else:
            _project_tile((program - heads) * OUTPUTS, x, scale, weight, residual, residual_scale, bias_real, bias_imag, out, inputs, outputs, NORMS, HAS_RESIDUAL, HAS_RESIDUAL_SCALE, HAS_BIAS, STEPS, OUTPUTS, BLOCK)  # fmt: skip
    else:
        _project_tile(program * OUTPUTS, x, scale, weight, residual, residual_scale, bias_real, bias_imag, out, inputs, outputs, NORMS, HAS_RESIDUAL, HAS_RESIDUAL_SCALE, HAS_BIAS, STEPS, OUTPUTS, BLOCK)  # fmt: skip


def _work_of_map(x: Tensor, outputs: int, elementwise: int) -> OperatorWork:
    rows, inputs = x.numel() // (2 * x.shape[-1]), x.shape[-1]
    products = 8 * rows * inputs * outputs
    return OperatorWork(
        matrix_flop_count=products, matrix_dense_flop_count=products, elementwise_flop_count=elementwise
    )


def _gate_unit_work(
    hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None, *, output: object
) -> OperatorWork:
    del scale, weight, beta, output
    rows = hidden.numel() // (2 * hidden.shape[-1])
    elementwise = NORM_FLOPS * rows * hidden.shape[-1] + GATE_UNIT_FLOPS * rows * bias.shape[0]
    return _work_of_map(hidden, 2 * bias.shape[0], elementwise)


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
    del output, bias_imag
    outputs = weight.shape[0] // 2
    each = sum(2 for addend in (residual, residual_scale, bias_real) if addend is not None)
    return _work_of_map(x, outputs, each * outputs * x.numel() // (2 * x.shape[-1]))


def _memory_inputs_work(
    hidden: Tensor,
    scale: Tensor,
    weight: Tensor,
    step_weight: Tensor,
    step_bias: Tensor,
    dt_bias: Tensor,
    protect_weight: Tensor,
    protect_bias: Tensor,
    *,
    output: object,
) -> OperatorWork:
    del scale, step_weight, step_bias, dt_bias, protect_bias, output
    rows, width, heads = hidden.numel() // (2 * hidden.shape[-1]), hidden.shape[-1], protect_weight.shape[0]
    elementwise = (NORM_FLOPS + SIZE_FLOPS) * rows * width + GATE_FLOPS * rows * heads
    work = _work_of_map(hidden, weight.shape[0] // 2, elementwise)
    products = work.matrix_flop_count + gate_products(rows, width, heads)
    return OperatorWork(
        matrix_flop_count=products, matrix_dense_flop_count=products, elementwise_flop_count=elementwise
    )


def _fake_gate_unit(hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    del scale, beta
    return hidden.new_empty((*hidden.shape[:-1], bias.shape[0]), dtype=weight.dtype)


@kernel_operator("fused_decode_gate_unit", fake=_fake_gate_unit, work=_gate_unit_work)
def norm_gate_unit(hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """Norm, gate and upward map, and the gate unit between them: planes [..., 2, D] to [..., 2, h].

    Args:
        hidden: Residual stream.
        scale: Of the norm, [D].
        weight: Block matrix of both maps, gate first, [4 h, 2 D].
        bias: Activation bias [h].
        beta: Slope [h] of modSwish; None for modReLU.
    """
    hidden = hidden.contiguous()
    out = _fake_gate_unit(hidden, scale, weight, bias, beta)
    inputs, width = hidden.shape[-1], bias.shape[0]
    tile, steps, block = _tiles(width, inputs)
    grid = (triton.cdiv(width, tile), hidden.numel() // (2 * inputs))
    _gate_unit_kernel[grid](
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
        num_warps=_WARPS,
    )
    return out


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
    """Residual + residual_scale · (W x + b), planes [..., 2, K] to [..., 2, N].

    Args:
        x: Input.
        weight: Block matrix [2 N, 2 K].
        residual: Added to the result, which then has its dtype; None for nothing.
        residual_scale: Scalar on the map where there is a ``residual``; None for 1.
        bias_real: [N], with ``bias_imag``; None for no bias.
        bias_imag: [N].
    """
    out = _fake_project(x, weight, residual, residual_scale, bias_real, bias_imag)
    none = (weight,) * 5
    _launch(x, weight, weight, (residual, residual_scale, bias_real, bias_imag), none, (out, out, out))
    return out


def _fake_memory_inputs(
    hidden: Tensor,
    scale: Tensor,
    weight: Tensor,
    step_weight: Tensor,
    step_bias: Tensor,
    dt_bias: Tensor,
    protect_weight: Tensor,
    protect_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    del scale, step_weight, step_bias, dt_bias, protect_bias
    heads = protect_weight.shape[0]
    qkv = hidden.new_empty((*hidden.shape[:-1], weight.shape[0] // 2), dtype=weight.dtype)
    log_decay = hidden.new_empty((hidden.numel() // (2 * hidden.shape[-1]), heads, 1), dtype=torch.float32)
    return qkv, log_decay, log_decay.new_empty(log_decay.shape)


@kernel_operator("fused_decode_memory_inputs", fake=_fake_memory_inputs, work=_memory_inputs_work)
def norm_memory_inputs(
    hidden: Tensor,
    scale: Tensor,
    weight: Tensor,
    step_weight: Tensor,
    step_bias: Tensor,
    dt_bias: Tensor,
    protect_weight: Tensor,
    protect_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Norm, joint map to q, k, v, and the decay's gates.

    Args:
        hidden: Residual stream [B, 1, 2, D].
        scale: Of the norm, [D].
        weight: Block matrix of the joint map, [6 I, 2 D].
        step_weight: As in ``add_norm_gates``, like all that follows.
        step_bias: [H].
        dt_bias: [H].
        protect_weight: [H, D].
        protect_bias: [H].

    Returns:
        Planes [B, 1, 2, 3 I], not turned yet; log decay and written share, float32 [B, H, 1].
    """
    hidden = hidden.contiguous()
    qkv, log_decay, write = _fake_memory_inputs(
        hidden, scale, weight, step_weight, step_bias, dt_bias, protect_weight, protect_bias
    )
    gates = (step_weight.contiguous(), step_bias, dt_bias, protect_weight.contiguous(), protect_bias)
    _launch(hidden, scale, weight, (None,) * 4, gates, (qkv, log_decay, write))
    return qkv, log_decay, write


def _launch(
    x: Tensor,
    scale: Tensor,
    weight: Tensor,
    added: tuple[Tensor | None, ...],
    gates: tuple[Tensor, ...],
    outputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Launch the projection; it norms and computes gates where ``scale`` is not the weight itself."""
    norms = scale is not weight
    residual, residual_scale, bias_real, bias_imag = added
    x = x.contiguous()
    inputs, width = x.shape[-1], weight.shape[0] // 2
    heads = gates[3].shape[0] if norms else 0
    tile, steps, block = _tiles(width, inputs)
    _project_kernel[heads + triton.cdiv(width, tile), x.numel() // (2 * inputs)](
        x,
        scale,
        weight,
        weight if residual is None else residual.contiguous(),
        weight if residual_scale is None else residual_scale,
        weight if bias_real is None else bias_real,
        weight if bias_imag is None else bias_imag,
        *gates,
        *outputs,
        inputs,
        width,
        heads,
        NORMS=norms,
        HAS_RESIDUAL=residual is not None,
        HAS_RESIDUAL_SCALE=residual_scale is not None,
        HAS_BIAS=bias_real is not None,
        HAS_GATES=norms,
        STEPS=steps,
        OUTPUTS=tile,
        BLOCK=block,
        num_warps=_WARPS,
    )


def _tiles(outputs: int, inputs: int) -> tuple[int, int, int]:
    """Outputs of one program, steps over the inputs, and inputs of a step."""
    share = max(1, outputs // _FILLING_PROGRAMS)
    tile = min(_MOST_OUTPUTS, 1 << (share.bit_length() - 1))
    block = min(power_of_two(inputs), _ELEMENTS // tile)
    return tile, triton.cdiv(inputs, block), block
