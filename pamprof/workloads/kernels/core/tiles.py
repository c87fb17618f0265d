"""What the core's kernels share: tiles of planes, their products, and how a chunk changes the state.

Axes: C chunk, d head_dim; tiles are padded to powers of two and zero where they reach past the data.
"""

from __future__ import annotations

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def negated(tile: tl.tensor) -> tl.tensor:
    """The tile times -1 in registers; by its sign bit, because Triton's interpreter cannot negate bfloat16."""
    if tile.dtype.primitive_bitwidth == 16:
        result = (tile.to(tl.int16, bitcast=True) ^ -32768).to(tile.dtype, bitcast=True)
    else:
        result = -tile
    return result


@triton.jit
def rounded(tile: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """The float32 tile in ``dtype``, to nearest; the interpreter would truncate to bfloat16."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = tile.to(tl.int32, bitcast=True)
        tile = ((bits + 0x7FFF + ((bits >> 16) & 1)) & -65536).to(tl.float32, bitcast=True)
    return tile.to(dtype)


@triton.jit
def add_product(total: tl.tensor, left: tl.tensor, right: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Total + left @ right in float32. The interpreter can multiply 16-bit tiles only after widening them."""
    if INTERPRETED:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def of_row(
    row: tl.tensor, heads: tl.tensor, stride_batch: tl.tensor, stride_head: tl.tensor, HEAD_STEP: tl.constexpr
) -> tl.tensor:
    """Where a row's planes begin, R = B · H.

    HEAD_STEP divides the stride of heads. Triton itself only finds out whether 16 does, and would load and store heads
    of 72 channels a few bytes at a time.
    """
    return row // heads * stride_batch + row % heads * (stride_head // HEAD_STEP * HEAD_STEP)


@triton.jit
def load_rows(
    base: tl.tensor,
    start: tl.tensor,
    length: tl.tensor,
    stride_time: tl.tensor,
    first: tl.tensor,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """Rows from ``start`` and channels from ``first`` of one plane of one head: [C, WIDTH]."""
    row = tl.arange(0, CHUNK)
    channel = first + tl.arange(0, WIDTH)
    inside = (row < length - start)[:, None] & (channel < HEAD_DIM)[None, :]
    # Only the beginning of the tile is far enough to need 64 bits.
    tile = base + tl.cast(start, tl.int64) * stride_time
    return tl.load(tile + row[:, None] * stride_time + channel[None, :], mask=inside, other=0.0)


@triton.jit
def load_planes(
    base: tl.tensor,
    start: tl.tensor,
    length: tl.tensor,
    stride_time: tl.tensor,
    stride_plane: tl.tensor,
    first: tl.tensor,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """``load_rows`` of both planes."""
    real = load_rows(base, start, length, stride_time, first, HEAD_DIM, CHUNK, WIDTH)
    return real, load_rows(base + stride_plane, start, length, stride_time, first, HEAD_DIM, CHUNK, WIDTH)


@triton.jit
def store_rows(
    base: tl.tensor,
    tile: tl.tensor,
    start: tl.tensor,
    length: tl.tensor,
    stride_time: tl.tensor,
    first: tl.tensor,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
) -> None:
    """The reverse of ``load_rows``, rounding to the dtype of ``base``."""
    row = tl.arange(0, CHUNK)
    channel = first + tl.arange(0, WIDTH)
    inside = (row < length - start)[:, None] & (channel < HEAD_DIM)[None, :]
    tile_base = base + tl.cast(start, tl.int64) * stride_time
    tl.store(
        tile_base + row[:, None] * stride_time + channel[None, :], rounded(tile, base.dtype.element_ty), mask=inside
    )


@triton.jit
def load_joined(
    base: tl.tensor,
    start: tl.tensor,
    length: tl.tensor,
    stride_time: tl.tensor,
    stride_plane: tl.tensor,
    first: tl.tensor,
    HEAD_DIM: tl.constexpr,
    CHUNK: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tl.tensor:
    """As ``load_planes``, but one tile, real channels left and imaginary ones right of the middle: [C, 2 WIDTH]."""
    row = tl.arange(0, CHUNK)
    column = tl.arange(0, 2 * WIDTH)
    channel = first + column % WIDTH
    inside = (row < length - start)[:, None] & (channel < HEAD_DIM)[None, :]
    tile = base + tl.cast(start, tl.int64) * stride_time
    place = row[:, None] * stride_time + (column // WIDTH * stride_plane + channel)[None, :]
    return tl.load(tile + place, mask=inside, other=0.0)


@triton.jit
def joined(real: tl.tensor, imag: tl.tensor) -> tl.tensor:
    """Two tiles [M, W] side by side: [M, 2 W]. In the layout of products this moves no data."""
    return tl.reshape(tl.permute(tl.join(real, imag), (0, 2, 1)), [real.shape[0], 2 * real.shape[1]])


@triton.jit
def parted(tile: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """The reverse of ``joined``."""
    left, right = tl.split(tl.permute(tl.reshape(tile, [tile.shape[0], 2, tile.shape[1] // 2]), (0, 2, 1)))
    return left, right


@triton.jit
def load_state(
    base: tl.tensor,
    first_key: tl.tensor,
    first_value: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Both planes of a block of a state [d_k, 2 d_v], in the dtype it is kept in: [HEIGHT, WIDTH]."""
    row = (first_key + tl.arange(0, HEIGHT))[:, None]
    column = (first_value + tl.arange(0, WIDTH))[None, :]
    inside = (row < HEAD_DIM) & (column < HEAD_DIM)
    place = base + row * (2 * HEAD_DIM) + column
    real = tl.load(place, mask=inside, other=0.0)
    return real, tl.load(place + HEAD_DIM, mask=inside, other=0.0)


@triton.jit
def load_joined_state(
    base: tl.tensor, first_value: tl.tensor, HEAD_DIM: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr
) -> tl.tensor:
    """The reverse of ``store_state``, in the dtype it is kept in: [HEIGHT, 2 WIDTH]."""
    row = tl.arange(0, HEIGHT)[:, None]
    column = tl.arange(0, 2 * WIDTH)[None, :]
    value = first_value + column % WIDTH
    place = base + row * (2 * HEAD_DIM) + column // WIDTH * HEAD_DIM + value
    return tl.load(place, mask=(row < HEAD_DIM) & (value < HEAD_DIM), other=0.0)


@triton.jit
def store_state(base: tl.tensor, state: tl.tensor, first_value: tl.tensor, HEAD_DIM: tl.constexpr) -> None:
    """All key channels and some value channels of a state, joined, rounded to the dtype it is kept in."""
    width: tl.constexpr = state.shape[1] // 2
    row = tl.arange(0, state.shape[0])[:, None]
    column = tl.arange(0, state.shape[1])[None, :]
    value = first_value + column % width
    place = base + row * (2 * HEAD_DIM) + column // width * HEAD_DIM + value
    tl.store(place, rounded(state, base.dtype.element_ty), mask=(row < HEAD_DIM) & (value < HEAD_DIM))


@triton.jit
def pair_weight(since: tl.tensor, cut: tl.tensor, since_written: tl.tensor, WRITTEN_FIRST: tl.constexpr) -> tl.tensor:
    """What a pair of tokens of one chunk weighs, the decay in between: [read, written], or transposed; or zero.

    Args:
        since: Sum of log decays up to the reading token, plus the logarithm of a factor if there is one.
        cut: Position of the last decay of zero up to the reading token.
        since_written: Sum up to the writing token.
        WRITTEN_FIRST: Whether the writing token is the row.
    """
    position = tl.arange(0, since.shape[0])
    if WRITTEN_FIRST:
        exponent = since[None, :] - since_written[:, None]
        reaches = (position[None, :] >= position[:, None]) & (position[:, None] >= cut[None, :])
    else:
        exponent = since[:, None] - since_written[None, :]
        reaches = (position[:, None] >= position[None, :]) & (position[None, :] >= cut[:, None])
    return tl.where(reaches, tl.exp2(exponent), 0.0)


@triton.jit
def load_coefficient(
    cosine: tl.tensor, sine: tl.tensor, row: tl.tensor, start: tl.tensor, length: tl.tensor, CHUNK: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """What a state's reads of one chunk are multiplied by, [R K, T] each; ``row`` is the state's."""
    time = start + tl.arange(0, CHUNK)
    place = row * length + time
    return tl.load(cosine + place, mask=time < length, other=0.0), tl.load(sine + place, mask=time < length, other=0.0)


@triton.jit
def turned_back(tile: tl.tensor, real: tl.tensor, imag: tl.tensor) -> tl.tensor:
    """Rows [C, 2 W], planes joined, times the conjugate of a number for each; float32."""
    tile_real, tile_imag = parted(tile.to(tl.float32))
    real, imag = real[:, None], imag[:, None]
    return joined(real * tile_real + imag * tile_imag, real * tile_imag - imag * tile_real)


@triton.jit
def write_to_state(
    state: tl.tensor,
    through: tl.tensor,
    keys_real: tl.tensor,
    keys_imag: tl.tensor,
    values: tl.tensor,
    weight: tl.tensor,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """State [d_k, 2 d_v] decayed by ``through``, plus conj(keys)^T @ (weight · values) of one chunk, planes joined."""
    values = rounded(values.to(tl.float32) * weight[:, None], values.dtype)
    return write_weighted(state, through, keys_real, keys_imag, values, PRECISION)


@triton.jit
def write_weighted(
    state: tl.tensor,
    through: tl.tensor,
    keys_real: tl.tensor,
    keys_imag: tl.tensor,
    values: tl.tensor,
    PRECISION: tl.constexpr,
) -> tl.tensor:
    """``write_to_state`` of values that were weighted before."""
    nothing = tl.zeros(state.shape, tl.float32)
    real, imag = parted(add_product(nothing, tl.trans(keys_imag), values, PRECISION))
    return add_product(state * through + joined(imag, -real), tl.trans(keys_real), values, PRECISION)
