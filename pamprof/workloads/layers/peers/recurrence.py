"""One matrix state a head, step by step: what the chunked kernels of peers compute, for the gate and for planning.

Axes: B batch, T time, H heads, K key channels, V value channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    remove: Tensor | None = None,
    add: Tensor | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One matrix state a head, step by step in float32, in float64 where ``q`` is.

    S_t = exp(decay_t) S_{t-1} + add_t (remove_t^T S_{t-1}) + k_t u_t^T, and o_t = scale q_t^T S_t. The value written is
    u_t = v_t, with ``beta`` the delta rule's u_t = beta_t (v_t - k_t^T exp(decay_t) S_{t-1}).

    Args:
        q: Queries [B, T, H, K].
        k: Keys [B, T, H, K].
        v: Values [B, T, H, V].
        scale: Of the queries.
        decay: Logarithms [B, T, H, K], or [B, T, H, 1] for one a head; None: nothing decays.
        beta: Strength of the delta rule [B, T, H].
        remove: Direction that is read before decay [B, T, H, K].
        add: Direction that it is written to [B, T, H, K].
        state: S_0 [B, H, K, V]; None: zeros.

    Returns:
        Outputs [B, T, H, V] in the dtype of ``v`` and the last state. On the meta device tensors of these shapes, which
        depend on every input.
    """
    wide = torch.float64 if q.dtype is torch.float64 else torch.float32
    if state is None:
        state = v.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3], dtype=wide)
    if q.is_meta:
        inputs = [tensor for tensor in (q, k, decay, beta, remove, add) if tensor is not None]
        return shape_of(v, *inputs), state
    kind = v.dtype
    q, k, v, state = scale * q.to(wide), k.to(wide), v.to(wide), state.to(wide)
    outputs = []
    for step in range(q.shape[1]):
        key = k[:, step, :, :, None]
        before = state
        if decay is not None:
            state = decay[:, step].to(wide).exp()[..., None] * state
        if remove is not None and add is not None:
            read = (remove[:, step, :, :, None].to(wide) * before).sum(-2, keepdim=True)
            state = state + add[:, step, :, :, None].to(wide) * read
        value = v[:, step, :, None]
        if beta is not None:
            value = beta[:, step, :, None, None].to(wide) * (value - (key * state).sum(-2, keepdim=True))
        state = state + key * value
        outputs.append((q[:, step, :, :, None] * state).sum(-2))
    return torch.stack(outputs, dim=1).to(kind), state


def shape_of(like: Tensor, *inputs: Tensor) -> Tensor:
    """A tensor of the shape of ``like`` that depends on all of them, with a gradient for each; without values."""
    output: Tensor = _Shape.apply(like, *inputs)  # type: ignore[no-untyped-call]
    return output


class _Shape(torch.autograd.Function):
    """A tensor like the first input, with a gradient for each input, without data."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*inputs)
        return torch.empty_like(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        del gradient
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors)
