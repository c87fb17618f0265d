"""Vector-state memory: PAM's block with one vector of d numbers a head instead of a matrix of d².

The holographic reduced representation of Plate (1995) with PAM's decay: a key and a value are bound by circular
convolution, the bound vectors are summed with decay, and a query reads by circular correlation:

    s_t = decay_t s_{t-1} + k_t ⊛ v_t / sqrt(d)          s in C^d a head
    y_t = q_t ⋆ s_t / sqrt(d)

arXiv:2604.05030 rejects it in favour of the matrix state, whose associations disturb each other less. The
unitary Fourier transform turns both into products of spectra, entry by entry, so the state is kept as its spectrum and
a token costs four transforms of d points a head: query, key, value, and what was read.

Whole sequences run chunk-parallel: inside a chunk one product of the decays with the bound vectors, between chunks one
product with the decays between chunks.

Axes: B batch, T time, H heads, d head_dim, N chunks, C chunk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.layers.pam.planar.block import PlanarBlock
from pamprof.workloads.layers.recurrent.chunks.core import CHUNK_SIZE
from pamprof.workloads.layers.recurrent.chunks.decay import summed_up_to
from pamprof.workloads.layers.recurrent.precision import in_float32, keep
from pamprof.workloads.layers.vector_pam.transforms import (
    FastTransform,
    ProductTransform,
    Transform,
    fourier_matrix,
)

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


class VectorBlock(PlanarBlock):
    """The planar block of PAM around a vector state; transforms as real products."""

    transform: Transform = ProductTransform()
    fourier: Tensor

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec)
        self.register_buffer("fourier", fourier_matrix(spec.head_dim), persistent=False)

    def _remember(self, x: Tensor, rotation: Tensor, state: Tensor | None, begins: bool) -> Tensor:
        """Retrieved planes [B, T, 2, H d] for normed planes ``x``; ``state`` is the spectrum of s, [B, H, 2, d]."""
        queries, keys, values, log_decay, _ = self._memory_inputs(x, rotation)
        planes = torch.stack([torch.stack(plane) for plane in zip(queries, keys, values, strict=True)])
        spectra = self.transform.forward(planes, self.fourier)
        (q_real, k_real, v_real), (q_imag, k_imag, v_imag) = (plane.unbind(0) for plane in spectra.unbind(0))
        bound = torch.stack((k_real * v_real - k_imag * v_imag, k_real * v_imag + k_imag * v_real), -2)
        if state is not None and x.shape[1] == 1 and not begins:
            after = in_float32(state).mul_(log_decay.squeeze(1).exp()[..., None, None]).add_(bound.squeeze(1))
            keep(state, after)
            held = after.unsqueeze(1).to(bound.dtype)
        else:
            held = _all_chunks(bound, log_decay, state=state, begins=begins)
        s_real, s_imag = held.unbind(-2)  # [B, T, H, d]
        read = torch.stack((q_real * s_real + q_imag * s_imag, q_real * s_imag - q_imag * s_real))
        return self.transform.inverse(read, self.fourier).movedim(0, 2).flatten(3)


class FastVectorBlock(VectorBlock):
    """The same with the fast Fourier transform."""

    transform: Transform = FastTransform()


def _all_chunks(bound: Tensor, log_decay: Tensor, *, state: Tensor | None, begins: bool) -> Tensor:
    """States after every token [B, T, H, 2, d] from what each adds, ``bound``; updates ``state``."""
    length = log_decay.shape[1]
    chunk = min(CHUNK_SIZE, length)
    chunks = -(-length // chunk)
    padding = chunks * chunk - length

    def in_chunks(x: Tensor) -> Tensor:
        """[B, T, H, ...] to [B, H, N, C, ...]."""
        padded = functional.pad(x, (0, 0) * (x.ndim - 2) + (0, padding)) if padding else x
        return torch.unflatten(padded, 1, (chunks, chunk)).movedim(3, 1)

    # Padded tokens add nothing and keep everything, so the state after them is that after the last real one.
    before = None if state is None or begins else state.flatten(-2)
    held, last = decayed_sums(in_chunks(bound).flatten(-2), in_chunks(log_decay).contiguous(), before)
    if state is not None:
        state.copy_(torch.unflatten(last, -1, (2, -1)))
    tokens = torch.unflatten(held, -1, (2, -1)).movedim(1, 3).flatten(1, 2)
    return tokens[:, :length]


def decayed_sums(added: Tensor, log_decay: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """s_t = decay_t s_{t-1} + added_t for all tokens.

    Args:
        added: [B, H, N, C, n].
        log_decay: float32 (float64 for float64 ``added``) [B, H, N, C], finite.
        before: [B, H, n] held before the first token, or None for zeros.

    Returns:
        s after every token [B, H, N, C, n] in the dtype of ``added``, and after the last one [B, H, n].
    """
    cumulative = summed_up_to(log_decay)
    held = _decays_between(cumulative).to(added.dtype) @ added
    if log_decay.shape[2] == 1 and before is None:
        return held, held[:, :, 0, -1]
    through = summed_up_to(cumulative[..., -1])
    after = _decays_between(through).to(added.dtype) @ held[..., -1, :]  # [B, H, N, n]
    if before is not None:
        after = after + through.exp()[..., None] * before[:, :, None]
    first = torch.zeros_like(after[:, :, :1]) if before is None else before[:, :, None].to(after.dtype)
    entering = torch.cat((first, after[:, :, :-1]), 2)
    return (held + cumulative.exp()[..., None] * entering.unsqueeze(-2)).to(added.dtype), after[:, :, -1]


def _decays_between(cumulative: Tensor) -> Tensor:
    """exp(c_t - c_s) for s <= t, 0 above the diagonal: [..., T] to [..., T, T]."""
    length = cumulative.shape[-1]
    above = torch.ones(length, length, dtype=torch.bool, device=cumulative.device).triu(1)
    difference = cumulative[..., :, None] - cumulative[..., None, :]
    return difference.masked_fill(above, float("-inf")).exp()  # masked before: above, it could overflow
