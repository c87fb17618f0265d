"""How the hand-written kernels keep hidden sequences, and their first and last stages.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.errors import UnsupportedError
from pamprof.workloads.kernels.availability import missing_triton
from pamprof.workloads.layers.pam.arithmetic import complex_maps
from pamprof.workloads.layers.pam.planar.arithmetic import Planar
from pamprof.workloads.layers.pam.planar.block import PlanarBlock
from pamprof.workloads.layers.pam.planar.products import FourProducts

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


class Fused(Planar):
    """Planes and kernels; see ``block``, which is imported where a block is built: it needs Triton."""

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
        beside = real.stride() == imag.stride() == (joint_width, 1)
        beside = beside and torch._C._is_alias_of(real, imag)  # type: ignore[attr-defined]  # torch does not declare it
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
        loss: Tensor = FusedCrossEntropyFunction.apply(rows, table, targets.flatten(), vocabulary_size)
        return loss

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Cosines and sines [2, T, d] in float32: kernels multiply with them before they round."""
        del hidden
        return torch.stack((angles.cos(), angles.sin())).float()
