"""A layer of another library as a module that pamprof can plan, check, count and time.

Axes: B batch, T time, D model_dim.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pamprof.workloads.layers.peers.plain import plain_torch
from pamprof.workloads.layers.peers.tuning import kernel_notes, tune_for
from pamprof.workloads.layers.peers.work import RecurrenceWork, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Method = TypeVar("Method", bound="Callable[..., object]")


def uncompiled(function: Method) -> Method:
    """A method that torch.compile leaves alone: what it does to a state depends on whether a graph is captured."""
    return cast("Method", torch.compiler.disable(function))


class Peer(nn.Module):
    """A layer of flash-linear-attention, [B, T, D] to [B, T, D].

    On CUDA its own kernels run; elsewhere plain torch in their place, for planning alone (``device_kind``).

    Attributes:
        layer: The library's.
        work: What its recurrent kernels do; None where torch's operators do it.
        tuning_seconds: Longest time that Triton may try configurations for this layer.
    """

    device_kind = "cuda"
    has_kernels = True
    checked_length = 131  # two chunks of 64 and a rest: shorter sequences would run kernels for single steps
    kernel_notes = staticmethod(kernel_notes)

    layer: Any

    def __init__(self, layer: nn.Module, work: RecurrenceWork | None, tuning_seconds: float) -> None:
        super().__init__()
        self.layer = layer
        self.work = work
        self.tuning_seconds = tuning_seconds

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output [B, T, D]."""
        return self._seen(x, {})

    def reference(self, x: Tensor) -> Tensor:
        """The same in plain torch, in the dtype of ``x``."""
        with plain_torch():
            return self.called(x, {})

    def called(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        """What the library's layer returns first."""
        output: Tensor = self.layer(x, attention_mask=None, **cache)[0]
        return output

    def _seen(self, x: Tensor, cache: dict[str, Any]) -> Tensor:
        if torch.compiler.is_compiling():
            return self.called(x, cache)
        if x.is_cuda:
            tune_for(type(self.layer).__name__, self.tuning_seconds)
            output = self.called(x, cache)
        else:
            with plain_torch():
                output = self.called(x, cache)
        if self.work is not None and torch._C._len_torch_dispatch_stack() > 0:
            # Convolutions in plain torch are seen by themselves.
            work = self.work if x.is_cuda else replace(self.work, convolved_weights=0)
            return told(output, work.forward(x.shape[0], x.shape[1]))
        return output


class RecurrentPeer(Peer):
    """A layer that decodes, through the library's own cache."""

    def initial_state(self, batch_size: int) -> dict[str, Any]:
        """An empty cache, with zeros in every tensor that one step puts into it."""
        from fla.models.utils import Cache

        weight = next(self.parameters())
        cache = Cache()
        with torch.no_grad():
            self._seen(weight.new_zeros(batch_size, 1, self.layer.hidden_size), _through(cache))
            for tensor in _tensors(cache[0]):
                tensor.zero_()
        return {"tensors": cache[0], "cache": cache}

    @uncompiled
    def step(self, x: Tensor, state: dict[str, Any], position: int) -> tuple[Tensor, dict[str, Any]]:
        """One position [B, 1, D]; the library puts its new state into the cache in place of the old one.

        A CUDA graph reads the same addresses at every replay, so that the new state is copied into the old one's there.
        """
        cache = state["cache"]
        _see_tokens(cache, position)
        before = list(_tensors(cache[0])) if x.is_cuda and torch.cuda.is_current_stream_capturing() else None
        kept = dict(cache[0])
        output = self._seen(x, _through(cache))
        if before is not None:
            for old, new in zip(before, _tensors(cache[0]), strict=True):
                if old is not new:
                    old.copy_(new)
            cache[0].update(kept)
        return output, state


def _through(cache: object) -> dict[str, Any]:
    return {"past_key_values": cache, "use_cache": True}


def _tensors(state: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(state) if isinstance(leaf, Tensor))


def _see_tokens(cache: Any, position: int) -> None:
    """Let the cache know how many tokens came before; only rotary embeddings ask."""
    for holder in getattr(cache, "layers", None) or (cache,):
        holder._seen_tokens = position
