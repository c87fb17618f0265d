"""How hidden sequences of complex tensors are kept, and their first and last stages.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.pam.arithmetic import ComplexArithmetic, complex_maps
from pamprof.workloads.layers.pam.complex import block as complex_block
from pamprof.workloads.layers.pam.complex.block import ComplexBlock
from pamprof.workloads.layers.pam.complex.stages import complex_norm

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


class Complex(ComplexArithmetic):
    """torch complex tensors; see ``block``."""

    name = "complex"

    def block(self, spec: LayerSpec) -> nn.Module:
        """A block over complex tensors."""
        return ComplexBlock(spec)

    def own(self, planes: Tensor) -> Tensor:
        """Complex [B, T, D]."""
        return torch.complex(planes[:, :, 0], planes[:, :, 1])

    def planes(self, hidden: Tensor) -> Tensor:
        """Real and imaginary parts stacked."""
        return torch.stack((hidden.real, hidden.imag), 2)

    def embed(self, ids: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Complex [B, T, D]."""
        return torch.complex(*(functional.embedding(ids, table) for table in tables))

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm."""
        return complex_norm(hidden, scale)

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """One complex product."""
        return complex_block.linear(hidden, complex_maps(maps))

    def fuse(self, maps: nn.Module) -> Tensor | None:
        """Nothing is fused."""
        return None

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """One real product of rows [u_r, u_i]."""
        return functional.linear(torch.cat((hidden.real, hidden.imag), -1), table, bias)

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Complex factors [T, d]."""
        return torch.polar(torch.ones_like(angles), angles).to(hidden.dtype)

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """[length, d]."""
        return rotation[start : start + length]

    def new_state(self, axes: tuple[int, ...], head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Complex [B, H, (K,) d_v, d_k]."""
        return torch.zeros(*axes, head_dim, head_dim, dtype=dtype.to_complex(), device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The state itself."""
        return state
