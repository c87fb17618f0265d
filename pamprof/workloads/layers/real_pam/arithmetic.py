"""The real twin outside its blocks: embedding, norm, projection, logits, rotations and states over real tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.real_pam.block import RealBlock, real_norm
from pamprof.workloads.layers.recurrent.parameters import RealLinearParameters
from pamprof.workloads.layers.recurrent.precision import compute_dtype

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class RealArithmetic:
    """``Arithmetic`` over real hidden sequences [B, T, D]."""

    name = "planar"

    def block(self, spec: LayerSpec) -> nn.Module:
        """A real block."""
        return RealBlock(spec)

    def own(self, planes: Tensor) -> Tensor:
        """Sequences are kept as they are."""
        return planes

    def planes(self, hidden: Tensor) -> Tensor:
        """Sequences are kept as they are."""
        return hidden

    def embed(self, ids: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Rows [B, T, D] of the one table [V, D]."""
        return functional.embedding(ids, tables[0])

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Root-mean-square norm, returned in the dtype of the products."""
        return real_norm(hidden, scale)

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """The head's linear map with bias."""
        if not isinstance(maps, RealLinearParameters):
            raise TypeError(f"a real projection needs RealLinearParameters, not {type(maps).__name__}")
        return functional.linear(hidden, maps.weight, maps.bias)

    def fuse(self, maps: nn.Module) -> Tensor | None:
        """Nothing is to be fused."""
        return None

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """U E^T + bias."""
        return functional.linear(hidden, table, bias)

    def fused_cross_entropy(
        self, hidden: Tensor, table: Tensor, targets: Tensor, vocabulary_size: int
    ) -> Tensor | None:
        """Nothing is fused."""
        del hidden, table, targets, vocabulary_size
        return None

    def rotation_channels(self, head_dim: int) -> int:
        """One angle per pair of channels."""
        return head_dim // 2

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Cosines and sines [2, T, d / 2] in the dtype of the products."""
        return torch.stack((angles.cos(), angles.sin())).to(compute_dtype(hidden))

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """[2, length, d / 2]."""
        return rotation[:, start : start + length]

    def new_state(self, axes: tuple[int, ...], head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """S^T, [B, H, (K,) d_k, d_v]."""
        return torch.zeros(*axes, head_dim, head_dim, dtype=dtype, device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The state as real [B, H, d_v, d_k]."""
        return state.mT


REAL: Arithmetic = RealArithmetic()
