"""The carrier: what stands around somebody else's module, so that it can be measured as a block and as a model.

A module that mixes positions, [B, T, D] to [B, T, D], gets what the transformer's attention has around it: a norm
before it, the residual stream, and a feed-forward of the same ratio with its own norm. A whole block is repeated as it
is. Embedding, final norm, tied head and loss are the transformer's. No positions are added.

Axes: B batch, T time, D model_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from pamprof.errors import UnsupportedError, UsageError
from pamprof.records import Dtype, Phase
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.foreign.declared import declaration_of
from pamprof.workloads.layers.foreign.source import CARRIER, load, parse_source
from pamprof.workloads.layers.transformer.model import LanguageHead, TransformerLayer

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.base import State
    from pamprof.workloads.layers.foreign.declared import LayerDeclaration

MIXER, BLOCK = "mixer", "block"


class Steps(Protocol):
    """What a module may offer besides ``forward``, to decode."""

    def initial_state(self, batch_size: int) -> object:
        """Tensors, in tuples, lists or dicts as the module likes them, of a fixed shape."""
        ...

    def step(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        """One position [B, 1, D]: its output, and the state after it."""
        ...


def carrier_of(spec: LayerSpec) -> str:
    """``mixer`` or ``block``.

    Raises:
        UsageError: The argument ``carrier`` says something else.
    """
    kind = dict(parse_source(spec.source or "").arguments).get(CARRIER, MIXER)
    if kind not in (MIXER, BLOCK):
        raise UsageError(
            f"carrier {kind!r} of layer {spec.layer} is not known; give {MIXER} for a module that mixes positions, "
            f"{BLOCK} for a block with norms, residual and feed-forward of its own"
        )
    return str(kind)


def own_module(spec: LayerSpec) -> nn.Module:
    """The module that the factory makes at the width of ``spec``; it returns what its ``select`` picks."""
    source = parse_source(spec.source or "")
    made = load(source)(spec.model_dim, **{name: value for name, value in source.arguments if name != CARRIER})
    if not isinstance(made, nn.Module):
        raise UsageError(f"{source.text} returns {type(made).__name__}; it must return a torch.nn.Module")
    select = declaration(spec).select
    if select is not None:
        made.register_forward_hook(lambda module, inputs, returned: select(returned))
    return made


def declaration(spec: LayerSpec) -> LayerDeclaration:
    """What the layer's author declared of its factory."""
    return declaration_of(load(parse_source(spec.source or "")))


def steps_of(module: nn.Module) -> Steps | None:
    """The module's own way to decode; None where it has none."""
    whole = callable(getattr(module, "initial_state", None)) and callable(getattr(module, "step", None))
    return cast("Steps", module) if whole else None


def output_of(returned: object, shape: torch.Size) -> Tensor:
    """The first tensor of ``shape`` in what a module returned: a tensor, a tuple, a dict or a dataclass of them.

    Raises:
        UnsupportedError: There is none.
    """
    values = tuple(returned.values()) if isinstance(returned, Mapping) else returned
    leaves = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    for leaf in leaves:
        if leaf.shape == shape:
            return leaf
    shapes = ", ".join(str(list(leaf.shape)) for leaf in leaves) or type(returned).__name__
    raise UnsupportedError(f"the module returned {shapes} for an input {list(shape)}; a layer keeps that shape")


