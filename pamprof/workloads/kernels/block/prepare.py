"""Prepares queries, keys and values for the recurrence, and the decay from its logits; one kernel each way.

q and k are turned by their position and v is multiplied by its written share, in place on what the joint product wrote,
and backward in place on the core's gradients. Backward does not need the values as they were: the gradient of the
written share enters its logit times that share, which is a sum over the values as written.

Of several states each has its own decay: the step's logit is shifted by an offset before the same formula.

Axes: B batch, T time, H heads, K states, d head_dim, N = B T rows.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor  # noqa: TC002 - operators are declared from their annotations

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.device_functions import decay_gradients, log_of_decay, power_of_two, row_tile, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator

PREPARE_FLOPS = 14  # per channel of a head: two rotations of 6, and the share on both parts of v
DECAY_FLOPS = 26  # per head: log decay and written share from both logits
_PREPARE_BACKWARD_FLOPS = 18  # the pairs' sum besides
_DECAY_BACKWARD_FLOPS = 47  # both logits' gradients, from the decay's and the written share's
_ELEMENTS, _WARPS = 1024, 4


@triton.jit
def _rows_and_turn(
    cosine: tl.tensor,
    sine: tl.tensor,
    rows: tl.tensor,
    length: tl.tensor,
    HEAD_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """A program's rows, channels, their mask, and the rotation of each."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (channel < HEAD_DIM)[None, :]
    angle = (row % length)[:, None] * HEAD_DIM + channel[None, :]
    turn_real = tl.load(cosine + angle, mask=inside, other=0.0).to(tl.float32)
    turn_imag = tl.load(sine + angle, mask=inside, other=0.0).to(tl.float32)
    return row, channel, inside, turn_real, turn_imag


