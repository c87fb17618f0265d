"""Kernels of scaled-dot-product attention by name, called one by one instead of through torch's own choice.

Torch's kernels are called as the operators that ``scaled_dot_product_attention`` dispatches to. A context such as
``torch.nn.attention.sdpa_kernel`` would set the choice for the whole process, while arms with different choices take
turns, and around compiled code it acts only while that is traced. The operators' names and arguments are alike in torch
2.11 and 2.13, and a test holds them.

Axes: B batch, T queries, M keys, H heads, K heads of keys and values, d head_dim.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.workloads.attention import packages

Attend = Callable[[Tensor, Tensor, Tensor, bool, float], Tensor]
"""From queries [B, H, T, d], keys and values [B, K, M, d], whether causal, and dropout, to [B, H, T, d]."""

_LARGEST_SCORES_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One way to compute attention.

    Attributes:
        title: For people.
        attend: Computes it.
        unusable_reason: Why it cannot take given queries, keys, values, causality and dropout; None where it can.
    """

    title: str
    attend: Attend
    unusable_reason: Callable[[Tensor, Tensor, Tensor, bool, float], str | None]


def attention(query: Tensor, key: Tensor, value: Tensor, *, dropout: float, attend: Attend) -> Tensor:
    """Causal attention of the last T positions [B, H, T, d] over M >= T of them [B, K, M, d].

    A continued prompt, which is neither one position nor all of them, is left to torch whatever ``attend`` is.
    """
    time, length = query.shape[2], key.shape[2]
    if time in (1, length):
        # One new position sees all there are; without the flag every attention kernel accepts it.
        return attend(query, key, value, time > 1, dropout)
    key, value, grouped = _groups(query, key, value)
    from torch.nn.attention.bias import causal_lower_right  # brings the compiler, which planning does without

    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=causal_lower_right(time, length), dropout_p=dropout, enable_gqa=grouped
    )


def by_torch(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
    """Through ``scaled_dot_product_attention``, which takes the first kernel in its own order that can."""
    key, value, grouped = _groups(query, key, value)
    return functional.scaled_dot_product_attention(
        query, key, value, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
    )


def _groups(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, bool]:
    """Keys and values, and whether the kernel is to share them between groups of query heads."""
    shared = query.shape[1] // key.shape[1]
    if shared > 1 and query.shape[2] > 1 and query.is_cuda and query.dtype == torch.float32:
        # No fused kernel of torch takes groups in float32; without one, masked pairs would be computed as well.
        return key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1), False
    return key, value, shared > 1


def by_flash(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
    """Torch's own FlashAttention-2, which splits the keys of a single query over the device."""
    output: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, dropout, causal)[0]
    return output


def by_cudnn(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
    """The flash kernel of cuDNN."""
    kept = torch.is_grad_enabled() and query.requires_grad
    output: Tensor = torch.ops.aten._scaled_dot_product_cudnn_attention(query, key, value, None, kept, dropout, causal)[
        0
    ]
    return output


def by_efficient(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
    """Torch's memory-efficient kernel."""
    kept = torch.is_grad_enabled() and query.requires_grad
    output: Tensor = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, None, kept, dropout, causal
    )[0]
    return output


def by_products(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
    """One query by two matrix products and a softmax; several, whose masked pairs it would compute, by torch."""
    if query.shape[2] > 1:
        return by_torch(query, key, value, causal, dropout)
    output: Tensor = torch.ops.aten._scaled_dot_product_attention_math(
        query, key, value, None, dropout, False, enable_gqa=query.shape[1] != key.shape[1]
    )[0]
    return output


def by_flex(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> Tensor:
    """One query by torch's flex decoding, whose keys are split over the device; several by torch's own choice."""
    if query.shape[2] > 1:
        return by_torch(query, key, value, causal, dropout)
    return packages.flex_decoding(query, key, value)


def _allowed(check: str) -> Callable[[Tensor, Tensor, Tensor, bool, float], str | None]:
    """Torch's own check of a kernel, by its name in ``torch.backends.cuda``."""

    def reason(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> str | None:
        parameters = torch.backends.cuda.SDPAParams(
            query, key, value, None, dropout, causal, query.shape[1] != key.shape[1]
        )
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            if getattr(torch.backends.cuda, check)(parameters, True):
                return None
        texts = [str(warning.message).split(" (Triggered")[0].strip() for warning in said]
        return next((text for text in reversed(texts) if text), "torch says that it cannot take these tensors")

    return reason


def _products_reason(query: Tensor, key: Tensor, value: Tensor, causal: bool, dropout: float) -> str | None:
    del value, causal, dropout
    if query.shape[2] > 1:
        return "it computes masked pairs too, so it is tried for single queries alone"
    scores = 4 * query.shape[0] * query.shape[1] * key.shape[2]
    return None if scores <= _LARGEST_SCORES_BYTES else f"its scores would take {scores:,} bytes"


BACKENDS: dict[str, Backend] = {
    "flash": Backend(title="flash", attend=by_flash, unusable_reason=_allowed("can_use_flash_attention")),
    "cudnn": Backend(title="cuDNN", attend=by_cudnn, unusable_reason=_allowed("can_use_cudnn_attention")),
    "efficient": Backend(
        title="memory-efficient", attend=by_efficient, unusable_reason=_allowed("can_use_efficient_attention")
    ),
    "products": Backend(title="products", attend=by_products, unusable_reason=_products_reason),
    "flex": Backend(title="flex decoding", attend=by_flex, unusable_reason=packages.flex_unusable_reason),
    **{
        name: Backend(title=package.title, attend=package.attend, unusable_reason=package.unusable_reason)
        for name, package in packages.PACKAGES.items()
    },
}
"""In the order they are tried."""
