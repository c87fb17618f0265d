"""Sizes of an arm whose weights are stored: what the file's shapes say, checked against the model of those sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from pamprof.errors import SpecError, UsageError
from pamprof.records import Scope
from pamprof.workloads.checkpoints.files import identity, read_shapes
from pamprof.workloads.checkpoints.weights import check_fit
from pamprof.workloads.layers.common.definition import BaseDefinition
from pamprof.workloads.registry import BUILT_IN_LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pamprof.records import LayerSpec
    from pamprof.workloads.base import LayerDefinition

# What no tensor of a recurrent layer tells, so that the user's own counts.
_UNTOLD = ("chunk_size", "dropout")


def stored_spec(
    layer: LayerDefinition, path: Path, *, preset: str, sizes: Mapping[str, int | float | str]
) -> LayerSpec | None:
    """Sizes of the model in ``path``; None of a layer from elsewhere, whose code knows its shapes and runs in workers.

    Args:
        layer: Whose weights they are.
        path: Of the file.
        preset: Gives what no shape tells.
        sizes: The user's own, of PAM.

    Raises:
        UsageError: No file of tensors, or they do not fit: the first key is named, with the shapes expected and found.
    """
    known_as = identity(path)  # says best what is wrong with a path
    if not isinstance(layer, BaseDefinition):
        raise UsageError(f"--checkpoint {layer.name}: its package builds the layer itself; let it load {path.name}")
    if layer.name not in BUILT_IN_LAYERS:
        return None
    told = [name for name in sizes if name not in _UNTOLD]
    if layer.name == "pam" and told:
        raise UsageError(f"--{told[0].replace('_', '-')} says nothing about {path.name}, which has its own sizes")
    untold = {name: value for name, value in sizes.items() if name in _UNTOLD and hasattr(layer, "activations")}
    try:
        spec, tensors = layer.stored_model(read_shapes(path), layer.preset(preset))
        spec = replace(spec, checkpoint=known_as, **untold)  # type: ignore[arg-type]
        layer.check(spec)
        model = layer.build(
            spec,
            implementation=layer.implementations[0],
            scope=Scope.MODEL,
            device=torch.device("meta"),
            seed=0,
        )
        assert isinstance(model, nn.Module)
        check_fit(model.state_dict(), tensors)
    except SpecError as error:
        raise SpecError(f"--checkpoint {layer.name}={path.name}: {error}") from None
    return spec
