"""The kernel that reads several states: one chunk a program, with one matrix of mixed decays inside it.

The scores of a chunk and their product with the values do not know of states: sum_k c_k(t) D^k_ts is one weight for
each pair of tokens. What is read from the states is made for each, all into the same accumulators. The states a chunk
begins with come from ``state_kernel``: those of three do not fit the registers beside the pairs of a chunk, and
backward needs them in memory anyway.

Axes: R = B · H rows, K states, N chunks, C chunk, d head_dim.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core.tiles import (
    add_product,
    load_coefficient,
    load_joined,
    load_joined_state,
    load_planes,
    negated,
    of_row,
    pair_weight,
    parted,
    rounded,
    store_rows,
)


@triton.jit(do_not_specialize=["length"])
def mixed_output_kernel(  # noqa: PLR0915 - one program, read from top to bottom
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    sums: tl.tensor,
    cuts: tl.tensor,
    from_start: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    kept: tl.tensor,
    output: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    stride_batch: tl.tensor,
    stride_time: tl.tensor,
    stride_plane: tl.tensor,
    stride_head: tl.tensor,
    heads: tl.tensor,
    STATES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_STEP: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_KEPT: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    chunks = tl.cdiv(length, CHUNK)
    blocks: tl.constexpr = (HEAD_DIM + BLOCK_V - 1) // BLOCK_V
    # Programs of one chunk are neighbours, so that the queries and keys they share come from the cache.
    program = tl.program_id(0)
    first = (program % blocks) * BLOCK_V
    chunk = program // blocks % chunks
    row = (program // blocks // chunks).to(tl.int64)
    offset = of_row(row, heads, stride_batch, stride_head, HEAD_STEP)
    queries += offset
    keys += offset
    values += offset
    width = heads * HEAD_DIM
    output += row // heads * length * (2 * width) + row % heads * HEAD_DIM
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM
    row *= STATES  # from here on, of the first state
    dtype = queries.dtype.element_ty
    start = chunk * CHUNK
    within = tl.arange(0, CHUNK)

    # Before the scores: what is live at once must fit the registers.
    mixed_real = tl.zeros([CHUNK, CHUNK], tl.float32)
    mixed_imag = tl.zeros([CHUNK, CHUNK], tl.float32)
    for k in range(STATES):
        place = ((row + k) * chunks + chunk) * CHUNK + within
        since = tl.load(sums + place)
        weight = pair_weight(since + tl.log2(scale), tl.load(cuts + place), since, False)
        turn_real, turn_imag = load_coefficient(cosine, sine, row + k, start, length, CHUNK)
        mixed_real += weight * turn_real[:, None]
        mixed_imag += weight * turn_imag[:, None]

    # Negated as in ``output_kernel``, so that products read them from registers; everything below is negative.
    q_real, q_imag = load_planes(queries, start, length, stride_time, stride_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
    k_real, k_imag = load_planes(keys, start, length, stride_time, stride_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
    q_real = negated(q_real)
    q_imag = negated(q_imag)
    nothing = tl.zeros([CHUNK, CHUNK], tl.float32)
    score_real = add_product(nothing, q_real, tl.trans(k_real), PRECISION)
    score_real = add_product(score_real, q_imag, tl.trans(k_imag), PRECISION)
    score_imag = -add_product(nothing, q_real, tl.trans(k_imag), PRECISION)
    score_imag = add_product(score_imag, q_imag, tl.trans(k_real), PRECISION)
    pair_real = rounded(score_real * mixed_real - score_imag * mixed_imag, dtype)
    pair_imag = rounded(score_real * mixed_imag + score_imag * mixed_real, dtype)

    # Each plane on the left times both planes on the right; the imaginary plane's result is turned at the end.
    v = load_joined(values, start, length, stride_time, stride_plane, first, HEAD_DIM, CHUNK, BLOCK_V)
    nothing = tl.zeros([CHUNK, 2 * BLOCK_V], tl.float32)
    straight = add_product(nothing, pair_real, v, PRECISION)
    turned = add_product(nothing, pair_imag, v, PRECISION)
    if HAS_KEPT:
        for k in range(STATES):
            to_read = tl.load(from_start + ((row + k) * chunks + chunk) * CHUNK + within) * scale
            turn_real, turn_imag = load_coefficient(cosine, sine, row + k, start, length, CHUNK)
            by_real = (to_read * turn_real)[:, None]
            by_imag = (to_read * turn_imag)[:, None]
            held = load_joined_state(
                kept + ((row + k) * chunks + chunk) * state_size, first, HEAD_DIM, BLOCK_D, BLOCK_V
            )
            # The query is turned before it is rounded, so that all states add to the same accumulators.
            own = rounded(q_real.to(tl.float32) * by_real - q_imag.to(tl.float32) * by_imag, dtype)
            straight = add_product(straight, own, held, PRECISION)
            own = rounded(q_real.to(tl.float32) * by_imag + q_imag.to(tl.float32) * by_real, dtype)
            turned = add_product(turned, own, held, PRECISION)
    straight_real, straight_imag = parted(straight)
    turned_real, turned_imag = parted(turned)
    y_real, y_imag = turned_imag - straight_real, -turned_real - straight_imag
    store_rows(output, y_real, start, length, 2 * width, first, HEAD_DIM, CHUNK, BLOCK_V)
    store_rows(output + width, y_imag, start, length, 2 * width, first, HEAD_DIM, CHUNK, BLOCK_V)
