"""Stored transformers in this package's names: the published baseline (qllm2 v6), and GPT-2 as transformers has it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from pamprof.errors import SpecError, UsageError
from pamprof.workloads.checkpoints.weights import block_count, renamed, table_shape
from pamprof.workloads.layers.presets import preset, preset_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pamprof.records import LayerSpec
    from pamprof.workloads.checkpoints.files import StoredModel

_PUBLISHED = (
    (r"token_embed\.weight$", "token_embedding"),
    (r"pos_embed\.weight$", "position_embedding"),
    (r"blocks\.(\d+)\.ln1\.", r"blocks.\1.attention_norm."),
    (r"blocks\.(\d+)\.attn\.qkv\.", r"blocks.\1.query_key_value."),
    (r"blocks\.(\d+)\.attn\.out_proj\.", r"blocks.\1.attention_output."),
    (r"blocks\.(\d+)\.ln2\.", r"blocks.\1.feed_forward_norm."),
    (r"blocks\.(\d+)\.ffn\.fc1\.", r"blocks.\1.up."),
    (r"blocks\.(\d+)\.ffn\.fc2\.", r"blocks.\1.down."),
    (r"ln_f\.", "head.norm."),
)
_GPT2 = (
    (r"wte\.weight$", "token_embedding"),
    (r"wpe\.weight$", "position_embedding"),
    (r"h\.(\d+)\.ln_1\.", r"blocks.\1.attention_norm."),
    (r"h\.(\d+)\.attn\.c_attn\.", r"blocks.\1.query_key_value."),
    (r"h\.(\d+)\.attn\.c_proj\.", r"blocks.\1.attention_output."),
    (r"h\.(\d+)\.ln_2\.", r"blocks.\1.feed_forward_norm."),
    (r"h\.(\d+)\.mlp\.c_fc\.", r"blocks.\1.up."),
    (r"h\.(\d+)\.mlp\.c_proj\.", r"blocks.\1.down."),
)
_GPT2_MASK = re.compile(r"h\.\d+\.attn\.(masked_)?bias")  # the causal mask, which old files hold
_GPT2_PRODUCT = re.compile(r"h\.\d+\.(attn|mlp)\.c_\w+\.weight")
_GPT2_HEAD_DIM = 64  # of all its four sizes, openai-community/gpt2 to gpt2-xl on huggingface.co, read 2026-11-28
_HEAD_COUNTS = ("n_head", "n_heads", "num_attention_heads", "num_heads")
_TIED = "lm_head.weight"


def stored_transformer(model: StoredModel, spec: LayerSpec) -> tuple[LayerSpec, dict[str, Tensor]]:
    """Sizes of a stored transformer and its tensors by this package's names.

    Args:
        model: As stored.
        spec: Gives what is no size: layer, activation, dropout.

    Raises:
        SpecError: A key is missing, blocks have gaps, the head is not the embedding, or nothing tells how many heads.
    """
    plain = {name.removeprefix("transformer."): tensor for name, tensor in model.tensors.items()}
    is_gpt2 = "wte.weight" in plain
    if is_gpt2:
        plain = {
            # GPT-2's products are stored [in, out].
            name: tensor.t() if _GPT2_PRODUCT.fullmatch(name) else tensor
            for name, tensor in plain.items()
            if not _GPT2_MASK.fullmatch(name)
        }
    tensors = renamed(plain, (*_GPT2, *_PUBLISHED) if is_gpt2 else _PUBLISHED)
    head = tensors.pop(_TIED, None)
    vocabulary_size, width = table_shape(tensors, "token_embedding")
    depth = block_count(tensors)
    if head is not None and not _same(head, tensors["token_embedding"]):
        raise SpecError(f"{_TIED} is not the embedding; {spec.layer} has one table for both, give such a model")
    sized = replace(
        spec,
        model_dim=width,
        depth=depth,
        hidden_dim=table_shape(tensors, "blocks.0.up.weight")[0],
        vocabulary_size=vocabulary_size,
        maximum_sequence_length=table_shape(tensors, "position_embedding")[0],
    )
    heads = head_count(model.configuration, sized, is_gpt2=is_gpt2)
    return replace(sized, heads=heads, head_dim=max(1, width // heads)), tensors


def _same(head: Tensor, embedding: Tensor) -> bool:
    if head.shape != embedding.shape or head.device.type == "meta":
        return head.shape == embedding.shape
    return torch.equal(head, embedding)


def head_count(configuration: Mapping[str, object], spec: LayerSpec, *, is_gpt2: bool = False) -> int:
    """No shape tells how many heads there are: from what was stored beside the tensors, else from a preset so wide."""
    for name in _HEAD_COUNTS:
        told = configuration.get(name)
        if isinstance(told, int) and told > 0:
            return told
    if is_gpt2 and spec.model_dim % _GPT2_HEAD_DIM == 0:
        return spec.model_dim // _GPT2_HEAD_DIM
    for name in preset_names():
        try:
            known = preset(spec.layer, name)
        except UsageError:
            continue
        if (known.model_dim, known.depth, known.hidden_dim) == (spec.model_dim, spec.depth, spec.hidden_dim):
            return known.heads
    raise SpecError(
        f'nothing says how many heads a {spec.layer} of width {spec.model_dim} has; put {{"n_head": 12}} into '
        "config.json beside the checkpoint"
    )
