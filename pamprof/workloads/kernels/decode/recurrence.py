"""One token of the recurrence as one kernel: turn q and k, decay the state, write the outer product, read.

The state is read once and written once, whatever its dtype; in between it is float32. A program takes some value
channels of one head of one sequence, of all its states: what is read from each is turned by its phase and added.

Axes: B batch, H heads, K states, d head_dim, I = H d.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor  # noqa: TC002 - operators are declared from their annotations

from pamprof.workloads.kernel_flops import OperatorWork
from pamprof.workloads.kernels.block.prepare import PREPARE_FLOPS
from pamprof.workloads.kernels.device_functions import (
    await_results,
    cosine_and_sine,
    launch_next,
    overlaps,
    power_of_two,
    sigmoid,
    store,
)
from pamprof.workloads.kernels.kernel_operator import kernel_operator, require_contiguous

_DECAY_FLOPS = 8  # per head: decay and written share from both logits
_FEW_WARPS, _MANY_WARPS = 2, 4
_FEW_HEADS = 66  # below, heads are split further, so that every multiprocessor has something to load
_WAITING_HEADS = 132  # up to this many, programs that wait with a loaded state leave room for those they wait for
_FEW_VALUES, _MANY_VALUES = 16, 32  # value channels of one program


@triton.jit
def _vector(qkv: tl.tensor, channel: tl.tensor, head_dim: tl.tensor, inner: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Real and imaginary part of some channels of q, k or v."""
    within = channel < head_dim
    real = tl.load(qkv + channel, mask=within, other=0.0).to(tl.float32)
    imag = tl.load(qkv + 3 * inner + channel, mask=within, other=0.0).to(tl.float32)
    return real, imag


