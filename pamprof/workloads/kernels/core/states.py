"""The state without its outputs: what each segment writes, and the state each segment and chunk begins with.

Sequences are cut into segments so that few sequences still fill a GPU: each segment's own writing in parallel, then a
scan over segments, then every segment from the state it begins with. In reverse the same code carries the gradient of
the state from the end to the beginning, with queries for keys and output gradients for values.

States are [d_k, 2 d_v], planes side by side: the transpose of S in y = S q, as the planar layers keep it.
Several states of a head have a row each, and read the keys and values of their head. In reverse what they read is
turned back by their coefficients.

Axes: R = B · H rows, or B · H · K of K states, N chunks, M segments, C chunk, d head_dim.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pamprof.workloads.kernels.core.tiles import (
    add_product,
    joined,
    load_coefficient,
    load_joined,
    load_planes,
    load_state,
    of_row,
    parted,
    rounded,
    store_state,
    turned_back,
    write_to_state,
    write_weighted,
)


@triton.jit(do_not_specialize=["length", "segment_chunks"])
def state_kernel(  # noqa: PLR0912, PLR0915 - one program, read from top to bottom
    keys: tl.tensor,
    values: tl.tensor,
    from_start: tl.tensor,
    to_end: tl.tensor,
    cosine: tl.tensor,
    sine: tl.tensor,
    entering: tl.tensor,
    kept: tl.tensor,
    ending: tl.tensor,
    segment_through: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    segment_chunks: tl.tensor,
    keys_batch: tl.tensor,
    keys_time: tl.tensor,
    keys_plane: tl.tensor,
    keys_head: tl.tensor,
    values_batch: tl.tensor,
    values_time: tl.tensor,
    values_plane: tl.tensor,
    values_head: tl.tensor,
    heads: tl.tensor,
    STATES: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    HEAD_STEP: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    CHUNK: tl.constexpr,
    REVERSED: tl.constexpr,
    ENTERS: tl.constexpr,
    KEEPS: tl.constexpr,
    ENDS: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    """Walk each segment's chunks, in reverse with REVERSED, keeping the state before each or writing the last one.

    Without KEEPS, chunks come in the opposite order and are weighed by all the decay after them. The state is then
    never scaled, and the chunk that is read last is still in the cache for the kernel that begins with it.
    """
    chunks = tl.cdiv(length, CHUNK)
    segments = tl.cdiv(chunks, segment_chunks)
    blocks: tl.constexpr = (HEAD_DIM + BLOCK_V - 1) // BLOCK_V
    program = tl.program_id(0)
    first = (program % blocks) * BLOCK_V
    segment = program // blocks % segments
    row = (program // blocks // segments).to(tl.int64)
    of_head = row if STATES == 1 else row // STATES
    keys += of_row(of_head, heads, keys_batch, keys_head, HEAD_STEP)
    values += of_row(of_head, heads, values_batch, values_head, HEAD_STEP)
    turns: tl.constexpr = REVERSED and STATES > 1
    state_size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM
    place = row * segments + segment
    descends: tl.constexpr = REVERSED == KEEPS

    if ENTERS and KEEPS:
        state = joined(*load_state(entering + place * state_size, 0, first, HEAD_DIM, BLOCK_D, BLOCK_V))
    else:
        state = tl.zeros([BLOCK_D, 2 * BLOCK_V], tl.float32)
    turned = tl.zeros([BLOCK_D, 2 * BLOCK_V], tl.float32)  # what imaginary keys write, not yet multiplied by -i
    begin = segment * segment_chunks
    end = tl.minimum(begin + segment_chunks, chunks)
    steps = end - begin
    whole = from_start + row * chunks * CHUNK + CHUNK - 1  # what is left at the end of a chunk
    next_through = tl.load(whole + (end - 1 if descends else begin) * CHUNK)
    all_through = 1.0
    for step in range(0, steps):
        chunk = end - 1 - step if descends else begin + step
        later = tl.minimum(step + 1, steps - 1)
        through = next_through
        next_through = tl.load(whole + (end - 1 - later if descends else begin + later) * CHUNK)
        if KEEPS:
            store_state(kept + (row * chunks + chunk) * state_size, state, first, HEAD_DIM)
        start = chunk * CHUNK
        token = (row * chunks + chunk) * CHUNK + tl.arange(0, CHUNK)
        weight = tl.load(from_start + token) * scale if REVERSED else tl.load(to_end + token)
        k_real, k_imag = load_planes(keys, start, length, keys_time, keys_plane, 0, HEAD_DIM, CHUNK, BLOCK_D)
        v = load_joined(values, start, length, values_time, values_plane, first, HEAD_DIM, CHUNK, BLOCK_V)
        if turns:
            turn_real, turn_imag = load_coefficient(cosine, sine, row, start, length, CHUNK)
            if not KEEPS:
                weight *= all_through
            v = rounded(turned_back(v, turn_real * weight, turn_imag * weight), v.dtype)
        elif not KEEPS:
            v = rounded(v.to(tl.float32) * (weight * all_through)[:, None], v.dtype)
        if KEEPS and turns:
            state = write_weighted(state, through, k_real, k_imag, v, PRECISION)
        elif KEEPS:
            state = write_to_state(state, through, k_real, k_imag, v, weight, PRECISION)
        else:
            state = add_product(state, tl.trans(k_real), v, PRECISION)
            turned = add_product(turned, tl.trans(k_imag), v, PRECISION)
        all_through *= through
    if ENDS:
        if not KEEPS:
            real, imag = parted(turned)
            state += joined(imag, -real)
        if ENTERS and not KEEPS:
            state += (
                joined(*load_state(entering + place * state_size, 0, first, HEAD_DIM, BLOCK_D, BLOCK_V)) * all_through
            )
        store_state(ending + place * state_size, state, first, HEAD_DIM)
        tl.store(segment_through + place, all_through)


@triton.jit(do_not_specialize=["segments"])
def scan_kernel(
    written: tl.tensor,
    through: tl.tensor,
    initial: tl.tensor,
    entering: tl.tensor,
    segments: tl.tensor,
    SIZE: tl.constexpr,
    REVERSED: tl.constexpr,
    HAS_INITIAL: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """From what each segment writes [R, M, SIZE] and decays by [R, M] to what each begins with.

    Each thread walks the segments with some elements of its own, and loads GROUP segments at once.
    """
    blocks: tl.constexpr = (SIZE + BLOCK - 1) // BLOCK
    row = (tl.program_id(0) // blocks).to(tl.int64)
    element = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = element < SIZE
    written += row * segments * SIZE
    entering += row * segments * SIZE
    through += row * segments
    if HAS_INITIAL:
        carried = tl.load(initial + row * SIZE + element, mask=inside, other=0.0)
    else:
        carried = tl.zeros([BLOCK], tl.float32)
    for begin in range(0, segments, GROUP):
        owns = ()  # type: tuple[tl.tensor, ...]
        decays = ()  # type: tuple[tl.tensor, ...]
        for n in tl.static_range(GROUP):
            # Past the last segment the last one is read again, and nothing of it is stored.
            order = tl.minimum(begin + n, segments - 1)
            place = segments - 1 - order if REVERSED else order
            own = tl.load(written + place * SIZE + element, mask=inside, other=0.0)
            owns += (own,)
            decays += (tl.load(through + place),)
        for n in tl.static_range(GROUP):
            order = begin + n
            place = segments - 1 - order if REVERSED else order
            tl.store(entering + place * SIZE + element, carried, mask=tl.where(order < segments, inside, False))
            carried = carried * decays[n] + owns[n]
