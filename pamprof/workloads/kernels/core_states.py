"""The memory alone, without reading it: what segments write, and what each segment and chunk begins with.

Sequences are cut into segments so that few sequences still fill a GPU: each segment's own writing in parallel, then a
scan over segments, then every segment from the state it begins with. In reverse the same code carries the gradient of
the state from the end to the beginning, with queries for keys and output gradients for values.

States are [d_k, 2 d_v], planes side by side: the transpose of S in y = S q, as the planar layers keep it.
Axes: R = B · H rows, N chunks, M segments, C chunk, d head_dim.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core_tiles import (
    add_product,
    joined,
    load_joined,
    load_planes,
    load_state,
    store_state,
    write_to_state,
)


@triton.jit(do_not_specialize=["length", "segment_chunks"])  # type: ignore[untyped-decorator]
def state_kernel(  # type: ignore[no-untyped-def]
    keys,
    values,
    from_start,
    to_end,
    entering,
    kept,
    ending,
    segment_through,
    scale,
    length,
    segment_chunks,
    keys_batch,
    keys_time,
    keys_plane,
    keys_head,
    values_batch,
    values_time,
    values_plane,
    values_head,
    heads,
    HEAD_DIM: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
    REVERSED: tl.constexpr,
    ENTERS: tl.constexpr,
    KEEPS: tl.constexpr,
    ENDS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    chunks = tl.cdiv(length, CHUNK)
    segments = tl.cdiv(chunks, segment_chunks)
    blocks: tl.constexpr = (HEAD_DIM + BLOCK_V - 1) // BLOCK_V
    program = tl.program_id(0)
    first = (program % blocks) * BLOCK_V
    segment = program // blocks % segments
    row = (program // blocks // segments).to(tl.int64)
    keys += row // heads * keys_batch + row % heads * keys_head
    values += row // heads * values_batch + row % heads * values_head
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM

    if ENTERS:
        state_real, state_imag = load_state(
            entering + (row * segments + segment) * state_size, 0, first, HEAD_DIM, BLOCK_D, BLOCK_V
        )
        state = joined(state_real, state_imag)
    else:
        state = tl.zeros([BLOCK_D, 2 * BLOCK_V], tl.float32)
    begin = segment * segment_chunks
    end = tl.minimum(begin + segment_chunks, chunks)
    steps = end - begin
    whole = from_start + row * chunks * CHUNK + CHUNK - 1  # what is left at the end of a chunk
    next_through = tl.load(whole + (end - 1 if REVERSED else begin) * CHUNK)
    all_through = 1.0
    for step in range(0, steps):
        chunk = end - 1 - step if REVERSED else begin + step
        later = tl.minimum(step + 1, steps - 1)
        through = next_through
        next_through = tl.load(whole + (end - 1 - later if REVERSED else begin + later) * CHUNK)
        if KEEPS:
            store_state(kept + (row * chunks + chunk) * state_size, state, first, HEAD_DIM)
        start = chunk * CHUNK
        place = (row * chunks + chunk) * CHUNK + tl.arange(0, CHUNK)
        weight = tl.load(from_start + place) * scale if REVERSED else tl.load(to_end + place)
        k_real, k_imag = load_planes(keys, start, length, keys_time, keys_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
        v = load_joined(values, start, length, values_time, values_plane, first, HEAD_DIM, CHUNK, BLOCK_V)
        state = write_to_state(state, through, k_real, k_imag, v, weight, PRECISION)
        all_through *= through
    if ENDS:
        place = row * segments + segment
        store_state(ending + place * state_size, state, first, HEAD_DIM)
        tl.store(segment_through + place, all_through)


@triton.jit(do_not_specialize=["segments"])  # type: ignore[untyped-decorator]
def scan_kernel(  # type: ignore[no-untyped-def]
    written,
    through,
    initial,
    entering,
    segments,
    SIZE: tl.constexpr,
    REVERSED: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """From what each segment writes [R, M, SIZE] and decays by [R, M] to what each begins with."""
    blocks: tl.constexpr = (SIZE + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    element = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = element < SIZE
    if HAS_INITIAL:
        carried = tl.load(initial + row * SIZE + element, mask=inside, other=0.0)
    else:
        carried = tl.zeros([BLOCK], tl.float32)
    first = row * segments
    if REVERSED:
        first += segments - 1
    tl.store(entering + first * SIZE + element, carried, mask=inside)
    for begin in range(0, segments, GROUP):
        order = begin + tl.arange(0, GROUP)
        if REVERSED:
            place = segments - 1 - order
            next_place = place - 1
        else:
            place = order
            next_place = place + 1
        decay = tl.load(through + row * segments + place, mask=order < segments, other=1.0)
        tile = (order < segments)[:, None] & inside[None, :]
        own = tl.load(written + (row * segments + place)[:, None] * SIZE + element[None, :], mask=tile, other=0.0)
        # Row n, column m: the product of the decays after m up to n. Products lose nothing where one of them is zero.
        later = tl.arange(0, GROUP)[:, None] > tl.arange(0, GROUP)[None, :]
        products = tl.cumprod(tl.where(later, decay[:, None], 1.0), 0)
        earlier_or_own = tl.arange(0, GROUP)[:, None] >= tl.arange(0, GROUP)[None, :]
        states = tl.cumprod(decay, 0)[:, None] * carried[None, :]
        states = add_product(states, tl.where(earlier_or_own, products, 0.0), own, "ieee")
        tile = (order + 1 < segments)[:, None] & inside[None, :]
        tl.store(entering + (row * segments + next_place)[:, None] * SIZE + element[None, :], states, mask=tile)
        is_last = tl.arange(0, GROUP) == GROUP - 1
        carried = tl.sum(tl.where(is_last[:, None], states, 0.0), 0)
