"""The Llama-style decoder as torch modules: one block to measure alone, and the language model with its tied head.

The embedding is tied to the head, as in Llama-3.2-1B (tie_word_embeddings in its configuration) and in every other
model here: at these sizes a second table would be a third of all parameters and no part of what is compared.

Axes: B batch, T time, D model_dim, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.llama.block import NORM_EPSILON, LlamaBlock, rotary_table
from pamprof.workloads.layers.llama.formulas import key_value_heads
from pamprof.workloads.layers.transformer.block import KeyValueCache
from pamprof.workloads.layers.transformer.model import LanguageHead

if TYPE_CHECKING:
    from pamprof.records import Dtype, LayerSpec
    from pamprof.workloads.base import State


class _LlamaBlocks(nn.Module):
    """What model and single block share: the blocks, their cache and the table of rotations."""

    blocks: nn.ModuleList

    def __init__(self, spec: LayerSpec, depth: int) -> None:
        super().__init__()
        self.spec = spec
        self.blocks = nn.ModuleList([LlamaBlock(spec) for _ in range(depth)])
        self._rotation: Tensor | None = None

    def new_state(self, batch_size: int, maximum_length: int) -> KeyValueCache:
        """An empty cache for ``maximum_length`` positions in the weights' dtype."""
        weight = next(self.parameters())
        shape = (batch_size, key_value_heads(self.spec), maximum_length, self.spec.head_dim)
        return KeyValueCache(depth=len(self.blocks), shape=shape, dtype=weight.dtype, device=weight.device)

    def _run_blocks(self, hidden: Tensor, state: State | None, position: int | Tensor) -> Tensor:
        rotation = self._rotations(hidden, position)
        if state is None:
            for block in self.blocks:
                hidden = block(hidden, rotation)
            return hidden
        if not isinstance(state, KeyValueCache):
            raise TypeError(f"this model needs the cache of its own new_state, not a {type(state).__name__}")
        for block, cache in zip(self.blocks, state.blocks, strict=True):
            hidden = block(hidden, rotation, cache, position)
        return hidden

    def _rotations(self, hidden: Tensor, position: int | Tensor) -> Tensor:
        """Rotations of the positions of ``hidden`` [B, T, D] from ``position``, out of a table that grows.

        Of single tokens at positions of their own [B], [2, B, 1, d/2].
        """
        if isinstance(position, Tensor):
            self._rotations(hidden, 0)
            assert self._rotation is not None
            return self._rotation[:, position].unsqueeze(2)
        end = position + hidden.shape[1]
        table = self._rotation
        if table is None or table.shape[1] < end or table.dtype != hidden.dtype or table.device != hidden.device:
            length = max(self.spec.maximum_sequence_length, end)
            table = rotary_table(length, self.spec.head_dim, dtype=hidden.dtype, device=hidden.device)
            self._rotation = table
        return table[:, position:end]


class LlamaLayer(_LlamaBlocks):
    """One block as a measurable model: hidden sequences [B, T, D] in and out."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """The block's output [B, T, D] from an empty cache."""
        return self._run_blocks(inputs, None, 0)

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean of the output weighted by ``targets`` [B, T, D], a fixed random projection."""
        output: Tensor = self(inputs)
        return (output.float() * targets).mean()

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: none."""
        return ()

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """The block's output on a piece [B, T, D] that starts at ``position``; fills the cache."""
        return self._run_blocks(inputs, state, position)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """The block's output [B, 1, D] for one more position [B, 1, D]."""
        return self._run_blocks(inputs, state, position)

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights; norms still compute their mean square in float32."""
        self.requires_grad_(False).to(TORCH_DTYPES[dtype])


class LlamaLanguageModel(_LlamaBlocks):
    """Token ids [B, T] to logits [B, T, V]."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec, spec.depth)
        self.token_embedding = nn.Parameter(torch.empty(spec.vocabulary_size, spec.model_dim))
        self.head = LanguageHead(spec, nn.RMSNorm(spec.model_dim, eps=NORM_EPSILON))
        self._padded_embedding: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        return self._logits(self._run_blocks(self._embed(inputs), None, 0))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, in float32 or wider, of ids [B, T] against the next ids [B, T]."""
        hidden = self._run_blocks(self._embed(inputs), None, 0)
        loss: Tensor = self.head(hidden, self.token_embedding, targets)
        return loss

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: the head with its loss."""
        return (self.head,)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] of the last position of a piece [B, T] that starts at ``position``; fills the cache."""
        return self._logits(self._run_blocks(self._embed(inputs), state, position)[:, -1])

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B] at ``position``."""
        return self._logits(self._run_blocks(self._embed(inputs.unsqueeze(1)), state, position).squeeze(1))

    def decode_each(self, inputs: Tensor, state: State, positions: Tensor) -> Tensor:
        """Logits [B, V] for one id per sequence [B], each at a position of its own [B] below the spec's longest."""
        return self._logits(self._run_blocks(self._embed(inputs.unsqueeze(1)), state, positions).squeeze(1))

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights and pad the tied embedding once, embedding and head still sharing one storage."""
        self.requires_grad_(False).to(TORCH_DTYPES[dtype])
        padded = functional.pad(self.token_embedding.detach(), (0, 0, 0, self.head.padding))
        self._padded_embedding = padded
        self.token_embedding = nn.Parameter(padded[: self.spec.vocabulary_size], requires_grad=False)

    def _embed(self, ids: Tensor) -> Tensor:
        hidden = functional.embedding(ids, self.token_embedding)
        return functional.dropout(hidden, self.spec.dropout, self.training) if self.spec.dropout > 0 else hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        embedding = self.token_embedding if self._padded_embedding is None else self._padded_embedding
        logits: Tensor = self.head(hidden, embedding)
        return logits
