"""The four implementations of PAM behind one interface: how each keeps hidden sequences, and its first and last stages.

A language model is the same composition whatever the arithmetic: embed, norm, blocks, norm, project, norm, logits.
What differs is collected here per implementation; blocks are in their own modules.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.errors import UsageError
from pamprof.workloads.layers import pam_complex, pam_published
from pamprof.workloads.layers.complex_ops import complex_norm
from pamprof.workloads.layers.complex_products import (
    ComplexProduct,
    FourProducts,
    ThreeProducts,
    fuse_once,
    joint_weights,
)
from pamprof.workloads.layers.pam_complex import ComplexBlock
from pamprof.workloads.layers.pam_parameters import ComplexLinearParameters, PamBlockParameters
from pamprof.workloads.layers.pam_planar import GaussBlock, PlanarBlock
from pamprof.workloads.layers.pam_published import PublishedBlock
from pamprof.workloads.layers.plane_ops import compute_dtype, plane_norm


class PamArithmetic(Protocol):
    """One implementation outside its blocks. Planes are [B, T, 2, D]; what ``own`` returns is the implementation's."""

    name: str
    block: type[PamBlockParameters]

    def own(self, planes: Tensor) -> Tensor:
        """A hidden sequence as the implementation keeps it, from planes."""
        ...

    def planes(self, hidden: Tensor) -> Tensor:
        """Back to planes [B, T, 2, D]."""
        ...

    def embed(self, ids: Tensor, real: Tensor, imag: Tensor) -> Tensor:
        """Rows of the two tables [V, D] for ids [B, T]."""
        ...

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm."""
        ...

    def project(self, hidden: Tensor, maps: ComplexLinearParameters, fused: Tensor | None) -> Tensor:
        """The head's linear map with bias; ``fused`` is what ``fuse`` returned."""
        ...

    def fuse(self, maps: ComplexLinearParameters) -> Tensor | None:
        """The map's weight prepared once for inference; None where there is nothing to prepare."""
        ...

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """u_r E_r^T + u_i E_i^T + bias, [B, T, V] for ``table`` [V, 2 D], rows [E_r, E_i]."""
        ...

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """What the blocks want of the angles [T, d] of consecutive positions, in the dtype that suits ``hidden``."""
        ...

    def rotation_channels(self, head_dim: int) -> int:
        """How many angles a position has: one per complex channel."""
        ...

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """The part of a ``rotation`` that belongs to ``length`` positions from ``start``."""
        ...

    def new_state(self, batch: int, heads: int, head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """An empty memory of one block; ``dtype`` is real, float32 or float64."""
        ...

    def complex_state(self, state: Tensor) -> Tensor:
        """The memory as complex [B, H, d_v, d_k]."""
        ...


class _OneAnglePerChannel:
    def rotation_channels(self, head_dim: int) -> int:
        """One per complex channel."""
        return head_dim


class Planar(_OneAnglePerChannel):
    """Separate planes; see ``pam_planar``."""

    def __init__(self, name: str, block: type[PlanarBlock], product: ComplexProduct) -> None:
        self.name = name
        self.block: type[PamBlockParameters] = block
        self._product = product

    def own(self, planes: Tensor) -> Tensor:
        """Planes are kept as they are."""
        return planes

    def planes(self, hidden: Tensor) -> Tensor:
        """Planes are kept as they are."""
        return hidden

    def embed(self, ids: Tensor, real: Tensor, imag: Tensor) -> Tensor:
        """Planes [B, T, 2, D]."""
        return torch.stack((functional.embedding(ids, real), functional.embedding(ids, imag)), 2)

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm in float32, returned in the dtype of the products."""
        return plane_norm(hidden, scale)

    def project(self, hidden: Tensor, maps: ComplexLinearParameters, fused: Tensor | None) -> Tensor:
        """One fused product and the bias."""
        assert maps.bias_real is not None
        assert maps.bias_imag is not None
        if fused is None:
            fused = self._product.fuse(*joint_weights((maps,), compute_dtype(hidden)))
        return self._product.apply(hidden, fused) + torch.stack((maps.bias_real, maps.bias_imag))

    def fuse(self, maps: ComplexLinearParameters) -> Tensor | None:
        """The fused weight, of which the parameters become views."""
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


class Published(_OneAnglePerChannel):
    """Interleaved pairs; see ``pam_published``."""

    name = "published"
    block: type[PamBlockParameters] = PublishedBlock

    def own(self, planes: Tensor) -> Tensor:
        """Pairs [B, T, D, 2]."""
        return planes.transpose(-1, -2).contiguous()

    def planes(self, hidden: Tensor) -> Tensor:
        """A view of the pairs."""
        return hidden.transpose(-1, -2)

    def embed(self, ids: Tensor, real: Tensor, imag: Tensor) -> Tensor:
        """Pairs [B, T, D, 2]."""
        return torch.stack((functional.embedding(ids, real), functional.embedding(ids, imag)), dim=-1)

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm in separate passes."""
        return pam_published.norm(hidden, scale)

    def project(self, hidden: Tensor, maps: ComplexLinearParameters, fused: Tensor | None) -> Tensor:
        """Four products and a stack."""
        return pam_published.linear(hidden, maps)

    def fuse(self, maps: ComplexLinearParameters) -> Tensor | None:
        """Nothing is fused."""
        return None

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """Two products and a sum."""
        real, imag = table.chunk(2, 1)
        return functional.linear(hidden[..., 0], real, bias) + functional.linear(hidden[..., 1], imag)

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


class Complex(_OneAnglePerChannel):
    """torch complex tensors; see ``pam_complex``."""

    name = "complex"
    block: type[PamBlockParameters] = ComplexBlock

    def own(self, planes: Tensor) -> Tensor:
        """Complex [B, T, D]."""
        return torch.complex(planes[:, :, 0], planes[:, :, 1])

    def planes(self, hidden: Tensor) -> Tensor:
        """Real and imaginary parts stacked."""
        return torch.stack((hidden.real, hidden.imag), 2)

    def embed(self, ids: Tensor, real: Tensor, imag: Tensor) -> Tensor:
        """Complex [B, T, D]."""
        return torch.complex(functional.embedding(ids, real), functional.embedding(ids, imag))

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """Complex norm."""
        return complex_norm(hidden, scale)

    def project(self, hidden: Tensor, maps: ComplexLinearParameters, fused: Tensor | None) -> Tensor:
        """One complex product."""
        return pam_complex.linear(hidden, maps)

    def fuse(self, maps: ComplexLinearParameters) -> Tensor | None:
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


ARITHMETICS: dict[str, PamArithmetic] = {
    arithmetic.name: arithmetic
    for arithmetic in (
        Published(),
        Planar("planar", PlanarBlock, FourProducts()),
        Planar("gauss", GaussBlock, ThreeProducts()),
        Complex(),
    )
}


def arithmetic(name: str) -> PamArithmetic:
    """The implementation called ``name``, or a ``UsageError`` that lists the ones there are."""
    if name not in ARITHMETICS:
        raise UsageError(f"no implementation {name!r} of layer pam; there is {', '.join(ARITHMETICS)}")
    return ARITHMETICS[name]
