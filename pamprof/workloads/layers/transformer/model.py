"""The GPT-2-style baseline as torch modules: one block to measure alone, and the language model with its tied head.

Axes: B batch, T time, D model_dim, V vocabulary.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.common.vocabulary import padded_vocabulary_size
from pamprof.workloads.layers.recurrent.precision import precise
from pamprof.workloads.layers.transformer.block import KeyValueCache, TransformerBlock

if TYPE_CHECKING:
    from pamprof.records import Dtype, LayerSpec
    from pamprof.workloads.base import State

_INITIAL_DEVIATION = 0.02  # GPT-2


class LanguageHead(nn.Module):
    """Final norm, logits against the token embedding, and their loss: one module, so that it compiles as one region.

    The product is computed at a padded width. The bias of the padding is minus infinity, which makes it vanish from
    the softmax without a slice or a mask over the whole logits tensor.
    """

    padding_bias: Tensor | None

    def __init__(self, spec: LayerSpec, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.vocabulary_size = spec.vocabulary_size
        self.padding = padded_vocabulary_size(spec.vocabulary_size) - spec.vocabulary_size
        self.norm = nn.LayerNorm(spec.model_dim) if norm is None else norm
        bias = torch.zeros(spec.vocabulary_size + self.padding) if self.padding else None
        self.register_buffer("padding_bias", bias, persistent=False)

    def forward(self, hidden: Tensor, embedding: Tensor, targets: Tensor | None = None) -> Tensor:
        """Logits [..., V] of ``hidden`` [..., D], or with ``targets`` [...] their mean cross-entropy.

        ``embedding`` is [V, D], or already padded.
        """
        missing = self.vocabulary_size + self.padding - embedding.shape[0]
        weight = functional.pad(embedding, (0, 0, 0, missing)) if missing else embedding
        logits = functional.linear(self.norm(hidden), weight, self.padding_bias)
        if targets is None:
            return logits[..., : self.vocabulary_size]
        return functional.cross_entropy(precise(logits.flatten(0, -2)), targets.flatten())


class TransformerLayer(nn.Module):
    """One block as a measurable model: hidden sequences [B, T, D] in and out; the transformer's where none is given."""

    def __init__(self, spec: LayerSpec, block: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.blocks = nn.ModuleList([TransformerBlock(spec) if block is None else block])

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output [B, T, D] from an empty cache."""
        output: Tensor = self.blocks[0](inputs)
        return output

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of the output weighted by ``targets`` [B, T, D], a fixed random projection."""
        output: Tensor = self(inputs)
        return (output.float() * targets).mean()

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: none."""
        return ()

    def new_state(self, batch_size: int, maximum_length: int) -> State:
        """An empty cache for ``maximum_length`` positions in the weights' dtype."""
        return _new_cache(self, self.spec, depth=1, batch_size=batch_size, maximum_length=maximum_length)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """The block's output on a piece [B, T, D] that starts at ``position``; fills the cache."""
        return _run_blocks(self.blocks, inputs, state, position)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """The block's output [B, 1, D] for one more position [B, 1, D]."""
        return _run_blocks(self.blocks, inputs, state, position)

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights; layer norms still compute their statistics in float32."""
        self.requires_grad_(False).to(TORCH_DTYPES[dtype])


class TransformerLanguageModel(nn.Module):
    """Token ids [B, T] to logits [B, T, V]."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Parameter(torch.empty(spec.vocabulary_size, spec.model_dim))
        self.position_embedding = nn.Parameter(torch.empty(spec.maximum_sequence_length, spec.model_dim))
        self.blocks = nn.ModuleList([TransformerBlock(spec) for _ in range(spec.depth)])
        self.head = LanguageHead(spec)
        self._padded_embedding: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        return self._logits(self._hidden(inputs))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, in float32 or wider, of ids [B, T] against the next ids [B, T]."""
        loss: Tensor = self.head(self._hidden(inputs), self.token_embedding, targets)
        return loss

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: the head with its loss."""
        return (self.head,)

    def new_state(self, batch_size: int, maximum_length: int) -> KeyValueCache:
        """An empty cache for ``maximum_length`` positions in the weights' dtype."""
        return _new_cache(self, self.spec, depth=self.spec.depth, batch_size=batch_size, maximum_length=maximum_length)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] of the last position of a piece [B, T] that starts at ``position``; fills the cache."""
        return self._logits(_run_blocks(self.blocks, self._embed(inputs, position), state, position)[:, -1])

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B] at ``position``."""
        hidden = self._embed(inputs.unsqueeze(1), position)
        return self._logits(_run_blocks(self.blocks, hidden, state, position).squeeze(1))

    def decode_each(self, inputs: Tensor, state: State, positions: Tensor) -> Tensor:
        """Logits [B, V] for one id per sequence [B], each at a position of its own [B] below the spec's longest."""
        hidden = self._embed(inputs.unsqueeze(1), positions)
        return self._logits(_run_blocks(self.blocks, hidden, state, positions).squeeze(1))

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights and pad the tied embedding once, embedding and head still sharing one storage."""
        self.requires_grad_(False).to(TORCH_DTYPES[dtype])
        padded = functional.pad(self.token_embedding.detach(), (0, 0, 0, self.head.padding))
        self._padded_embedding = padded
        self.token_embedding = nn.Parameter(padded[: self.spec.vocabulary_size], requires_grad=False)

    def _embed(self, ids: Tensor, position: int | Tensor = 0) -> Tensor:
        if isinstance(position, Tensor):
            positions = self.position_embedding[position].unsqueeze(1)
        else:
            positions = self.position_embedding[position : position + ids.shape[1]]
        hidden = functional.embedding(ids, self.token_embedding) + positions
        return functional.dropout(hidden, self.spec.dropout, self.training) if self.spec.dropout > 0 else hidden

    def _hidden(self, ids: Tensor) -> Tensor:
        hidden = self._embed(ids)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        embedding = self.token_embedding if self._padded_embedding is None else self._padded_embedding
        logits: Tensor = self.head(hidden, embedding)
        return logits


def initialise(module: nn.Module, *, depth: int, seed: int) -> None:
    """GPT-2's initial values: normal of deviation 0.02, residual projections divided by sqrt(2·depth), biases zero."""
    device = next(module.parameters()).device
    generator = None if device.type == "meta" else torch.Generator(device=device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.fill_(1.0)
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                residual = name.endswith(("attention_output.weight", "down.weight"))
                deviation = _INITIAL_DEVIATION / (sqrt(2 * depth) if residual else 1.0)
                parameter.normal_(0.0, deviation, generator=generator)
        for head in module.modules():
            if isinstance(head, LanguageHead) and head.padding_bias is not None:
                head.padding_bias.zero_()
                head.padding_bias[head.vocabulary_size :] = float("-inf")


def _new_cache(
    module: nn.Module, spec: LayerSpec, *, depth: int, batch_size: int, maximum_length: int
) -> KeyValueCache:
    weight = next(module.parameters())
    shape = (batch_size, spec.heads, maximum_length, spec.head_dim)
    return KeyValueCache(depth=depth, shape=shape, dtype=weight.dtype, device=weight.device)


def _run_blocks(blocks: nn.ModuleList, hidden: Tensor, state: State, position: int | Tensor) -> Tensor:
    if not isinstance(state, KeyValueCache):
        raise TypeError(f"a transformer needs the cache of its own new_state, not a {type(state).__name__}")
    for block, cache in zip(blocks, state.blocks, strict=True):
        hidden = block(hidden, cache, position)
    return hidden
