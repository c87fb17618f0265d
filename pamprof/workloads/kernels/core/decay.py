"""The decay inside chunks, computed once for all kernels that weigh by it.

A decay is held as a sum of base-two logarithms since the chunk's beginning. A decay of zero is not summed: beside the
sum stands the position of the last one, and no weight reaches over it. Differences of sums then never meet an infinity,
a zero cuts off exactly what lies before it, and what lies behind it loses no digits. Decays below the smallest normal
float32 count as zero.

It is a kernel of its own because a loaded array comes in the layout of any product, while a sum made inside a kernel
has one layout and would go through shared memory to reach another, pair by pair. What is needed late is an array as
well, so that a loop can prefetch it one chunk ahead.

Axes: R = B · H rows, N chunks, C chunk.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
SMALLEST_LOG2 = tl.constexpr(-126.0)  # of a normal float32
NO_CUT = tl.constexpr(-1.0)  # as a position: no decay of zero yet


@triton.jit
def _later(one: tl.tensor, other: tl.tensor) -> tl.tensor:
    return tl.maximum(one, other)


@triton.jit(do_not_specialize=["length", "chunks"])
def decay_kernel(
    log_decay: tl.tensor,
    sums: tl.tensor,
    cuts: tl.tensor,
    from_start: tl.tensor,
    to_end: tl.tensor,
    length: tl.tensor,
    chunks: tl.tensor,
    CHUNK: tl.constexpr,
    GROUP: tl.constexpr,
) -> None:
    """From log decays [R, T], at each position of its chunk [R, N C]: their sum, the last cut, both ways' decay.

    ``from_start`` is the decay from the chunk's start up to the position, ``to_end`` from there to the chunk's end.
    Behind the end of the sequence all is kept.
    """
    groups = tl.cdiv(chunks, GROUP)
    row = (tl.program_id(0) // groups).to(tl.int64)
    chunk = tl.program_id(0) % groups * GROUP + tl.arange(0, GROUP)
    position = tl.arange(0, CHUNK)[None, :]
    time = chunk[:, None] * CHUNK + position
    logarithm = tl.load(log_decay + row * length + time, mask=time < length, other=0.0) * LOG2_E
    is_zero = logarithm < SMALLEST_LOG2
    logarithm = tl.where(is_zero, 0.0, logarithm)
    total = tl.cumsum(logarithm, 1)
    cut = tl.associative_scan(tl.where(is_zero, position.to(tl.float32), NO_CUT), 1, _later)
    all_sum = tl.sum(logarithm, 1)[:, None]
    last_cut = tl.max(cut, 1)[:, None]
    place = row * chunks * CHUNK + time
    inside = (chunk < chunks)[:, None] & (time >= 0)
    tl.store(sums + place, total, mask=inside)
    tl.store(cuts + place, cut, mask=inside)
    tl.store(from_start + place, tl.where(cut == NO_CUT, tl.exp2(total), 0.0), mask=inside)
    tl.store(to_end + place, tl.where(position.to(tl.float32) >= last_cut, tl.exp2(all_sum - total), 0.0), mask=inside)


@triton.jit(do_not_specialize=["length", "chunks"])
def decay_gradient_kernel(
    log_decay: tl.tensor,
    changes: tl.tensor,
    passing: tl.tensor,
    gradient: tl.tensor,
    phase_gradient: tl.tensor,
    length: tl.tensor,
    chunks: tl.tensor,
    BLOCKS: tl.constexpr,
    CHUNK: tl.constexpr,
    GROUP: tl.constexpr,
) -> None:
    """The gradient of log decays [R, T] from what ``gradient_kernel`` left [3, R, N C] and passed [R, N].

    Of several states, each a row, ``mixed_gradient_kernel`` left [3 + 3 BLOCKS, R, N C] instead, and the gradient of
    the phases [R, T] is made from them besides; BLOCKS is 0 for one state.
    """
    groups = tl.cdiv(chunks, GROUP)
    row = (tl.program_id(0) // groups).to(tl.int64)
    chunk = tl.program_id(0) % groups * GROUP + tl.arange(0, GROUP)
    time = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    inside = time < length
    all_places = tl.num_programs(0) // groups * chunks * CHUNK
    place = changes + row * chunks * CHUNK + time
    reads = tl.load(place, mask=inside, other=0.0) + tl.load(place + all_places, mask=inside, other=0.0)
    if BLOCKS == 0:
        left = tl.load(place + 2 * all_places, mask=inside, other=0.0)
    else:
        turning = tl.load(place + 2 * all_places, mask=inside, other=0.0)
        left = tl.zeros([GROUP, CHUNK], tl.float32)
        for block in tl.static_range(BLOCKS):
            outside = place + (3 + 3 * block) * all_places
            left += tl.load(outside, mask=inside, other=0.0)
            reads += tl.load(outside + all_places, mask=inside, other=0.0)
            turning += tl.load(outside + 2 * all_places, mask=inside, other=0.0)
        tl.store(phase_gradient + row * length + time, turning, mask=inside)
    change = left - reads
    # A decay lies between what was written before it and what is read from it on.
    total = tl.sum(reads, 1) + tl.load(passing + row * chunks + chunk, mask=chunk < chunks, other=0.0)
    total = total[:, None] + tl.cumsum(change, 1) - change
    logarithm = tl.load(log_decay + row * length + time, mask=inside, other=0.0) * LOG2_E
    tl.store(gradient + row * length + time, tl.where(logarithm < SMALLEST_LOG2, 0.0, total), mask=inside)
