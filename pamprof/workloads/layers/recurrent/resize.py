"""A recurrent layer at another width."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import LayerSpec


def resize(spec: LayerSpec, model_dim: int) -> LayerSpec | None:
    """The same depth, head_dim, and ratios of inner and hidden width at another width; None where no head is left."""
    if model_dim < 1:
        return None
    heads = round(model_dim * spec.heads / spec.model_dim)
    hidden_dim = round(model_dim * spec.hidden_dim / spec.model_dim)
    if heads < 1 or hidden_dim < 1:
        return None
    return replace(spec, model_dim=model_dim, heads=heads, hidden_dim=hidden_dim)
