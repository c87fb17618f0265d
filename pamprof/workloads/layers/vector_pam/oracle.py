"""Vector-state memory written out naively in complex128: PAM's naive block around sums over all pairs of channels.

No Fourier transform: circular convolution and correlation as they are defined. Axes: B batch, H heads, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pamprof.workloads.layers.pam import oracle

if TYPE_CHECKING:
    from collections.abc import Mapping

ORACLE_NAME = "naive complex128 recurrence over tokens, convolutions as sums"


def convolved(value: Tensor, key: Tensor) -> Tensor:
    """The convolution k ⊛ v / sqrt(d), entry n the sum over m of k_m v_(n - m): [B, H, d]."""
    place = torch.arange(key.shape[-1])
    shifted = value[..., (place[:, None] - place) % len(place)]  # [..., n, m]
    return torch.einsum("bhm,bhnm->bhn", key, shifted) / sqrt(len(place))


def correlated(state: Tensor, query: Tensor) -> Tensor:
    """The correlation q ⋆ s / sqrt(d), entry n the sum over m of conj(q_m) s_(n + m): [B, H, d]."""
    place = torch.arange(query.shape[-1])
    shifted = state[..., (place[:, None] + place) % len(place)]  # [..., n, m]
    return torch.einsum("bhm,bhnm->bhn", query.conj(), shifted) / sqrt(len(place))


def naive_block(weights: Mapping[str, Tensor], planes: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Output planes [B, T, 2, D] and final state [B, H, d] of one block on ``planes``, all in float64."""
    return oracle.naive_block(weights, planes, heads, write=convolved, read=correlated)
