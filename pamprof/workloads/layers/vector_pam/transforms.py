"""The unitary Fourier transform over the channels of a head, as products of real planes or by ``torch.fft``.

F x has entries sum_j exp(-2 pi i j n / d) x_j / sqrt(d), so that neither F nor its inverse changes any size.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Protocol

import torch
from torch import Tensor

from pamprof.workloads.layers.recurrent.precision import precise


class Transform(Protocol):
    """How planes [2, ..., d] are transformed; ``matrix`` is that of ``fourier_matrix``."""

    def forward(self, planes: Tensor, matrix: Tensor) -> Tensor:
        """F x, planes [2, ..., d]."""
        ...

    def inverse(self, planes: Tensor, matrix: Tensor) -> Tensor:
        """The inverse of F times x, planes [2, ..., d]."""
        ...


class ProductTransform:
    """One real product with [cosines | sines], and a pass that adds up its parts.

    4 d² multiply-adds where a fast transform makes about 5 d log2(d) operations; in return tensor cores compute it,
    in bfloat16, and a compiler joins the additions with what follows.
    """

    def forward(self, planes: Tensor, matrix: Tensor) -> Tensor:
        """(a + i b)(C - i S) = a C + b S + i (b C - a S)."""
        (real_cosine, real_sine), (imag_cosine, imag_sine) = _products(planes, matrix)
        return torch.stack((real_cosine + imag_sine, imag_cosine - real_sine))

    def inverse(self, planes: Tensor, matrix: Tensor) -> Tensor:
        """(a + i b)(C + i S) = a C - b S + i (b C + a S)."""
        (real_cosine, real_sine), (imag_cosine, imag_sine) = _products(planes, matrix)
        return torch.stack((real_cosine - imag_sine, imag_cosine + real_sine))


class FastTransform:
    """``torch.fft`` on complex numbers; they are float32 under every policy, because torch has no bfloat16 ones."""

    def forward(self, planes: Tensor, matrix: Tensor) -> Tensor:
        """By the fast Fourier transform."""
        del matrix
        return _planes(torch.fft.fft(_complex(planes), norm="ortho"), planes.dtype)

    def inverse(self, planes: Tensor, matrix: Tensor) -> Tensor:
        """By the inverse one."""
        del matrix
        return _planes(torch.fft.ifft(_complex(planes), norm="ortho"), planes.dtype)


def fourier_matrix(head_dim: int) -> Tensor:
    """[C | S], float64 [d, 2 d]: cosines and sines of 2 pi j n / d, over sqrt(d)."""
    place = torch.arange(head_dim)
    angles = (place[:, None] * place % head_dim).double() * (2 * pi / head_dim)
    return torch.cat((angles.cos(), angles.sin()), 1) / sqrt(head_dim)


def _products(planes: Tensor, matrix: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The products a C and a S, b C and b S of planes a and b."""
    real, imag = (planes @ matrix.to(planes.dtype)).unbind(0)
    return real.chunk(2, -1), imag.chunk(2, -1)  # type: ignore[return-value]  # a list of two


def _complex(planes: Tensor) -> Tensor:
    return torch.complex(*precise(planes).unbind(0))


def _planes(numbers: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.stack((numbers.real, numbers.imag)).to(dtype)
