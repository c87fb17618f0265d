"""The kernel that reads the memory: every segment walks its chunks with the state in registers and writes the outputs.

Axes: R = B · H rows, N chunks, M segments, C chunk, d head_dim.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core_tiles import (
    add_product,
    load_decay,
    load_planes,
    load_state,
    negated,
    pair_weight,
    rounded,
    store_rows,
    store_state,
    write_to_state,
)


@triton.jit(do_not_specialize=["length", "segment_chunks"])  # type: ignore[untyped-decorator]
def output_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0915 - one program, read from top to bottom
    queries,
    keys,
    values,
    sums,
    cuts,
    entering,
    output,
    kept,
    final,
    scale,
    length,
    segment_chunks,
    stride_batch,
    stride_time,
    stride_plane,
    stride_head,
    heads,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
    ENTERS: tl.constexpr,
    KEEPS: tl.constexpr,
    HAS_FINAL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    chunks = tl.cdiv(length, CHUNK)
    segments = tl.cdiv(chunks, segment_chunks)
    blocks: tl.constexpr = (HEAD_DIM + BLOCK_V - 1) // BLOCK_V
    # Programs of one segment are neighbours, so that the queries and keys they share come from the cache.
    program = tl.program_id(0)
    first = (program % blocks) * BLOCK_V
    segment = program // blocks % segments
    row = (program // blocks // segments).to(tl.int64)
    offset = row // heads * stride_batch + row % heads * stride_head
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
    else:
        state_real = tl.zeros([BLOCK_D, BLOCK_V], tl.float32)
        state_imag = tl.zeros([BLOCK_D, BLOCK_V], tl.float32)
    begin = segment * segment_chunks
    end = tl.minimum(begin + segment_chunks, chunks)
    for chunk in range(begin, end):
        start = chunk * CHUNK
        q_real, q_imag = load_planes(queries, start, length, stride_time, stride_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
        k_real, k_imag = load_planes(keys, start, length, stride_time, stride_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
        v_real, v_imag = load_planes(values, start, length, stride_time, stride_plane, first, HEAD_DIM, CHUNK, BLOCK_V)
        since, since_cuts, total, total_cuts = load_decay(sums, cuts, row * chunks + chunk, CHUNK)
        if KEEPS:
            store_state(
                kept + (row * chunks + chunk) * state_size, state_real, state_imag, first, HEAD_DIM, BLOCK_D, BLOCK_V
            )

        # Scores before the state is read, one plane after the other: what is alive at once must fit the registers.
        weight = pair_weight(since, since_cuts, scale, False, CHUNK)
        nothing = tl.zeros([CHUNK, CHUNK], tl.float32)
        score = add_product(nothing, q_real, tl.trans(k_real), PRECISION)
        score = add_product(score, q_imag, tl.trans(k_imag), PRECISION)
        pair_real = rounded(score * weight, q_real.dtype)
        score = -add_product(nothing, q_real, tl.trans(k_imag), PRECISION)
        score = add_product(score, q_imag, tl.trans(k_real), PRECISION)
        pair_imag = rounded(score * weight, q_real.dtype)

        held_real = rounded(state_real, q_real.dtype)
        held_imag = rounded(state_imag, q_real.dtype)
        nothing = tl.zeros([CHUNK, BLOCK_V], tl.float32)
        from_start = (tl.exp2(since - since_cuts) * scale)[:, None]
        y_real = -add_product(nothing, q_imag, held_imag, PRECISION)
        y_real = add_product(y_real, q_real, held_real, PRECISION) * from_start
        y_imag = add_product(nothing, q_real, held_imag, PRECISION)
        y_imag = add_product(y_imag, q_imag, held_real, PRECISION) * from_start
        y_real = add_product(y_real, pair_real, v_real, PRECISION)
        y_real = add_product(y_real, negated(pair_imag), v_imag, PRECISION)
        y_imag = add_product(y_imag, pair_real, v_imag, PRECISION)
        y_imag = add_product(y_imag, pair_imag, v_real, PRECISION)
        store_rows(output, y_real, start, length, 2 * width, first, HEAD_DIM, CHUNK, BLOCK_V)
        store_rows(output + width, y_imag, start, length, 2 * width, first, HEAD_DIM, CHUNK, BLOCK_V)

        to_end = tl.exp2((total - since) - (total_cuts - since_cuts))
        through = tl.exp2(total - total_cuts)
        state_real, state_imag = write_to_state(
            state_real, state_imag, through, k_real, k_imag, v_real, v_imag, to_end, PRECISION
        )
    if HAS_FINAL:  # noqa: SIM102 - left out when the kernel is compiled, unlike the next
        if segment == segments - 1:
            store_state(final + row * state_size, state_real, state_imag, first, HEAD_DIM, BLOCK_D, BLOCK_V)
