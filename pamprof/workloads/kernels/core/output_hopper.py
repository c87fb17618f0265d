"""``output_kernel`` for Hopper's matrix units, with products in flight while the next ones are prepared.

Triton waits for a product as soon as it has issued it, and most of the kernel's time is such waiting. In Gluon the
kernel waits for a product where it uses the result: it weighs pairs while scores are computed, weighs values while the
state is read, adds up outputs while the state is written, and loads the next chunk meanwhile.

For bfloat16, heads of 64 channels, chunks of 64 and blocks of 32 value channels, which is what four warps can hold.
It computes what ``output_kernel`` does from the same tensors; the method is described there.

Axes: R = B · H rows, N chunks, M segments, C chunk, d head_dim.
"""

from __future__ import annotations

import triton.experimental.gluon.language as gl
from triton.experimental import gluon
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, warpgroup_mma, warpgroup_mma_wait

from pamprof.workloads.kernels.core.decay import NO_CUT as _NO_CUT

WARPS = 4
CHUNK = gl.constexpr(64)
HEAD_DIM = gl.constexpr(64)
VALUES = gl.constexpr(32)  # value channels of a program
WIDTH = gl.constexpr(64)  # of a tile of both planes of them
STATE_SIZE = gl.constexpr(2 * 64 * 64)
NO_CUT = gl.constexpr(_NO_CUT.value)
STAGES = gl.constexpr(2)

MATRIX = gl.constexpr(gl.NVMMADistributedLayout([3, 0], [WARPS, 1], [16, 64, 16]))  # of a product's result
LEFT = gl.constexpr(gl.DotOperandLayout(0, MATRIX.value, 2))
WIDE = gl.constexpr(gl.BlockedLayout([1, 8], [4, 8], [WARPS, 1], [1, 0]))  # 16 bytes a thread
WORDS = gl.constexpr(gl.BlockedLayout([1, 4], [4, 8], [WARPS, 1], [1, 0]))  # the same of float32
FLAT = gl.constexpr(gl.BlockedLayout([1], [32], [WARPS], [0]))
TILE = gl.constexpr(gl.NVMMASharedLayout(128, 16, 2))
LINE = gl.constexpr(gl.SwizzledSharedLayout(1, 1, 1, [0]))
ROWS = gl.constexpr(gl.SliceLayout(1, MATRIX.value))
COLUMNS = gl.constexpr(gl.SliceLayout(0, MATRIX.value))
WIDE_ROWS = gl.constexpr(gl.SliceLayout(1, WIDE.value))
WIDE_COLUMNS = gl.constexpr(gl.SliceLayout(0, WIDE.value))
WORD_ROWS = gl.constexpr(gl.SliceLayout(1, WORDS.value))
WORD_COLUMNS = gl.constexpr(gl.SliceLayout(0, WORDS.value))

# Names of Triton 3.9, else those of 3.6.
barrier = getattr(gl, "barrier", None) or gl.thread_barrier
load_to_shared = getattr(async_copy, "async_load", None) or async_copy.async_copy_global_to_shared


@gluon.jit
def turned(tile: gl.tensor) -> gl.tensor:
    """[real | imag] to [imag | -real], in a product's layout: no data moves, and half the registers are negated."""
    real, imag = gl.split(gl.permute(gl.reshape(tile, [tile.shape[0], 2, VALUES]), (0, 2, 1)))
    other = gl.reshape(gl.permute(gl.join(imag, -real), (0, 2, 1)), [tile.shape[0], WIDTH])
    return gl.convert_layout(other, MATRIX, assert_trivial=True)


@gluon.jit
def exp2(exponent: gl.tensor) -> gl.tensor:
    """2^x, without the instructions that keep denormal results."""
    return gl.inline_asm_elementwise(
        "ex2.approx.ftz.f32 $0, $1;", "=f,f", [exponent], dtype=gl.float32, is_pure=True, pack=1
    )


