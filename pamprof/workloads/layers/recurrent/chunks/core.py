"""The chunk-parallel recurrence over real planes, with a hand-written backward: what the planar layers run.

Complex numbers appear as pairs of planes [re | im] of d channels each; "turned" means multiplied by i, [-im | re]. With
keys and values stacked over their turned selves along the chunk, every complex product is one real product:

    scores   [C, m C]   q @ keys^T            real scores beside imaginary ones
    output   [C, m d]   (scores ∘ decay) @ values
    written  [d, m d]   keys[:, :d]^T @ values, decayed to the end of the chunk

with m = 2. The same code with m = 1 is the real-valued recurrence. States between chunks come from one product with the
matrix of decays between chunks. That product is quadratic in the number of chunks, but cheaper than the rest up to
about 500 chunks, and it replaces a loop that would launch hundreds of kernels.

Several states a head differ in their decays alone: ``chunks.decay`` mixes these inside a chunk, and what crosses its
border is made for each.

Axes: B batch, H heads, K states, N chunks, C chunk, d head_dim, m planes (2 complex, 1 real).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pamprof.workloads.autograd import Function
from pamprof.workloads.layers.recurrent.chunks.backward import core_backward
from pamprof.workloads.layers.recurrent.chunks.decay import (
    decay_across,
    decay_inside,
    decayed_to_end,
    each_state,
    mixed_decay,
    read_of,
    summed_up_to,
)
from pamprof.workloads.layers.recurrent.chunks.planes import both_planes, product

# At 64 tokens the decay matrices (C numbers per token and head) and the states (m d² / C numbers) are each about as
# large as the queries at head_dim 64; a larger chunk costs more products, a smaller one more traffic.
CHUNK_SIZE = 64


def core_forward(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    log_decay: Tensor,
    *,
    planes: int,
    initial_state: Tensor | None,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Outputs of all chunks and what backward needs.

    Args:
        queries: [B, H, N, C, m d].
        keys: [B, H, N, m C, m d], keys above turned keys.
        values: [B, H, N, m C, m d], values above turned values.
        log_decay: float32 (float64 for float64 queries) [B, H, N, C], finite; of several states [B, H, K, N, C].
        planes: m.
        initial_state: [B, H, d, m d] in the dtype of ``log_decay``, or None for zeros; [B, H, K, d, m d].
        coefficients: What each state's read is multiplied by, as planes [B, H, K, N, C, m] in the dtype of
            ``log_decay``; None for one state.

    Returns:
        Output [B, H, N, C, m d], scores [B, H, N, C, m C] (decayed, those of several states before the decay), and each
        chunk's written and entering states [B, H, N, d, m d], one tensor a state, none where there is one chunk and
        nothing before it.
    """
    head_dim = queries.shape[-1] // planes
    chunks = queries.shape[2]
    dtype = queries.dtype
    states = each_state(log_decay, coefficients)
    scores = torch.unflatten((queries @ keys.mT), -1, (planes, -1))
    if coefficients is None:
        scores = weighted = (scores * decay_inside(states[0][0], head_dim).unsqueeze(-2)).flatten(-2).to(dtype)
    else:
        mixed = mixed_decay(torch.stack([sums for sums, _ in states], 2), coefficients, head_dim)
        weighted = product(scores, mixed).flatten(-2).to(dtype)
        scores = scores.flatten(-2)
    output = weighted @ values
    if chunks == 1 and initial_state is None:
        return output, scores, (), ()
    all_written, all_entering = [], []
    for number, (cumulative, coefficient) in enumerate(states):
        total = cumulative[..., -1]
        through = summed_up_to(total)
        to_end = (total[..., None] - cumulative).exp()
        written = decayed_to_end(keys[..., :head_dim], to_end, planes).mT @ values
        entering = torch.unflatten((decay_across(through).to(dtype) @ written.flatten(-2)), -1, written.shape[-2:])
        if initial_state is not None:
            before = initial_state if coefficients is None else initial_state[:, :, number]
            since_start = (through - total).exp()[..., None, None]
            entering = (entering + since_start * before[:, :, None]).to(dtype)
        read = read_of(queries, cumulative, coefficient, head_dim)
        output = torch.unflatten(
            torch.baddbmm(output.flatten(0, 2), read.flatten(0, 2), both_planes(entering, planes).flatten(0, 2)),
            0,
            output.shape[:3],
        )
        all_written.append(written)
        all_entering.append(entering)
    return output, scores, tuple(all_written), tuple(all_entering)


class ChunkCore(Function):
    """``core_forward`` from an empty state, differentiable in queries, keys, values, log_decay and coefficients."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd functions take their arguments by position
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        log_decay: Tensor,
        planes: int,
        coefficients: Tensor | None = None,
    ) -> Tensor:
        """Output [B, H, N, C, m d]; arguments as ``core_forward``."""
        output, scores, written, entering = core_forward(
            queries, keys, values, log_decay, planes=planes, initial_state=None, coefficients=coefficients
        )
        ctx.save_for_backward(queries, keys, values, log_decay, coefficients, scores, *written, *entering)
        ctx.planes = planes
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of queries, keys, values, log_decay and coefficients."""
        with torch.autocast(gradient.device.type, enabled=False):
            # Copied once to the products' layout; otherwise each of them would copy it.
            *gradients, of_coefficients = core_backward(gradient.contiguous(), ctx.saved_tensors, ctx.planes)
        return *gradients, None, of_coefficients


def final_state(
    written: tuple[Tensor, ...],
    keys: Tensor,
    values: Tensor,
    log_decay: Tensor,
    *,
    planes: int,
    initial_state: Tensor | None,
) -> Tensor:
    """State [B, H, d, m d] after all chunks, in the dtype of ``log_decay``; of several states [B, H, K, d, m d].

    What was held before is decayed in that dtype too, so that a long-lived state is not rounded once per piece.
    """
    several = log_decay.ndim == keys.ndim
    ends = []
    for number, logarithms in enumerate(log_decay.unbind(2) if several else (log_decay,)):
        cumulative = summed_up_to(logarithms)
        total = cumulative[..., -1]
        if written:
            own = written[number]
        else:
            to_end = (total[..., None] - cumulative).exp()
            own = decayed_to_end(keys[..., : keys.shape[-1] // planes], to_end, planes).mT @ values
        through = summed_up_to(total)
        remaining = (through[..., -1:] - through).exp()
        state = torch.unflatten((remaining[..., None, :].to(own.dtype) @ own.flatten(-2)), -1, own.shape[-2:])
        state = state.squeeze(2).to(log_decay.dtype)
        if initial_state is not None:
            before = initial_state[:, :, number] if several else initial_state
            state = state + through[..., -1].exp()[..., None, None] * before
        ends.append(state)
    return torch.stack(ends, 2) if several else ends[0]
