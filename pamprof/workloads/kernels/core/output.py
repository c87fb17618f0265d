"""The kernel that reads the state: every segment walks its chunks with the state in registers and writes the outputs.

Axes: R = B · H rows, N chunks, M segments, C chunk, d head_dim.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core.decay import NO_CUT
from pamprof.workloads.kernels.core.tiles import (
    add_product,
    joined,
    load_joined,
    load_planes,
    load_state,
    negated,
    of_row,
    pair_weight,
    parted,
    rounded,
    store_rows,
    store_state,
    write_to_state,
)


@triton.jit(do_not_specialize=["length", "segment_chunks"])
def output_kernel(  # noqa: PLR0915 - one program, read from top to bottom
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    sums: tl.tensor,
    cuts: tl.tensor,
    from_start: tl.tensor,
    to_end: tl.tensor,
    entering: tl.tensor,
    output: tl.tensor,
    kept: tl.tensor,
    final: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    segment_chunks: tl.tensor,
    stride_batch: tl.tensor,
    stride_time: tl.tensor,
    stride_plane: tl.tensor,
    stride_head: tl.tensor,
    heads: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HEAD_STEP: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
    ENTERS: tl.constexpr,
    KEEPS: tl.constexpr,
    HAS_FINAL: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    chunks = tl.cdiv(length, CHUNK)
    segments = tl.cdiv(chunks, segment_chunks)
    blocks: tl.constexpr = (HEAD_DIM + BLOCK_V - 1) // BLOCK_V
    # Programs of one segment are neighbours, so that the queries and keys they share come from the cache.
    program = tl.program_id(0)
    first = (program % blocks) * BLOCK_V
    segment = program // blocks % segments
    row = (program // blocks // segments).to(tl.int64)
    offset = of_row(row, heads, stride_batch, stride_head, HEAD_STEP)
    queries += offset
    keys += offset
    values += offset
    width = heads * HEAD_DIM
    output += row // heads * length * (2 * width) + row % heads * HEAD_DIM
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM

    if ENTERS:
        state_real, state_imag = load_state(
            entering + (row * segments + segment) * state_size, 0, first, HEAD_DIM, BLOCK_D, BLOCK_V
        )
        state = joined(state_real, state_imag)
    else:
        state = tl.zeros([BLOCK_D, 2 * BLOCK_V], tl.float32)
    dtype = queries.dtype.element_ty
    begin = segment * segment_chunks
    end = tl.minimum(begin + segment_chunks, chunks)
    # The compiler does not prefetch a scalar, so it is prefetched here.
    next_through = tl.load(from_start + (row * chunks + begin) * CHUNK + CHUNK - 1)
    for chunk in range(begin, end):
        start = chunk * CHUNK
        place = (row * chunks + chunk) * CHUNK + tl.arange(0, CHUNK)
        through = next_through
        next_through = tl.load(from_start + (row * chunks + tl.minimum(chunk + 1, end - 1)) * CHUNK + CHUNK - 1)
        since = tl.load(sums + place)
        cut = tl.load(cuts + place)
        q_real, q_imag = load_planes(queries, start, length, stride_time, stride_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
        k_real, k_imag = load_planes(keys, start, length, stride_time, stride_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
        v = load_joined(values, start, length, stride_time, stride_plane, first, HEAD_DIM, CHUNK, BLOCK_V)

        # Queries are negated so that products read them from registers. From shared memory they would need one more
        # buffer of the pipeline, and only one program instead of two would fit. Everything below is negative.
        q_real = negated(q_real)
        q_imag = negated(q_imag)
        # Scores before the state is read, one plane after the other: what is live at once must fit the registers.
        read = since + tl.log2(scale)
        weight = pair_weight(read, cut, since, False)
        nothing = tl.zeros([CHUNK, CHUNK], tl.float32)
        score = add_product(nothing, q_real, tl.trans(k_real), PRECISION)
        score = add_product(score, q_imag, tl.trans(k_imag), PRECISION)
        pair_real = rounded(score * weight, dtype)
        score = -add_product(nothing, q_real, tl.trans(k_imag), PRECISION)
        score = add_product(score, q_imag, tl.trans(k_real), PRECISION)
        pair_imag = rounded(score * weight, dtype)

        # Each plane on the left times both planes on the right; the imaginary plane's result is turned at the end.
        held = rounded(state, dtype)
        nothing = tl.zeros([CHUNK, 2 * BLOCK_V], tl.float32)
        to_read = tl.where(cut == NO_CUT, tl.exp2(read), 0.0)[:, None]
        straight = add_product(nothing, q_real, held, PRECISION) * to_read
        straight = add_product(straight, pair_real, v, PRECISION)
        turned = add_product(nothing, q_imag, held, PRECISION) * to_read
        turned = add_product(turned, pair_imag, v, PRECISION)
        if KEEPS:
            store_state(kept + (row * chunks + chunk) * state_size, state, first, HEAD_DIM)
        straight_real, straight_imag = parted(straight)
        turned_real, turned_imag = parted(turned)
        y_real, y_imag = turned_imag - straight_real, -turned_real - straight_imag
        store_rows(output, y_real, start, length, 2 * width, first, HEAD_DIM, CHUNK, BLOCK_V)
        store_rows(output + width, y_imag, start, length, 2 * width, first, HEAD_DIM, CHUNK, BLOCK_V)

        state = write_to_state(state, through, k_real, k_imag, v, tl.load(to_end + place), PRECISION)
    if HAS_FINAL:  # noqa: SIM102 - left out when the kernel is compiled, unlike the next
        if segment == segments - 1:
            store_state(final + row * state_size, state, first, HEAD_DIM)
