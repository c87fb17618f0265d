"""What an implementation does around its blocks: the interface that lets one language model run on any of them.

A model is the same composition whatever the arithmetic: embed, norm, blocks, norm, project, norm, logits.

Axes: B batch, T time, D model_dim, H heads, d head_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from pamprof.records import LayerSpec


class Arithmetic(Protocol):
    """One implementation outside its blocks.

    A hidden sequence enters and leaves in the layer's common form, planes [B, T, 2, D] for PAM and [B, T, D] for its
    real twin; in between it has the implementation's own.
    """

    name: str

    def block(self, spec: LayerSpec) -> nn.Module:
        """One block with the parameters and the code of this implementation."""
        ...

    def own(self, planes: Tensor) -> Tensor:
        """A hidden sequence as the implementation keeps it, from the common form."""
        ...

    def planes(self, hidden: Tensor) -> Tensor:
        """Back to the common form."""
        ...

    def embed(self, ids: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        """Rows of the tables [V, D] (real and imaginary, or one) for ids [B, T]."""
        ...

    def norm(self, hidden: Tensor, scale: Tensor) -> Tensor:
        """The architecture's norm over channels."""
        ...

    def project(self, hidden: Tensor, maps: nn.Module, fused: Tensor | None) -> Tensor:
        """The head's linear map with bias; ``fused`` is what ``fuse`` returned."""
        ...

    def fuse(self, maps: nn.Module) -> Tensor | None:
        """The map's weight prepared once for inference; None where there is nothing to prepare."""
        ...

    def logits(self, hidden: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
        """Real product with the tied ``table`` [V, width] plus ``bias`` [V]; complex tables have rows [E_r, E_i]."""
        ...

    def fused_cross_entropy(
        self, hidden: Tensor, table: Tensor, targets: Tensor, vocabulary_size: int
    ) -> Tensor | None:
        """Mean cross-entropy against ``targets`` [B, T] without logits; None where they are made and then compared."""
        ...

    def rotation(self, angles: Tensor, hidden: Tensor) -> Tensor:
        """What the blocks want of the angles [T, d] of consecutive positions, in the dtype that suits ``hidden``."""
        ...

    def rotation_channels(self, head_dim: int) -> int:
        """How many angles a position has: one per channel, or per pair of them."""
        ...

    def positions(self, rotation: Tensor, start: int, length: int) -> Tensor:
        """The part of a ``rotation`` that belongs to ``length`` positions from ``start``."""
        ...

    def new_state(self, axes: tuple[int, ...], head_dim: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """An empty state of one block; ``dtype`` is real, float32 or float64, ``axes`` those before a state's own.

        They are [B, H], or [B, H, K] where a head has several states.
        """
        ...

    def complex_state(self, state: Tensor) -> Tensor:
        """The state as the formulas have it, [B, H, d_v, d_k] or [B, H, K, d_v, d_k], complex or real."""
        ...
