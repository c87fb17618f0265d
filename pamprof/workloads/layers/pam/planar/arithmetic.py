"""How the implementations over planes keep hidden sequences, and their first and last stages: in torch, and in kernels.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.errors import UnsupportedError
from pamprof.workloads.kernels.availability import missing_triton
from pamprof.workloads.layers.pam.planar.block import PlanarBlock
from pamprof.workloads.layers.pam.planar.products import ComplexProduct, FourProducts, fuse_once, joint_weights
from pamprof.workloads.layers.pam.planar.stages import compute_dtype, plane_norm
from pamprof.workloads.layers.recurrent.parameters import ComplexLinearParameters

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


def complex_maps(module: nn.Module) -> ComplexLinearParameters:
    """The module, if it holds the weights of a complex map."""
    if not isinstance(module, ComplexLinearParameters):
        raise TypeError(f"a complex projection needs ComplexLinearParameters, not {type(module).__name__}")
    return module


class ComplexArithmetic:
    """What every implementation of PAM has in common unless it says otherwise."""

    def rotation_channels(self, head_dim: int) -> int:
        """One angle per complex channel."""
        return head_dim

    def fused_cross_entropy(
        self, hidden: Tensor, table: Tensor, targets: Tensor, vocabulary_size: int
    ) -> Tensor | None:
        """Nothing is fused."""
        del hidden, table, targets, vocabulary_size
        return None


class Planar(ComplexArithmetic):
    """Separate planes; see ``pam_planar``."""

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

    def new_state(self, batch: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """S^T as planes [B, H, d_k, 2 d_v]."""
        return torch.zeros(batch, heads, head_dim, 2 * head_dim, dtype=dtype, device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The memory as complex [B, H, d_v, d_k]."""
        real, imag = state.chunk(2, -1)
        return torch.complex(real, imag).mT


class Fused(Planar):
    """Planes and kernels; see ``pam_fused``, which is imported where a block is built: it needs Triton."""

    def __init__(self) -> None:
        super().__init__("fused", PlanarBlock, FourProducts())

    def block(self, spec: LayerSpec) -> nn.Module:
        """A block of kernels.

        Raises:
            UnsupportedError: Triton is not installed.
        """
        reason = missing_triton()
        if reason is not None:
            raise UnsupportedError(reason)
        from pamprof.workloads.layers.pam.fused.block import FusedBlock

        return FusedBlock(spec)

    def embed(self, ids: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """As over planes; where inference has made both tables halves of one, its rows in one look-up."""
        real, imag = tables
        joint_width = 2 * real.shape[1]
        beside = real.stride() == imag.stride() == (joint_width, 1) and torch._C._is_alias_of(real, imag)  # type: ignore[attr-defined]
        if torch.is_grad_enabled() or not beside or imag.storage_offset() - real.storage_offset() != real.shape[1]:
            return super().embed(ids, tables)
        joint = real.as_strided((real.shape[0], joint_width), (joint_width, 1))
        return torch.unflatten(functional.embedding(ids, joint), -1, (2, -1))

    def planes(self, hidden: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """What the last block left to add, added."""
        from pamprof.workloads.layers.pam.fused.block import joined

        return joined(hidden)

    def norm(self, hidden: Tensor | tuple[Tensor, Tensor], scale: Tensor) -> Tensor:
        """What was left to add, added on the way; returned in the dtype of the products."""
        from pamprof.workloads.layers.pam.fused.block import fused_norm

        return fused_norm(hidden, scale)

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """As over planes, but a token's product reads each weight once."""
        maps = complex_maps(maps)
        if fused is None or hidden.shape[1] > 1 or maps.bias_real is None or maps.bias_imag is None:
            return super().project(hidden, maps, fused)
        from pamprof.workloads.layers.pam.fused.block import project_token

        return project_token(hidden, fused, maps.bias_real, maps.bias_imag)

    def fused_cross_entropy(self, hidden: Tensor, table: Tensor, targets: Tensor, vocabulary_size: int) -> Tensor:
        """The product with the table, its loss and its gradient, in one function."""
        from pamprof.workloads.layers.pam.fused.loss import FusedCrossEntropyFunction

        rows = hidden.flatten(0, 1).flatten(1)
        loss: Tensor = FusedCrossEntropyFunction.apply(rows, table, targets.flatten(), vocabulary_size)  # type: ignore[no-untyped-call]
        return loss

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Cosines and sines [2, T, d] in float32: kernels multiply with them before they round."""
        del hidden
        return torch.stack((angles.cos(), angles.sin())).float()
