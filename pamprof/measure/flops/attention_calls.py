"""Attention rewritten for a count: into calls whose operators say what they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class SeparateAttention(TorchFunctionMode):
    """Keeps attention fused on the meta device, and calls it for each sequence of a jagged batch.

    On meta torch would take it apart into dense products; a count made there then equals the count of a fused kernel on
    a real device. A jagged batch is padded to its longest sequence on a CPU; on a GPU it goes to a kernel whose lengths
    no formula sees; sequence by sequence each does its own products.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        del types
        if func is torch.nn.functional.scaled_dot_product_attention:
            arguments = {**dict(zip(_ATTENTION_ARGUMENTS, args, strict=False)), **(kwargs or {})}
            for rewritten in (_by_sequence, _fused_on_meta):
                found = rewritten(arguments)
                if found is not None:
                    return found
        return func(*args, **dict(kwargs or {}))


# Positional order of torch.nn.functional.scaled_dot_product_attention.
_ATTENTION_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


def _fused_on_meta(arguments: Mapping[str, object]) -> object:
    """Attention through a fused operator for meta tensors [B, H, T, d]; None for every other case."""
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    bias = arguments.get("attn_mask")
    if not isinstance(query, torch.Tensor) or query.device.type != "meta" or query.dim() != 4:
        return None
    from torch.nn.attention.bias import CausalBias, CausalVariant  # brings the compiler, which eager steps do without

    if isinstance(bias, CausalBias):
        # The last query is aligned with the last key, or query 0 with key 0; the operators differ in which they mean.
        if bias.variant == CausalVariant.LOWER_RIGHT:
            return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, 0.0, True)[0]
        bias, causal = None, True
    else:
        causal = bool(arguments.get("is_causal", False))
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, arguments.get("dropout_p", 0.0), causal, attn_mask=bias, scale=arguments.get("scale")
    )[0]


def _by_sequence(arguments: Mapping[str, object]) -> object:
    """Attention of a jagged batch [B, H, j, d] as that of each sequence [1, H, j, d]; None for every other case."""
    jagged = [arguments[name] for name in ("query", "key", "value")]
    if not all(isinstance(item, torch.Tensor) and item.is_nested and item.layout is torch.jagged for item in jagged):
        return None
    attend: Callable[..., torch.Tensor] = torch.nn.functional.scaled_dot_product_attention
    options = {name: value for name, value in arguments.items() if name not in ("query", "key", "value")}
    rows = zip(*(item.transpose(1, 2).unbind() for item in jagged if isinstance(item, torch.Tensor)), strict=True)
    outputs = [attend(*(row.transpose(0, 1)[None] for row in one), **options) for one in rows]
    joined = torch.nested.as_nested_tensor([row[0].transpose(0, 1) for row in outputs], layout=torch.jagged)
    return joined.transpose(1, 2)
