"""The Llama-style decoder as a layer definition: what is deployed today, and the fair rival of a fixed state.

Grouped queries keep a fraction of the transformer's cache. Shapes follow Llama-3.2-1B (configuration of
meta-llama/Llama-3.2-1B on huggingface.co: hidden 2048, 16 layers, 32 heads of 64, 8 key and value heads, d_ff 8192,
embedding tied), four query heads to one of keys where the number of heads allows it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import SpecError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.base import TensorSplit
from pamprof.workloads.checkpoints.weights import block_count, table_shape
from pamprof.workloads.layers.llama import formulas
from pamprof.workloads.layers.llama.model import LlamaLanguageModel, LlamaLayer
from pamprof.workloads.layers.llama.oracle import ORACLE_NAME, naive_block
from pamprof.workloads.layers.transformer.checkpoint import head_count
from pamprof.workloads.layers.transformer.definition import TransformerDefinition
from pamprof.workloads.layers.transformer.oracle import oracle_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from pamprof.workloads.base import SequenceModel
    from pamprof.workloads.checkpoints.files import StoredModel


class LlamaDefinition(TransformerDefinition):
    """Llama-style decoder: RMS norms, rotary positions, SwiGLU, grouped-query attention, tied head, no biases."""

    name = "llama"
    title = "Llama"
    activation = "swiglu"
    _flop_count = staticmethod(formulas.flop_count)

    def resize(self, spec: LayerSpec, model_dim: int) -> LayerSpec | None:
        """The same depth, head_dim and ratios at another width; None where the width is no multiple of the head_dim.

        Of the divisors of the number of heads the one nearest to the old ratio becomes the number of key and value
        heads; of two as near, the smaller.
        """
        heads, rest = divmod(model_dim, spec.head_dim)
        if heads < 1 or rest:
            return None
        wanted = heads * formulas.key_value_heads(spec) / spec.heads
        divisors = [number for number in range(1, heads + 1) if heads % number == 0]
        return replace(
            spec,
            model_dim=model_dim,
            heads=heads,
            key_value_heads=min(divisors, key=lambda number: (abs(number - wanted), number)),
            hidden_dim=max(1, round(model_dim * spec.hidden_dim / spec.model_dim)),
        )

    def check(self, spec: LayerSpec) -> None:
        """Raise ``SpecError`` with subject, value and remedy when no such decoder can exist."""
        super().check(spec)
        groups = formulas.key_value_heads(spec)
        if groups < 1 or spec.heads % groups:
            divisors = [number for number in range(1, spec.heads + 1) if spec.heads % number == 0]
            nearest = min(divisors, key=lambda number: (abs(number - groups), number))
            raise SpecError(f"llama key_value_heads {groups} does not divide {spec.heads} heads; try {nearest}")
        if spec.head_dim % 2:
            raise SpecError(
                f"llama head_dim is {spec.head_dim}; rotary positions turn pairs of channels, take an even one"
            )

    def parameter_count(self, spec: LayerSpec, scope: Scope) -> int:
        """Real scalars, tied weights once, padding not counted."""
        return formulas.parameter_count(spec, scope)

    def state_byte_count(self, spec: LayerSpec, *, scope: Scope, batch_size: int, context: int, dtype: Dtype) -> int:
        """Bytes of the KV cache that ``new_state`` allocates for ``context`` tokens."""
        return formulas.cache_byte_count(spec, scope=scope, batch_size=batch_size, context=context, dtype=dtype)

    def stored_model(self, model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, Mapping[str, Tensor]]:
        """In the layout of this package."""
        vocabulary_size, width = table_shape(model.tensors, "token_embedding")
        sized = replace(
            spec,
            model_dim=width,
            depth=block_count(model.tensors),
            hidden_dim=table_shape(model.tensors, "blocks.0.down.weight")[1],
            vocabulary_size=vocabulary_size,
        )
        heads = head_count(model.configuration, sized)
        head_dim = max(1, width // heads)
        rows, _ = table_shape(model.tensors, "blocks.0.query_key_value.weight")
        groups = max(1, (rows - width) // (2 * head_dim))
        return replace(sized, heads=heads, head_dim=head_dim, key_value_heads=groups), model.tensors

    def tensor_split(self, spec: LayerSpec) -> TensorSplit:
        """Heads with their shared keys and values, and channels of the gate unit; the others stay whole."""
        groups = formulas.key_value_heads(spec)
        rows = {"query_key_value": (spec.heads, groups, groups), "gate_up": (1, 1)}
        return TensorSplit(rows=rows, columns=("attention_output", "down"))

    def _block_error(
        self, layer: SequenceModel, spec: LayerSpec, *, phase: Phase, device: torch.device, dtype: Dtype, seed: int
    ) -> tuple[float, str]:
        assert isinstance(layer, LlamaLayer)
        error = oracle_error(layer, spec, phase=phase, device=device, dtype=dtype, seed=seed, naive=naive_block)
        return error, ORACLE_NAME

    def _new_model(self, spec: LayerSpec, scope: Scope) -> SequenceModel:
        return LlamaLayer(spec) if scope is Scope.LAYER else LlamaLanguageModel(spec)


DEFINITION = LlamaDefinition()
