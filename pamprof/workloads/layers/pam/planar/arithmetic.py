"""How implementations over planes keep hidden sequences, and their first and last stages.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.pam.arithmetic import ComplexArithmetic, complex_maps
from pamprof.workloads.layers.pam.planar.products import ComplexProduct, fuse_once, joint_weights
from pamprof.workloads.layers.pam.planar.stages import plane_norm
from pamprof.workloads.layers.recurrent.precision import compute_dtype

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.pam.planar.block import PlanarBlock


class Planar(ComplexArithmetic):
    """Separate planes; see ``block``."""

    def __init__(self, name: str, block: type[PlanarBlock], product: ComplexProduct) -> None:
        self.name = name
        self._block = block
        self._product = product

    def block(self, spec: LayerSpec) -> nn.Module:
        """A block over planes."""
        return self._block(spec)

    def own(self, planes: Tensor) -> Tensor:
        """Planes are kept as they are."""
        return planes

    def planes(self, hidden: Tensor) -> Tensor:
        """Planes are kept as they are."""
        return hidden

    def embed(self, ids: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Planes [B, T, 2, D]."""
        return torch.stack([functional.embedding(ids, table) for table in tables], 2)

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm in float32, returned in the dtype of the products."""
        return plane_norm(hidden, scale)

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """One fused product and the bias."""
        maps = complex_maps(maps)
        assert maps.bias_real is not None
        assert maps.bias_imag is not None
        if fused is None:
            fused = self._product.fuse(*joint_weights((maps,), compute_dtype(hidden)))
        return self._product.apply(hidden, fused) + torch.stack((maps.bias_real, maps.bias_imag))

    def fuse(self, maps: nn.Module) -> Tensor | None:
        """The fused weight, of which the parameters become views."""
        maps = complex_maps(maps)
        return fuse_once(self._product, (maps,), maps.weight_real.dtype)

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """One product of rows [u_r, u_i]."""
        return functional.linear(hidden.flatten(-2), table, bias)

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Cosines and sines [2, T, d]."""
        return torch.stack((angles.cos(), angles.sin())).to(compute_dtype(hidden))

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """[2, length, d]."""
        return rotation[:, start : start + length]

    def new_state(self, axes: tuple[int, ...], head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """S^T as planes [B, H, (K,) d_k, 2 d_v]."""
        return torch.zeros(*axes, head_dim, 2 * head_dim, dtype=dtype, device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The state as complex [B, H, d_v, d_k]."""
        real, imag = state.chunk(2, -1)
        return torch.complex(real, imag).mT