@gluon.jit
def unknown(number: gl.tensor) -> gl.tensor:
    """The same number, hidden from the compiler, which would otherwise keep the earlier one."""
    return gl.inline_asm_elementwise("mov.u32 $0, $1;", "=r,r", [number], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def _prefetch_chunk(
    stage: gl.tensor, chunk: gl.tensor, end: gl.tensor, length: gl.tensor, row_chunks: gl.tensor, first: gl.tensor,
    queries: gl.tensor, keys: gl.tensor, values: gl.tensor, sums: gl.tensor, cuts: gl.tensor, to_end: gl.tensor,
    stride_time: gl.tensor, stride_plane: gl.tensor,
    q_reals: gl.shared_memory_descriptor, q_imags: gl.shared_memory_descriptor, k_reals: gl.shared_memory_descriptor,
    k_imags: gl.shared_memory_descriptor, vs: gl.shared_memory_descriptor, all_sums: gl.shared_memory_descriptor,
    all_cuts: gl.shared_memory_descriptor, all_ends: gl.shared_memory_descriptor,
) -> None:  # fmt: skip
    """Begin to copy one chunk to shared memory: five tiles [C, 64] and three vectors [C].

    Rows behind the end become zero, also where there is no such chunk: a branch would make the compiler wait for all
    products before it.
    """
    row = gl.arange(0, CHUNK, layout=WIDE_ROWS)
    column = gl.arange(0, HEAD_DIM, layout=WIDE_COLUMNS)
    inside = (row < length - chunk * CHUNK)[:, None] & (column < HEAD_DIM)[None, :]
    # A tile behind the end is loaded from an address inside.
    chunk = gl.minimum(chunk, end - 1)
    base = gl.cast(chunk * CHUNK, gl.int64) * stride_time
    place = base + row[:, None] * stride_time + column[None, :]
    load_to_shared(q_reals.index(stage), queries + place, mask=inside)
    load_to_shared(q_imags.index(stage), queries + stride_plane + place, mask=inside)
    load_to_shared(k_reals.index(stage), keys + place, mask=inside)
    load_to_shared(k_imags.index(stage), keys + stride_plane + place, mask=inside)
    channel = column // VALUES * stride_plane + first + column % VALUES
    joint = base + row[:, None] * stride_time + channel[None, :]
    load_to_shared(vs.index(stage), values + joint, mask=inside)
    position = (row_chunks + chunk) * CHUNK + gl.arange(0, CHUNK, layout=FLAT)
    load_to_shared(all_sums.index(stage), sums + position)
    load_to_shared(all_cuts.index(stage), cuts + position)
    load_to_shared(all_ends.index(stage), to_end + position)
    async_copy.commit_group()


@gluon.jit(do_not_specialize=["length", "segment_chunks"])
def hopper_output_kernel(  # noqa: PLR0915 - one program, read from top to bottom
    queries: gl.tensor,
    keys: gl.tensor,
    values: gl.tensor,
    sums: gl.tensor,
    cuts: gl.tensor,
    from_start: gl.tensor,
    to_end: gl.tensor,
    entering: gl.tensor,
    output: gl.tensor,
    kept: gl.tensor,
    final: gl.tensor,
    scale: gl.tensor,
    length: gl.tensor,
    segment_chunks: gl.tensor,
    stride_batch: gl.tensor,
    stride_time: gl.tensor,
    stride_plane: gl.tensor,
    stride_head: gl.tensor,
    heads: gl.tensor,
    ENTERS: gl.constexpr,
    KEEPS: gl.constexpr,
    HAS_FINAL: gl.constexpr,
) -> None:
    chunks = (length + CHUNK - 1) // CHUNK
    segments = (chunks + segment_chunks - 1) // segment_chunks
    blocks: gl.constexpr = HEAD_DIM // VALUES
    program = gl.program_id(0)
    first = (program % blocks) * VALUES
    segment = program // blocks % segments
    row = (program // blocks // segments).to(gl.int64)
    offset = row // heads * stride_batch + row % heads * stride_head
    queries += offset
    keys += offset
    values += offset
    width = heads * HEAD_DIM
    output += row // heads * length * (2 * width) + row % heads * HEAD_DIM
    row_chunks = row * chunks

    # One allocation each, or the compiler puts a barrier between their copies.
    q_reals = gl.allocate_shared_memory(gl.bfloat16, [STAGES, CHUNK, HEAD_DIM], TILE)
    q_imags = gl.allocate_shared_memory(gl.bfloat16, [STAGES, CHUNK, HEAD_DIM], TILE)
    k_reals = gl.allocate_shared_memory(gl.bfloat16, [STAGES, CHUNK, HEAD_DIM], TILE)
    k_imags = gl.allocate_shared_memory(gl.bfloat16, [STAGES, CHUNK, HEAD_DIM], TILE)
    vs = gl.allocate_shared_memory(gl.bfloat16, [STAGES, CHUNK, WIDTH], TILE)
    all_sums = gl.allocate_shared_memory(gl.float32, [STAGES, CHUNK], LINE)
    all_cuts = gl.allocate_shared_memory(gl.float32, [STAGES, CHUNK], LINE)
    all_ends = gl.allocate_shared_memory(gl.float32, [STAGES, CHUNK], LINE)
    # The state as it is read and, once every warp has read it, the weighed values that are written to it.
    straight_operand = gl.allocate_shared_memory(gl.bfloat16, [HEAD_DIM, WIDTH], TILE)
    turned_operand = gl.allocate_shared_memory(gl.bfloat16, [HEAD_DIM, WIDTH], TILE)
    # Turned values and, once every warp has read them, the outputs.
    other_operand = gl.allocate_shared_memory(gl.bfloat16, [CHUNK, WIDTH], TILE)

    begin = segment * segment_chunks
    end = gl.minimum(begin + segment_chunks, chunks)
    _prefetch_chunk(
        0, begin, end, length, row_chunks, first, queries, keys, values, sums, cuts, to_end, stride_time, stride_plane,
        q_reals, q_imags, k_reals, k_imags, vs, all_sums, all_cuts, all_ends,
    )  # fmt: skip
    key_channel = gl.arange(0, HEAD_DIM, layout=ROWS)
    column = gl.arange(0, WIDTH, layout=COLUMNS)
    state_place = (
        key_channel[:, None] * (2 * HEAD_DIM) + (column // VALUES * HEAD_DIM + first + column % VALUES)[None, :]
    )
    if ENTERS:
        state = gl.load(entering + (row * segments + segment) * STATE_SIZE + state_place)
    else:
        state = gl.zeros([HEAD_DIM, WIDTH], gl.float32, MATRIX)
    held = state.to(gl.bfloat16)
    straight_operand.store(held)
    turned_operand.store(turned(held))
    read_position = gl.arange(0, CHUNK, layout=ROWS)
    written_position = gl.arange(0, CHUNK, layout=COLUMNS)
    tall = gl.arange(0, CHUNK, layout=WIDE_ROWS)
    far = gl.arange(0, WIDTH, layout=WIDE_COLUMNS)
    log_scale = gl.log2(scale)
    next_through = gl.load(from_start + (row_chunks + begin) * CHUNK + CHUNK - 1)
    for chunk in range(begin, end):
        stage = (chunk - begin) % STAGES
        through = next_through
        next_through = gl.load(from_start + (row_chunks + gl.minimum(chunk + 1, end - 1)) * CHUNK + CHUNK - 1)
        async_copy.wait_group(0)
        fence_async_shared()
        barrier()
        _prefetch_chunk(
            1 - stage, chunk + 1, end, length, row_chunks, first, queries, keys, values, sums, cuts, to_end,
            stride_time, stride_plane, q_reals, q_imags, k_reals, k_imags, vs, all_sums, all_cuts, all_ends,
        )  # fmt: skip
        q_real = q_reals.index(stage)
        q_imag = q_imags.index(stage)
        k_real = k_reals.index(stage)
        k_imag = k_imags.index(stage)
        v = vs.index(stage)
        bits = q_imag.load(LEFT).to(gl.int16, bitcast=True) ^ -32768
        minus_q_imag = bits.to(gl.bfloat16, bitcast=True)
        nothing = gl.zeros([CHUNK, CHUNK], gl.float32, MATRIX)
        real = warpgroup_mma(q_real, k_real.permute((1, 0)), nothing, use_acc=False, is_async=True)
        real = warpgroup_mma(q_imag, k_imag.permute((1, 0)), real, is_async=True)
        # Imaginary scores of the conjugate, because the negated queries are there for reading the state as well.
        imag = warpgroup_mma(q_real, k_imag.permute((1, 0)), nothing, use_acc=False, is_async=True)
        imag = warpgroup_mma(minus_q_imag, k_real.permute((1, 0)), imag, is_async=True)

        if KEEPS:
            place = tall[:, None] * (2 * HEAD_DIM) + (far // VALUES * HEAD_DIM + first + far % VALUES)[None, :]
            gl.store(kept + (row_chunks + chunk) * STATE_SIZE + place, straight_operand.load(WIDE))
        else:
            # The state is read now where registers suffice, else when the scores have freed theirs.
            outer = warpgroup_mma(q_real, straight_operand, nothing, use_acc=False, is_async=True)
            outer = warpgroup_mma(minus_q_imag, turned_operand, outer, is_async=True)
        other_operand.store(turned(v.load(MATRIX)))
        fence_async_shared()
        read = all_sums.index(stage).load(ROWS) + log_scale
        written = all_sums.index(stage).load(COLUMNS)
        cut = all_cuts.index(stage).load(ROWS)
        last_cut = cut.to(gl.int32)
        reaches = read_position[:, None] >= written_position[None, :]
        reaches &= written_position[None, :] >= last_cut[:, None]
        weight = gl.where(reaches, exp2(read[:, None] - written[None, :]), 0.0)
        to_read = gl.where(cut == NO_CUT, exp2(read), 0.0)

        # Named in the wait so that the weights are computed before it; the compiler would move them behind it.
        real, weight = warpgroup_mma_wait(2 if KEEPS else 4, deps=[real, weight])
        pair_real = gl.convert_layout((real * weight).to(gl.bfloat16), LEFT)
        barrier()
        inner = warpgroup_mma(pair_real, v, nothing, use_acc=False, is_async=True)
        imag = warpgroup_mma_wait(1 if KEEPS else 3, deps=[imag])
        pair_imag = gl.convert_layout((imag * weight).to(gl.bfloat16), LEFT)
        inner = warpgroup_mma(pair_imag, other_operand, inner, is_async=True)
        if KEEPS:
            outer = warpgroup_mma(q_real, straight_operand, nothing, use_acc=False, is_async=True)
            outer = warpgroup_mma(minus_q_imag, turned_operand, outer, is_async=True)
        weighed = (v.load(MATRIX).to(gl.float32) * all_ends.index(stage).load(ROWS)[:, None]).to(gl.bfloat16)
        if KEEPS:
            outer, inner = warpgroup_mma_wait(0, deps=[outer, inner])
        else:
            outer = warpgroup_mma_wait(2, deps=[outer])

        barrier()  # every warp has read the state
        straight_operand.store(weighed)
        turned_operand.store(turned(weighed))
        state = state * through
        fence_async_shared()
        barrier()
        carried = warpgroup_mma(k_real.permute((1, 0)), straight_operand, state, is_async=True)
        carried = warpgroup_mma(k_imag.permute((1, 0)), turned_operand, carried, is_async=True)

        if not KEEPS:
            inner = warpgroup_mma_wait(2, deps=[inner])
        y = outer * to_read[:, None] + inner
        barrier()  # every warp has read the turned values
        other_operand.store(y.to(gl.bfloat16))
        state = warpgroup_mma_wait(0, deps=[carried])
        barrier()  # the outputs are stored, and no warp has a product in flight
        start = chunk * CHUNK
        inside = (tall < length - start)[:, None] & (far < WIDTH)[None, :]
        place = tall[:, None] * (2 * width) + (far // VALUES * width + first + far % VALUES)[None, :]
        gl.store(output + gl.cast(start, gl.int64) * (2 * width) + place, other_operand.load(WIDE), mask=inside)
        # Here, before the next scores are issued: a product's registers are read only when none is in flight.
        held = state.to(gl.bfloat16)
        straight_operand.store(held)
        turned_operand.store(turned(held))
    async_copy.wait_group(0)  # no program ends with a copy in flight
    if HAS_FINAL:
        # Computed again, so that no register holds it during the loop.
        program = unknown(gl.program_id(0)) // blocks
        if program % segments == segments - 1:
            # Sixteen bytes a thread; in the layout of products every second sector would be written in parts.
            whole = gl.convert_layout(state, WORDS)
            tall_key = gl.arange(0, HEAD_DIM, layout=WORD_ROWS)
            far_value = gl.arange(0, WIDTH, layout=WORD_COLUMNS)
            value = unknown(gl.program_id(0)) % blocks * VALUES + far_value % VALUES
            place = tall_key[:, None] * (2 * HEAD_DIM) + (far_value // VALUES * HEAD_DIM + value)[None, :]
            gl.store(final + (program // segments).to(gl.int64) * STATE_SIZE + place, whole)
