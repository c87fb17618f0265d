"""Phase-Associative Memory as three functions of equal result: token by token, all pairs at once, chunk by chunk.

For each head, S_t = decay_t S_{t-1} + v_t conj(k_t)^T and y_t = S_t q_t / sqrt(d). Unrolled, y_t sums over s <= t the
products D_ts (q_t · conj k_s) v_s, with D_ts the product of the decays after s up to t. The forms differ in the order
of summation alone. No epsilon stands in for a decay of zero: a decay of exactly 0 forgets exactly, exactly 1 keeps
exactly, and the gradient with respect to the decay is exact at both. Source: arXiv:2604.05030, sections on the dual
form and the recurrence.

K states a head have a decay each and a complex coefficient c_k(t) on what is read from each: y_t = sum_k c_k(t) S^k_t
q_t / sqrt(d). Keys, queries and values are shared, so that the pairs of one chunk are weighed by one matrix, the sum
over k of c_k(t) D^k_ts, and only the states between chunks are K. Source: github.com/gowrav-vishwakarma/qllm2, v11.

Axes: B batch, H heads, K states, T time, d head_dim, N chunks, C chunk.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_CHUNK_SIZE = 64

_REAL_DTYPES = {torch.complex64: torch.float32, torch.complex128: torch.float64}


def recurrent_pam(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    initial_state: Tensor | None = None,
    *,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Phase-associative memory, one token after another.

    Args:
        q: Queries, complex64 or complex128 [B, H, T, d], not scaled.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype.
        decay: Real [B, H, T] of the matching precision, at least 0 (at most 1 where the state forgets); of several
            states [B, H, K, T].
        initial_state: Complex [B, H, d_v, d_k] held before the first token; zeros where None. Of several states
            [B, H, K, d_v, d_k].
        coefficients: Complex [B, H, K, T], what the read of each state is multiplied by; None for one state.

    Returns:
        The outputs [B, H, T, d] and the state after the last token, shaped as ``initial_state``.

    Raises:
        SpecError: No token, or shapes or dtypes that do not fit together.
    """
    _check(q, k, v, decay, initial_state=initial_state, coefficients=coefficients)
    state = _state_or_zeros(q, initial_state, coefficients)
    if coefficients is not None:
        q, k, v = (x.unsqueeze(2) for x in (q, k, v))
    outputs = []
    for t in range(q.shape[-2]):
        q_now, k_now, v_now = (x[..., t, :] for x in (q, k, v))
        state = state * decay[..., t, None, None] + v_now.unsqueeze(-1) * k_now.unsqueeze(-2).conj()
        read = (state @ q_now.unsqueeze(-1)).squeeze(-1)
        outputs.append(read if coefficients is None else (coefficients[..., t, None] * read).sum(2))
    return torch.stack(outputs, dim=2) / sqrt(q.shape[-1]), state


