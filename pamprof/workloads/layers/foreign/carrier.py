"""The carrier: what stands around somebody else's module, so that it can be measured as a block and as a model.

A module that mixes positions, [B, T, D] to [B, T, D], gets what the transformer's attention has around it: a norm
before it, the residual stream, and a feed-forward of the same ratio with its own norm. A whole block is repeated as it
is. Embedding, final norm, tied head and loss are the transformer's. No positions are added.

Axes: B batch, T time, D model_dim, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from pamprof.errors import UnsupportedError, UsageError
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.foreign.declared import declaration_of
from pamprof.workloads.layers.foreign.source import CARRIER, call_factory, load, parameters_of, parse_source
from pamprof.workloads.layers.foreign.transformers_module import (
    CacheState,
    is_language_model,
    is_whole_block,
    transformers_forward,
)
from pamprof.workloads.layers.transformer.model import LanguageHead, TransformerLayer

if TYPE_CHECKING:
    from pamprof.records import Dtype, LayerSpec
    from pamprof.workloads.base import State
    from pamprof.workloads.layers.foreign.declared import LayerDeclaration
    from pamprof.workloads.layers.foreign.transformers_module import Keywords

MIXER, BLOCK, MODEL = "mixer", "block", "model"

# Sizes that a factory of a whole model may take by name, besides the width.
_VOCABULARY_NAMES = ("vocabulary_size", "vocab_size")
_MODEL_SIZES = {
    "vocabulary_size": _VOCABULARY_NAMES,
    "depth": ("depth", "num_layers", "n_layer", "num_hidden_layers"),
    "maximum_sequence_length": ("maximum_sequence_length", "max_position_embeddings"),
    "dropout": ("dropout",),
}

NO_BLOCK = "is a whole model and has no single block; use --scope model"
NO_DECODE = (
    "it has no state to decode with: neither initial_state(batch_size) and step(x, state), nor a cache of transformers"
)


class Steps(Protocol):
    """What a module may offer besides ``forward``, to decode."""

    def initial_state(self, batch_size: int) -> object:
        """Tensors, in tuples, lists or dicts as the module likes them, of a fixed shape."""
        ...

    def step(self, x: Tensor, state: object) -> tuple[Tensor, object]:
        """One position [B, 1, D]: its output, and the state after it. May take ``position``, a whole number, too."""
        ...


def carrier_of(spec: LayerSpec) -> str | None:
    """``mixer``, ``block`` or ``model``, where the layer's argument says so; None where the module tells.

    Raises:
        UsageError: The argument ``carrier`` says something else.
    """
    kind = dict(parse_source(spec.source or "").arguments).get(CARRIER)
    if kind not in (None, MIXER, BLOCK, MODEL):
        raise UsageError(
            f"carrier {kind!r} of layer {spec.layer} is not known; give {MIXER} for a module that mixes positions, "
            f"{BLOCK} for a block with norms, residual and feed-forward of its own, {MODEL} for a whole language model"
        )
    return None if kind is None else str(kind)


def carrier_for(spec: LayerSpec, module: nn.Module) -> str:
    """What ``module`` is: as its layer's argument says, or its own attribute ``carrier``, else by itself.

    A factory that takes the size of a vocabulary makes a model. A layer of ``transformers`` is a block, and a model of
    it with a head a model. Everything else mixes positions.
    """
    said = carrier_of(spec) or getattr(module, CARRIER, None)
    if said in (MIXER, BLOCK, MODEL):
        return str(said)
    if makes_models(load(parse_source(spec.source or ""))) or is_language_model(module):
        return MODEL
    return BLOCK if is_whole_block(module) else MIXER


def makes_models(factory: Callable[..., object]) -> bool:
    """Whether a factory takes the size of a vocabulary: what it makes has an embedding and a head of its own."""
    return bool(set(_VOCABULARY_NAMES) & set(parameters_of(factory)))


def own_module(spec: LayerSpec) -> nn.Module:
    """The module that the factory makes at the width of ``spec``; of a model, at its other sizes, too.

    It returns what its author's ``select`` picks.
    """
    source = parse_source(spec.source or "")
    factory = load(source)
    arguments: dict[str, object] = {name: value for name, value in source.arguments if name != CARRIER}
    taken = parameters_of(factory)
    if carrier_of(spec) == MODEL or (carrier_of(spec) is None and makes_models(factory)):
        for size, names in _MODEL_SIZES.items():
            name = next((name for name in names if name in taken), None)
            if name is not None and not set(names) & set(arguments):
                arguments[name] = getattr(spec, size)
        made: object = call_factory(factory, spec.model_dim, arguments)
    else:
        made = factory(spec.model_dim, **arguments)
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


def tensors_of(returned: object) -> list[Tensor]:
    """The tensors that a module returned: one, or those of a tuple, a dict or a dataclass."""
    values = tuple(returned.values()) if isinstance(returned, Mapping) else returned
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def output_of(returned: object, shape: torch.Size) -> Tensor:
    """The first tensor of ``shape`` in what a module returned: a tensor, a tuple, a dict or a dataclass of them.

    Raises:
        UnsupportedError: There is none.
    """
    leaves = tensors_of(returned)
    for leaf in leaves:
        if leaf.shape == shape:
            return leaf
    shapes = ", ".join(str(list(leaf.shape)) for leaf in leaves) or type(returned).__name__
    raise UnsupportedError(f"the module returned {shapes} for an input {list(shape)}; a layer keeps that shape")


class GivenState:
    """The states of all blocks, allocated once; each step's new state is copied into them."""

    kind = "state"
    room = 0  # a fixed state has room for any number of positions

    def __init__(self, blocks: tuple[object, ...]) -> None:
        self.blocks = blocks

    def _tensors(self) -> list[Tensor]:
        return [leaf for leaf in tree_leaves(self.blocks) if isinstance(leaf, Tensor)]

    def byte_count(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors())

    def rewind(self, position: int) -> None:
        """Nothing: such a state has no positions."""

    def randomise(self, generator: torch.Generator) -> None:
        """Standard normal values; integers and truth values stay what they are."""
        for tensor in self._tensors():
            if tensor.is_floating_point() or tensor.is_complex():
                tensor.normal_(generator=generator)