class GivenState:
    """The states of all blocks, allocated once; each step's new state is copied into them."""

    kind = "state"

    def __init__(self, blocks: tuple[object, ...]) -> None:
        self.blocks = blocks

    def _tensors(self) -> list[Tensor]:
        return [leaf for leaf in tree_leaves(self.blocks) if isinstance(leaf, Tensor)]

    def byte_count(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def randomise(self, generator: torch.Generator) -> None:
        """Standard normal values; integers and truth values stay what they are."""
        for tensor in self._tensors():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.normal_(generator=generator)


class CarrierBlock(nn.Module):
    """One block of the carrier around the module ``given``."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.given = own_module(spec)
        self.mixes = carrier_of(spec) == MIXER
        self.dropout = spec.dropout
        self.wide = False
        if self.mixes:
            self.mixer_norm = nn.LayerNorm(spec.model_dim)
            self.feed_forward_norm = nn.LayerNorm(spec.model_dim)
            self.up = nn.Linear(spec.model_dim, spec.hidden_dim)
            self.down = nn.Linear(spec.hidden_dim, spec.model_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, D] to [B, T, D]."""
        given = self._widened(self.mixer_norm(hidden) if self.mixes else hidden)
        return self._around(hidden, output_of(self.given(given), given.shape))

    def step(self, hidden: Tensor, state: object) -> Tensor:
        """One position [B, 1, D]; the new state is copied into ``state``."""
        steps = steps_of(self.given)
        assert steps is not None
        given = self._widened(self.mixer_norm(hidden) if self.mixes else hidden)
        returned = steps.step(given, state)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise UnsupportedError("step must return a tuple of the output and the state after it")
        output, after = returned
        _copy_state(state, after)
        return self._around(hidden, output_of(output, given.shape))

    def _widened(self, hidden: Tensor) -> Tensor:
        """In float32 where the module's weights stay so."""
        return hidden.float() if self.wide else hidden

    def _around(self, hidden: Tensor, output: Tensor) -> Tensor:
        output = output.to(hidden.dtype)
        if not self.mixes:
            return output
        hidden = hidden + self._drop(output)
        activation = functional.gelu(self.up(self.feed_forward_norm(hidden)))
        return hidden + self._drop(self.down(activation))

    def _drop(self, hidden: Tensor) -> Tensor:
        return functional.dropout(hidden, self.dropout, self.training) if self.dropout > 0 else hidden

    def cast(self, dtype: torch.dtype) -> None:
        """Weights to ``dtype``; a module with complex ones stays as it is: half precision has none."""
        kept = has_complex(self.given)
        self.wide = kept and dtype is not torch.float32
        for part in self.children():
            if not (kept and part is self.given):
                part.to(dtype)


def has_complex(module: nn.Module) -> bool:
    """Whether any parameter or buffer is complex."""
    return any(tensor.is_complex() for tensor in (*module.parameters(), *module.buffers()))


def _copy_state(held: object, after: object) -> None:
    before, new = tree_leaves(held), tree_leaves(after)
    shapes = [[list(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)] for leaves in (before, new)]
    if shapes[0] != shapes[1]:
        raise UnsupportedError(
            f"the state grows or changes its shape in a step, from {shapes[0]} to {shapes[1]}; "
            "initial_state must allocate what decoding needs"
        )
    for old, fresh in zip(before, new, strict=True):
        if isinstance(old, Tensor) and old is not fresh:
            old.copy_(fresh)


class CarrierLayer(TransformerLayer):
    """One block as a measurable model: hidden sequences [B, T, D] in and out."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__(spec, CarrierBlock(spec))

    def new_state(self, batch_size: int, maximum_length: int) -> GivenState:
        """The state of the block; of a module that does not decode, nothing."""
        del maximum_length
        return new_state(self.blocks, batch_size)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """The block's output on a whole prompt [B, T, D]; a module's forward leaves no state behind."""
        del state, position
        return cast("Tensor", self(inputs))

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """The block's output [B, 1, D] for one more position [B, 1, D]."""
        del position
        return run_steps(self.blocks, inputs, state)

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights; complex ones stay."""
        prepare(self, dtype)


class CarrierLanguageModel(nn.Module):
    """Token ids [B, T] to logits [B, T, V]."""

    def __init__(self, spec: LayerSpec) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Parameter(torch.empty(spec.vocabulary_size, spec.model_dim))
        self.blocks = nn.ModuleList([CarrierBlock(spec) for _ in range(spec.depth)])
        self.head = LanguageHead(spec)
        self._padded_embedding: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        return self._logits(self._hidden(inputs))

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in float32 of ids [B, T] against the next ids [B, T]."""
        loss: Tensor = self.head(self._hidden(inputs), self.token_embedding, targets)
        return loss

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: the head with its loss."""
        return (self.head,)

    def new_state(self, batch_size: int, maximum_length: int) -> GivenState:
        """The states of all blocks; of a module that does not decode, nothing."""
        del maximum_length
        return new_state(self.blocks, batch_size)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] after a whole prompt [B, T]; a module's forward leaves no state behind."""
        del state, position
        return self._logits(self._hidden(inputs)[:, -1])

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B]."""
        del position
        hidden = functional.embedding(inputs.unsqueeze(1), self.token_embedding)
        return self._logits(run_steps(self.blocks, hidden, state).squeeze(1))

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights and pad the tied embedding once, embedding and head still sharing one storage."""
        prepare(self, dtype)
        padded = functional.pad(self.token_embedding.detach().to(TORCH_DTYPES[dtype]), (0, 0, 0, self.head.padding))
        self._padded_embedding = padded
        self.token_embedding = nn.Parameter(padded[: self.spec.vocabulary_size], requires_grad=False)
        self.head.to(TORCH_DTYPES[dtype])

    def _hidden(self, ids: Tensor) -> Tensor:
        hidden = functional.embedding(ids, self.token_embedding)
        if self.spec.dropout > 0:
            hidden = functional.dropout(hidden, self.spec.dropout, self.training)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        embedding = self.token_embedding if self._padded_embedding is None else self._padded_embedding
        logits: Tensor = self.head(hidden, embedding)
        return logits


def new_state(blocks: nn.ModuleList, batch_size: int) -> GivenState:
    """Empty states on the blocks' device; nothing where the module does not decode."""
    found = []
    for block in blocks:
        assert isinstance(block, CarrierBlock)
        steps = steps_of(block.given)
        if steps is not None:
            found.append(steps.initial_state(batch_size))
    return GivenState(tuple(found))


def run_steps(blocks: nn.ModuleList, hidden: Tensor, state: State) -> Tensor:
    """One position through every block, each with its own state."""
    assert isinstance(state, GivenState)
    for block, held in zip(blocks, state.blocks, strict=True):
        assert isinstance(block, CarrierBlock)
        hidden = block.step(hidden, held)
    return hidden


def prepare(model: CarrierLayer | CarrierLanguageModel, dtype: Dtype) -> None:
    """Cast every block for inference."""
    model.requires_grad_(False)
    for block in model.blocks:
        assert isinstance(block, CarrierBlock)
        block.cast(TORCH_DTYPES[dtype])


def decodes(module: nn.Module) -> tuple[Phase, ...]:
    """The phases that the module's own methods allow."""
    return tuple(Phase) if steps_of(module) is not None else (Phase.TRAIN, Phase.PREFILL)
