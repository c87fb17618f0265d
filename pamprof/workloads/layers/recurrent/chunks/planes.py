"""Numbers as real planes side by side: what the chunk-parallel recurrence does to them, with two planes or one.

Axes: C chunk, d head_dim, m planes (2 complex, 1 real).
"""

from __future__ import annotations

import torch
from torch import Tensor


def turn(planes: Tensor) -> Tensor:
    """I · z for planes [..., re | im] on the last axis: [..., -im | re]."""
    real, imag = planes.chunk(2, -1)
    return torch.cat((-imag, real), -1)


def turn_back(planes: Tensor) -> Tensor:
    """-i · z, the adjoint of ``turn``."""
    real, imag = planes.chunk(2, -1)
    return torch.cat((imag, -real), -1)


def both_planes(state: Tensor, planes: int) -> Tensor:
    """State [..., d, m d] to the matrix [..., m d, m d] that a query row of m planes multiplies."""
    return state if planes == 1 else torch.cat((state, turn(state)), -2)


def times(rows: Tensor, coefficient: Tensor | None) -> Tensor:
    """Rows [..., C, m d] times c [..., C, m] for each, None for 1."""
    if coefficient is None:
        return rows
    if coefficient.shape[-1] == 1:
        return rows * coefficient
    real, imag = coefficient[..., :1], coefficient[..., 1:]
    return real * rows + imag * turn(rows)


def times_conjugate(rows: Tensor, coefficient: Tensor | None) -> Tensor:
    """Rows times conj(c), likewise."""
    if coefficient is None:
        return rows
    if coefficient.shape[-1] == 1:
        return rows * coefficient
    real, imag = coefficient[..., :1], coefficient[..., 1:]
    return real * rows + imag * turn_back(rows)


def product(one: Tensor, other: Tensor) -> Tensor:
    """Of numbers given as planes on axis -2: the complex product of two planes, the plain one of one."""
    if one.shape[-2] == 1:
        return one * other
    (a_real, a_imag), (b_real, b_imag) = one.unbind(-2), other.unbind(-2)
    return torch.stack((a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real), -2)


def product_with_conjugate(one: Tensor, other: Tensor) -> Tensor:
    """Conj(one) · other, likewise."""
    if one.shape[-2] == 1:
        return one * other
    (a_real, a_imag), (b_real, b_imag) = one.unbind(-2), other.unbind(-2)
    return torch.stack((a_real * b_real + a_imag * b_imag, a_real * b_imag - a_imag * b_real), -2)