class CarrierBlock(nn.Module):
    """One block of the carrier around the module ``given``, or around the one that the factory makes."""

    def __init__(self, spec: LayerSpec, given: nn.Module | None = None) -> None:
        super().__init__()
        self.given = own_module(spec) if given is None else given
        carrier = carrier_for(spec, self.given)
        if carrier == MODEL:
            raise UnsupportedError(f"{spec.layer} {NO_BLOCK}")
        self.mixes = carrier == MIXER
        self.call = None if steps_of(self.given) is not None else transformers_forward(self.given)
        self.steps_by_position = "position" in parameters_of(getattr(self.given, "step", len))
        self.rotary = None if self.call is None else self.call.rotary_embedding(self.given)
        self.dropout = spec.dropout
        self.wide = False
        if self.mixes:
            self.mixer_norm = nn.LayerNorm(spec.model_dim)
            self.feed_forward_norm = nn.LayerNorm(spec.model_dim)
            self.up = nn.Linear(spec.model_dim, spec.hidden_dim)
            self.down = nn.Linear(spec.hidden_dim, spec.model_dim)

    def forward(self, hidden: Tensor, state: object = None, arguments: Keywords | None = None) -> Tensor:
        """[B, T, D] to [B, T, D].

        Args:
            hidden: Whole sequences, or with ``state`` one position of each; with a cache, what continues it.
            state: Of the module, updated in place; None for sequences from their beginning.
            arguments: Of the module's forward pass, where ``arguments`` made them for all blocks, or of its ``step``.
        """
        given = self._widened(self.mixer_norm(hidden) if self.mixes else hidden)
        if self.call is not None:
            keywords = self.arguments(hidden) if arguments is None else arguments
            cache = {} if state is None else {self.call.cache_name: state}
            return self._around(hidden, output_of(self.given(given, **keywords, **cache), given.shape))
        if state is None:
            return self._around(hidden, output_of(self.given(given), given.shape))
        steps = steps_of(self.given)
        assert steps is not None
        returned = steps.step(given, state, **(arguments or {}))
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise UnsupportedError("step must return a tuple of the output and the state after it")
        output, after = returned
        copy_state(state, after)
        return self._around(hidden, output_of(output, given.shape))

    def arguments(self, hidden: Tensor, state: State | None = None, position: int = 0) -> Keywords:
        """What a module of ``transformers`` is given besides its input, the same for all blocks of a model."""
        if self.call is None:
            return {}
        if not isinstance(state, CacheState):
            return self.call.plain(hidden, self.rotary)
        return self.call.cached(hidden, self.rotary, position, state.room, masked=state.holds_keys)

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
            if part is self.given and not kept:
                cast_given(part, dtype)
            elif part is not self.given and part is not self.rotary:
                part.to(dtype)


def has_complex(module: nn.Module) -> bool:
    """Whether any parameter or buffer is complex."""
    return any(tensor.is_complex() for tensor in (*module.parameters(), *module.buffers()))


def cast_given(module: nn.Module, dtype: torch.dtype) -> None:
    """Weights to ``dtype``; tables that ``transformers`` computes and never stores stay in float32, as there."""
    tables = []
    for part in module.modules():
        if type(part).__module__.startswith("transformers."):
            tables += [(part, name, part._buffers[name]) for name in part._non_persistent_buffers_set]
    module.to(dtype)
    for part, name, table in tables:
        part._buffers[name] = table


