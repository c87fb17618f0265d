"""Queries, keys and values made ready for the memory's core: q and k turned by their position, v by its written share.

In place on what the joint product wrote, and backward in place on the core's gradients. Backward does not need the
values as they were: the gradient of the written share enters its logit times that share, which is a sum over the
values as written.

Axes: B batch, T time, H heads, d head_dim.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block_math import power_of_two, row_tile, store
from pamprof.workloads.kernels.kernel_operator import kernel_operator

PREPARE_FLOPS = 14  # per channel of a head: two rotations of 6, and the share on both parts of v
_PREPARE_BACKWARD_FLOPS = 18  # the pairs' sum besides
_ELEMENTS = 2048
_WARPS = 4


@triton.jit  # type: ignore[untyped-decorator]
def _prepare_kernel(qkv, cosine, sine, write, rows, length, heads, head_dim, ROWS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    head = tl.program_id(1)
    channel = tl.arange(0, BLOCK)
    within = channel < head_dim
    inside = (row < rows)[:, None] & within[None, :]
    inner = heads * head_dim
    place = row.to(tl.int64)[:, None] * (6 * inner) + head * head_dim + channel[None, :]
    time = row % length
    angle = time[:, None] * head_dim + channel[None, :]
    turn_real = tl.load(cosine + angle, mask=inside, other=0.0).to(tl.float32)
    turn_imag = tl.load(sine + angle, mask=inside, other=0.0).to(tl.float32)
    for part in tl.static_range(2):
        source = place + part * inner
        real = tl.load(qkv + source, mask=inside, other=0.0).to(tl.float32)
        imag = tl.load(qkv + source + 3 * inner, mask=inside, other=0.0).to(tl.float32)
        store(qkv + source, real * turn_real - imag * turn_imag, inside)
        store(qkv + source + 3 * inner, real * turn_imag + imag * turn_real, inside)
    share = tl.load(write + ((row // length).to(tl.int64) * heads + head) * length + time, mask=row < rows, other=0.0)
    source = place + 2 * inner
    real = tl.load(qkv + source, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(qkv + source + 3 * inner, mask=inside, other=0.0).to(tl.float32)
    store(qkv + source, real * share[:, None], inside)
    store(qkv + source + 3 * inner, imag * share[:, None], inside)


@triton.jit  # type: ignore[untyped-decorator]
def _prepare_backward_kernel(gradient, prepared, cosine, sine, write, pairs, rows, length, heads, head_dim, ROWS: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    head = tl.program_id(1)
    channel = tl.arange(0, BLOCK)
    within = channel < head_dim
    inside = (row < rows)[:, None] & within[None, :]
    inner = heads * head_dim
    place = row.to(tl.int64)[:, None] * (6 * inner) + head * head_dim + channel[None, :]
    time = row % length
    angle = time[:, None] * head_dim + channel[None, :]
    turn_real = tl.load(cosine + angle, mask=inside, other=0.0).to(tl.float32)
    turn_imag = tl.load(sine + angle, mask=inside, other=0.0).to(tl.float32)
    for part in tl.static_range(2):
        source = place + part * inner
        real = tl.load(gradient + source, mask=inside, other=0.0).to(tl.float32)
        imag = tl.load(gradient + source + 3 * inner, mask=inside, other=0.0).to(tl.float32)
        store(gradient + source, real * turn_real + imag * turn_imag, inside)
        store(gradient + source + 3 * inner, imag * turn_real - real * turn_imag, inside)
    of_head = ((row // length).to(tl.int64) * heads + head) * length + time
    share = tl.load(write + of_head, mask=row < rows, other=0.0)
    source = place + 2 * inner
    real = tl.load(gradient + source, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(gradient + source + 3 * inner, mask=inside, other=0.0).to(tl.float32)
    written_real = tl.load(prepared + source, mask=inside, other=0.0).to(tl.float32)
    written_imag = tl.load(prepared + source + 3 * inner, mask=inside, other=0.0).to(tl.float32)
    tl.store(pairs + of_head, tl.sum(real * written_real + imag * written_imag, axis=1), mask=row < rows)
    store(gradient + source, real * share[:, None], inside)
    store(gradient + source + 3 * inner, imag * share[:, None], inside)


def _work(qkv: Tensor, cosine: Tensor, sine: Tensor, write: Tensor, *, output: object) -> OperatorWork:
    del cosine, sine, write, output
    return OperatorWork(elementwise_flop_count=PREPARE_FLOPS * (qkv.numel() // 6))


def _backward_work(
    gradient: Tensor, prepared: Tensor, cosine: Tensor, sine: Tensor, write: Tensor, *, output: object
) -> OperatorWork:
    del prepared, cosine, sine, write, output
    return OperatorWork(elementwise_flop_count=_PREPARE_BACKWARD_FLOPS * (gradient.numel() // 6))


def _fake(qkv: Tensor, cosine: Tensor, sine: Tensor, write: Tensor) -> None:
    del qkv, cosine, sine, write


@kernel_operator("fused_qk_prepare", fake=_fake, work=_work, mutates=("qkv",))
def prepare(qkv: Tensor, cosine: Tensor, sine: Tensor, write: Tensor) -> None:
    """Turn q and k and weigh v, in place.

    Args:
        qkv: Contiguous [B, T, 2 (plane), 3 (q, k, v), H, d].
        cosine: Of the positions' angles, float32 [T, d], contiguous.
        sine: Likewise.
        write: Written share, float32 [B, H, T].
    """
    grid, sizes = _launch_sizes(qkv)
    _prepare_kernel[grid](qkv, cosine, sine, write, *sizes, num_warps=_WARPS)


def _fake_backward(gradient: Tensor, prepared: Tensor, cosine: Tensor, sine: Tensor, write: Tensor) -> Tensor:
    del gradient, prepared, cosine, sine
    return write.new_empty(write.shape)


@kernel_operator("fused_qk_prepare_backward", fake=_fake_backward, work=_backward_work, mutates=("gradient",))
def prepare_backward(gradient: Tensor, prepared: Tensor, cosine: Tensor, sine: Tensor, write: Tensor) -> Tensor:
    """Gradient of what ``prepare`` was given, in place of that of what it made; and the written share's, times itself.

    Args:
        gradient: Of the prepared tensor, contiguous [B, T, 2, 3, H, d].
        prepared: What ``prepare`` made, same shape.
        cosine: As in ``prepare``.
        sine: As in ``prepare``.
        write: As in ``prepare``.

    Returns:
        Sum over channels of Re(dv conj v) with v as written, float32 [B, H, T].
    """
    grid, sizes = _launch_sizes(gradient)
    pairs = write.new_empty(write.shape)
    _prepare_backward_kernel[grid](gradient, prepared, cosine, sine, write, pairs, *sizes, num_warps=_WARPS)
    return pairs


def _launch_sizes(qkv: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Grid, and the kernels' sizes in order."""
    batch, length, _, _, heads, head_dim = qkv.shape
    block = power_of_two(head_dim)
    rows = batch * length
    tile = row_tile(rows, block, _ELEMENTS)
    return (triton.cdiv(rows, tile), heads), (rows, length, heads, head_dim, tile, block)
