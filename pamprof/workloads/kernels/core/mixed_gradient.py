"""The backward kernel of several states: as ``gradient_kernel``, one chunk a program, with one matrix of mixed decays.

With scores s = q conj(k), weights W_ts = sum_k c_k(t) D^k_ts and pulls g = dy conj(v), the gradient of the scores is
conj(W) g and that of the weights conj(s) g. D^k conj(c_k) conj(s) g then holds everything that state k has of its own:
the sums over s and over t of its real part are what the gradient of its log decays is made of, and the sum over s of
its imaginary part is the gradient of its phase. Sums are left for ``decay_gradient_kernel``: three over pairs inside
the chunk, and for each block of channels three over what the chunk leaves and reads.

Axes: R = B · H rows, K states, N chunks, C chunk, d head_dim; s writes, t reads, and scores are kept as [s, t].
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core.tiles import (
    add_product,
    load_coefficient,
    load_planes,
    load_state,
    negated,
    of_row,
    pair_weight,
    rounded,
    store_rows,
)


@triton.jit
def _load_held(
    base: tl.tensor, first_key: tl.tensor, first_value: tl.tensor, dtype: tl.constexpr, HEAD_DIM: tl.constexpr,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """A block of a state, as products take it."""
    real, imag = load_state(base, first_key, first_value, HEAD_DIM, BLOCK, BLOCK)
    if base.dtype.element_ty != dtype:
        real, imag = rounded(real, dtype), rounded(imag, dtype)
    return real, imag


@triton.jit
def _through_state(
    rows: tl.tensor, time: tl.tensor, plane: tl.tensor, start: tl.tensor, length: tl.tensor, state: tl.tensor,
    here: tl.tensor, dtype: tl.constexpr, HEAD_DIM: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Rows @ conj(state)^T, both planes: the block ``here`` of keys' channels of what values pull from a state."""
    blocks: tl.constexpr = (HEAD_DIM + BLOCK - 1) // BLOCK
    real = tl.zeros([CHUNK, BLOCK], tl.float32)
    imag = tl.zeros([CHUNK, BLOCK], tl.float32)
    for other in range(blocks):
        there = other * BLOCK
        row_real, row_imag = load_planes(rows, start, length, time, plane, there, HEAD_DIM, CHUNK, BLOCK)
        held_real, held_imag = _load_held(state, here, there, dtype, HEAD_DIM, BLOCK)
        real = add_product(real, row_real, tl.trans(held_real), PRECISION)
        real = add_product(real, row_imag, tl.trans(held_imag), PRECISION)
        imag = -add_product(-imag, row_real, tl.trans(held_imag), PRECISION)
        imag = add_product(imag, row_imag, tl.trans(held_real), PRECISION)
    return real, imag


