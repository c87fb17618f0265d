"""Attention kernels from outside torch's own operators: the FlashAttention packages, and torch's flex decoding.

Each becomes an operator of ours, forward and backward: compiled code then calls it whole instead of tracing into it, a
CUDA graph captures it, and ``measure.flops`` counts it. Packages are imported when they are asked for, and only then.

FlashAttention-4: ``flash-attn-4``; 3: ``flash_attn_interface`` (built from the ``hopper`` folder of
Dao-AILab/flash-attention); 2: ``flash-attn``. Their tensors are [B, T, H, d].

Axes: B batch, T queries, M keys, H heads, K heads of keys and values, d head_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.library import custom_op
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Forward = Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
    Backward = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor]]

_LARGEST_FLEX_BATCH = 8  # it is compiled for every shape, which takes seconds; larger batches fill the device anyway


def _forward_4(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    found = import_module("flash_attn.cute.interface")._flash_attn_fwd(
        query, key, value, softmax_scale=query.shape[-1] ** -0.5, causal=causal, return_lse=True
    )
    return found[0], found[1]


def _backward_4(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, logarithms: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    found = import_module("flash_attn.cute.interface")._flash_attn_bwd(
        query, key, value, output, gradient, logarithms, softmax_scale=query.shape[-1] ** -0.5, causal=causal
    )
    return found[0], found[1], found[2]


def _forward_3(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    import_module("flash_attn_interface")
    found = torch.ops.flash_attn_3.fwd(query, key, value, softmax_scale=query.shape[-1] ** -0.5, is_causal=causal)
    return found[0], found[1]


def _backward_3(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, logarithms: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    import_module("flash_attn_interface")
    found = tuple(torch.empty_like(part) for part in (query, key, value))
    torch.ops.flash_attn_3.bwd(
        gradient,
        query,
        key,
        value,
        output,
        logarithms,
        *found,
        softmax_scale=query.shape[-1] ** -0.5,
        is_causal=causal,
    )
    return found[0], found[1], found[2]


def _forward_2(query: Tensor, key: Tensor, value: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    found = import_module("flash_attn.flash_attn_interface")._wrapped_flash_attn_forward(
        query,
        key,
        value,
        0.0,
        query.shape[-1] ** -0.5,
        causal=causal,
        window_size_left=-1,
        window_size_right=-1,
        softcap=0.0,
        alibi_slopes=None,
        return_softmax=False,
    )
    return found[0], found[1]


def _backward_2(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, logarithms: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    found = tuple(torch.empty_like(part) for part in (query, key, value))
    import_module("flash_attn.flash_attn_interface")._wrapped_flash_attn_backward(
        gradient,
        query,
        key,
        value,
        output,
        logarithms,
        *found,
        0.0,
        query.shape[-1] ** -0.5,
        causal,
        -1,
        -1,
        0.0,
        None,
        False,
    )
    return found[0], found[1], found[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPackage:
    """A package of attention kernels.

    Attributes:
        title: For people.
        module: What is imported.
        distribution: What would have to be installed.
        attend: Computes attention as ``backends.Attend``.
    """

    title: str
    module: str
    distribution: str
    attend: Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]

    def unusable_reason(self, query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> str | None:
        """Why it cannot take these; None where it may, which trying it decides."""
        del key, value, causal
        if not _is_there(self.module):
            return f"{self.distribution} is not installed"
        if dropout > 0:
            return "it has no dropout"
        return None if query.dtype == torch.bfloat16 else f"it has no kernels of {str(query.dtype).split('.')[-1]}"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except Exception:  # noqa: BLE001 - the packages above it are imported, and may raise anything
        return False


def _registered(
    name: str, forward: Forward, backward: Backward
) -> Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]:
    """``forward`` and ``backward`` as the operators ``pamprof::name`` and ``pamprof::name_backward``."""

    def run(query: Tensor, key: Tensor, value: Tensor, is_causal: bool) -> tuple[Tensor, Tensor]:
        output, logarithms = forward(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal)
        return output.transpose(1, 2), logarithms

    def fake(query: Tensor, key: Tensor, value: Tensor, is_causal: bool) -> tuple[Tensor, Tensor]:
        del key, value, is_causal
        batch, heads, time, head_dim = query.shape
        output = query.new_empty((batch, time, heads, head_dim)).transpose(1, 2)
        return output, query.new_empty((batch, heads, time), dtype=torch.float32)

    def run_backward(
        gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, logarithms: Tensor, is_causal: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = backward(
            gradient.transpose(1, 2).contiguous(),
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            output.transpose(1, 2),
            logarithms,
            is_causal,
        )
        return found[0].transpose(1, 2), found[1].transpose(1, 2), found[2].transpose(1, 2)

    def fake_backward(
        gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, logarithms: Tensor, is_causal: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        del gradient, output, logarithms, is_causal
        found = tuple(
            part.new_empty((part.shape[0], part.shape[2], part.shape[1], part.shape[3])).transpose(1, 2)
            for part in (query, key, value)
        )
        return found[0], found[1], found[2]

    operator = custom_op(f"pamprof::{name}", run, mutates_args=())
    operator.register_fake(fake)
    backward_operator = custom_op(f"pamprof::{name}_backward", run_backward, mutates_args=())
    backward_operator.register_fake(fake_backward)

    def keep(
        ctx: torch.autograd.function.FunctionCtx, inputs: tuple[object, ...], output: tuple[Tensor, Tensor]
    ) -> None:
        query, key, value, is_causal = inputs
        ctx.save_for_backward(query, key, value, *output)  # type: ignore[arg-type]
        ctx.is_causal = is_causal  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(output[1])

    def differentiate(
        ctx: torch.autograd.function.FunctionCtx, gradient: Tensor, _: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        found = backward_operator(gradient, *ctx.saved_tensors, ctx.is_causal)  # type: ignore[attr-defined]
        return (*found, None)

    operator.register_autograd(differentiate, setup_context=keep)

    def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
        del dropout
        output: Tensor = operator(query, key, value, causal)[0]
        return output

    return attend


@custom_op("pamprof::flex_decoding_attention", mutates_args=())
def _flex_decoding(query: Tensor, key: Tensor, value: Tensor, fused: bool) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    if not fused:
        return functional.scaled_dot_product_attention(query, key, value, enable_gqa=grouped)
    output: Tensor = _compiled_flex()(query, key, value, enable_gqa=grouped)
    return output


@_flex_decoding.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, fused: bool) -> Tensor:
    del key, value, fused
    return torch.empty_like(query)


def flex_decoding(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one query [B, H, 1, d] over all keys by torch's flex decoding.

    While a step is counted nothing is compiled, which flex decoding cannot do without; the operator is counted alike.
    """
    watched = not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() > 0
    output: Tensor = _flex_decoding(query, key, value, not watched)
    return output


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=False)
    return compiled


def flex_unusable_reason(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> str | None:
    """Why flex decoding is not tried; None where it is."""
    del key, value, causal
    if query.shape[2] > 1:
        return "it splits the keys of a single query, so it is tried in decode alone"
    if query.shape[0] > _LARGEST_FLEX_BATCH:
        return f"it is compiled for every shape, so it is tried up to batch {_LARGEST_FLEX_BATCH}"
    return "it has no dropout" if dropout > 0 else None


PACKAGES = {
    "flash-attention-4": AttentionPackage(
        title="FlashAttention-4",
        module="flash_attn.cute.interface",
        distribution="flash-attn-4",
        attend=_registered("flash_attention_4", _forward_4, _backward_4),
    ),
    "flash-attention-3": AttentionPackage(
        title="FlashAttention-3",
        module="flash_attn_interface",
        distribution="flash_attn_interface",
        attend=_registered("flash_attention_3", _forward_3, _backward_3),
    ),
    "flash-attention-2": AttentionPackage(
        title="FlashAttention-2",
        module="flash_attn.flash_attn_interface",
        distribution="flash-attn",
        attend=_registered("flash_attention_2", _forward_2, _backward_2),
    ),
}
"""By the name a choice has."""
