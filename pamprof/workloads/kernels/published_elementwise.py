"""The four elementwise kernels that come with the published PAM code: norm, activation, gate, decay; forward only.

The published code (github.com/gowrav-vishwakarma/qllm2, v7) runs each of these stages as one Triton kernel where it can
and as separate operators elsewhere; its backward is separate operators everywhere. So does the implementation
``published``. While a step is counted the kernels run as registered operators, which the FLOP counter sees; while it is
timed they are launched bare, as published.

Interleaved pairs: z is real [..., n, 2]. One program handles one row of n complex channels, in float32.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.library import custom_op

from pamprof.workloads.kernel_flops import OperatorWork, register_kernel_flops
from pamprof.workloads.kernels.kernel_operator import tensor_bytes
from pamprof.workloads.layers.recurrent.epsilons import DIRECTION_EPSILON, MAGNITUDE_EPSILON, NORM_EPSILON

if TYPE_CHECKING:
    from collections.abc import Callable

_MAGNITUDE_EPSILON = tl.constexpr(MAGNITUDE_EPSILON)
_DIRECTION_EPSILON = tl.constexpr(DIRECTION_EPSILON)
_NORM_EPSILON = tl.constexpr(NORM_EPSILON)

# Real operations per complex channel by the counter's convention: every add, multiply, divide, root and sigmoid is 1.
_NORM_FLOPS = 12
_ACTIVATION_FLOPS = 11
_GATE_FLOPS = 16
_DECAY_FLOPS = 3  # per pair of positions: subtract, bound, exponential
_DECAY_TILE = 64


@triton.jit
def norm_kernel(z: tl.tensor, scale: tl.tensor, out: tl.tensor, width: tl.tensor, BLOCK: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64) * width * 2
    channel = tl.arange(0, BLOCK)
    inside = channel < width
    real = tl.load(z + row + 2 * channel, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(z + row + 2 * channel + 1, mask=inside, other=0.0).to(tl.float32)
    power = real * real + imag * imag + _MAGNITUDE_EPSILON
    size = tl.sqrt(power)
    mean = tl.sum(tl.where(inside, power, 0.0), axis=0) / width
    weight = tl.load(scale + channel, mask=inside, other=0.0).to(tl.float32)
    factor = weight * size / tl.sqrt(mean + _NORM_EPSILON) / (size + _DIRECTION_EPSILON)
    tl.store(out + row + 2 * channel, real * factor, mask=inside)
    tl.store(out + row + 2 * channel + 1, imag * factor, mask=inside)


@triton.jit
def activation_kernel(
    z: tl.tensor,
    bias: tl.tensor,
    beta: tl.tensor,
    out: tl.tensor,
    width: tl.tensor,
    HAS_BETA: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * width * 2
    channel = tl.arange(0, BLOCK)
    inside = channel < width
    real = tl.load(z + row + 2 * channel, mask=inside, other=0.0).to(tl.float32)
    imag = tl.load(z + row + 2 * channel + 1, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    size = tl.sqrt(real * real + imag * imag + _MAGNITUDE_EPSILON)
    if HAS_BETA:
        slope = tl.load(beta + channel, mask=inside, other=0.0).to(tl.float32)
        activated = size * tl.sigmoid(slope * size + shift)
    else:
        activated = tl.maximum(size + shift, 0.0)
    factor = activated / (size + _DIRECTION_EPSILON)
    tl.store(out + row + 2 * channel, real * factor, mask=inside)
    tl.store(out + row + 2 * channel + 1, imag * factor, mask=inside)


@triton.jit
def gate_kernel(gate: tl.tensor, up: tl.tensor, out: tl.tensor, width: tl.tensor, BLOCK: tl.constexpr) -> None:
    row = tl.program_id(0).to(tl.int64) * width * 2
    channel = tl.arange(0, BLOCK)
    inside = channel < width
    gate_real = tl.load(gate + row + 2 * channel, mask=inside, other=0.0).to(tl.float32)
    gate_imag = tl.load(gate + row + 2 * channel + 1, mask=inside, other=0.0).to(tl.float32)
    up_real = tl.load(up + row + 2 * channel, mask=inside, other=0.0).to(tl.float32)
    up_imag = tl.load(up + row + 2 * channel + 1, mask=inside, other=0.0).to(tl.float32)
    size = tl.sqrt(gate_real * gate_real + gate_imag * gate_imag + _MAGNITUDE_EPSILON)
    factor = tl.sigmoid(size) / (size + _DIRECTION_EPSILON)
    tl.store(out + row + 2 * channel, factor * (gate_real * up_real - gate_imag * up_imag), mask=inside)
    tl.store(out + row + 2 * channel + 1, factor * (gate_real * up_imag + gate_imag * up_real), mask=inside)


@triton.jit
def decay_kernel(cumulative: tl.tensor, out: tl.tensor, length: tl.tensor, TILE: tl.constexpr) -> None:
    sequence = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * TILE + tl.arange(0, TILE)
    column = tl.program_id(2) * TILE + tl.arange(0, TILE)
    until_row = tl.load(cumulative + sequence * length + row, mask=row < length, other=0.0)
    until_column = tl.load(cumulative + sequence * length + column, mask=column < length, other=0.0)
    difference = tl.minimum(until_row[:, None] - until_column[None, :], 0.0)
    weight = tl.where(column[None, :] <= row[:, None], tl.exp(difference), 0.0)
    place = (sequence * length + row[:, None]) * length + column[None, :]
    tl.store(out + place, weight, mask=(row < length)[:, None] & (column < length)[None, :])


def fused_norm(z: Tensor, scale: Tensor) -> Tensor:
    """Complex norm of pairs [..., D, 2] by ``scale`` [D], in the dtype of ``z``."""
    return _counted_norm(z, scale) if _is_counted() else launch_norm(norm_kernel, z, scale)


def fused_activation(z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """ModSwish of pairs [..., h, 2], or modReLU where ``beta`` is None, in the dtype of ``z``."""
    return _counted_activation(z, bias, beta) if _is_counted() else launch_activation(activation_kernel, z, bias, beta)


def fused_gate(gate: Tensor, up: Tensor) -> Tensor:
    """sigmoid(|g|) g / (|g| + 1e-8) · u of pairs [..., h, 2], in the dtype of ``up``."""
    return _counted_gate(gate, up) if _is_counted() else launch_gate(gate_kernel, gate, up)


def fused_decay(cumulative: Tensor) -> Tensor:
    """exp(c_t - c_s) for s <= t, else 0: float32 [..., C] to [..., C, C]."""
    return _counted_decay(cumulative) if _is_counted() else launch_decay(decay_kernel, cumulative)


def _is_counted() -> bool:
    """Whether a dispatch mode watches: it cannot see a bare launch, and an operator costs the host more."""
    return torch._C._len_torch_dispatch_stack() > 0


@custom_op("pamprof::published_norm", mutates_args=())
def _counted_norm(z: Tensor, scale: Tensor) -> Tensor:
    return launch_norm(norm_kernel, z, scale)


@custom_op("pamprof::published_activation", mutates_args=())
def _counted_activation(z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    return launch_activation(activation_kernel, z, bias, beta)


@custom_op("pamprof::published_gate", mutates_args=())
def _counted_gate(gate: Tensor, up: Tensor) -> Tensor:
    return launch_gate(gate_kernel, gate, up)


@custom_op("pamprof::published_decay", mutates_args=())
def _counted_decay(cumulative: Tensor) -> Tensor:
    return launch_decay(decay_kernel, cumulative)


def launch_norm(kernel: triton.KernelInterface, z: Tensor, scale: Tensor) -> Tensor:
    """Launch ``norm_kernel``."""
    z, out, grid, sizes = _launch_sizes(z)
    kernel[grid](z, scale, out, *sizes)
    return out


def launch_activation(kernel: triton.KernelInterface, z: Tensor, bias: Tensor, beta: Tensor | None) -> Tensor:
    """Launch ``activation_kernel``."""
    z, out, grid, (width, block) = _launch_sizes(z)
    kernel[grid](z, bias, bias if beta is None else beta, out, width, beta is not None, block)
    return out


def launch_gate(kernel: triton.KernelInterface, gate: Tensor, up: Tensor) -> Tensor:
    """Launch ``gate_kernel``."""
    up, out, grid, sizes = _launch_sizes(up)
    kernel[grid](gate.contiguous(), up, out, *sizes)
    return out


def launch_decay(kernel: triton.KernelInterface, cumulative: Tensor) -> Tensor:
    """Launch ``decay_kernel``."""
    cumulative = cumulative.contiguous()
    length = cumulative.shape[-1]
    out = cumulative.new_empty((*cumulative.shape, length))
    tiles = triton.cdiv(length, _DECAY_TILE)
    kernel[prod(cumulative.shape[:-1]), tiles, tiles](cumulative, out, length, _DECAY_TILE)
    return out


def _launch_sizes(z: Tensor) -> tuple[Tensor, Tensor, tuple[int], tuple[int, int]]:
    """Contiguous input, output, grid, and width with the power of two that covers it."""
    z = z.contiguous()
    width = z.shape[-2]
    return z, torch.empty_like(z), (prod(z.shape[:-2]),), (width, triton.next_power_of_2(width))


def _per_channel(flops: int) -> Callable[..., OperatorWork]:
    def formula(z: Tensor, *others: object, output: object) -> OperatorWork:
        return OperatorWork(elementwise_flop_count=flops * (z.numel() // 2), byte_count=tensor_bytes(z, others, output))

    return formula


def _decay_work(cumulative: Tensor, *, output: object) -> OperatorWork:
    return OperatorWork(
        elementwise_flop_count=_DECAY_FLOPS * cumulative.numel() * cumulative.shape[-1],
        byte_count=tensor_bytes(cumulative, output),
    )


register_kernel_flops("pamprof::published_norm", _per_channel(_NORM_FLOPS))
register_kernel_flops("pamprof::published_activation", _per_channel(_ACTIVATION_FLOPS))
register_kernel_flops("pamprof::published_gate", _per_channel(_GATE_FLOPS))
register_kernel_flops("pamprof::published_decay", _decay_work)
