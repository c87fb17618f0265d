"""Weights of files in models: which file an arm's weights come from, and the first key that does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pamprof.errors import SpecError, UsageError
from pamprof.workloads.checkpoints.files import StoredModel, read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn

# A table that is lengthened to measure beyond it keeps its random rows there.
_GROWS = "position_embedding"

_files: dict[str, Path] = {}


def know_checkpoints(files: Mapping[str, str]) -> None:
    """Where the files lie in this machine, by what ``LayerSpec.checkpoint`` says of them."""
    _files.update({identity: Path(path) for identity, path in files.items()})


def weights_of(identity: str) -> StoredModel:
    """The tensors of the file that a record calls ``identity``.

    Raises:
        UsageError: Nobody said in this process where it lies.
    """
    if identity not in _files:
        raise UsageError(f"nothing is known of the checkpoint {identity}; give it with --checkpoint")
    return read_weights(_files[identity])


def renamed(tensors: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """``tensors`` by the names that the first fitting rule, a pattern with its replacement, gives each."""
    found = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            changed, count = re.subn(f"^{pattern}", replacement, name)
            if count:
                break
        else:
            changed = name
        found[changed] = tensor
    return found


def block_count(tensors: Mapping[str, Tensor]) -> int:
    """How many blocks there are.

    Raises:
        SpecError: None, or their numbers have gaps.
    """
    numbers = {key.split(".")[1] for key in tensors if key.startswith("blocks.")}
    if numbers != {str(number) for number in range(len(numbers))} or not numbers:
        raise SpecError(
            f"blocks are numbered {', '.join(sorted(numbers)) or 'nowhere'}; they must count from 0 without gaps"
        )
    return len(numbers)


def table_shape(tensors: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Rows and columns of a table that must be there; ``SpecError`` where it is not."""
    if name not in tensors or tensors[name].ndim != 2:
        found = f"shape {tuple(tensors[name].shape)}" if name in tensors else "nothing"
        raise SpecError(
            f"the checkpoint does not fit: {name} must have two axes, and {found} was found; give a model in the "
            "layout of pamprof, or of qllm2 v6 or GPT-2 for a transformer"
        )
    rows, columns = tensors[name].shape
    return rows, columns


def check_fit(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Compare names and shapes.

    Args:
        own: Of the model.
        stored: Of the file, by this package's names.

    Raises:
        SpecError: The first key that does not fit, with the shapes expected and found.
    """
    # Tied tensors may be stored once, as safetensors does.
    given = {tensor.data_ptr() for name, tensor in own.items() if name in stored and not tensor.is_meta}
    for name, tensor in own.items():
        wanted = tuple(tensor.shape)
        if name not in stored and tensor.data_ptr() in given and tensor.numel() and not tensor.is_meta:
            continue
        if name not in stored:
            raise SpecError(f"the checkpoint does not fit: missing {name} of shape {wanted}; give that of such a model")
        found = tuple(stored[name].shape)
        if found != wanted and not (name == _GROWS and found[1:] == wanted[1:] and found[0] < wanted[0]):
            raise SpecError(
                f"the checkpoint does not fit: {name!r} has shape {found} where the other sizes ask for {wanted}; give "
                "one whose sizes agree"
            )
    for name, tensor in stored.items():
        if name not in own:
            raise SpecError(
                f"the checkpoint does not fit: unexpected {name} of shape {tuple(tensor.shape)}, which the model has "
                "nothing for; give that of such a model"
            )


def load_exactly(module: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Copy ``stored`` into ``module``, which keeps its dtypes; ``SpecError`` as of ``check_fit``."""
    own = module.state_dict()
    check_fit(own, stored)
    with torch.no_grad():
        for name, tensor in own.items():
            if name not in stored:
                continue  # tied to one that is
            target = tensor[: stored[name].shape[0]] if name == _GROWS else tensor
            target.copy_(stored[name])
