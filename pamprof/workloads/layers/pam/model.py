"""The language model of phase-associative memory.

Axes: B batch, T time, D model_dim, V vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from pamprof.workloads.checkpoints.weights import block_count, load_exactly
from pamprof.workloads.layers.pam.checkpoint import tensor_of
from pamprof.workloads.layers.pam.complex.block import layer_sizes
from pamprof.workloads.layers.pam.implementations import arithmetic
from pamprof.workloads.layers.pam.parameters import ComplexLinearParameters
from pamprof.workloads.layers.recurrent.model import RecurrentLanguageModel
from pamprof.workloads.layers.recurrent.parameters import TableParameters, initialise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.recurrent.arithmetic import Arithmetic


class _ComplexTable(nn.Module):
    """embed_real and embed_imag."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.embed_real = TableParameters(spec)
        self.embed_imag = TableParameters(spec)


class PamLanguageModel(RecurrentLanguageModel):
    """The language model of the paper: ids [B, T] to logits [B, T, V].

    ``implementation`` is ``planar``, ``gauss``, ``published``, ``complex`` or ``fused``; all compute the same function
    of the same parameters, float32 as built, initialised from ``seed``. Parameter names are those of the published
    checkpoints. ``own`` replaces the implementation by an arithmetic with the same parameters.
    """

    def __init__(
        self, spec: LayerSpec, *, implementation: str = "planar", seed: int = 0, own: Arithmetic | None = None
    ) -> None:
        super().__init__(spec, own or arithmetic(implementation))
        self.embed = _ComplexTable(spec)
        self.lm_head_proj = ComplexLinearParameters(spec.model_dim, spec.model_dim, bias=True)
        initialise(self, seed)

    @classmethod
    def from_qllm2_state_dict(
        cls, state_dict: Mapping[str, Tensor], *, implementation: str = "planar"
    ) -> PamLanguageModel:
        """The model of a published checkpoint (qllm2, v7 or v11 layout); all sizes are read from the shapes.

        Raises:
            SpecError: A key is missing or odd, or shapes disagree.
        """
        model = cls(model_sizes(state_dict), implementation=implementation)
        model.to(tensor_of(state_dict, "embed.embed_real.weight", 2).dtype)
        load_exactly(model, state_dict)
        return model

    def _tables(self) -> tuple[nn.Parameter, ...]:
        return self.embed.embed_real.weight, self.embed.embed_imag.weight

    def _projection(self) -> ComplexLinearParameters:
        return self.lm_head_proj


def model_sizes(state_dict: Mapping[str, Tensor]) -> LayerSpec:
    """Sizes of a published checkpoint from its shapes."""
    vocabulary_size = tensor_of(state_dict, "embed.embed_real.weight", 2).shape[0]
    depth = block_count(state_dict)
    return replace(
        layer_sizes(state_dict, "blocks.0.pam."),
        depth=depth,
        hidden_dim=tensor_of(state_dict, "blocks.0.cgu.up_proj.weight_real", 2).shape[0],
        vocabulary_size=vocabulary_size,
        activation="modswish" if "blocks.0.cgu.act.beta" in state_dict else "modrelu",
    )
