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


def in_float32(state: Tensor) -> Tensor:
    """A state to compute one token with: a copy in float32 where it is bfloat16, which ``keep`` rounds once; else it.

    Computed in bfloat16 it would be rounded after the decay and after every write, and one that forgets less than a
    hundredth a token would run away (reports/state-dtype).
    """
    return state.float() if state.dtype == torch.bfloat16 else state


def keep(state: Tensor, held: Tensor) -> None:
    """Store in ``state`` what ``in_float32`` gave and a token changed."""
    if state.dtype == torch.bfloat16:
        state.copy_(held)
