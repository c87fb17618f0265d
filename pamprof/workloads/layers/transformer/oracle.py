"""The transformer block written out naively in float64: the oracle every measured block is checked against.

Nothing is shared with the measured code but the parameter values: norms by their definition, one head at a time, the
whole score matrix, GELU by the error function.

Axes: B batch, T time, D model_dim, d head_dim.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pamprof.records import Dtype, Phase
from pamprof.workloads.layers.common.dtypes import TORCH_DTYPES
from pamprof.workloads.layers.common.relative_error import relative_error
from pamprof.workloads.layers.transformer.block import KeyValueCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pamprof.records import LayerSpec
    from pamprof.workloads.layers.llama.model import LlamaLayer
    from pamprof.workloads.layers.transformer.model import TransformerLayer

    NaiveBlock = Callable[[Mapping[str, Tensor], Tensor, LayerSpec], tuple[Tensor, Tensor, Tensor]]

ORACLE_NAME = "naive float64 attention block"

_SEQUENCE_LENGTH = 37  # odd, so that no tile of an attention kernel is full
_BATCH_SIZE = 2
_NORM_EPSILON = 1e-5


def naive_block(parameters: Mapping[str, Tensor], hidden: Tensor, spec: LayerSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Output [B, T, D], keys and values [B, H, T, d] of one block on ``hidden`` [B, T, D], all float64."""

    def norm(name: str, value: Tensor) -> Tensor:
        centred = value - value.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + _NORM_EPSILON).sqrt()
        return centred / deviation * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]

    def linear(name: str, value: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", value, parameters[f"{name}.weight"]) + parameters[f"{name}.bias"]

    time = hidden.shape[1]
    queries, keys, values = (
        part.reshape(*part.shape[:2], spec.heads, -1)
        for part in linear("query_key_value", norm("attention_norm", hidden)).chunk(3, -1)
    )
    future = torch.ones(time, time, dtype=torch.bool).triu(1)
    attended = []
    for head in range(spec.heads):
        query, key, value = queries[:, :, head], keys[:, :, head], values[:, :, head]
        scores = torch.einsum("btd,bsd->bts", query, key) / sqrt(query.shape[-1])
        weights = scores.masked_fill(future, float("-inf")).exp()
        attended.append(torch.einsum("bts,bsd->btd", weights / weights.sum(-1, keepdim=True), value))
    hidden = hidden + linear("attention_output", torch.cat(attended, dim=-1))
    inner = linear("up", norm("feed_forward_norm", hidden))
    output = hidden + linear("down", 0.5 * inner * (1 + torch.erf(inner / sqrt(2))))
    return output, keys.transpose(1, 2), values.transpose(1, 2)


def oracle_error(
    layer: TransformerLayer | LlamaLayer,
    spec: LayerSpec,
    *,
    phase: Phase,
    device: torch.device,
    dtype: Dtype,
    seed: int,
    naive: NaiveBlock = naive_block,
) -> float:
    """Largest relative rms error of what one phase of ``layer`` returns and stores; overwrites its parameters.

    ``naive`` computes the expected output, keys and values from the parameters and the input. Weights are drawn with
    unit gain and no bias is zero: at initial values a block is almost the identity, and a broken attention would hide
    behind the residual.
    """
    generator = torch.Generator().manual_seed(seed)
    _excite(layer, generator)
    parameters = {
        name.removeprefix("blocks.0."): value.detach().cpu().double() for name, value in layer.named_parameters()
    }
    inputs = torch.randn((_BATCH_SIZE, _SEQUENCE_LENGTH, spec.model_dim), generator=generator, dtype=torch.float64)
    projection = torch.randn(inputs.shape, generator=generator, dtype=torch.float64)
    expected_inputs = inputs.clone().requires_grad_(True)
    expected, keys, values = naive(parameters, expected_inputs, spec)
    if phase is Phase.TRAIN:
        (expected_gradient,) = torch.autograd.grad((expected * projection).mean(), expected_inputs)
        layer.train()
        given = inputs.to(device, torch.float32).requires_grad_(True)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype is Dtype.BFLOAT16):
            found = layer(given)
            loss = layer.loss(given, projection.to(device, torch.float32))
        (gradient,) = torch.autograd.grad(loss, given)
        return max(relative_error(found, expected), relative_error(gradient, expected_gradient))
    layer.eval()
    layer.prepare_inference(dtype)
    given = inputs.to(device, TORCH_DTYPES[dtype])
    cache = layer.new_state(_BATCH_SIZE, _SEQUENCE_LENGTH)
    assert isinstance(cache, KeyValueCache)
    with torch.no_grad():
        if phase is Phase.DECODE:
            layer.prefill(given[:, :-1], cache)
            return relative_error(layer.decode(given[:, -1:], cache, _SEQUENCE_LENGTH - 1), expected[:, -1:])
        found = layer.prefill(given, cache)
    stored = torch.stack((keys, values))
    return max(relative_error(found, expected), relative_error(cache.blocks[0], stored))


def _excite(layer: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 2:
                parameter.copy_(values / sqrt(parameter.shape[1]))
            else:
                parameter.copy_(0.2 * values + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
