"""Which dtype a product or a sensitive elementwise stage is computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype of matrix products on ``x``: autocast's where that is on, else its own."""
    device_type = x.device.type
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else x.dtype


def precise(x: Tensor) -> Tensor:
    """``x`` in float32, or in float64 where it is float64."""
    return x if x.dtype == torch.float64 else x.float()
