"""Modules of the package ``transformers``: what their forward pass wants besides its input, and their caches.

A module is known by its forward pass, which takes a cache by one of the names that ``transformers`` has given it, and
by the configuration that it or a module in it keeps. The cache is static: allocated once, so that a step can be
compiled and captured. Every step writes at the position it is given, as the caches of this package do.

Axes: B batch, T time, S cached positions, D model_dim.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pamprof.errors import UnsupportedError
from pamprof.workloads.layers.foreign.source import parameters_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CACHES = ("cache", "past_key_values", "cache_params", "past_key_value", "layer_past")  # the first since 5.20
_LAST_LOGITS = ("logits_to_keep", "num_logits_to_keep")

Keywords = dict[str, Any]  # the arguments of anybody's forward pass


class TransformersForward:
    """How a module of ``transformers`` is called.

    Attributes:
        config: Its configuration.
        cache_name: What its forward pass calls the cache.
        rotates: Whether it is given its rotary embedding from outside, as decoder layers are.
    """

    def __init__(self, module: nn.Module, config: object) -> None:
        self._names = frozenset(parameters_of(module.forward))
        self.config = config
        self.cache_name = next(name for name in _CACHES if name in self._names)
        self.rotates = "position_embeddings" in self._names
        if getattr(config, "_attn_implementation", "") is None:
            vars(config)["_attn_implementation_internal"] = (
                "sdpa"  # a model chooses when it is made, a block alone never
            )

    def rotary_embedding(self, module: nn.Module) -> nn.Module | None:
        """That of the file in which the module's class is defined; None where it needs none, or there is none."""
        if not self.rotates:
            return None
        defined = vars(sys.modules[type(module).__module__])
        kinds = [kind for name, kind in defined.items() if name.endswith("RotaryEmbedding") and inspect.isclass(kind)]
        return cast("Callable[[object], nn.Module]", kinds[0])(self.config) if kinds else None

    def plain(self, hidden: Tensor, rotary: nn.Module | None) -> Keywords:
        """What the forward pass over whole sequences wants besides ``hidden`` [B, T, D]; no cache."""
        found = self._positioned(hidden, rotary, 0) | self._if_named(use_cache=False)
        return found | (self._mask(hidden, 0, hidden.shape[1]) if self._is_eager else {})

    def cached(self, hidden: Tensor, rotary: nn.Module | None, position: int, room: int, *, masked: bool) -> Keywords:
        """What it wants besides ``hidden`` [B, T, D] that begins at ``position`` of a cache for ``room`` positions.

        ``masked`` is whether the cache is one of keys and values. Where every position of it is attended to, and where
        a prompt begins it, fused attention needs no mask.
        """
        found = self._positioned(hidden, rotary, position) | self._if_named(use_cache=True)
        length = hidden.shape[1]
        last = length == 1 and position + 1 == room
        begins = length > 1 and position == 0 and not self._is_eager
        return found | ({} if not masked or last or begins else self._mask(hidden, position, room))

    def last_logits(self) -> Keywords:
        """What makes a language model compute the last position's logits alone, where it can."""
        return {name: 1 for name in _LAST_LOGITS if name in self._names}

    def model(self, *, cached: bool) -> Keywords:
        """What a whole language model wants besides ids and cache."""
        return self._if_named(use_cache=cached)

    def position(self, ids: Tensor, position: int) -> Keywords:
        """The positions of ``ids`` [B, T], for language models that would read them off the cache's values."""
        return self._if_named(cache_position=torch.arange(position, position + ids.shape[1], device=ids.device))

    def new_cache(self, batch_size: int, room: int, like: Tensor) -> object:
        """An empty static cache for ``room`` positions.

        Raises:
            UnsupportedError: This transformers has none.
        """
        static = getattr(sys.modules.get("transformers"), "StaticCache", None)
        if static is None:
            raise UnsupportedError("its transformers has no StaticCache")
        given = {
            "config": self.config,
            "max_cache_len": room,
            "max_batch_size": batch_size,
            "device": like.device,
            "dtype": like.dtype,
        }
        taken = parameters_of(static)
        made: object = static(**{name: value for name, value in given.items() if name in taken})
        return made

    def _positioned(self, hidden: Tensor, rotary: nn.Module | None, position: int) -> Keywords:
        positions = torch.arange(position, position + hidden.shape[1], device=hidden.device)
        found = self._if_named(position_ids=positions[None], cache_position=positions)
        if rotary is not None:
            found["position_embeddings"] = rotary(hidden, positions[None])
        return found

    @property
    def _is_eager(self) -> bool:
        """Whether attention is written out in torch: it is then not causal by itself, and adds its mask."""
        return getattr(self.config, "_attn_implementation", None) == "eager"

    def _mask(self, hidden: Tensor, position: int, room: int) -> Keywords:
        """Which of ``room`` positions [1, 1, T, S] each of ``hidden`` [B, T, D] sees."""
        queries = torch.arange(position, position + hidden.shape[1], device=hidden.device)
        mask = (torch.arange(room, device=hidden.device) <= queries[:, None])[None, None]
        if self._is_eager:
            lowest = torch.finfo(hidden.dtype).min
            mask = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, lowest)
        return self._if_named(attention_mask=mask)

    def _if_named(self, **given: object) -> Keywords:
        return {name: value for name, value in given.items() if name in self._names}


