"""What somebody else's layer is compared with: its author's oracle, or itself in float64."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pamprof.errors import UnsupportedError
from pamprof.records import Phase
from pamprof.workloads.layers.foreign.carrier import CarrierBlock
from pamprof.workloads.layers.foreign.language_model import GivenLanguageModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.workloads.layers.foreign.carrier import CarrierLayer

_DECODED = 4  # steps


def in_float64(layer: CarrierLayer | GivenLanguageModel) -> CarrierLayer | GivenLanguageModel:
    """A copy in float64, and complex128 where it is complex."""
    wide = copy.deepcopy(layer)
    with torch.no_grad():
        for part in wide.modules():
            for tensors in (part._parameters, part._buffers):
                for tensor in tensors.values():
                    if tensor is not None and tensor.is_complex():
                        tensor.data = tensor.data.to(torch.complex128)
                    elif tensor is not None and tensor.is_floating_point():
                        tensor.data = tensor.data.double()
    return wide


def train_recurrences(layer: nn.Module) -> None:
    """Let torch's recurrent modules keep what their backward pass needs: cuDNN's has none outside training mode.

    They lose their dropout, with which no two passes would agree.
    """
    for part in layer.modules():
        if isinstance(part, nn.RNNBase):
            part.dropout = 0.0
            part.train()


def observed(
    layer: CarrierLayer | GivenLanguageModel, inputs: Tensor, along: Tensor, phase: Phase
) -> tuple[Tensor, ...]:
    """What a phase returns: output and gradient, the output, or the outputs of a few steps.

    The gradient is that of the input, or of all parameters where the input is ids.
    """
    if phase is Phase.TRAIN:
        given = inputs.clone().requires_grad_(True) if inputs.is_floating_point() else inputs
        output = layer(given)
        behind = (given,) if given.requires_grad else tuple(layer.parameters())
        gradients = torch.autograd.grad((output * along).mean(), behind, allow_unused=True)
        found = [part.resolve_conj() for part in gradients if part is not None]
        parts = [(torch.view_as_real(part) if part.is_complex() else part).flatten() for part in found]
        return output.detach(), torch.cat(parts)
    with torch.no_grad():
        room = inputs.shape[1]
        if phase is Phase.PREFILL:
            return (layer.prefill(inputs, layer.new_state(inputs.shape[0], room)),)
        state = layer.new_state(inputs.shape[0], room)
        places = range(_DECODED)
        steps = [inputs[:, place : place + 1] if inputs.ndim > 2 else inputs[:, place] for place in places]
        return tuple(layer.decode(step, state, place) for place, step in zip(places, steps, strict=True))


class AuthorsOracle(nn.Module):
    """What the author's ``oracle`` says that ``module`` of the layer called ``name`` computes."""

    def __init__(self, module: nn.Module, oracle: Callable[..., Tensor], name: str) -> None:
        super().__init__()
        self.module = module
        self.oracle = oracle
        self.name = name

    def forward(self, x: Tensor, **keywords: object) -> Tensor:
        """The right output of ``x``: of its shape, or the logits of ids.

        Raises:
            UnsupportedError: No tensor of its shape, or one without a gradient where one is needed.
        """
        del keywords  # caches and masks, which the module itself is given
        output = self.oracle(self.module, x)
        if not isinstance(output, Tensor) or output.shape[: x.ndim] != x.shape:
            found = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UnsupportedError(
                f"the oracle of {self.name} gives {found} for an input {list(x.shape)}; a layer keeps that shape"
            )
        if torch.is_grad_enabled() and not output.requires_grad:
            raise UnsupportedError(
                f"the oracle of {self.name} gives a tensor without a gradient; compute it with operators of torch"
            )
        return output


def right_by(
    oracle: Callable[..., Tensor],
    layer: CarrierLayer | GivenLanguageModel,
    inputs: Tensor,
    along: Tensor,
    phase: Phase,
) -> tuple[Tensor, ...]:
    """What ``observed`` has to return by the author's oracle, which takes the place of the module in ``layer``.

    Of steps the output of a forward pass at the same positions.
    """
    if isinstance(layer, GivenLanguageModel):
        layer.given = AuthorsOracle(layer.given, oracle, layer.spec.layer)
    else:
        for block in layer.blocks:
            assert isinstance(block, CarrierBlock)
            block.given = AuthorsOracle(block.given, oracle, layer.spec.layer)
    if phase is Phase.TRAIN:
        return observed(layer, inputs, along, phase)
    whole = isinstance(layer, GivenLanguageModel)
    with torch.no_grad():
        output = layer(inputs if phase is Phase.PREFILL else inputs[:, :_DECODED])
    if phase is Phase.PREFILL:
        return (output[:, -1] if whole else output,)
    return tuple(output[:, place] if whole else output[:, place : place + 1] for place in range(_DECODED))
