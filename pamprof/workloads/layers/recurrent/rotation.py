"""The angles by which positions rotate queries and keys."""

from __future__ import annotations

import torch
from torch import Tensor

from pamprof.errors import SpecError

ROTATION_BASE = 10_000.0


def rotation_angles(position: int, length: int, channels: int, device: torch.device) -> Tensor:
    """Angles m · 10000^(-j / channels) of positions ``position`` .. ``position + length - 1``, float64 [T, channels].

    In float64 because float32 angles are off by a tenth of a radian at a million tokens of context.
    """
    if position < 0 or length < 1:
        raise SpecError(f"positions {position} .. {position + length - 1} do not exist; they count from 0")
    frequency = ROTATION_BASE ** (-torch.arange(channels, dtype=torch.float64, device=device) / channels)
    return torch.arange(position, position + length, dtype=torch.float64, device=device)[:, None] * frequency
