"""Device functions that the block's kernels share: moduli, stable logarithms, the decay's gates; and launch sizes.

Everything is float32; the constants are those of ``layers.recurrent.epsilons``.

From Hopper on a kernel may be launched while the one before still runs (programmatic dependent launch, "griddepcontrol"
in the PTX ISA). Every kernel launched so waits before it reads or writes anything that another kernel writes. The
recurrence's kernel alone may read its state before it waits; the kernel in front of it then launches it only after its
own wait. A kernel launched in the usual way begins when all before it have ended.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from pamprof.workloads.kernels.core.tiles import INTERPRETED, rounded
from pamprof.workloads.layers.recurrent.epsilons import DIRECTION_EPSILON, MAGNITUDE_EPSILON, NORM_EPSILON

MAGNITUDE = tl.constexpr(MAGNITUDE_EPSILON)
DIRECTION = tl.constexpr(DIRECTION_EPSILON)
NORM = tl.constexpr(NORM_EPSILON)
LOG2_E = tl.constexpr(math.log2(math.e))
TURNS_PER_RADIAN = tl.constexpr(0.5 / math.pi)

# Programs that walk over all rows and keep a sum of their own: eight for each multiprocessor of an H100 or H200, the
# same number everywhere so that sums do not depend on the device. The interpreter runs them in turn.
SUMMING_PROGRAMS = 2 if INTERPRETED.value else 1056
_INTERPRETED_ELEMENTS = 16384  # of a tile: in the interpreter an operation costs as much on many numbers as on few


@cache
def overlaps(device: torch.device) -> bool:
    """Whether kernels on the device may be launched before the one they depend on has ended."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@triton.jit
def launch_next(OVERLAPS: tl.constexpr) -> None:
    """Let the next kernel be launched."""
    if OVERLAPS:
        gdc_launch_dependents()


@triton.jit
def await_results(OVERLAPS: tl.constexpr) -> None:
    """Wait for what the kernel before writes; until then only what nobody writes may be read."""
    if OVERLAPS:
        gdc_wait()


@triton.jit
def await_inputs(OVERLAPS: tl.constexpr) -> None:
    """Let the next kernel be launched, and wait for what the one before writes."""
    launch_next(OVERLAPS)
    await_results(OVERLAPS)


@triton.jit
def prefetch(pointers: tl.tensor) -> None:
    """Prefetch the lines that hold these addresses into the L2 cache."""
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [pointers], dtype=tl.int32, is_pure=False, pack=1
    )