@triton.jit
def _turned(
    planes: tl.tensor, turn_real: tl.tensor, turn_imag: tl.tensor, imaginary: tl.tensor, inside: tl.tensor
) -> None:
    """Turns one part in place; ``imaginary`` is the distance of its imaginary plane."""
    real = tl.load(planes, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(planes + imaginary, mask=inside, other=0.0).to(tl.float32)
    store(planes, real * turn_real - imag * turn_imag, inside)
    store(planes + imaginary, real * turn_imag + imag * turn_real, inside)


@triton.jit
def _prepare_kernel(
    qkv: tl.tensor, cosine: tl.tensor, sine: tl.tensor, step_logits: tl.tensor, gate_logits: tl.tensor,
    offsets: tl.tensor, log_decay: tl.tensor, rows: tl.tensor, length: tl.tensor, heads: tl.tensor,
    STATES: tl.constexpr, HEAD_DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    row, channel, inside, turn_real, turn_imag = _rows_and_turn(cosine, sine, rows, length, HEAD_DIM, ROWS, BLOCK)
    head = tl.program_id(1)
    inner = heads * HEAD_DIM
    place = qkv + row.to(tl.int64)[:, None] * (6 * inner) + head * HEAD_DIM + channel[None, :]
    _turned(place, turn_real, turn_imag, 3 * inner, inside)
    _turned(place + inner, turn_real, turn_imag, 3 * inner, inside)
    of_head = ((row // length).to(tl.int64) * heads + head) * length + row % length
    step = tl.load(step_logits + of_head, mask=row < rows, other=0.0)
    gate = tl.load(gate_logits + of_head, mask=row < rows, other=0.0)
    if STATES == 1:
        tl.store(log_decay + of_head, log_of_decay(step, gate), mask=row < rows)
    else:
        for k in tl.static_range(STATES):
            of_state = (((row // length).to(tl.int64) * heads + head) * STATES + k) * length + row % length
            shifted = step + tl.load(offsets + k).to(tl.float32)
            tl.store(log_decay + of_state, log_of_decay(shifted, gate), mask=row < rows)
    share = tl.sigmoid(-gate)[:, None]
    real = tl.load(place + 2 * inner, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(place + 5 * inner, mask=inside, other=0.0).to(tl.float32)
    store(place + 2 * inner, real * share, inside)
    store(place + 5 * inner, imag * share, inside)


@triton.jit
def _prepare_backward_kernel(
    gradient: tl.tensor, prepared: tl.tensor, cosine: tl.tensor, sine: tl.tensor, step_logits: tl.tensor,
    gate_logits: tl.tensor, offsets: tl.tensor, decay_gradient: tl.tensor, phase_gradient: tl.tensor,
    logits_gradient: tl.tensor,
    rows: tl.tensor, length: tl.tensor, heads: tl.tensor,
    STATES: tl.constexpr, HEAD_DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    row, channel, inside, turn_real, turn_imag = _rows_and_turn(cosine, sine, rows, length, HEAD_DIM, ROWS, BLOCK)
    head = tl.program_id(1)
    inner = heads * HEAD_DIM
    offset = row.to(tl.int64)[:, None] * (6 * inner) + head * HEAD_DIM + channel[None, :]
    place = gradient + offset
    _turned(place, turn_real, -turn_imag, 3 * inner, inside)
    _turned(place + inner, turn_real, -turn_imag, 3 * inner, inside)
    known = row < rows
    of_head = ((row // length).to(tl.int64) * heads + head) * length + row % length
    step = tl.load(step_logits + of_head, mask=known, other=0.0)
    gate = tl.load(gate_logits + of_head, mask=known, other=0.0)
    if STATES == 1:
        along_decay = tl.load(decay_gradient + of_head, mask=known, other=0.0)
    real = tl.load(place + 2 * inner, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(place + 5 * inner, mask=inside, other=0.0).to(tl.float32)
    written_real = tl.load(prepared + offset + 2 * inner, mask=inside, other=0.0).to(tl.float32)
    written_imag = tl.load(prepared + offset + 5 * inner, mask=inside, other=0.0).to(tl.float32)
    pairs = tl.sum(real * written_real + imag * written_imag, axis=1)
    if STATES == 1:
        step_gradient, gate_gradient = decay_gradients(step, gate, along_decay, pairs)
    else:
        step_gradient = tl.zeros_like(step)
        gate_gradient = -pairs * tl.sigmoid(gate)
        for k in tl.static_range(STATES):
            of_state = (((row // length).to(tl.int64) * heads + head) * STATES + k) * length + row % length
            along_state = tl.load(decay_gradient + of_state, mask=known, other=0.0)
            shifted = step + tl.load(offsets + k).to(tl.float32)
            of_step, of_gate = decay_gradients(shifted, gate, along_state, tl.zeros_like(pairs))
            step_gradient += of_step
            gate_gradient += of_gate
            turning = tl.load(phase_gradient + of_state, mask=known, other=0.0)
            plane = tl.cast(rows, tl.int64) * heads
            of_phase = logits_gradient + head * rows + row + (2 + k) * plane
            tl.store(of_phase, turning, mask=known)
            tl.store(of_phase + STATES * plane, of_step, mask=known)
    target = logits_gradient + head * rows + row
    tl.store(target, step_gradient, mask=known)
    tl.store(target + heads * rows, gate_gradient, mask=known)
    share = tl.sigmoid(-gate)[:, None]
    store(place + 2 * inner, real * share, inside)
    store(place + 5 * inner, imag * share, inside)


def _work(qkv: Tensor, output: Tensor) -> OperatorWork:
    elementwise = PREPARE_FLOPS * (qkv.numel() // 6) + DECAY_FLOPS * output.numel()
    return OperatorWork(elementwise_flop_count=elementwise)


def _fake(qkv: Tensor, cosine: Tensor, sine: Tensor, logits: Tensor, offsets: Tensor | None = None) -> Tensor:
    del qkv, cosine, sine
    _, batch, heads, length = logits.shape
    states = () if offsets is None else offsets.shape
    return logits.new_empty((batch, heads, *states, length))


@kernel_operator("fused_qk_prepare", fake=_fake, work=_work, mutates=("qkv",))
def prepare(qkv: Tensor, cosine: Tensor, sine: Tensor, logits: Tensor, offsets: Tensor | None = None) -> Tensor:
    """Turn q and k and weigh v, in place; and the logarithm of the decay.

    Args:
        qkv: Contiguous [B, T, 2 (plane), 3 (q, k, v), H, d].
        cosine: Of the positions' angles, float32 [T, d], contiguous.
        sine: Likewise.
        logits: Of step and protect gate, float32 [2, B, H, T], contiguous; more planes are left alone.
        offsets: Of the steps of several states [K]; None for one.

    Returns:
        log(exp(-dt)(1 - p) + p), float32 [B, H, T], or [B, H, K, T].
    """
    grid, sizes = _launch_sizes(qkv)
    log_decay = _fake(qkv, cosine, sine, logits, offsets)
    states = 1 if offsets is None else len(offsets)
    _prepare_kernel[grid](
        qkv, cosine, sine, logits[0], logits[1], offsets, log_decay, *sizes[:3], states, *sizes[3:], num_warps=_WARPS
    )
    return log_decay


def _backward_work(gradient: Tensor, decay_gradient: Tensor) -> OperatorWork:
    elementwise = _PREPARE_BACKWARD_FLOPS * (gradient.numel() // 6) + _DECAY_BACKWARD_FLOPS * decay_gradient.numel()
    return OperatorWork(elementwise_flop_count=elementwise)


def _fake_backward(
    gradient: Tensor,
    prepared: Tensor,
    cosine: Tensor,
    sine: Tensor,
    logits: Tensor,
    decay_gradient: Tensor,
    offsets: Tensor | None = None,
) -> Tensor:
    del prepared, cosine, sine, decay_gradient
    planes = 2 if offsets is None else 2 + 2 * len(offsets)
    return logits.new_empty((planes, gradient.shape[4], gradient.shape[0] * gradient.shape[1]))


@kernel_operator("fused_qk_prepare_backward", fake=_fake_backward, work=_backward_work, mutates=("gradient",))
def prepare_backward(
    gradient: Tensor,
    prepared: Tensor,
    cosine: Tensor,
    sine: Tensor,
    logits: Tensor,
    decay_gradient: Tensor,
    offsets: Tensor | None = None,
) -> Tensor:
    """Gradients of the inputs of ``prepare``: that of ``qkv`` replaces the gradient of its result; and of the logits.

    Args:
        gradient: Of the prepared tensor, contiguous [B, T, 2, 3, H, d].
        prepared: What ``prepare`` made, same shape.
        cosine: As in ``prepare``.
        sine: As in ``prepare``.
        logits: As in ``prepare``.
        decay_gradient: Of the log decay, float32 [B, H, T], contiguous; of several states [2, B, H, K, T], with that of
            their phases.
        offsets: As in ``prepare``.

    Returns:
        Gradient of the logits, float32 [2, H, N]. Of several states [2 + 2 K, H, N]: then that of the phases, and that
        of the steps of each state, whose sums are the gradient of the offsets.
    """
    grid, sizes = _launch_sizes(gradient)
    logits_gradient = _fake_backward(gradient, prepared, cosine, sine, logits, decay_gradient, offsets)
    states = 1 if offsets is None else len(offsets)
    _prepare_backward_kernel[grid](
        gradient,
        prepared,
        cosine,
        sine,
        logits[0],
        logits[1],
        offsets,
        *((decay_gradient, None) if offsets is None else decay_gradient),
        logits_gradient,
        *sizes[:3],
        states,
        *sizes[3:],
        num_warps=_WARPS,
    )
    return logits_gradient


def _launch_sizes(qkv: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Grid, and the kernels' sizes in order."""
    batch, length, _, _, heads, head_dim = qkv.shape
    block = power_of_two(head_dim)
    rows = batch * length
    tile = row_tile(rows, block, _ELEMENTS, columns=heads)
    return (triton.cdiv(rows, tile), heads), (rows, length, heads, head_dim, tile, block)