@triton.jit
def _memory_kernel(  # noqa: PLR0915 - one program, read from top to bottom
    qkv: tl.tensor, step_logits: tl.tensor, gate_logits: tl.tensor, phase_logits: tl.tensor, offsets: tl.tensor,
    cosine: tl.tensor, sine: tl.tensor, state: tl.tensor, out: tl.tensor, heads: tl.tensor, read_scale: tl.tensor,
    turn_step: tl.tensor, STATES: tl.constexpr, HEAD_DIM: tl.constexpr, VALUES: tl.constexpr, BLOCK: tl.constexpr,
    OVERLAPS: tl.constexpr, AHEAD: tl.constexpr,
) -> None:  # fmt: skip
    launch_next(OVERLAPS)
    program = tl.program_id(0)
    sequence = (program // heads).to(tl.int64)
    head = program % heads
    if not AHEAD:
        await_results(OVERLAPS)
    # HEAD_DIM, unlike its padded size, tells the compiler which rows of the state are aligned, so that it loads wide.
    key = tl.arange(0, BLOCK)
    value = tl.program_id(1) * VALUES + tl.arange(0, VALUES)
    inside = (key < HEAD_DIM)[:, None] & (value < HEAD_DIM)[None, :]
    size: tl.constexpr = 2 * HEAD_DIM * HEAD_DIM
    place = state + program.to(tl.int64) * (STATES * size) + key[:, None] * (2 * HEAD_DIM) + value[None, :]
    reals, imags = (), ()  # type: tuple[tl.tensor, ...], tuple[tl.tensor, ...]
    for k in tl.static_range(STATES):
        real = tl.load(place + k * size, mask=inside, other=0.0, cache_modifier=".cg").to(tl.float32)
        imag = tl.load(place + k * size + HEAD_DIM, mask=inside, other=0.0, cache_modifier=".cg").to(tl.float32)
        reals += (real,)
        imags += (imag,)
    if AHEAD:
        await_results(OVERLAPS)
    inner = heads * HEAD_DIM
    first = qkv + sequence * (6 * inner) + head * HEAD_DIM
    turn = sequence * turn_step + key
    turn_real = tl.load(cosine + turn, mask=key < HEAD_DIM, other=0.0).to(tl.float32)
    turn_imag = tl.load(sine + turn, mask=key < HEAD_DIM, other=0.0).to(tl.float32)
    q_real, q_imag = _vector(first, key, HEAD_DIM, inner)
    k_real, k_imag = _vector(first + inner, key, HEAD_DIM, inner)
    v_real, v_imag = _vector(first + 2 * inner, value, HEAD_DIM, inner)
    step = tl.load(step_logits + program)
    gate = tl.load(gate_logits + program)
    share = sigmoid(-gate)
    if STATES == 1:
        decay = _decay(step, gate, share)
    v_real = (v_real * share)[None, :]
    v_imag = (v_imag * share)[None, :]
    key_real = (k_real * turn_real - k_imag * turn_imag)[:, None]
    key_imag = (k_real * turn_imag + k_imag * turn_real)[:, None]
    query_real = ((q_real * turn_real - q_imag * turn_imag) * read_scale)[:, None]
    query_imag = ((q_real * turn_imag + q_imag * turn_real) * read_scale)[:, None]
    if STATES == 1:
        real = reals[0] * decay + key_real * v_real + key_imag * v_imag
        imag = imags[0] * decay + key_real * v_imag - key_imag * v_real
        store(place, real, inside)
        store(place + HEAD_DIM, imag, inside)
        target = out + sequence * (2 * inner) + head * HEAD_DIM + value
        store(target, tl.sum(real * query_real - imag * query_imag, axis=0), value < HEAD_DIM)
        store(target + inner, tl.sum(real * query_imag + imag * query_real, axis=0), value < HEAD_DIM)
    else:
        written_real = key_real * v_real + key_imag * v_imag
        written_imag = key_real * v_imag - key_imag * v_real
        read_real = tl.zeros((VALUES,), tl.float32)
        read_imag = tl.zeros((VALUES,), tl.float32)
        for k in tl.static_range(STATES):
            decay = _decay(step + tl.load(offsets + k).to(tl.float32), gate, share)
            phase = tl.load(phase_logits + k * tl.num_programs(0) + program)
            turn_real, turn_imag = cosine_and_sine(phase)
            real = reals[k] * decay + written_real
            imag = imags[k] * decay + written_imag
            store(place + k * size, real, inside)
            store(place + k * size + HEAD_DIM, imag, inside)
            own_real = tl.sum(real * query_real - imag * query_imag, axis=0)
            own_imag = tl.sum(real * query_imag + imag * query_real, axis=0)
            read_real += turn_real * own_real - turn_imag * own_imag
            read_imag += turn_real * own_imag + turn_imag * own_real
        target = out + sequence * (2 * inner) + head * HEAD_DIM + value
        store(target, read_real, value < HEAD_DIM)
        store(target + inner, read_imag, value < HEAD_DIM)


@triton.jit
def _decay(step: tl.tensor, gate: tl.tensor, share: tl.tensor) -> tl.tensor:
    """The decay p + (1 - p) exp(-dt), from both logits and the written share 1 - p.

    This sum of positive terms is exact where the decay is strong. Where it is weak, rounding errors would add up over
    thousands of tokens; there the decay is 1 minus the lost share, which is rounded once.
    """
    lost = share * sigmoid(step)
    return tl.where(lost < 0.5, 1.0 - lost, sigmoid(gate) + share * sigmoid(-step))


class MemoryTiles(NamedTuple):
    """How one launch is cut: value channels and warps of a program, and whether it waits with its state."""

    values: int
    warps: int
    ahead: bool


def memory_tiles(batch_size: int, heads: int, head_dim: int, *, ahead: bool) -> MemoryTiles:
    """The cut for a batch; arguments as in ``memory_step``."""
    few = batch_size * heads < _FEW_HEADS
    narrow = few or head_dim % _MANY_VALUES > 0  # the last program would be mostly padding
    return MemoryTiles(
        values=min(power_of_two(head_dim), _FEW_VALUES if narrow else _MANY_VALUES),
        warps=_FEW_WARPS if few else _MANY_WARPS,
        ahead=ahead and batch_size * heads <= _WAITING_HEADS,
    )


def _work(state: Tensor) -> OperatorWork:
    """The read is a product, 8 FLOP an entry; decay 2, write 8, and what makes q, k and v ready are elementwise."""
    batch, heads, head_dim = state.shape[0], state.shape[1], state.shape[-2]
    entries = state.numel() // 2
    ready = batch * heads * ((PREPARE_FLOPS + 2) * head_dim + _DECAY_FLOPS)
    return OperatorWork(
        matrix_flop_count=8 * entries,
        matrix_dense_flop_count=8 * entries,
        elementwise_flop_count=10 * entries + ready,
    )


def _fake(
    qkv: Tensor,
    logits: Tensor,
    cosine: Tensor,
    sine: Tensor,
    state: Tensor,
    ahead: bool = False,
    offsets: Tensor | None = None,
) -> Tensor:
    del logits, cosine, sine, ahead, offsets
    return qkv.new_empty((state.shape[0], 1, 2, state.shape[1] * state.shape[-2]))


@kernel_operator("fused_decode_memory", fake=_fake, work=_work, mutates=("state",))
def memory_step(
    qkv: Tensor,
    logits: Tensor,
    cosine: Tensor,
    sine: Tensor,
    state: Tensor,
    ahead: bool = False,
    offsets: Tensor | None = None,
) -> Tensor:
    """Retrieved planes [B, 1, 2, I] of one token; ``state`` is replaced in place.

    Args:
        qkv: Planes [B, 1, 2, 3 I] of the joint map.
        logits: Of step and protect gate, float32 [2, B, H, 1], contiguous; with phases of several states
            [2 + K, B, H, 1].
        cosine: Of the position's angles, float32 [1, d], contiguous; [B, 1, d] where each sequence has its own.
        sine: Likewise.
        state: [B, H, d_k, 2 d_v] or [B, H, K, d_k, 2 d_v], S^T as planes, contiguous; float32 or bfloat16.
        ahead: Whether the state may be read while the kernel before still runs. It may where that is ``product`` or
            ``norm_memory_inputs``: they let this one be launched only when everything before them has ended.
        offsets: Of the steps of several states [K]; None for one.
    """
    batch, heads, head_dim = state.shape[0], state.shape[1], state.shape[-2]
    require_contiguous(logits=logits, cosine=cosine, sine=sine, state=state)
    out = _fake(qkv, logits, cosine, sine, state)
    tiles = memory_tiles(batch, heads, head_dim, ahead=ahead)
    _memory_kernel[batch * heads, triton.cdiv(head_dim, tiles.values)](
        qkv.contiguous(),
        logits[0],
        logits[1],
        None if offsets is None else logits[2:],
        offsets,
        cosine,
        sine,
        state,
        out,
        heads,
        1 / sqrt(head_dim),
        head_dim if cosine.ndim > 2 else 0,
        STATES=1 if offsets is None else len(offsets),
        HEAD_DIM=head_dim,
        VALUES=tiles.values,
        BLOCK=power_of_two(head_dim),
        OVERLAPS=overlaps(qkv.device),
        AHEAD=tiles.ahead,
        num_warps=tiles.warps,
        launch_pdl=overlaps(qkv.device),
    )
    return out