@triton.jit(do_not_specialize=["length"])
def mixed_gradient_kernel(  # noqa: PLR0912, PLR0915 - one program, read from top to bottom
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    output_gradient: tl.tensor,
    sums: tl.tensor,
    cuts: tl.tensor,
    from_starts: tl.tensor,
    to_ends: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    kept: tl.tensor,
    after: tl.tensor,
    gradient: tl.tensor,
    changes: tl.tensor,
    passing: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    qkv_batch: tl.tensor,
    qkv_time: tl.tensor,
    qkv_plane: tl.tensor,
    qkv_head: tl.tensor,
    heads: tl.tensor,
    STATES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_STEP: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_KEPT: tl.constexpr,
    HAS_AFTER: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    blocks: tl.constexpr = (HEAD_DIM + BLOCK - 1) // BLOCK
    chunks = tl.cdiv(length, CHUNK)
    width = heads * HEAD_DIM
    chunk = tl.program_id(0) % chunks
    row = (tl.program_id(0) // chunks).to(tl.int64)
    offset = of_row(row, heads, qkv_batch, qkv_head, HEAD_STEP)
    queries += offset
    keys += offset
    values += offset
    output_gradient += row // heads * length * (2 * width) + row % heads * HEAD_DIM
    gradient += row // heads * length * (6 * width) + row % heads * HEAD_DIM
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM
    all_places = tl.num_programs(0).to(tl.int64) * STATES * CHUNK
    row *= STATES  # from here on, of the first state
    dtype = queries.dtype.element_ty
    start = chunk * CHUNK
    within = tl.arange(0, CHUNK)

    # Weights of pairs before the scores [s, t]: what is live at once must fit the registers.
    mixed_real = tl.zeros([CHUNK, CHUNK], tl.float32)
    mixed_imag = tl.zeros([CHUNK, CHUNK], tl.float32)
    for k in range(STATES):
        place = ((row + k) * chunks + chunk) * CHUNK + within
        since = tl.load(sums + place)
        weight = pair_weight(since + tl.log2(scale), tl.load(cuts + place), since, True)
        turn_real, turn_imag = load_coefficient(cosine, sine, row + k, start, length, CHUNK)
        mixed_real += weight * turn_real[None, :]
        mixed_imag += weight * turn_imag[None, :]
    score_real = tl.zeros([CHUNK, CHUNK], tl.float32)
    score_imag = tl.zeros([CHUNK, CHUNK], tl.float32)
    pull_real = tl.zeros([CHUNK, CHUNK], tl.float32)
    pull_imag = tl.zeros([CHUNK, CHUNK], tl.float32)
    for block in range(blocks):
        here = block * BLOCK
        k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        score_real = add_product(score_real, k_real, tl.trans(q_real), PRECISION)
        score_real = add_product(score_real, k_imag, tl.trans(q_imag), PRECISION)
        score_imag = -add_product(-score_imag, k_imag, tl.trans(q_real), PRECISION)
        score_imag = add_product(score_imag, k_real, tl.trans(q_imag), PRECISION)
    for block in range(blocks):
        here = block * BLOCK
        v_real, v_imag = load_planes(values, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        y_real, y_imag = load_planes(output_gradient, start, length, 2 * width, width, here, HEAD_DIM, CHUNK, BLOCK)
        pull_real = add_product(pull_real, v_real, tl.trans(y_real), PRECISION)
        pull_real = add_product(pull_real, v_imag, tl.trans(y_imag), PRECISION)
        pull_imag = -add_product(-pull_imag, v_imag, tl.trans(y_real), PRECISION)
        pull_imag = add_product(pull_imag, v_real, tl.trans(y_imag), PRECISION)
    pair_real = rounded(score_real * mixed_real - score_imag * mixed_imag, dtype)
    pair_imag = rounded(score_real * mixed_imag + score_imag * mixed_real, dtype)
    drawn_real = rounded(mixed_real * pull_real + mixed_imag * pull_imag, dtype)
    drawn_imag = rounded(mixed_real * pull_imag - mixed_imag * pull_real, dtype)
    along_real = score_real * pull_real + score_imag * pull_imag
    along_imag = score_real * pull_imag - score_imag * pull_real
    for k in range(STATES):
        place = ((row + k) * chunks + chunk) * CHUNK + within
        since = tl.load(sums + place)
        weight = pair_weight(since + tl.log2(scale), tl.load(cuts + place), since, True)
        turn_real, turn_imag = load_coefficient(cosine, sine, row + k, start, length, CHUNK)
        across_real, across_imag = turn_real[None, :], turn_imag[None, :]
        between = weight * (across_real * along_real + across_imag * along_imag)
        tl.store(changes + place, tl.sum(between, 0))
        tl.store(changes + all_places + place, -tl.sum(between, 1))
        between = weight * (across_real * along_imag - across_imag * along_real)
        tl.store(changes + 2 * all_places + place, tl.sum(between, 0))

    for k in range(STATES):
        passed = 0.0
        if HAS_KEPT and HAS_AFTER:
            for block in range(blocks):
                for other in range(blocks):
                    here, there = block * BLOCK, other * BLOCK
                    of_state = ((row + k) * chunks + chunk) * state_size
                    begin_real, begin_imag = load_state(kept + of_state, here, there, HEAD_DIM, BLOCK, BLOCK)
                    held_real, held_imag = load_state(after + of_state, here, there, HEAD_DIM, BLOCK, BLOCK)
                    both = held_real.to(tl.float32) * begin_real.to(tl.float32)
                    both += held_imag.to(tl.float32) * begin_imag.to(tl.float32)
                    passed += tl.sum(tl.sum(both, 1), 0)
        this = (row + k) * chunks + chunk
        tl.store(passing + this, passed * tl.load(from_starts + this * CHUNK + CHUNK - 1))

    # Values: what the chunk leaves behind in each state, and the pairs inside it.
    for block in range(blocks):
        here = block * BLOCK
        real = tl.zeros([CHUNK, BLOCK], tl.float32)
        imag = tl.zeros([CHUNK, BLOCK], tl.float32)
        if HAS_AFTER:
            for k in range(STATES):
                own_real = tl.zeros([CHUNK, BLOCK], tl.float32)
                own_imag = tl.zeros([CHUNK, BLOCK], tl.float32)
                for other in range(blocks):
                    there = other * BLOCK
                    k_real, k_imag = load_planes(
                        keys, start, length, qkv_time, qkv_plane, there, HEAD_DIM, CHUNK, BLOCK
                    )
                    held = after + ((row + k) * chunks + chunk) * state_size
                    held_real, held_imag = _load_held(held, there, here, dtype, HEAD_DIM, BLOCK)
                    own_real = -add_product(-own_real, k_imag, held_imag, PRECISION)
                    own_real = add_product(own_real, k_real, held_real, PRECISION)
                    own_imag = add_product(own_imag, k_real, held_imag, PRECISION)
                    own_imag = add_product(own_imag, k_imag, held_real, PRECISION)
                to_end = tl.load(to_ends + ((row + k) * chunks + chunk) * CHUNK + within)[:, None]
                real += own_real * to_end
                imag += own_imag * to_end
        y_real, y_imag = load_planes(output_gradient, start, length, 2 * width, width, here, HEAD_DIM, CHUNK, BLOCK)
        real = add_product(real, pair_real, y_real, PRECISION)
        real = add_product(real, pair_imag, y_imag, PRECISION)
        imag = add_product(imag, pair_real, y_imag, PRECISION)
        imag = add_product(imag, negated(pair_imag), y_real, PRECISION)
        of_values = gradient + 2 * width
        store_rows(of_values, real, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
        store_rows(of_values + 3 * width, imag, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)

    # Keys, likewise; what the chunk leaves in each state is part of the gradient of its decay.
    for block in range(blocks):
        here = block * BLOCK
        outside = changes + (3 + 3 * block) * all_places
        k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        real = tl.zeros([CHUNK, BLOCK], tl.float32)
        imag = tl.zeros([CHUNK, BLOCK], tl.float32)
        if HAS_AFTER:
            for k in range(STATES):
                held = after + ((row + k) * chunks + chunk) * state_size
                own_real, own_imag = _through_state(
                    values, qkv_time, qkv_plane, start, length, held, here, dtype, HEAD_DIM, CHUNK, BLOCK, PRECISION
                )
                to_end = tl.load(to_ends + ((row + k) * chunks + chunk) * CHUNK + within)[:, None]
                own_real *= to_end
                own_imag *= to_end
                left = tl.sum(own_real * k_real.to(tl.float32) + own_imag * k_imag.to(tl.float32), 1)
                tl.store(outside + ((row + k) * chunks + chunk) * CHUNK + within, left)
                real += own_real
                imag += own_imag
        q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        real = add_product(real, drawn_real, q_real, PRECISION)
        real = add_product(real, drawn_imag, q_imag, PRECISION)
        imag = add_product(imag, drawn_real, q_imag, PRECISION)
        imag = add_product(imag, negated(drawn_imag), q_real, PRECISION)
        of_keys = gradient + width
        store_rows(of_keys, real, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
        store_rows(of_keys + 3 * width, imag, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)

    # Queries: what the chunk begins with in each state, turned back, and the pairs inside it, whose scores lie across.
    for block in range(blocks):
        here = block * BLOCK
        outside = changes + (3 + 3 * block) * all_places
        q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        real = tl.zeros([CHUNK, BLOCK], tl.float32)
        imag = tl.zeros([CHUNK, BLOCK], tl.float32)
        if HAS_KEPT:
            for k in range(STATES):
                begin = kept + ((row + k) * chunks + chunk) * state_size
                own_real, own_imag = _through_state(
                    output_gradient, 2 * width, width, start, length, begin, here, dtype, HEAD_DIM, CHUNK, BLOCK,
                    PRECISION,
                )  # fmt: skip
                from_start = tl.load(from_starts + ((row + k) * chunks + chunk) * CHUNK + within) * scale
                turn_real, turn_imag = load_coefficient(cosine, sine, row + k, start, length, CHUNK)
                by_real, by_imag = (from_start * turn_real)[:, None], (from_start * turn_imag)[:, None]
                back_real = by_real * own_real + by_imag * own_imag
                back_imag = by_real * own_imag - by_imag * own_real
                wide_real, wide_imag = q_real.to(tl.float32), q_imag.to(tl.float32)
                of_block = outside + ((row + k) * chunks + chunk) * CHUNK + within
                tl.store(of_block + all_places, tl.sum(back_real * wide_real + back_imag * wide_imag, 1))
                tl.store(of_block + 2 * all_places, tl.sum(wide_real * back_imag - wide_imag * back_real, 1))
                real += back_real
                imag += back_imag
        k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
        real = -add_product(-real, tl.trans(drawn_imag), k_imag, PRECISION)
        real = add_product(real, tl.trans(drawn_real), k_real, PRECISION)
        imag = add_product(imag, tl.trans(drawn_real), k_imag, PRECISION)
        imag = add_product(imag, tl.trans(drawn_imag), k_real, PRECISION)
        store_rows(gradient, real, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
        store_rows(gradient + 3 * width, imag, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
