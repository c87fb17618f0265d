"""The chunk-parallel recurrence over real planes, with a hand-written backward: what the planar layers run.

Complex numbers appear as pairs of planes [re | im] of d channels each; "turned" means multiplied by i, [-im | re]. With
keys and values stacked over their turned selves along the chunk, every complex product is one real product:

    scores   [C, m C]   q @ keys^T            real scores beside imaginary ones
    output   [C, m d]   (scores ∘ decay) @ values
    written  [d, m d]   keys[:, :d]^T @ values, decayed to the end of the chunk

with m = 2. The same code with m = 1 is the real-valued recurrence. States between chunks come from one product with the
matrix of decays between chunks. That product is quadratic in the number of chunks, but cheaper than the rest up to
about 500 chunks, and it replaces a loop that would launch hundreds of kernels.

Backward needs no matrix of decay gradients: a decay acts on all pairs that it lies between, so its gradient is a sum of
row sums minus column sums of gradient times score, both in float32 from the same numbers, so that they cancel exactly.

Axes: B batch, H heads, N chunks, C chunk, d head_dim, m planes (2 complex, 1 real).
"""

from __future__ import annotations

from math import log
from typing import Any

import torch
from torch import Tensor

from pamprof.workloads.autograd import Function

# At 64 tokens the decay matrices (C numbers per token and head) and the states (m d² / C numbers) are each about as
# large as the queries at head_dim 64; a larger chunk costs more products, a smaller one more traffic.
CHUNK_SIZE = 64


def turn(planes: Tensor) -> Tensor:
    """I · z for planes [..., re | im] on the last axis: [..., -im | re]."""
    real, imag = planes.chunk(2, -1)
    return torch.cat((-imag, real), -1)


def _turn_back(planes: Tensor) -> Tensor:
    """-i · z, the adjoint of ``turn``."""
    real, imag = planes.chunk(2, -1)
    return torch.cat((imag, -real), -1)


def summed_up_to(values: Tensor) -> Tensor:
    """Running sums over the last axis, in float32 or float64.

    As a product with a triangle of ones: compilers handle a short product well where some fail on a scan.
    """
    length = values.shape[-1]
    ones = torch.ones(length, length, dtype=values.dtype, device=values.device).triu()
    with torch.autocast(values.device.type, enabled=False):
        return values @ ones


def _summed_from(values: Tensor) -> Tensor:
    """Running sums from the end, the adjoint of ``summed_up_to``."""
    length = values.shape[-1]
    ones = torch.ones(length, length, dtype=values.dtype, device=values.device).tril()
    with torch.autocast(values.device.type, enabled=False):
        return values @ ones


def _decay_inside(cumulative: Tensor, head_dim: int) -> Tensor:
    """exp(c_t - c_s) / sqrt(d) for s <= t, else 0: [..., C] to [..., C, C], with the scale of the read.

    The sums are subtracted before the scale enters, so that a token's own weight is exact however far they have run.
    Above the diagonal the exponential may overflow; it is replaced, not multiplied, by zero, and nothing differentiates
    through it.
    """
    difference = cumulative[..., :, None] - cumulative[..., None, :]
    return (difference - 0.5 * log(head_dim)).exp().tril()


def _decay_across(through: Tensor) -> Tensor:
    """Decay from the end of chunk s to the start of chunk t > s, else 0: running totals [..., N] to [..., N, N]."""
    before = torch.nn.functional.pad(through[..., :-1], (1, 0))  # through the chunk before t
    return (before[..., :, None] - through[..., None, :]).exp().tril(-1)


def _both_planes(state: Tensor, planes: int) -> Tensor:
    """State [..., d, m d] to the matrix [..., m d, m d] that a query row of m planes multiplies."""
    return state if planes == 1 else torch.cat((state, turn(state)), -2)


def _decayed_to_end(rows: Tensor, to_end: Tensor, planes: int) -> Tensor:
    """Rows [..., m C, d] times the decay [..., C] from their position to the end of the chunk."""
    decayed = torch.unflatten(rows, -2, (planes, -1)) * to_end[..., None, :, None]
    return decayed.flatten(-3, -2).to(rows.dtype)


def core_forward(
    queries: Tensor, keys: Tensor, values: Tensor, log_decay: Tensor, *, planes: int, initial_state: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Outputs of all chunks and what backward needs.

    Args:
        queries: [B, H, N, C, m d].
        keys: [B, H, N, m C, m d], keys above turned keys.
        values: [B, H, N, m C, m d], values above turned values.
        log_decay: float32 (float64 for float64 queries) [B, H, N, C], finite.
        planes: m.
        initial_state: [B, H, d, m d] in the dtype of ``log_decay``, or None for zeros.

    Returns:
        Output [B, H, N, C, m d], decayed scores [B, H, N, C, m C], and each chunk's written and entering states
        [B, H, N, d, m d], None where there is one chunk and nothing before it.
    """
    head_dim = queries.shape[-1] // planes
    chunks = queries.shape[2]
    dtype = queries.dtype
    cumulative = summed_up_to(log_decay)
    decay = _decay_inside(cumulative, head_dim)
    scores = torch.unflatten((queries @ keys.mT), -1, (planes, -1)) * decay.unsqueeze(-2)
    scores = scores.flatten(-2).to(dtype)
    output = scores @ values
    if chunks == 1 and initial_state is None:
        return output, scores, None, None
    total = cumulative[..., -1]
    through = summed_up_to(total)
    to_end = (total[..., None] - cumulative).exp()
    written = _decayed_to_end(keys[..., :head_dim], to_end, planes).mT @ values
    entering = torch.unflatten((_decay_across(through).to(dtype) @ written.flatten(-2)), -1, written.shape[-2:])
    if initial_state is not None:
        since_start = (through - total).exp()[..., None, None]
        entering = (entering + since_start * initial_state[:, :, None]).to(dtype)
    from_start = (cumulative - 0.5 * log(head_dim)).exp()[..., None]
    read = (queries * from_start).to(dtype)
    output = torch.unflatten(
        torch.baddbmm(output.flatten(0, 2), read.flatten(0, 2), _both_planes(entering, planes).flatten(0, 2)),
        0,
        output.shape[:3],
    )
    return output, scores, written, entering


class ChunkCore(Function):
    """``core_forward`` from an empty state, differentiable in queries, keys, values and log_decay."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd functions take their arguments by position
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, log_decay: Tensor, planes: int
    ) -> Tensor:
        """Output [B, H, N, C, m d]; arguments as ``core_forward``."""
        output, scores, written, entering = core_forward(
            queries, keys, values, log_decay, planes=planes, initial_state=None
        )
        states = () if written is None or entering is None else (written, entering)
        ctx.save_for_backward(queries, keys, values, log_decay, scores, *states)
        ctx.planes = planes
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        """Gradients of queries, keys, values and log_decay."""
        with torch.autocast(gradient.device.type, enabled=False):
            # Copied once to the products' layout; otherwise each of them would copy it.
            return *_core_backward(gradient.contiguous(), ctx.saved_tensors, ctx.planes), None


