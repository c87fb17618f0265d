"""What the implementations of PAM have in common around their blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters

if TYPE_CHECKING:
    from torch import Tensor, nn


def complex_maps(module: nn.Module) -> ComplexLinearParameters:
    """The module, if it holds the weights of a complex map."""
    if not isinstance(module, ComplexLinearParameters):
        raise TypeError(f"a complex projection needs ComplexLinearParameters, not {type(module).__name__}")
    return module


class ComplexArithmetic:
    """What every implementation of PAM has in common unless it says otherwise."""

    def rotation_channels(self, head_dim: int) -> int:
        """One angle per complex channel."""
        return head_dim

    def fused_cross_entropy(
        self, hidden: Tensor, table: Tensor, targets: Tensor, vocabulary_size: int
    ) -> Tensor | None:
        """Nothing is fused."""
        del hidden, table, targets, vocabulary_size
        return None
