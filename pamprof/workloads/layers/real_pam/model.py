"""The language model of the real twin.

Axes: B batch, T time, D model_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.workloads.layers.real_pam.arithmetic import REAL
from pamprof.workloads.layers.recurrent.model import RecurrentLanguageModel
from pamprof.workloads.layers.recurrent.parameters import RealLinearParameters, TableParameters, initialise

if TYPE_CHECKING:
    from torch import nn

    from pamprof.records import LayerSpec


class RealPamLanguageModel(RecurrentLanguageModel):
    """The same model over real tensors, to tell what complex arithmetic costs from what the architecture costs."""

    def __init__(self, spec: LayerSpec, *, seed: int = 0) -> None:
        super().__init__(spec, REAL)
        self.embed = TableParameters(spec)
        self.lm_head_proj = RealLinearParameters(spec.model_dim, spec.model_dim)
        initialise(self, seed)

    def _tables(self) -> tuple[nn.Parameter, ...]:
        return (self.embed.weight,)

    def _projection(self) -> RealLinearParameters:
        return self.lm_head_proj
