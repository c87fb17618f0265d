"""The decay inside chunks, summed once for all kernels that weigh by it.

A decay is held as a sum of base-two logarithms since the chunk's beginning, and a decay of zero is counted beside the
sum instead of being summed: differences of sums then never meet an infinity, a zero cuts off exactly what lies before
it, and what lies behind it loses no digits. Decays below the smallest normal float32 count as zero.

A kernel of its own, because what is loaded can be had in the layout of any product, while a sum made inside a kernel
is tied to its own and would be moved through shared memory, pair by pair.

Axes: R = B · H rows, N chunks, C chunk.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
SMALLEST_LOG2 = tl.constexpr(-126.0)  # of a normal float32
# One counted zero in an exponent: two to its negative is 0 in float32, and any sum of chunk-many is exact.
CUT = tl.constexpr(8192.0)


@triton.jit(do_not_specialize=["length", "chunks"])  # type: ignore[untyped-decorator]
def decay_sums_kernel(  # type: ignore[no-untyped-def]
    log_decay, sums, cuts, length, chunks, CHUNK: tl.constexpr, GROUP: tl.constexpr
):
    """From log decays [R, T] to both sums up to each position, [R, N C]; behind the end all is kept."""
    groups = tl.cdiv(chunks, GROUP)
    row = (tl.program_id(0) // groups).to(tl.int64)
    chunk = tl.program_id(0) % groups * GROUP + tl.arange(0, GROUP)
    time = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    logarithm = tl.load(log_decay + row * length + time, mask=time < length, other=0.0) * LOG2_E
    is_zero = logarithm < SMALLEST_LOG2
    place = row * chunks * CHUNK + time
    inside = (chunk < chunks)[:, None] & (time >= 0)
    tl.store(sums + place, tl.cumsum(tl.where(is_zero, 0.0, logarithm), 1), mask=inside)
    tl.store(cuts + place, tl.cumsum(tl.where(is_zero, CUT, 0.0), 1), mask=inside)
