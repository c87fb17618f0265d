"""Published checkpoints (github.com/gowrav-vishwakarma/qllm2, v6, v7 and v11) in the names of v7, which are ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

from pamprof.errors import SpecError
from pamprof.workloads.checkpoints.weights import renamed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

# v6, the paper's runs with full T²: gate units, memories, norms and scales lie in lists of their own.
_V6 = (
    (r"(backbone\.)?feature_layers\.(\d+)\.norm\.", r"blocks.\2.norm1."),
    (r"(backbone\.)?feature_layers\.(\d+)\.cgu\.", r"blocks.\2.cgu."),
    (r"(backbone\.)?feature_scales\.(\d+)$", r"blocks.\2.cgu_scale"),
    (r"(backbone\.)?pam_norms\.(\d+)\.", r"blocks.\2.norm2."),
    (r"(backbone\.)?pam_scales\.(\d+)$", r"blocks.\2.pam_scale"),
    (r"(backbone\.)?pam_layers\.(\d+)\.", r"blocks.\2.pam."),
    (r"(backbone\.)?pam_output_norm\.", "output_norm."),
)
# In v6 each memory has a norm that its forward never calls.
_UNUSED = re.compile(r"blocks\.\d+\.pam\.norm\.scale")


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


def in_v7_layout(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of v6 or v7 in the layout of v7, queries, keys and values in one product."""
    found = {name: tensor for name, tensor in renamed(tensors, _V6).items() if not _UNUSED.fullmatch(name)}
    for name in [name for name in found if ".pam.q_proj." in name]:
        parts = [name.replace(".q_proj.", f".{letter}_proj.") for letter in "qkv"]
        if all(part in found for part in parts):
            found[name.replace(".q_proj.", ".qkv_proj.")] = torch.cat([found.pop(part) for part in parts])
    return found