def transformers_forward(module: nn.Module) -> TransformersForward | None:
    """How to call a module that takes a cache of ``transformers``; None for every other."""
    if "transformers" not in sys.modules or not set(_CACHES) & set(parameters_of(module.forward)):
        return None
    configs = (getattr(part, "config", None) for part in module.modules())
    config = next((each for each in configs if hasattr(each, "to_dict")), None)
    return None if config is None else TransformersForward(module, config)


def is_whole_block(module: nn.Module) -> bool:
    """Whether it is a layer of a model of ``transformers``, which brings norms and residual of its own."""
    return any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(module).__mro__)


def is_language_model(module: nn.Module) -> bool:
    """Whether it is a whole model of ``transformers`` with a head over a vocabulary."""
    head = getattr(module, "get_output_embeddings", None)
    return callable(head) and head() is not None


class CacheState:
    """One cache, or one for each block, on the device; each step writes at the position that ``rewind`` set."""

    def __init__(self, caches: tuple[object, ...], room: int) -> None:
        self.blocks = caches
        self.room = room
        self._layers = [layer for cache in caches for layer in getattr(cache, "layers", ())]
        self._counters: Tensor | None = None
        self._tensors: list[Tensor] = []
        self.kind = "kv-cache" if self.holds_keys else "state"

    @property
    def holds_keys(self) -> bool:
        """Whether any of it grows with the context: keys and values."""
        return any(isinstance(getattr(layer, "keys", None), Tensor) for layer in self._layers)

    def allocated(self) -> CacheState:
        """Itself, after the first step allocated its tensors; all positions are then counted in one tensor."""
        counting = [layer for layer in self._layers if isinstance(getattr(layer, "cumulative_length", None), Tensor)]
        if counting:
            self._counters = torch.zeros(len(counting), dtype=torch.int64, device=counting[0].cumulative_length.device)
            for layer, counter in zip(counting, self._counters, strict=True):
                layer.cumulative_length = counter
        self._tensors = [tensor for tensor in _tensors_in(self.blocks) if tensor.is_floating_point()]
        self.kind = "kv-cache" if self.holds_keys else "state"
        return self

    def rewind(self, position: int) -> None:
        """The next step writes at ``position``; at 0 a sequence begins, and what the cache holds is not read."""
        if self._counters is not None:
            self._counters.fill_(position)
        for layer in self._layers:
            if isinstance(getattr(layer, "cumulative_length_int", None), int):
                layer.cumulative_length_int = position
            if isinstance(known := getattr(layer, "has_previous_state", None), dict):
                layer.has_previous_state = dict.fromkeys(known, position > 0)

    def byte_count(self) -> int:
        """Bytes of keys, values and states; those of the counters are few."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._tensors)

    def randomise(self, generator: torch.Generator) -> None:
        """Standard normal values; counters stay what they are."""
        for tensor in self._tensors:
            tensor.normal_(generator=generator)


def _tensors_in(item: object) -> Iterator[Tensor]:
    if isinstance(item, Tensor):
        yield item
    elif isinstance(item, (list, tuple)):
        for each in item:
            yield from _tensors_in(each)
    elif isinstance(item, dict):
        yield from _tensors_in(list(item.values()))
    elif type(item).__module__.startswith("transformers."):
        yield from _tensors_in(list(vars(item).values()))
