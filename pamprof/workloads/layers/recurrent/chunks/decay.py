"""Decays between the positions of a chunk and between chunks, for one state or several mixed into one matrix.

With K states a head, y_t = sum_k c_k(t) S^k_t q_t / sqrt(d) and S^k_t = sum_{s<=t} D^k_ts v_s conj(k_s)^T, where D^k_ts
is the product of the decays of state k after s up to t. Queries, keys and values are the same for all states, so inside
a chunk the sum over states moves into the matrix of weights,

    y_t = sum_{s<=t} W_ts (q_t . conj k_s) v_s / sqrt(d),    W_ts = sum_k c_k(t) D^k_ts,

and the two products with it, 2 m² C² d multiply-adds a chunk, are made once, whatever K. Only what crosses a chunk's
border is kept per state: K times the read and the write, 2 m² C d². Of complex numbers K = 1 makes 8 C d + 8 d²
multiply-adds a token and head, K = 3 makes 8 C d + 24 d²: 2.0 times as many at C = d, 1.4 times at C = 4 d.

Axes: B batch, H heads, K states, N chunks, C chunk, d head_dim, m planes (2 complex, 1 real).
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from pamprof.workloads.layers.recurrent.chunks.planes import times


def summed_up_to(values: Tensor) -> Tensor:
    """Running sums over the last axis, in float32 or float64.

    As a product with a triangle of ones: compilers handle a short product well where some fail on a scan.
    """
    length = values.shape[-1]
    ones = torch.ones(length, length, dtype=values.dtype, device=values.device).triu()
    with torch.autocast(values.device.type, enabled=False):
        return values @ ones


def summed_from(values: Tensor) -> Tensor:
    """Running sums from the end, the adjoint of ``summed_up_to``."""
    length = values.shape[-1]
    ones = torch.ones(length, length, dtype=values.dtype, device=values.device).tril()
    with torch.autocast(values.device.type, enabled=False):
        return values @ ones


def states_in_chunks(values: Tensor, chunk: int, *, trailing: int = 0) -> Tensor:
    """[B, T, H] or [B, T, H, K], with ``trailing`` axes of their own, to [B, H, (K,) N, C, ...], padded with zeros."""
    padding = -values.shape[1] % chunk
    padded = torch.nn.functional.pad(values, (0, 0) * (values.ndim - 2) + (0, padding)) if padding else values
    chunked = torch.unflatten(padded, 1, (-1, chunk))
    return chunked.movedim((1, 2), (-2 - trailing, -1 - trailing)).contiguous()


def decay_inside(cumulative: Tensor, head_dim: int) -> Tensor:
    """exp(c_t - c_s) / sqrt(d) for s <= t, else 0: [..., C] to [..., C, C], with the scale of the read.

    The sums are subtracted before the scale enters, so that a token's own weight is exact however far they have run.
    Above the diagonal the exponential may overflow; it is replaced, not multiplied, by zero, and nothing differentiates
    through it.
    """
    difference = cumulative[..., :, None] - cumulative[..., None, :]
    return (difference - 0.5 * log(head_dim)).exp().tril()


def decay_across(through: Tensor) -> Tensor:
    """Decay from the end of chunk s to the start of chunk t > s, else 0: running totals [..., N] to [..., N, N]."""
    before = torch.nn.functional.pad(through[..., :-1], (1, 0))  # through the chunk before t
    return (before[..., :, None] - through[..., None, :]).exp().tril(-1)


def decayed_to_end(rows: Tensor, to_end: Tensor, planes: int) -> Tensor:
    """Rows [..., m C, d] times the decay [..., C] from their position to the end of the chunk."""
    decayed = torch.unflatten(rows, -2, (planes, -1)) * to_end[..., None, :, None]
    return decayed.flatten(-3, -2).to(rows.dtype)


def mixed_decay(cumulative: Tensor, coefficients: Tensor, head_dim: int) -> Tensor:
    """W / sqrt(d) as planes [B, H, N, C, m, C], from running sums [B, H, K, N, C] and c [B, H, K, N, C, m].

    State after state, so that the matrices of all states are never held at once.
    """
    mixed = None
    for state in range(cumulative.shape[2]):
        decay = decay_inside(cumulative[:, :, state], head_dim).unsqueeze(-2)
        weighted = coefficients[:, :, state].unsqueeze(-1) * decay
        mixed = weighted if mixed is None else mixed + weighted
    assert mixed is not None
    return mixed


def mixed_decay_gradient(
    gradient: Tensor, cumulative: Tensor, coefficients: Tensor, head_dim: int
) -> tuple[Tensor, Tensor]:
    """Gradients of both arguments of ``mixed_decay`` from that of its result.

    A row sum minus a column sum of the same numbers, so that what a token weighs for itself cancels exactly.
    """
    of_sums, of_coefficients = [], []
    for state in range(cumulative.shape[2]):
        weighted = gradient * decay_inside(cumulative[:, :, state], head_dim).unsqueeze(-2)
        pairs = (weighted * coefficients[:, :, state].unsqueeze(-1)).sum(-2)
        of_sums.append(pairs.sum(-1) - pairs.sum(-2))
        of_coefficients.append(weighted.sum(-1))
    return torch.stack(of_sums, 2), torch.stack(of_coefficients, 2)


def each_state(log_decay: Tensor, coefficients: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """What belongs to each state: running sums [B, H, N, C] of its log decay, and c [B, H, N, C, m] or None for 1."""
    cumulative = summed_up_to(log_decay)
    if coefficients is None:
        return [(cumulative, None)]
    return list(zip(cumulative.unbind(2), coefficients.unbind(2), strict=True))


def read_of(queries: Tensor, cumulative: Tensor, coefficient: Tensor | None, head_dim: int) -> Tensor:
    """What multiplies the state that a chunk begins with."""
    return times(queries * from_start_of(cumulative, head_dim), coefficient).to(queries.dtype)


def from_start_of(cumulative: Tensor, head_dim: int) -> Tensor:
    """The decay since the chunk's beginning [..., C, 1], with the scale of the read."""
    return (cumulative - 0.5 * log(head_dim)).exp()[..., None]
