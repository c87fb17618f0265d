"""Complex linear maps over planes as few real products: one block product, or three.

Both strategies fuse the weights of maps that share an input. In inference the fused weight is made once and the
parameters become views of it, so that weights are held once; in training it is made in every step, a few megabytes
beside activations of hundreds.

Planes: x is real [B, T, 2, in] with real parts in plane 0; out the sum of the outputs of the fused maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters


class ComplexProduct(Protocol):
    """How W x is computed over planes."""

    def fuse(self, weight_real: Tensor, weight_imag: Tensor) -> Tensor:
        """One tensor from W_r and W_i, each [out, in]."""
        ...

    def parts(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """W_r and W_i as views of a fused weight."""
        ...

    def apply(self, x: Tensor, fused: Tensor) -> Tensor:
        """W x, planes [B, T, 2, out], contiguous."""
        ...


class FourProducts:
    """The four real products as one: [x_r, x_i] times [[W_r, -W_i], [W_i, W_r]].

    For single tokens the block would be read whole although each weight is in it twice; there the rows x_r and x_i
    multiply its left half [W_r; W_i] apart, and a pass over the small result adds them up.
    """

    def fuse(self, weight_real: Tensor, weight_imag: Tensor) -> Tensor:
        """[2 out, 2 in]."""
        return torch.cat((torch.cat((weight_real, -weight_imag), 1), torch.cat((weight_imag, weight_real), 1)), 0)

    def parts(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """The left half of the block."""
        outputs, inputs = fused.shape[0] // 2, fused.shape[1] // 2
        return fused[:outputs, :inputs], fused[outputs:, :inputs]

    def apply(self, x: Tensor, fused: Tensor) -> Tensor:
        """W x, planes [B, T, 2, out]."""
        if x.shape[1] > 1 or torch.is_grad_enabled():
            return torch.unflatten(functional.linear(x.flatten(-2), fused), -1, (2, -1))
        return turned_sum(torch.unflatten(functional.linear(x, fused[:, : x.shape[-1]]), -1, (2, -1)))


class ThreeProducts:
    """Three real products: W_r x_r, W_i x_i and (W_r + W_i)(x_r + x_i), from which both planes are sums."""

    def fuse(self, weight_real: Tensor, weight_imag: Tensor) -> Tensor:
        """[3, out, in]: W_r, W_i and their sum."""
        return torch.stack((weight_real, weight_imag, weight_real + weight_imag))

    def parts(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """The first two."""
        return fused[0], fused[1]

    def apply(self, x: Tensor, fused: Tensor) -> Tensor:
        """W x, planes [B, T, 2, out]."""
        real, imag = x.unbind(-2)
        weight_real, weight_imag, weight_sum = fused.unbind(0)
        first = functional.linear(real, weight_real)
        second = functional.linear(imag, weight_imag)
        third = functional.linear(real + imag, weight_sum)
        return torch.stack((first - second, third - first - second), -2)


def turned_sum(rows: Tensor) -> Tensor:
    """From A x_r (row 0) and A x_i (row 1), each planes [2 (row), 2 (plane), n], the planes of A (x_r + i x_i)."""
    real_row, imag_row = rows.unbind(-3)
    return torch.stack((real_row[..., 0, :] - imag_row[..., 1, :], real_row[..., 1, :] + imag_row[..., 0, :]), -2)


def joint_weights(
    maps: Sequence[ComplexLinearParameters], dtype: torch.dtype, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """W_r and W_i of all maps stacked along the outputs, times ``scale``, in ``dtype``."""

    def prepared(weight: Tensor) -> Tensor:
        return (weight if scale is None else scale * weight).to(dtype)

    reals = [prepared(linear.weight_real) for linear in maps]
    imags = [prepared(linear.weight_imag) for linear in maps]
    return (reals[0], imags[0]) if len(maps) == 1 else (torch.cat(reals), torch.cat(imags))


def fuse_once(product: ComplexProduct, maps: Sequence[ComplexLinearParameters], dtype: torch.dtype) -> Tensor:
    """The fused weight of ``maps`` in ``dtype``, whose parameters become views of it."""
    with torch.no_grad():
        fused = product.fuse(*joint_weights(maps, dtype))
        start = 0
        real, imag = product.parts(fused)
        for linear in maps:
            end = start + linear.weight_real.shape[0]
            linear.weight_real.data = real[start:end]
            linear.weight_imag.data = imag[start:end]
            start = end
    return fused
