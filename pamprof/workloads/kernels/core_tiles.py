"""What the core's kernels share: tiles of planes, their products, and how a chunk changes the state.

Axes: C chunk, d head_dim; tiles are padded to powers of two and zero where they reach past the data.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
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
    row = tl.arange(0, CHUNK)
    channel = first + tl.arange(0, WIDTH)
    inside = (row < length - start)[:, None] & (channel < HEAD_DIM)[None, :]
    # Only the beginning of the tile is far enough to need 64 bits.
    tile = base + tl.cast(start, tl.int64) * stride_time
    return tl.load(tile + row[:, None] * stride_time + channel[None, :], mask=inside, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def load_planes(  # type: ignore[no-untyped-def]
    base,
    start,
    length,
    stride_time,
    stride_plane,
    first,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """``load_rows`` of both planes."""
    real = load_rows(base, start, length, stride_time, first, HEAD_DIM, CHUNK, WIDTH)
    return real, load_rows(base + stride_plane, start, length, stride_time, first, HEAD_DIM, CHUNK, WIDTH)


@triton.jit  # type: ignore[untyped-decorator]
def store_rows(  # type: ignore[no-untyped-def]
    base, tile, start, length, stride_time, first, HEAD_DIM: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr
):
    """The reverse of ``load_rows``, rounding to the dtype of ``base``."""
    row = tl.arange(0, CHUNK)
    channel = first + tl.arange(0, WIDTH)
    inside = (row < length - start)[:, None] & (channel < HEAD_DIM)[None, :]
    tile_base = base + tl.cast(start, tl.int64) * stride_time
    tl.store(
        tile_base + row[:, None] * stride_time + channel[None, :], rounded(tile, base.dtype.element_ty), mask=inside
    )


@triton.jit  # type: ignore[untyped-decorator]
def load_state(  # type: ignore[no-untyped-def]
    base, first_key, first_value, HEAD_DIM: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr
):
    """Both planes of a block of a state [d_k, 2 d_v], in the dtype it is kept in: [HEIGHT, WIDTH]."""
    row = (first_key + tl.arange(0, HEIGHT))[:, None]
    column = (first_value + tl.arange(0, WIDTH))[None, :]
    inside = (row < HEAD_DIM) & (column < HEAD_DIM)
    place = base + row * (2 * HEAD_DIM) + column
    real = tl.load(place, mask=inside, other=0.0)
    return real, tl.load(place + HEAD_DIM, mask=inside, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def store_state(base, real, imag, first_value, HEAD_DIM: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """All key channels and some value channels of a state, rounded to the dtype it is kept in."""
    row = tl.arange(0, HEIGHT)[:, None]
    column = (first_value + tl.arange(0, WIDTH))[None, :]
    inside = (row < HEAD_DIM) & (column < HEAD_DIM)
    place = base + row * (2 * HEAD_DIM) + column
    tl.store(place, rounded(real, base.dtype.element_ty), mask=inside)
    tl.store(place + HEAD_DIM, rounded(imag, base.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def load_decay(sums, cuts, chunk, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of one chunk: both sums at each position [C], and both at its end."""
    place = chunk * CHUNK + tl.arange(0, CHUNK)
    end = chunk * CHUNK + CHUNK - 1
    return tl.load(sums + place), tl.load(cuts + place), tl.load(sums + end), tl.load(cuts + end)


@triton.jit  # type: ignore[untyped-decorator]
def pair_weight(since, cuts, scale, WRITTEN_FIRST: tl.constexpr, CHUNK: tl.constexpr):  # type: ignore[no-untyped-def]
    """What a pair of tokens weighs, scale times the decay in between: [read, written], or transposed; zero if not read.

    One difference of sums: a pair with a decay of zero in between has counts that differ, and is left out as a whole.
    """
    position = tl.arange(0, CHUNK)
    read = since + tl.log2(scale)
    if WRITTEN_FIRST:
        exponent = read[None, :] - since[:, None]
        reaches = (position[None, :] >= position[:, None]) & (cuts[None, :] == cuts[:, None])
    else:
        exponent = read[:, None] - since[None, :]
        reaches = (position[:, None] >= position[None, :]) & (cuts[:, None] == cuts[None, :])
    return tl.where(reaches, tl.exp2(exponent), 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def write_to_state(  # type: ignore[no-untyped-def]
    state_real, state_imag, through, keys_real, keys_imag, values_real, values_imag, weight, PRECISION: tl.constexpr
):
    """State [d_k, d_v] decayed by ``through``, plus conj(keys)^T @ (weight · values) of one chunk."""
    real = rounded(values_real.to(tl.float32) * weight[:, None], values_real.dtype)
    imag = rounded(values_imag.to(tl.float32) * weight[:, None], values_imag.dtype)
    state_real = add_product(state_real * through, tl.trans(keys_real), real, PRECISION)
    state_real = add_product(state_real, tl.trans(keys_imag), imag, PRECISION)
    # The sign of a sum is free to turn; that of an operand would cost a second copy of it.
    state_imag = -add_product(-(state_imag * through), tl.trans(keys_imag), real, PRECISION)
    state_imag = add_product(state_imag, tl.trans(keys_real), imag, PRECISION)
    return state_real, state_imag