def summing_grid(tiles: int, *, columns: int = 1) -> int:
    """Programs that share ``tiles`` row tiles and sum over theirs, of ``columns`` such groups launched at once."""
    return min(tiles, max(1, SUMMING_PROGRAMS // columns))


def row_tile(rows: int, block: int, elements: int, *, columns: int = 1) -> int:
    """Rows one program takes: a power of two, ``elements`` numbers at most, and no fewer programs than would fill.

    ``columns`` is how many programs share the same rows.
    """
    most = max(1, (_INTERPRETED_ELEMENTS if INTERPRETED.value else elements) // block)
    filling = max(1, rows * columns // SUMMING_PROGRAMS)
    return min(most, 1 << (filling.bit_length() - 1))


def power_of_two(width: int) -> int:
    """The power of two that covers ``width``, as an axis of a tile must have."""
    return 1 << max(0, width - 1).bit_length()


@triton.jit
def store(place: tl.tensor, tile: tl.tensor, inside: tl.tensor) -> None:
    """Store a float32 tile, rounded to nearest in the dtype of the place."""
    tl.store(place, rounded(tile, place.dtype.element_ty), mask=inside)


@triton.jit
def _approximate(x: tl.tensor, INSTRUCTION: tl.constexpr) -> tl.tensor:
    """One instruction of the special function unit, right to about 2^-22; denormal numbers count as zero."""
    return tl.inline_asm_elementwise(INSTRUCTION, "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


# Compilers add several instructions that keep denormal numbers or the last bit. With them these kernels were limited by
# arithmetic, not by memory bandwidth.
@triton.jit
def exp2(exponent: tl.tensor) -> tl.tensor:
    """2^x."""
    return tl.exp2(exponent) if INTERPRETED else _approximate(exponent, "ex2.approx.ftz.f32 $0, $1;")


@triton.jit
def reciprocal(x: tl.tensor) -> tl.tensor:
    """1 / x."""
    return 1.0 / x if INTERPRETED else _approximate(x, "rcp.approx.ftz.f32 $0, $1;")


@triton.jit
def reciprocal_root(x: tl.tensor) -> tl.tensor:
    """1 / sqrt(x)."""
    return tl.rsqrt(x) if INTERPRETED else _approximate(x, "rsqrt.approx.ftz.f32 $0, $1;")


@triton.jit
def sigmoid(x: tl.tensor) -> tl.tensor:
    """1 / (1 + exp(-x))."""
    return reciprocal(1.0 + exp2(x * -LOG2_E))


@triton.jit
def cosine_and_sine(angle: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Of an angle in radians, to about 1e-6: the special function unit is exact enough within one turn alone."""
    turns = tl.floor(angle * TURNS_PER_RADIAN + 0.5)
    # Two parts of 2 pi, the first one exact in few bits.
    within = angle - turns * 6.28125 - turns * 1.9353071795864769e-3
    return tl.cos(within), tl.sin(within)


@triton.jit
def modulus(real: tl.tensor, imag: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """sqrt(re² + im² + 1e-8), and its reciprocal."""
    power = real * real + imag * imag + MAGNITUDE
    inverse = reciprocal_root(power)
    return power * inverse, inverse


@triton.jit
def log_one_plus(x: tl.tensor) -> tl.tensor:
    """log(1 + x) to full precision near 0: the rounding of 1 + x enters numerator and denominator alike."""
    shifted = 1.0 + x
    rounded = shifted - 1.0
    return tl.where(rounded == 0.0, x, tl.log(shifted) * (x / tl.where(rounded == 0.0, 1.0, rounded)))


@triton.jit
def softplus(x: tl.tensor) -> tl.tensor:
    """log(1 + exp(x)), linear where the exponential would overflow."""
    return tl.maximum(x, 0.0) + log_one_plus(tl.exp(-tl.abs(x)))


@triton.jit
def log_of_decay(step: tl.tensor, gate: tl.tensor) -> tl.tensor:
    """log(exp(-dt)(1 - p) + p) with dt = softplus(step) and p = sigmoid(gate).

    The decay is 1 - (1 - p) sigmoid(step): near 1 the logarithm is taken of that, which keeps its digits where little
    is forgotten, else of the sum of the two shares as logarithms, which stays finite however much is.
    """
    lost = tl.sigmoid(-gate) * tl.sigmoid(step)
    forgotten = -softplus(gate) - softplus(step)
    kept = -softplus(-gate)
    summed = tl.maximum(forgotten, kept) + log_one_plus(tl.exp(-tl.abs(forgotten - kept)))
    return tl.where(lost < 0.5, log_one_plus(-tl.minimum(lost, 0.5)), summed)


@triton.jit
def decay_gradients(
    step: tl.tensor, gate: tl.tensor, decay_gradient: tl.tensor, pairs: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """Gradients of ``step`` and ``gate`` from those of the log decay and of the written share.

    ``pairs`` is the gradient of the written share times that share, the sum of Re(dv conj v) over the written value.
    With r = p / decay: d log decay / d step = -(1 - r) sigmoid(step), / d gate = r (1 - p) sigmoid(step).
    """
    protected = tl.sigmoid(gate)
    opening = tl.sigmoid(step)
    ratio = tl.exp(-softplus(-gate) - log_of_decay(step, gate))
    step_gradient = -decay_gradient * (1.0 - ratio) * opening
    gate_gradient = decay_gradient * ratio * tl.sigmoid(-gate) * opening - pairs * protected
    return step_gradient, gate_gradient
