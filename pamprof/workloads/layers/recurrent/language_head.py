"""The end of a language model as one region to compile: norm, projection, norm, tied logits, loss.

Axes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.common.vocabulary import VOCABULARY_MULTIPLE, padded_vocabulary_size
from pamprof.workloads.layers.recurrent.precision import compute_dtype, precise

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class ProjectedLanguageHead(nn.Module):
    """Norm, projection, norm, logits and their loss as one region to compile; its parameters belong to the model.

    The product is computed at a padded width. The bias of the padding is minus infinity, which makes it vanish from
    the softmax without a slice or a mask over the whole logits tensor.
    """

    padding_bias: Tensor | None
    fused: Tensor | None

    def __init__(self, spec: LayerSpec, own: Arithmetic) -> None:
        super().__init__()
        self.arithmetic = own
        self.vocabulary_size = spec.vocabulary_size
        self.padding = padded_vocabulary_size(spec.vocabulary_size) - spec.vocabulary_size
        bias = torch.zeros(spec.vocabulary_size + self.padding)
        bias[spec.vocabulary_size :] = float("-inf")
        self.register_buffer("padding_bias", bias if self.padding else None, persistent=False)
        self.register_buffer("fused", None, persistent=False)

    def forward(
        self,
        hidden: Tensor,
        norms: tuple[Tensor, Tensor],
        projection: nn.Module,
        tables: tuple[Tensor, ...],
        targets: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V], or with ``targets`` [B, T] their mean cross-entropy; ``tables`` or the padded one."""
        hidden = self.arithmetic.norm(hidden, norms[0])
        hidden = self.arithmetic.norm(self.arithmetic.project(hidden, projection, self.fused), norms[1])
        dtype = compute_dtype(tables[0])
        table = joint_table(tables, dtype)
        if targets is not None:
            loss = self.arithmetic.fused_cross_entropy(hidden, table, targets, self.vocabulary_size)
            if loss is not None:
                return loss
        bias = None if self.padding_bias is None else self.padding_bias.to(dtype)
        logits = self.arithmetic.logits(hidden, table, bias)
        if targets is None:
            return logits[..., : self.vocabulary_size]
        return functional.cross_entropy(precise(logits.flatten(0, -2)), targets.flatten())


def joint_table(tables: tuple[Tensor, ...], dtype: torch.dtype) -> Tensor:
    """The tied table [V + padding, width] in ``dtype``, from its parts [V, ...] or from itself."""
    cast = [table.to(dtype) for table in tables]
    joint = cast[0] if len(cast) == 1 else torch.cat(cast, 1)
    missing = -joint.shape[0] % VOCABULARY_MULTIPLE
    return functional.pad(joint, (0, 0, 0, missing)) if missing else joint
