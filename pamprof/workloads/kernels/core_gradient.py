"""The backward kernel: gradients of queries, keys, values and decay, one chunk after another from the last.

All gradients of a chunk need the same scores, so one kernel makes them all from one load of the chunk. What a chunk
read before it was kept by the forward kernel; the gradient of what it left behind is carried in registers, or was kept
per chunk by ``state_kernel``.

The gradient of a log decay is the sum over all pairs of writing and reading that it lies between. Inside a chunk these
are sums over the same products, so that they cancel exactly; the pairs that begin or end outside enter as what the
chunk reads from its state, what it leaves in it, and what passes through. Nothing is summed over more than a chunk, so
that the error does not grow with the length of the sequence.

Axes: R = B · H rows, N chunks, M segments, C chunk, d head_dim; s writes, t reads, and scores are kept as [s, t].
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core_decay import LOG2_E, SMALLEST_LOG2
from pamprof.workloads.kernels.core_tiles import (
    add_product,
    load_decay,
    load_rows,
    load_state,
    negated,
    rounded,
    store_rows,
    store_state,
    write_to_state,
)


@triton.jit(do_not_specialize=["length", "segment_chunks"])  # type: ignore[untyped-decorator]
def gradient_kernel(  # type: ignore[no-untyped-def]  # noqa: PLR0915 - one program, read from top to bottom
    queries,
    keys,
    values,
    output_gradient,
    log_decay,
    sums,
    cuts,
    kept,
    after,
    gradient,
    decay_gradient,
    initial_gradient,
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
    CHUNK: tl.constexpr,
    HAS_KEPT: tl.constexpr,
    HAS_AFTER: tl.constexpr,
    WALKS: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    PRECISION: tl.constexpr,
):
    chunks = tl.cdiv(length, CHUNK)
    segments = tl.cdiv(chunks, segment_chunks) if WALKS else chunks
    segment = tl.program_id(0) % segments
    row = (tl.program_id(0) // segments).to(tl.int64)
    batch = row // heads
    head = row % heads
    offset = batch * stride_batch + head * stride_head
    queries += offset
    keys += offset
    values += offset
    log_decay += row * length
    width = heads * HEAD_DIM
    output_gradient += batch * length * (2 * width) + head * HEAD_DIM
    gradient += batch * length * (6 * width) + head * HEAD_DIM
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM

    if HAS_AFTER:
        after_real, after_imag = load_state(
            after + (row * segments + segment) * state_size, 0, HEAD_DIM, BLOCK_D, BLOCK_D
        )
        left_real = after_real.to(tl.float32)
        left_imag = after_imag.to(tl.float32)
    else:
        left_real = tl.zeros([BLOCK_D, BLOCK_D], tl.float32)
        left_imag = tl.zeros([BLOCK_D, BLOCK_D], tl.float32)
    if WALKS:
        end = tl.minimum((segment + 1) * segment_chunks, chunks)
        steps = end - segment * segment_chunks
    else:
        end = segment + 1
        steps = 1
    position = tl.arange(0, CHUNK)
    for step in range(0, steps):
        chunk = end - 1 - step
        start = chunk * CHUNK
        k_real = load_rows(keys, start, length, stride_time, 0, HEAD_DIM, CHUNK, BLOCK_D)
        k_imag = load_rows(keys + stride_plane, start, length, stride_time, 0, HEAD_DIM, CHUNK, BLOCK_D)
        q_real = load_rows(queries, start, length, stride_time, 0, HEAD_DIM, CHUNK, BLOCK_D)
        q_imag = load_rows(queries + stride_plane, start, length, stride_time, 0, HEAD_DIM, CHUNK, BLOCK_D)
        v_real = load_rows(values, start, length, stride_time, 0, HEAD_DIM, CHUNK, BLOCK_D)
        v_imag = load_rows(values + stride_plane, start, length, stride_time, 0, HEAD_DIM, CHUNK, BLOCK_D)
        y_real = load_rows(output_gradient, start, length, 2 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)
        y_imag = load_rows(output_gradient + width, start, length, 2 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)
        since, since_cuts, total, total_cuts = load_decay(sums, cuts, row * chunks + chunk, CHUNK)
        from_start = tl.exp2(since - since_cuts) * scale
        to_end = tl.exp2((total - since) - (total_cuts - since_cuts))
        through = tl.exp2(total - total_cuts)

        # What passes through the chunk, read and written elsewhere.
        passed = 0.0
        if HAS_KEPT:
            begin_real, begin_imag = load_state(
                kept + (row * chunks + chunk) * state_size, 0, HEAD_DIM, BLOCK_D, BLOCK_D
            )
            passing = left_real * begin_real.to(tl.float32) + left_imag * begin_imag.to(tl.float32)
            passed = tl.sum(tl.sum(passing, 1), 0) * through

        # Scores [s, t] and their gradients, one plane after the other: what is alive at once must fit the registers.
        exponent = (since[None, :] - since[:, None]) - (since_cuts[None, :] - since_cuts[:, None])
        weight = tl.where(position[None, :] >= position[:, None], tl.exp2(exponent) * scale, 0.0)
        nothing = tl.zeros([CHUNK, CHUNK], tl.float32)
        score = add_product(nothing, k_real, tl.trans(q_real), PRECISION)
        score = add_product(score, k_imag, tl.trans(q_imag), PRECISION) * weight
        pull = add_product(nothing, v_real, tl.trans(y_real), PRECISION)
        pull = add_product(pull, v_imag, tl.trans(y_imag), PRECISION)
        between = score * pull
        pair_real = rounded(score, q_real.dtype)
        pull_real = rounded(pull * weight, q_real.dtype)
        score = -add_product(nothing, k_imag, tl.trans(q_real), PRECISION)
        score = add_product(score, k_real, tl.trans(q_imag), PRECISION) * weight
        pull = -add_product(nothing, v_imag, tl.trans(y_real), PRECISION)
        pull = add_product(pull, v_real, tl.trans(y_imag), PRECISION)
        between += score * pull
        pair_imag = rounded(score, q_real.dtype)
        pull_imag = rounded(pull * weight, q_real.dtype)
        inside_read = tl.sum(between, 0)
        inside_written = tl.sum(between, 1)

        # Values: what the chunk leaves behind, and the pairs inside it.
        held_real = rounded(left_real, q_real.dtype)
        held_imag = rounded(left_imag, q_real.dtype)
        nothing = tl.zeros([CHUNK, BLOCK_D], tl.float32)
        real = -add_product(nothing, k_imag, held_imag, PRECISION)
        real = add_product(real, k_real, held_real, PRECISION) * to_end[:, None]
        real = add_product(real, pair_real, y_real, PRECISION)
        real = add_product(real, pair_imag, y_imag, PRECISION)
        place = gradient + 2 * width
        store_rows(place, real, start, length, 6 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)
        imag = add_product(nothing, k_real, held_imag, PRECISION)
        imag = add_product(imag, k_imag, held_real, PRECISION) * to_end[:, None]
        imag = add_product(imag, pair_real, y_imag, PRECISION)
        imag = add_product(imag, negated(pair_imag), y_real, PRECISION)
        store_rows(place + 3 * width, imag, start, length, 6 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)

        # Keys, likewise.
        real = add_product(nothing, v_real, tl.trans(held_real), PRECISION)
        real = add_product(real, v_imag, tl.trans(held_imag), PRECISION) * to_end[:, None]
        left = tl.sum(real * k_real.to(tl.float32), 1)
        real = add_product(real, pull_real, q_real, PRECISION)
        real = add_product(real, pull_imag, q_imag, PRECISION)
        place = gradient + width
        store_rows(place, real, start, length, 6 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)
        imag = -add_product(nothing, v_real, tl.trans(held_imag), PRECISION)
        imag = add_product(imag, v_imag, tl.trans(held_real), PRECISION) * to_end[:, None]
        left += tl.sum(imag * k_imag.to(tl.float32), 1)
        imag = add_product(imag, pull_real, q_imag, PRECISION)
        imag = add_product(imag, negated(pull_imag), q_real, PRECISION)
        store_rows(place + 3 * width, imag, start, length, 6 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)

        # Queries: what the chunk begins with, and the pairs inside it, whose scores lie across.
        real = nothing
        imag = nothing
        if HAS_KEPT:
            real = add_product(real, y_real, tl.trans(begin_real), PRECISION)
            real = add_product(real, y_imag, tl.trans(begin_imag), PRECISION) * from_start[:, None]
            imag = -add_product(imag, y_real, tl.trans(begin_imag), PRECISION)
            imag = add_product(imag, y_imag, tl.trans(begin_real), PRECISION) * from_start[:, None]
        read = tl.sum(real * q_real.to(tl.float32) + imag * q_imag.to(tl.float32), 1)
        real = -add_product(-real, tl.trans(pull_imag), k_imag, PRECISION)
        real = add_product(real, tl.trans(pull_real), k_real, PRECISION)
        store_rows(gradient, real, start, length, 6 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)
        imag = add_product(imag, tl.trans(pull_real), k_imag, PRECISION)
        imag = add_product(imag, tl.trans(pull_imag), k_real, PRECISION)
        store_rows(gradient + 3 * width, imag, start, length, 6 * width, 0, HEAD_DIM, CHUNK, BLOCK_D)

        # A decay lies between what was written before it and what is read from it on.
        time = start + position
        reads = read + inside_read - inside_written
        change = left - reads
        decay_sum = tl.sum(reads, 0) + passed + tl.cumsum(change, 0) - change
        logarithm = tl.load(log_decay + time, mask=time < length, other=0.0) * LOG2_E
        decay_sum = tl.where(logarithm < SMALLEST_LOG2, 0.0, decay_sum)
        tl.store(decay_gradient + row * length + time, decay_sum, mask=time < length)

        if WALKS or HAS_INITIAL:
            left_real, left_imag = write_to_state(
                left_real, left_imag, through, q_real, q_imag, y_real, y_imag, from_start, PRECISION
            )
    if HAS_INITIAL:  # noqa: SIM102 - left out when the kernel is compiled, unlike the next
        if segment == 0:
            store_state(initial_gradient + row * state_size, left_real, left_imag, 0, HEAD_DIM, BLOCK_D, BLOCK_D)