def _core_backward(gradient: Tensor, saved: tuple[Tensor, ...], planes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    queries, keys, values, log_decay, scores, *states = saved
    head_dim = queries.shape[-1] // planes
    dtype, precise = queries.dtype, log_decay.dtype
    cumulative = summed_up_to(log_decay)
    decay = _decay_inside(cumulative, head_dim)
    scores_gradient = gradient @ values.mT
    values_gradient = scores.mT @ gradient
    pairs = torch.unflatten((scores_gradient.to(precise) * scores), -1, (planes, -1)).sum(-2)
    cumulative_gradient = pairs.sum(-1) - pairs.sum(-2)
    undecayed = (torch.unflatten(scores_gradient, -1, (planes, -1)) * decay.unsqueeze(-2)).flatten(-2).to(dtype)
    queries_gradient = undecayed @ keys
    keys_gradient = undecayed.mT @ queries
    if not states:
        return queries_gradient, keys_gradient, values_gradient, _summed_from(cumulative_gradient)

    written, entering = states
    total = cumulative[..., -1]
    across = _decay_across(summed_up_to(total))
    to_end = (total[..., None] - cumulative).exp()
    from_start = (cumulative - 0.5 * log(head_dim)).exp()[..., None]
    weighted = _decayed_to_end(keys[..., :head_dim], to_end, planes)

    read_gradient = gradient @ _both_planes(entering, planes).mT
    entering_gradient = (queries * from_start).to(dtype).mT @ gradient
    if planes == 2:
        upper, lower = entering_gradient.chunk(2, -2)
        entering_gradient = upper + _turn_back(lower)
    scaled_read_gradient = read_gradient * from_start
    cumulative_gradient = cumulative_gradient + (scaled_read_gradient * queries).sum(-1)
    queries_gradient = (queries_gradient + scaled_read_gradient).to(dtype)

    flat_gradient = entering_gradient.flatten(-2)
    written_gradient = torch.unflatten((across.to(dtype).mT @ flat_gradient), -1, written.shape[-2:])
    chunk_pairs = (flat_gradient @ written.flatten(-2).mT).to(precise) * across
    # Row t is the decay through the chunk before t, column s the decay after chunk s.
    through_gradient = torch.nn.functional.pad(chunk_pairs.sum(-1)[..., 1:], (0, 1)) - chunk_pairs.sum(-2)
    total_gradient = _summed_from(through_gradient)

    weighted_gradient = values @ written_gradient.mT
    values_gradient = torch.unflatten(
        torch.baddbmm(values_gradient.flatten(0, 2), weighted.flatten(0, 2), written_gradient.flatten(0, 2)),
        0,
        values_gradient.shape[:3],
    )
    to_end_gradient = torch.unflatten((weighted_gradient.to(precise) * weighted).sum(-1), -1, (planes, -1)).sum(-2)
    cumulative_gradient = cumulative_gradient - to_end_gradient
    total_gradient = total_gradient + to_end_gradient.sum(-1)
    first_plane = _decayed_to_end(weighted_gradient, to_end, planes)
    if planes == 2:
        first_plane = torch.nn.functional.pad(first_plane, (0, head_dim))
    keys_gradient = keys_gradient + first_plane
    log_decay_gradient = _summed_from(cumulative_gradient) + total_gradient[..., None]
    return queries_gradient, keys_gradient, values_gradient, log_decay_gradient


def final_state(
    written: Tensor | None,
    keys: Tensor,
    values: Tensor,
    log_decay: Tensor,
    *,
    planes: int,
    initial_state: Tensor | None,
) -> Tensor:
    """State [B, H, d, m d] after all chunks, in the dtype of ``log_decay``.

    What was held before is decayed in that dtype too, so that a long-lived state is not rounded once per piece.
    """
    cumulative = summed_up_to(log_decay)
    total = cumulative[..., -1]
    if written is None:
        to_end = (total[..., None] - cumulative).exp()
        written = _decayed_to_end(keys[..., : keys.shape[-1] // planes], to_end, planes).mT @ values
    through = summed_up_to(total)
    remaining = (through[..., -1:] - through).exp()
    state = torch.unflatten((remaining[..., None, :].to(written.dtype) @ written.flatten(-2)), -1, written.shape[-2:])
    state = state.squeeze(2).to(log_decay.dtype)
    if initial_state is not None:
        state = state + through[..., -1].exp()[..., None, None] * initial_state
    return state
