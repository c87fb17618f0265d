"""The implementations of PAM behind one interface: how each keeps hidden sequences, and its first and last stages.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.errors import UsageError
from pamprof.workloads.layers.pam.complex import block as pam_complex
from pamprof.workloads.layers.pam.complex.block import ComplexBlock
from pamprof.workloads.layers.pam.complex.stages import complex_norm
from pamprof.workloads.layers.pam.planar.arithmetic import ComplexArithmetic, Fused, Planar, complex_maps
from pamprof.workloads.layers.pam.planar.block import GaussBlock, PlanarBlock
from pamprof.workloads.layers.pam.planar.products import FourProducts, ThreeProducts
from pamprof.workloads.layers.pam.published import block as pam_published, stages as published_stages
from pamprof.workloads.layers.pam.published.block import PublishedBlock

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class Published(ComplexArithmetic):
    """Interleaved pairs; see ``pam_published``."""

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
        return published_stages.norm(hidden, scale)

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """Four products and a stack."""
        return pam_published.linear(hidden, complex_maps(maps))

    def fuse(self, maps: nn.Module) -> Tensor | None:
        """Nothing is fused."""
        return None

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """Two products and a sum."""
        real, imag = table.chunk(2, 1)
        rows = functional.linear(pam_published.real_rows(hidden), real, bias)
        rows = rows + functional.linear(pam_published.imag_rows(hidden), imag)
        return rows.view(*hidden.shape[:-2], -1)

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """Pairs [T, d, 2]."""
        return torch.stack((angles.cos(), angles.sin()), dim=-1).to(hidden.dtype)

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """[length, d, 2]."""
        return rotation[start : start + length]

    def new_state(self, batch: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Pairs [B, H, d_v, d_k, 2]."""
        return torch.zeros(batch, heads, head_dim, head_dim, 2, dtype=dtype, device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The memory as complex [B, H, d_v, d_k]."""
        return torch.view_as_complex(state)


class Complex(ComplexArithmetic):
    """torch complex tensors; see ``pam_complex``."""

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
        return pam_complex.linear(hidden, complex_maps(maps))

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

    def new_state(self, batch: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Complex [B, H, d_v, d_k]."""
        return torch.zeros(batch, heads, head_dim, head_dim, dtype=dtype.to_complex(), device=device)

    def complex_state(self, state: Tensor) -> Tensor:
        """The memory itself."""
        return state


ARITHMETICS: dict[str, Arithmetic] = {
    arithmetic.name: arithmetic
    for arithmetic in (
        Published(),
        Planar("planar", PlanarBlock, FourProducts()),
        Planar("gauss", GaussBlock, ThreeProducts()),
        Complex(),
        Fused(),
    )
}


def arithmetic(name: str) -> Arithmetic:
    """The implementation called ``name``, or a ``UsageError`` that lists the ones there are."""
    if name not in ARITHMETICS:
        raise UsageError(f"no implementation {name!r} of layer pam; there is {', '.join(ARITHMETICS)}")
    return ARITHMETICS[name]