def copy_state(held: object, after: object) -> None:
    """The state ``after`` a step into the tensors that hold it.

    Raises:
        UnsupportedError: It has other shapes.
    """
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

    def new_state(self, batch_size: int, maximum_length: int) -> GivenState | CacheState:
        """The state of the block; of a module that does not decode, nothing."""
        return new_state(self.blocks, batch_size, maximum_length, self.spec.model_dim)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """The block's output on a whole prompt [B, T, D]; fills a cache, a state of the module's own it leaves."""
        return run_blocks(self.blocks, inputs, state, position)

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """The block's output [B, 1, D] for one more position [B, 1, D]."""
        return run_steps(self.blocks, inputs, state, position)

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights; complex ones stay."""
        prepare(self, dtype)


class CarrierLanguageModel(nn.Module):
    """Token ids [B, T] to logits [B, T, V]; ``given`` is the first block's module, where it is made already."""

    def __init__(self, spec: LayerSpec, given: nn.Module | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.token_embedding = nn.Parameter(torch.empty(spec.vocabulary_size, spec.model_dim))
        self.blocks = nn.ModuleList([CarrierBlock(spec, None if place else given) for place in range(spec.depth)])
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

    def new_state(self, batch_size: int, maximum_length: int) -> GivenState | CacheState:
        """The states of all blocks; of a module that does not decode, nothing."""
        return new_state(self.blocks, batch_size, maximum_length, self.spec.model_dim)

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] after a whole prompt [B, T]; fills caches, states of the module's own it leaves."""
        return self._logits(run_blocks(self.blocks, self._embed(inputs), state, position)[:, -1])

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B]."""
        hidden = self._embed(inputs.unsqueeze(1))
        return self._logits(run_steps(self.blocks, hidden, state, position).squeeze(1))

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights and pad the tied embedding once, embedding and head still sharing one storage."""
        prepare(self, dtype)
        padded = functional.pad(self.token_embedding.detach().to(TORCH_DTYPES[dtype]), (0, 0, 0, self.head.padding))
        self._padded_embedding = padded
        self.token_embedding = nn.Parameter(padded[: self.spec.vocabulary_size], requires_grad=False)
        self.head.to(TORCH_DTYPES[dtype])

    def _embed(self, ids: Tensor) -> Tensor:
        hidden = functional.embedding(ids, self.token_embedding)
        return functional.dropout(hidden, self.spec.dropout, self.training) if self.spec.dropout > 0 else hidden

    def _hidden(self, ids: Tensor) -> Tensor:
        return run_blocks(self.blocks, self._embed(ids), None, 0)

    def _logits(self, hidden: Tensor) -> Tensor:
        embedding = self.token_embedding if self._padded_embedding is None else self._padded_embedding
        logits: Tensor = self.head(hidden, embedding)
        return logits


def new_state(blocks: nn.ModuleList, batch_size: int, maximum_length: int, model_dim: int) -> GivenState | CacheState:
    """Empty states on the blocks' device; nothing where the module does not decode."""
    first = blocks[0]
    assert isinstance(first, CarrierBlock)
    if first.call is not None:
        weight = next(first.given.parameters())
        inputs = weight.new_zeros(batch_size, 1, model_dim)
        caches = tuple(first.call.new_cache(batch_size, maximum_length, weight) for _ in blocks)
        state = CacheState(caches, maximum_length)
        with torch.no_grad():  # the first step allocates
            for block, cache in zip(blocks, caches, strict=True):
                assert isinstance(block, CarrierBlock)
                block.forward(inputs, cache, block.arguments(inputs, state))
        return state.allocated()
    found = []
    for block in blocks:
        assert isinstance(block, CarrierBlock)
        steps = steps_of(block.given)
        if steps is not None:
            found.append(steps.initial_state(batch_size))
    return GivenState(tuple(found))


def run_blocks(blocks: nn.ModuleList, hidden: Tensor, state: State | None, position: int) -> Tensor:
    """Sequences through every block; from ``position`` on, with the cache of each where it has one."""
    first = blocks[0]
    assert isinstance(first, CarrierBlock)
    caches: Iterable[object] = repeat(None)
    if isinstance(state, CacheState):
        state.rewind(position)
        caches = state.blocks
    arguments = first.arguments(hidden, state, position)
    for block, cache in zip(blocks, caches, strict=False):
        hidden = block(hidden, cache, arguments)
    return hidden


def run_steps(blocks: nn.ModuleList, hidden: Tensor, state: State, position: int) -> Tensor:
    """One position through every block, each with its own state."""
    if isinstance(state, CacheState):
        return run_blocks(blocks, hidden, state, position)
    assert isinstance(state, GivenState)
    first = blocks[0]
    assert isinstance(first, CarrierBlock)
    arguments = {"position": position} if first.steps_by_position else None
    for block, held in zip(blocks, state.blocks, strict=True):
        hidden = block(hidden, held, arguments)
    return hidden


def prepare(model: CarrierLayer | CarrierLanguageModel, dtype: Dtype) -> None:
    """Cast every block for inference."""
    model.requires_grad_(False)
    for block in model.blocks:
        assert isinstance(block, CarrierBlock)
        block.cast(TORCH_DTYPES[dtype])
