"""The backward kernel: gradients of queries, keys, values and decay, one chunk after another from the last.

All gradients of a chunk need the same scores, so one kernel makes them all from one load of the chunk. What a chunk
read before it was kept by the forward kernel; the gradient of what it left behind is carried in registers, or was kept
for every chunk by ``state_kernel``. Heads wider than a block of channels are taken block by block, with tiles loaded
where they are needed; those of narrower heads are loaded once.

The gradient of a log decay is the sum over all pairs of writing and reading that it lies between. Inside a chunk these
are sums over the same products, so that they cancel exactly; the pairs that begin or end outside enter as what the
chunk reads from its state, what it leaves in it, and what passes through. They are left for ``decay_gradient_kernel``,
which puts them together; nothing is summed over more than a chunk, so that the error does not grow with the length of
the sequence.

Axes: R = B · H rows, N chunks, M segments, C chunk, d head_dim; s writes, t reads, and scores are kept as [s, t].
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core.tiles import (
    add_product,
    joined,
    load_planes,
    load_state,
    negated,
    of_row,
    pair_weight,
    parted,
    rounded,
    store_rows,
    write_to_state,
)


@triton.jit(do_not_specialize=["length", "segment_chunks"])
def gradient_kernel(  # noqa: PLR0912, PLR0915 - one program, read from top to bottom
    queries: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    output_gradient: tl.tensor,
    sums: tl.tensor,
    cuts: tl.tensor,
    from_starts: tl.tensor,
    to_ends: tl.tensor,
    kept: tl.tensor,
    after: tl.tensor,
    gradient: tl.tensor,
    changes: tl.tensor,
    passing: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    segment_chunks: tl.tensor,
    qkv_batch: tl.tensor,
    qkv_time: tl.tensor,
    qkv_plane: tl.tensor,
    qkv_head: tl.tensor,
    heads: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HEAD_STEP: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    HAS_KEPT: tl.constexpr,
    HAS_AFTER: tl.constexpr,
    WALKS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    tl.static_assert(not WALKS or HEAD_DIM <= BLOCK)
    blocks: tl.constexpr = (HEAD_DIM + BLOCK - 1) // BLOCK
    chunks = tl.cdiv(length, CHUNK)
    segments = tl.cdiv(chunks, segment_chunks) if WALKS else chunks
    width = heads * HEAD_DIM
    segment = tl.program_id(0) % segments
    row = (tl.program_id(0) // segments).to(tl.int64)
    offset = of_row(row, heads, qkv_batch, qkv_head, HEAD_STEP)
    queries += offset
    keys += offset
    values += offset
    output_gradient += row // heads * length * (2 * width) + row % heads * HEAD_DIM
    gradient += row // heads * length * (6 * width) + row % heads * HEAD_DIM
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM
    all_places = tl.num_programs(0) // segments * chunks * CHUNK
    if HAS_AFTER:
        after += (row * segments + segment) * state_size
    dtype = queries.dtype.element_ty

    if WALKS:
        if HAS_AFTER:
            left_real, left_imag = load_state(after, 0, 0, HEAD_DIM, BLOCK, BLOCK)
            left = joined(left_real, left_imag)
        else:
            left = tl.zeros([BLOCK, 2 * BLOCK], tl.float32)
        end = tl.minimum((segment + 1) * segment_chunks, chunks)
        steps = end - segment * segment_chunks
    else:
        left = 0.0
        end = segment + 1
        steps = 1
    for step in range(0, steps):
        chunk = end - 1 - step
        start = chunk * CHUNK
        place = (row * chunks + chunk) * CHUNK + tl.arange(0, CHUNK)
        since = tl.load(sums + place)
        from_start = tl.load(from_starts + place) * scale
        to_end = tl.load(to_ends + place)
        through = tl.load(from_starts + (row * chunks + chunk) * CHUNK + CHUNK - 1)
        if WALKS:
            left_real, left_imag = parted(left)
        else:
            left_real, left_imag = 0.0, 0.0
        if HAS_KEPT:
            begin = kept + (row * chunks + chunk) * state_size

        if blocks == 1:
            k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, 0, HEAD_DIM, CHUNK, BLOCK)
            q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, 0, HEAD_DIM, CHUNK, BLOCK)
            v_real, v_imag = load_planes(values, start, length, qkv_time, qkv_plane, 0, HEAD_DIM, CHUNK, BLOCK)
            y_real, y_imag = load_planes(output_gradient, start, length, 2 * width, width, 0, HEAD_DIM, CHUNK, BLOCK)
            if HAS_KEPT:
                begin_real, begin_imag = load_state(begin, 0, 0, HEAD_DIM, BLOCK, BLOCK)
            if WALKS or HAS_AFTER:
                held_real, held_imag = _held(after, left_real, left_imag, 0, 0, dtype, HEAD_DIM, BLOCK, WALKS)

        # What passes through the chunk: written before it and read after it.
        passed = 0.0
        for block in range(blocks):
            for other in range(blocks):
                if HAS_KEPT and (WALKS or HAS_AFTER):
                    if blocks > 1:
                        here, there = block * BLOCK, other * BLOCK
                        begin_real, begin_imag = load_state(begin, here, there, HEAD_DIM, BLOCK, BLOCK)
                        held_real, held_imag = load_state(after, here, there, HEAD_DIM, BLOCK, BLOCK)
                    if WALKS:
                        both = left_real * begin_real.to(tl.float32) + left_imag * begin_imag.to(tl.float32)
                    else:
                        both = held_real.to(tl.float32) * begin_real.to(tl.float32)
                        both += held_imag.to(tl.float32) * begin_imag.to(tl.float32)
                    passed += tl.sum(tl.sum(both, 1), 0)

        # Scores [s, t] and their gradients, one plane after the other: what is live at once must fit the registers.
        weight = pair_weight(since + tl.log2(scale), tl.load(cuts + place), since, True)
        score = tl.zeros([CHUNK, CHUNK], tl.float32)
        pull = tl.zeros([CHUNK, CHUNK], tl.float32)
        for block in range(blocks):
            here = block * BLOCK
            if blocks > 1:
                k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
                q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
            score = add_product(score, k_real, tl.trans(q_real), PRECISION)
            score = add_product(score, k_imag, tl.trans(q_imag), PRECISION)
        for block in range(blocks):
            here = block * BLOCK
            if blocks > 1:
                v_real, v_imag = load_planes(values, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
                y_real, y_imag = load_planes(
                    output_gradient, start, length, 2 * width, width, here, HEAD_DIM, CHUNK, BLOCK
                )
            pull = add_product(pull, v_real, tl.trans(y_real), PRECISION)
            pull = add_product(pull, v_imag, tl.trans(y_imag), PRECISION)
        score *= weight
        between = score * pull
        pair_real = rounded(score, dtype)
        pull_real = rounded(pull * weight, dtype)
        score = tl.zeros([CHUNK, CHUNK], tl.float32)
        pull = tl.zeros([CHUNK, CHUNK], tl.float32)
        for block in range(blocks):
            here = block * BLOCK
            if blocks > 1:
                k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
                q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
            score = -add_product(-score, k_imag, tl.trans(q_real), PRECISION)
            score = add_product(score, k_real, tl.trans(q_imag), PRECISION)
        for block in range(blocks):
            here = block * BLOCK
            if blocks > 1:
                v_real, v_imag = load_planes(values, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
                y_real, y_imag = load_planes(
                    output_gradient, start, length, 2 * width, width, here, HEAD_DIM, CHUNK, BLOCK
                )
            pull = -add_product(-pull, v_imag, tl.trans(y_real), PRECISION)
            pull = add_product(pull, v_real, tl.trans(y_imag), PRECISION)
        score *= weight
        between += score * pull
        pair_imag = rounded(score, dtype)
        pull_imag = rounded(pull * weight, dtype)
        tl.store(changes + place, tl.sum(between, 0))
        written = tl.sum(between, 1)

        # Values: what the chunk leaves behind, and the pairs inside it.
        for block in range(blocks):
            here = block * BLOCK
            if blocks > 1:
                y_real, y_imag = load_planes(
                    output_gradient, start, length, 2 * width, width, here, HEAD_DIM, CHUNK, BLOCK
                )
            real = tl.zeros([CHUNK, BLOCK], tl.float32)
            imag = tl.zeros([CHUNK, BLOCK], tl.float32)
            for other in range(blocks):
                there = other * BLOCK
                if blocks > 1:
                    k_real, k_imag = load_planes(
                        keys, start, length, qkv_time, qkv_plane, there, HEAD_DIM, CHUNK, BLOCK
                    )
                if WALKS or HAS_AFTER:
                    if blocks > 1:
                        held_real, held_imag = _held(
                            after, left_real, left_imag, there, here, dtype, HEAD_DIM, BLOCK, WALKS
                        )
                    real = -add_product(-real, k_imag, held_imag, PRECISION)
                    real = add_product(real, k_real, held_real, PRECISION)
                    imag = add_product(imag, k_real, held_imag, PRECISION)
                    imag = add_product(imag, k_imag, held_real, PRECISION)
            real = add_product(real * to_end[:, None], pair_real, y_real, PRECISION)
            real = add_product(real, pair_imag, y_imag, PRECISION)
            imag = add_product(imag * to_end[:, None], pair_real, y_imag, PRECISION)
            imag = add_product(imag, negated(pair_imag), y_real, PRECISION)
            of_values = gradient + 2 * width
            store_rows(of_values, real, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
            store_rows(of_values + 3 * width, imag, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)

        # Keys, likewise.
        kept_from = tl.zeros([CHUNK], tl.float32)
        for block in range(blocks):
            here = block * BLOCK
            # Loaded again for the sum: kept in registers since the first load, it would spill others.
            own_real, own_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
            real = tl.zeros([CHUNK, BLOCK], tl.float32)
            imag = tl.zeros([CHUNK, BLOCK], tl.float32)
            for other in range(blocks):
                there = other * BLOCK
                if blocks > 1:
                    v_real, v_imag = load_planes(
                        values, start, length, qkv_time, qkv_plane, there, HEAD_DIM, CHUNK, BLOCK
                    )
                if WALKS or HAS_AFTER:
                    if blocks > 1:
                        held_real, held_imag = _held(
                            after, left_real, left_imag, here, there, dtype, HEAD_DIM, BLOCK, WALKS
                        )
                    real = add_product(real, v_real, tl.trans(held_real), PRECISION)
                    real = add_product(real, v_imag, tl.trans(held_imag), PRECISION)
                    imag = -add_product(-imag, v_real, tl.trans(held_imag), PRECISION)
                    imag = add_product(imag, v_imag, tl.trans(held_real), PRECISION)
            if blocks > 1:
                q_real, q_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
            real *= to_end[:, None]
            imag *= to_end[:, None]
            kept_from += tl.sum(real * own_real.to(tl.float32) + imag * own_imag.to(tl.float32), 1)
            real = add_product(real, pull_real, q_real, PRECISION)
            real = add_product(real, pull_imag, q_imag, PRECISION)
            imag = add_product(imag, pull_real, q_imag, PRECISION)
            imag = add_product(imag, negated(pull_imag), q_real, PRECISION)
            of_keys = gradient + width
            store_rows(of_keys, real, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
            store_rows(of_keys + 3 * width, imag, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)

        # Queries: what the chunk begins with, and the pairs inside it, whose scores lie across.
        read = tl.zeros([CHUNK], tl.float32)
        for block in range(blocks):
            here = block * BLOCK
            own_real, own_imag = load_planes(queries, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
            real = tl.zeros([CHUNK, BLOCK], tl.float32)
            imag = tl.zeros([CHUNK, BLOCK], tl.float32)
            for other in range(blocks):
                there = other * BLOCK
                if blocks > 1:
                    y_real, y_imag = load_planes(
                        output_gradient, start, length, 2 * width, width, there, HEAD_DIM, CHUNK, BLOCK
                    )
                if HAS_KEPT:
                    if blocks > 1:
                        begin_real, begin_imag = load_state(begin, here, there, HEAD_DIM, BLOCK, BLOCK)
                    real = add_product(real, y_real, tl.trans(begin_real), PRECISION)
                    real = add_product(real, y_imag, tl.trans(begin_imag), PRECISION)
                    imag = -add_product(-imag, y_real, tl.trans(begin_imag), PRECISION)
                    imag = add_product(imag, y_imag, tl.trans(begin_real), PRECISION)
            if blocks > 1:
                k_real, k_imag = load_planes(keys, start, length, qkv_time, qkv_plane, here, HEAD_DIM, CHUNK, BLOCK)
            real *= from_start[:, None]
            imag *= from_start[:, None]
            read += tl.sum(real * own_real.to(tl.float32) + imag * own_imag.to(tl.float32), 1)
            real = -add_product(-real, tl.trans(pull_imag), k_imag, PRECISION)
            real = add_product(real, tl.trans(pull_real), k_real, PRECISION)
            imag = add_product(imag, tl.trans(pull_real), k_imag, PRECISION)
            imag = add_product(imag, tl.trans(pull_imag), k_real, PRECISION)
            store_rows(gradient, real, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)
            store_rows(gradient + 3 * width, imag, start, length, 6 * width, here, HEAD_DIM, CHUNK, BLOCK)

        tl.store(changes + all_places + place, read - written)
        tl.store(changes + 2 * all_places + place, kept_from)
        tl.store(passing + row * chunks + chunk, passed * through)
        if WALKS:
            y = joined(y_real, y_imag)
            left = write_to_state(left, through, q_real, q_imag, y, from_start, PRECISION)


@triton.jit
def _held(
    after: tl.tensor, left_real: tl.tensor, left_imag: tl.tensor, first_key: tl.tensor, first_value: tl.tensor,
    dtype: tl.constexpr, HEAD_DIM: tl.constexpr, BLOCK: tl.constexpr, WALKS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """A block of the gradient of the state after the chunk, as products take it: carried here, or kept."""
    if WALKS:
        real, imag = rounded(left_real, dtype), rounded(left_imag, dtype)
    else:
        real, imag = load_state(after, first_key, first_value, HEAD_DIM, BLOCK, BLOCK)
        if after.dtype.element_ty != dtype:
            real, imag = rounded(real, dtype), rounded(imag, dtype)
    return real, imag
