"""A whole language model of somebody else: token ids [B, T] to logits [B, T, V].

Loss and optimizer are those of every arm; nothing of the carrier is put around it. Its initial values are its own.

Axes: B batch, T time, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pamprof.errors import UnsupportedError
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.foreign.carrier import (
    MODEL,
    CarrierLanguageModel,
    GivenState,
    carrier_for,
    cast_given,
    copy_state,
    has_complex,
    own_module,
    steps_of,
    tensors_of,
)
from pamprof.workloads.layers.foreign.transformers_module import CacheState, transformers_forward

if TYPE_CHECKING:
    from pamprof.records import Dtype, LayerSpec
    from pamprof.workloads.base import State


class TokenLoss(nn.Module):
    """Mean cross-entropy in float32: one module, so that it compiles as one region."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Of ``logits`` [B, T, V] against ids [B, T]."""
        return functional.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())


class GivenLanguageModel(nn.Module):
    """A whole model as a measurable one.

    Attributes:
        blocks: What is compiled one by one: the longest list of modules of one kind in it, else the model.
        inference_notes: What prefill and decode do otherwise than those of other arms.
    """

    blocks: nn.ModuleList

    def __init__(self, spec: LayerSpec, given: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.given = given
        self.token_loss = TokenLoss()
        self.call = None if steps_of(given) is not None else transformers_forward(given)
        vars(self)["blocks"] = _repeated(given)  # parts of ``given``, registered there
        self.inference_notes: tuple[str, ...] = ()
        if self.call is None or not self.call.last_logits():
            self.inference_notes = (
                "its forward pass makes the logits of every position, also in prefill, where other arms make the last",
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, T, V] of ids [B, T]."""
        keywords = {} if self.call is None else self.call.model(cached=False)
        return self._logits(self.given(inputs, **keywords), inputs)

    def own_vocabulary_size(self, ids: Tensor) -> int | None:
        """Columns of the logits that the model makes of ``ids`` [B, T]; None where nothing looks like logits."""
        keywords = {} if self.call is None else self.call.model(cached=False)
        tensors = tensors_of(self.given(ids, **keywords))
        return next(
            (tensor.shape[-1] for tensor in tensors if tensor.ndim == 3 and tensor.shape[:2] == ids.shape), None
        )

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy, in float32 or wider, of ids [B, T] against the next ids [B, T]."""
        loss: Tensor = self.token_loss(self(inputs), targets)
        return loss

    def compiled_regions(self) -> tuple[nn.Module, ...]:
        """Modules outside ``blocks`` to compile as well: the loss."""
        return (self.token_loss,)

    def new_state(self, batch_size: int, maximum_length: int) -> GivenState | CacheState:
        """Its state or cache; nothing where it does not decode."""
        steps = steps_of(self.given)
        if steps is not None:
            return GivenState((steps.initial_state(batch_size),))
        if self.call is None:
            return GivenState(())
        weight = next(self.given.parameters())
        state = CacheState((self.call.new_cache(batch_size, maximum_length, weight),), maximum_length)
        with torch.no_grad():  # the first step allocates
            self._cached(torch.zeros((batch_size, 1), dtype=torch.int64, device=weight.device), state, 0)
        return state.allocated()

    def prefill(self, inputs: Tensor, state: State, position: int = 0) -> Tensor:
        """Logits [B, V] after a whole prompt [B, T]; fills a cache, a state of the model's own it leaves."""
        if isinstance(state, CacheState):
            state.rewind(position)
            return self._cached(inputs, state, position)
        keywords = {} if self.call is None else self.call.model(cached=False) | self.call.last_logits()
        return self._logits(self.given(inputs, **keywords), inputs)[:, -1]

    def decode(self, inputs: Tensor, state: State, position: int) -> Tensor:
        """Logits [B, V] for one id per sequence [B]."""
        ids = inputs.unsqueeze(1)
        if isinstance(state, CacheState):
            state.rewind(position)
            return self._cached(ids, state, position)
        assert isinstance(state, GivenState)
        steps = steps_of(self.given)
        assert steps is not None
        (held,) = state.blocks
        returned = steps.step(ids, held)
        if not (isinstance(returned, tuple) and len(returned) == 2):
            raise UnsupportedError("step must return a tuple of the logits and the state after it")
        copy_state(held, returned[1])
        return self._logits(returned[0], ids)[:, -1]

    def prepare_inference(self, dtype: Dtype) -> None:
        """Cast the weights; a model with complex ones stays as it is: half precision has none."""
        self.requires_grad_(False)
        if not has_complex(self.given):
            cast_given(self.given, TORCH_DTYPES[dtype])

    def _cached(self, ids: Tensor, state: CacheState, position: int) -> Tensor:
        assert self.call is not None
        (cache,) = state.blocks
        keywords = self.call.model(cached=True) | self.call.position(ids, position) | self.call.last_logits()
        returned = self.given(ids, **keywords, **{self.call.cache_name: cache})
        return self._logits(returned, ids)[:, -1]

    def _logits(self, returned: object, ids: Tensor) -> Tensor:
        """The logits in what the model returned for ``ids`` [B, T]: of all positions, or of the last alone."""
        batch, length = ids.shape
        width = self.spec.vocabulary_size
        tensors = tensors_of(returned)
        for tensor in tensors:
            if tensor.shape in {(batch, length, width), (batch, 1, width)}:
                return tensor
            if tensor.shape == (batch, width):
                return tensor.unsqueeze(1)
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors) or type(returned).__name__
        raise UnsupportedError(f"the model returned {shapes} for ids {list(ids.shape)}, no logits [B, T, {width}]")


def language_model(spec: LayerSpec) -> GivenLanguageModel | CarrierLanguageModel:
    """What the factory makes where that is a whole model, else the carrier around it."""
    given = own_module(spec)
    return GivenLanguageModel(spec, given) if carrier_for(spec, given) == MODEL else CarrierLanguageModel(spec, given)


def _repeated(module: nn.Module) -> nn.ModuleList:
    """The longest list of modules of one class in ``module``; ``module`` itself where there is none."""
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    alike = [part for part in lists if len({type(each) for each in part}) == 1]
    return max(alike, key=len, default=None) or nn.ModuleList([module])
