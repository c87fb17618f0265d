"""A layer of the user's own: found by module or file, made by a factory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pamprof.errors import UnsupportedError
from pamprof.measure.flops.target.countable import Countable
from pamprof.measure.flops.target.request import CountedPhase
from pamprof.workloads.layers.foreign.carrier import makes_models
from pamprof.workloads.layers.foreign.declared import declaration_of
from pamprof.workloads.layers.foreign.source import argument_value, call_factory, load, parse_source
from pamprof.workloads.layers.foreign.transformers_module import is_language_model, transformers_forward

if TYPE_CHECKING:
    from pamprof.measure.flops.target.countable import Builder
    from pamprof.measure.flops.target.request import CountRequest


def made_by_a_factory(request: CountRequest, length: int) -> Builder:
    """A layer of the user's own: what a factory returns, on inputs [B, T, width]; a whole model on ids [B, T]."""
    found = load(parse_source(request.target))
    arguments = {name: argument_value(text) for name, text in request.arguments}
    select = declaration_of(found).select or (lambda returned: returned)

    def build(device: torch.device) -> Countable:
        module = found if isinstance(found, nn.Module) else call_factory(found, request.width, arguments)
        if not isinstance(module, nn.Module):
            raise UnsupportedError(f"{request.target} returned {type(module).__name__}, not a torch.nn.Module")
        dtype = None if request.dtype is None else getattr(torch, request.dtype)
        if dtype is not None and dtype.is_floating_point:
            module = module._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        first = next(module.parameters(), None)
        place = device if first is None else first.device
        call = transformers_forward(module)
        if is_language_model(module) or (callable(found) and makes_models(found)):
            ids = torch.zeros((request.batch_size, length), dtype=torch.int64, device=place)
            keywords = {} if call is None else call.model(cached=False)
            return Countable(
                module=module,
                run=lambda: module(ids, **keywords),
                inputs=ids,
                description=f"width {request.width}, a whole model of token ids",
            )
        inputs = torch.randn(
            (request.batch_size, length, request.width),
            dtype=dtype or _input_dtype(module),
            device=place,
            requires_grad=request.phase is CountedPhase.TRAIN,
        )
        keywords = {} if call is None else call.plain(inputs, call.rotary_embedding(module))
        name = str(inputs.dtype).removeprefix("torch.")
        return Countable(
            module=module,
            run=lambda: select(module(inputs, **keywords)),
            inputs=inputs,
            description=f"width {request.width}, {name} input",
        )

    return build


def _input_dtype(module: nn.Module) -> torch.dtype:
    dtypes = {parameter.dtype for parameter in module.parameters()}
    return next(iter(dtypes)) if len(dtypes) == 1 and next(iter(dtypes)).is_complex else torch.float32