def dual_pam(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    initial_state: Tensor | None = None,
    *,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Phase-associative memory over all pairs of positions at once, T² work; arguments as ``recurrent_pam``."""
    chunk_size = max(1, q.shape[2]) if q.ndim == 4 else 1
    return chunked_pam(q, k, v, decay, initial_state, chunk_size=chunk_size, coefficients=coefficients)


def chunked_pam(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    initial_state: Tensor | None = None,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Phase-associative memory with the dual form inside chunks and one d x d state between them.

    All chunks are computed side by side; the states between them come from one product over the chunks. Arguments and
    results as ``recurrent_pam``; ``chunk_size`` is in tokens and need not divide T.
    """
    _check(q, k, v, decay, initial_state=initial_state, coefficients=coefficients)
    if chunk_size < 1:
        raise SpecError(f"chunk_size is {chunk_size}; it must be at least 1 token")
    chunk = min(chunk_size, q.shape[2])
    chunks = -(-q.shape[2] // chunk)
    padding = chunks * chunk - q.shape[2]
    # Padded tokens write nothing and keep everything, so the state after them is the state after the last real token.
    padded_decay = torch.unflatten(functional.pad(decay, (0, padding), value=1.0), -1, (chunks, chunk))
    inside = decay_products(functional.pad(padded_decay, (1, 0), value=1.0))  # [B, H, (K,) N, 1 + C, 1 + C]
    total = inside[..., -1, 0]
    across = decay_products(functional.pad(total, (1, 0), value=1.0))  # [B, H, (K,) 1 + N, 1 + N]
    parts = [_in_chunks(x, chunks, padding) for x in (q, k, v)]
    output, state = _combine(parts, (inside, across), initial_state, _chunked(coefficients, chunks, padding))
    return output[:, :, : q.shape[2]], state


def log_chunked_pam(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    initial_state: Tensor | None = None,
    *,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``chunked_pam`` for a decay given as its finite logarithm, of the same shape: fewer passes, no case of zero."""
    _check(q, k, v, log_decay, initial_state=initial_state, coefficients=coefficients)
    chunk = min(chunk_size, q.shape[2])
    chunks = -(-q.shape[2] // chunk)
    padding = chunks * chunk - q.shape[2]
    padded = torch.unflatten(functional.pad(log_decay, (0, padding)), -1, (chunks, chunk))
    inside = _exponential_of_differences(functional.pad(padded, (1, 0)).cumsum(-1))
    across = _exponential_of_differences(functional.pad(padded.sum(-1), (1, 0)).cumsum(-1))
    parts = [_in_chunks(x, chunks, padding) for x in (q, k, v)]
    output, state = _combine(parts, (inside, across), initial_state, _chunked(coefficients, chunks, padding))
    return output[:, :, : q.shape[2]], state


def decay_products(decay: Tensor) -> Tensor:
    """Products of the decays after s up to t, for all s <= t; exact, with exact gradients, at decays of zero.

    Logarithms are summed along t for each s apart, so that a small decay loses no digits to the difference of two long
    sums. Zeros are left out of the sums and counted instead: with none between s and t the product is the exponential,
    with one it is the exponential times that decay itself (a zero, but one with a gradient), with more it is zero.

    Args:
        decay: Real [..., T], at least 0.

    Returns:
        Real [..., T, T]: row t, column s; zero above the diagonal, one on it.
    """
    length = decay.shape[-1]
    zero = decay == 0
    rows = torch.arange(length, device=decay.device)
    after = rows[:, None] > rows[None, :]  # t > s
    logarithm = torch.where(zero, torch.ones_like(decay), decay).log()
    exponent = torch.where(after, logarithm[..., :, None], 0.0).cumsum(-2)
    zeros_between = (after & zero[..., :, None]).long().cumsum(-2)
    last_zero = torch.where(zero, rows, 0).cummax(-1).values
    factor = torch.where(
        zeros_between == 0,
        torch.ones((), dtype=decay.dtype, device=decay.device),
        torch.where(zeros_between == 1, decay.gather(-1, last_zero)[..., :, None], 0.0),
    )
    return (exponent.exp() * factor).tril()


def _exponential_of_differences(cumulative: Tensor) -> Tensor:
    """exp(c_t - c_s) for s <= t, 0 above the diagonal; [..., T] to [..., T, T]."""
    length = cumulative.shape[-1]
    above = torch.ones(length, length, dtype=torch.bool, device=cumulative.device).triu(1)
    difference = cumulative[..., :, None] - cumulative[..., None, :]
    return difference.masked_fill(above, float("-inf")).exp()


def _combine(
    parts: Sequence[Tensor],
    products: tuple[Tensor, Tensor],
    initial_state: Tensor | None,
    coefficients: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Outputs and final state from chunks of q, k and v [B, H, N, C, d] and the decay products inside and across them.

    Index 0 of the products stands for what was there before the chunk, or before the sequence.
    """
    q, k, v = parts
    conjugate = k.conj()
    inside, across = products
    pairs = inside[..., 1:, 1:]
    weights = pairs if coefficients is None else (coefficients.unsqueeze(-1) * pairs).sum(2)
    output = (q @ conjugate.mT) * weights @ v
    ends = []
    for number in range(1 if coefficients is None else coefficients.shape[2]):
        own_inside, own_across = (x if coefficients is None else x[:, :, number] for x in (inside, across))
        written = (v * own_inside[..., -1, 1:, None]).mT @ conjugate  # [B, H, N, d_v, d_k]: a chunk's own, at its end
        # State after n chunks, from what chunk m wrote.
        states = torch.unflatten((own_across[..., 1:].to(v.dtype) @ written.flatten(-2)), -1, written.shape[-2:])
        if initial_state is not None:
            before = initial_state if coefficients is None else initial_state[:, :, number]
            states = states + own_across[..., 0, None, None] * before[:, :, None]
        read = own_inside[..., 1:, 0]
        read = read if coefficients is None else read * coefficients[:, :, number]
        output = output + (q @ states[:, :, :-1].mT) * read[..., None]
        ends.append(states[:, :, -1])
    return output.flatten(2, 3) / sqrt(q.shape[-1]), ends[0] if coefficients is None else torch.stack(ends, 2)


def _chunked(coefficients: Tensor | None, chunks: int, padding: int) -> Tensor | None:
    """[B, H, K, T] to [B, H, K, N, C]."""
    if coefficients is None:
        return None
    return torch.unflatten(functional.pad(coefficients, (0, padding)), -1, (chunks, -1))


def _in_chunks(x: Tensor, chunks: int, padding: int) -> Tensor:
    """[B, H, T, d] padded with zeros and split to [B, H, N, C, d]."""
    return (
        torch.unflatten(functional.pad(x, (0, 0, 0, padding)), 2, (chunks, -1))
        if padding
        else torch.unflatten(x, 2, (chunks, -1))
    )


def _state_or_zeros(q: Tensor, initial_state: Tensor | None, coefficients: Tensor | None) -> Tensor:
    if initial_state is not None:
        return initial_state
    axes = q.shape[:2] if coefficients is None else coefficients.shape[:3]
    return q.new_zeros(*axes, q.shape[3], q.shape[3])


def _check(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, *, initial_state: Tensor | None, coefficients: Tensor | None
) -> None:
    if q.ndim != 4:
        raise SpecError(f"q has shape {tuple(q.shape)}; give queries as [batch, heads, time, head_dim]")
    if q.dtype not in _REAL_DTYPES:
        raise SpecError(f"q is {q.dtype}; give complex64 or complex128")
    if q.shape[2] < 1:
        raise SpecError("the sequence has 0 tokens; give at least one")
    for name, x in (("k", k), ("v", v)):
        if x.shape != q.shape or x.dtype != q.dtype:
            raise SpecError(f"{name} is {x.dtype} {tuple(x.shape)}; it must match q, {q.dtype} {tuple(q.shape)}")
    axes = tuple(q.shape[:2])
    if coefficients is not None:
        axes = (*axes, *coefficients.shape[2:3])
        if coefficients.shape != (*axes, q.shape[2]) or coefficients.ndim != 4 or coefficients.dtype != q.dtype:
            raise SpecError(
                f"coefficients are {coefficients.dtype} {tuple(coefficients.shape)}; they must be {q.dtype} "
                f"[batch, heads, states, time] for q {tuple(q.shape)}"
            )
    if decay.shape != (*axes, q.shape[2]) or decay.dtype != _REAL_DTYPES[q.dtype]:
        raise SpecError(
            f"decay is {decay.dtype} {tuple(decay.shape)}; it must be {_REAL_DTYPES[q.dtype]} {(*axes, q.shape[2])}"
        )
    expected = (*axes, q.shape[3], q.shape[3])
    if initial_state is not None and (initial_state.shape != expected or initial_state.dtype != q.dtype):
        raise SpecError(
            f"initial_state is {initial_state.dtype} {tuple(initial_state.shape)}; it must be {q.dtype} {expected}"
        )
