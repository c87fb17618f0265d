"""How the published code keeps hidden sequences, and its first and last stages.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.pam.arithmetic import ComplexArithmetic, complex_maps
from pamprof.workloads.layers.pam.published import block as published_block, stages
from pamprof.workloads.layers.pam.published.block import PublishedBlock

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


class Published(ComplexArithmetic):
    """Interleaved pairs; see ``block``."""

    name = "published"

    def block(self, spec: LayerSpec) -> nn.Module:
        """A block over pairs."""
        return PublishedBlock(spec)

    def own(self, planes: Tensor) -> Tensor:
        """Pairs [B, T, D, 2]."""
        return planes.transpose(-1, -2).contiguous()

    def planes(self, hidden: Tensor) -> Tensor:
        """A view of the pairs."""
        return hidden.transpose(-1, -2)

    def embed(self, ids: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Pairs [B, T, D, 2]."""
        return torch.stack([functional.embedding(ids, table) for table in tables], -1)

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm in separate passes."""
        return stages.norm(hidden, scale)

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """Four products and a stack."""
        return published_block.linear(hidden, complex_maps(maps))

    def fuse(self, maps: nn.Module) -> Tensor | None:
        """Nothing is fused."""
        return None

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """Two products and a sum."""
        real, imag = table.chunk(2, 1)
        rows = functional.linear(published_block.real_rows(hidden), real, bias)
        rows = rows + functional.linear(published_block.imag_rows(hidden), imag)
        return rows.view(*hidden.shape[:-2], -1)

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Pairs [T, d, 2]."""
        return torch.stack((angles.cos(), angles.sin()), dim=-1).to(hidden.dtype)

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """[length, d, 2]."""
        return rotation[start : start + length]

    def new_state(self, axes: tuple[int, ...], head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Pairs [B, H, (K,) d_v, d_k, 2]."""
        return torch.zeros(*axes, head_dim, head_dim, 2, dtype=dtype, device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The state as complex [B, H, d_v, d_k]."""
        return torch.view_as_complex(state)
