"""Read a published checkpoint (github.com/gowrav-vishwakarma/qllm2, v7, v11); errors name what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn


def tensor_of(state_dict: Mapping[str, Tensor], key: str, dimensions: int) -> Tensor:
    """``state_dict[key]`` with the expected number of axes, or a ``SpecError`` that names the key."""
    if key not in state_dict:
        raise SpecError(f"the state dict has no {key!r}; give a checkpoint in the qllm2 v7 or v11 layout")
    tensor = state_dict[key]
    if tensor.ndim != dimensions:
        raise SpecError(
            f"{key!r} has shape {tuple(tensor.shape)}; the qllm2 v7 or v11 layout has {dimensions} axes there"
        )
    return tensor


def load_exactly(module: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Copy ``state_dict`` into ``module``; a ``SpecError`` names the keys that are missing, odd or of another shape."""
    own = module.state_dict()
    missing, odd = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
    if missing or odd:
        raise SpecError(
            f"the state dict does not fit: missing {', '.join(missing[:5]) or 'nothing'}; "
            f"unexpected {', '.join(odd[:5]) or 'nothing'}; give a checkpoint in the qllm2 v7 or v11 layout"
        )
    for name, tensor in own.items():
        if state_dict[name].shape != tensor.shape:
            raise SpecError(
                f"{name!r} has shape {tuple(state_dict[name].shape)} where the other sizes ask for "
                f"{tuple(tensor.shape)}; give a checkpoint whose sizes agree"
            )
    module.load_state_dict(dict(state_dict))
