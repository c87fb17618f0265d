"""How far a measured block is from its float64 oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference over root mean square of ``expected``, in float64 on the CPU."""
    wide = torch.complex128 if expected.is_complex() else torch.float64
    difference = found.detach().cpu().to(wide) - expected.detach()
    return float(difference.norm() / expected.detach().norm())
