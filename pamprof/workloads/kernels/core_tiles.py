"""What the core's kernels share: tiles of planes, products, and the decay inside a chunk.

A decay is held as a sum of base-two logarithms since the chunk's beginning, and a decay of zero is counted beside the
sum instead of being summed: differences of sums then never meet an infinity, a zero cuts off exactly what lies before
it, and what lies behind it loses no digits. Decays below the smallest normal float32 count as zero.

Axes: C chunk, d head_dim; tiles are padded to powers of two and zero where they reach past the data.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
SMALLEST_LOG2 = tl.constexpr(-126.0)  # of a normal float32
# One counted zero in an exponent: two to its negative is 0 in float32, and any sum of chunk-many is exact.
CUT = tl.constexpr(8192.0)
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit  # type: ignore[untyped-decorator]
def negated(tile):  # type: ignore[no-untyped-def]
    """The tile times -1 in registers; by its sign bit, because Triton's interpreter cannot negate bfloat16."""
    if tile.dtype.primitive_bitwidth == 16:
        result = (tile.to(tl.int16, bitcast=True) ^ -32768).to(tile.dtype, bitcast=True)
    else:
        result = -tile
    return result


@triton.jit  # type: ignore[untyped-decorator]
def rounded(tile, dtype: tl.constexpr):  # type: ignore[no-untyped-def]
    """The float32 tile in ``dtype``, to nearest; the interpreter by itself would cut bfloat16 off."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = tile.to(tl.int32, bitcast=True)
        tile = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    return tile.to(dtype)


@triton.jit  # type: ignore[untyped-decorator]
def add_product(total, left, right, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]
    """Total + left @ right in float32. The interpreter can multiply 16-bit tiles only after widening them."""
    if INTERPRETED:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit  # type: ignore[untyped-decorator]
def load_rows(  # type: ignore[no-untyped-def]
    base, start, length, stride_time, first, HEAD_DIM: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr
):
    """Rows from ``start`` and channels from ``first`` of one plane of one head: [C, WIDTH]."""
    time = start + tl.arange(0, CHUNK)
    channel = first + tl.arange(0, WIDTH)
    inside = (time < length)[:, None] & (channel < HEAD_DIM)[None, :]
    return tl.load(base + time.to(tl.int64)[:, None] * stride_time + channel[None, :], mask=inside, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def store_rows(  # type: ignore[no-untyped-def]
    base, tile, start, length, stride_time, first, HEAD_DIM: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr
):
    """The reverse of ``load_rows``, rounding to the dtype of ``base``."""
    time = start + tl.arange(0, CHUNK)
    channel = first + tl.arange(0, WIDTH)
    inside = (time < length)[:, None] & (channel < HEAD_DIM)[None, :]
    place = base + time.to(tl.int64)[:, None] * stride_time + channel[None, :]
    tl.store(place, rounded(tile, base.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def load_state(base, first, HEAD_DIM: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Both planes [d_k, d_v] of a state [d_k, 2 d_v], value channels from ``first``, in the dtype they are kept in."""
    row = tl.arange(0, HEIGHT)[:, None]
    column = (first + tl.arange(0, WIDTH))[None, :]
    inside = (row < HEAD_DIM) & (column < HEAD_DIM)
    place = base + row * (2 * HEAD_DIM) + column
    real = tl.load(place, mask=inside, other=0.0)
    return real, tl.load(place + HEAD_DIM, mask=inside, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def store_state(base, real, imag, first, HEAD_DIM: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """The reverse of ``load_state``."""
    row = tl.arange(0, HEIGHT)[:, None]
    column = (first + tl.arange(0, WIDTH))[None, :]
    inside = (row < HEAD_DIM) & (column < HEAD_DIM)
    place = base + row * (2 * HEAD_DIM) + column
    tl.store(place, rounded(real, base.dtype.element_ty), mask=inside)
    tl.store(place + HEAD_DIM, rounded(imag, base.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def chunk_decay(log_decay, start, length, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums of logarithms and of cuts up to each position [C], and both totals; decay is kept behind the end."""
    time = start + tl.arange(0, CHUNK)
    logarithm = tl.load(log_decay + time, mask=time < length, other=0.0) * LOG2_E
    is_zero = logarithm < SMALLEST_LOG2
    step = tl.where(is_zero, 0.0, logarithm)
    cut = tl.where(is_zero, CUT, 0.0)
    return tl.cumsum(step, 0), tl.cumsum(cut, 0), tl.sum(step, 0), tl.sum(cut, 0)


@triton.jit  # type: ignore[untyped-decorator]
def write_to_state(state_real, state_imag, through, keys_real, keys_imag, values_real, values_imag, weight, PRECISION: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: E501  # fmt: skip
    """State [d_k, d_v] decayed by ``through``, plus conj(keys)^T @ (weight · values) of one chunk."""
    real = rounded(values_real.to(tl.float32) * weight[:, None], values_real.dtype)
    imag = rounded(values_imag.to(tl.float32) * weight[:, None], values_imag.dtype)
    state_real = add_product(state_real * through, tl.trans(keys_real), real, PRECISION)
    state_real = add_product(state_real, tl.trans(keys_imag), imag, PRECISION)
    state_imag = add_product(state_imag * through, tl.trans(keys_real), imag, PRECISION)
    state_imag = add_product(state_imag, tl.trans(keys_imag), negated(real), PRECISION)
    return state_real, state_imag
