"""Where the size search starts: the preset's pair, the reference's own shape over other numbers, the nearest preset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import SpecError, UsageError
from pamprof.records import Scope
from pamprof.workloads.closed_forms import parameter_count
from pamprof.workloads.layers.presets import preset_names

if TYPE_CHECKING:
    from pamprof.records import LayerSpec
    from pamprof.workloads.base import LayerDefinition

# Activations of the complex layer and of its real twin: the same function of the magnitude, or of the value itself.
_ACTIVATION_TWINS = {"modswish": "swish", "modrelu": "relu", "swish": "modswish", "relu": "modrelu"}


def preset_pair(
    own: LayerDefinition, reference: LayerSpec, layer: LayerDefinition, preset: str | None
) -> LayerSpec | None:
    """The layer's sizes of the same preset, if the reference still has its own of it."""
    if preset is None:
        return None
    try:
        untouched, pair = own.preset(preset), layer.preset(preset)
    except UsageError:
        return None  # a layer of another package need not have every preset
    fields = ("model_dim", "heads", "head_dim", "depth", "hidden_dim", "state_count")
    if any(getattr(untouched, field) != getattr(reference, field) for field in fields):
        return None
    return _with_shared_choices(layer, pair, reference)


def twin_of(layer: LayerDefinition, reference: LayerSpec) -> LayerSpec | None:
    """The reference's own shape as this layer, where the two are the same block over other numbers."""
    if reference.activation not in _ACTIVATION_TWINS:
        return None
    for activation in (_ACTIVATION_TWINS[reference.activation], reference.activation):
        twin = replace(reference, layer=layer.name, activation=activation)
        try:
            layer.check(twin)
        except SpecError:
            continue
        return twin
    return None


def nearest_preset(own: LayerDefinition, reference: LayerSpec, layer: LayerDefinition) -> LayerSpec:
    """The layer's preset whose parameter count, with the reference's vocabulary, is nearest to the reference's."""
    target = own.parameter_count(reference, Scope.MODEL)
    presets = []
    for name in preset_names():
        try:
            presets.append(_with_shared_choices(layer, layer.preset(name), reference))
        except UsageError:
            continue
    if not presets:
        raise UsageError(f"layer {layer.name} has none of the presets {', '.join(preset_names())} to be sized from")
    return min(presets, key=lambda spec: abs(parameter_count(layer, spec, Scope.MODEL) / target - 1))


def _with_shared_choices(layer: LayerDefinition, spec: LayerSpec, reference: LayerSpec) -> LayerSpec:
    """``spec`` with what all arms share: vocabulary, longest sequence, dropout, and chunk and activation in kin."""
    shared = replace(
        spec,
        vocabulary_size=reference.vocabulary_size,
        maximum_sequence_length=reference.maximum_sequence_length,
        dropout=reference.dropout,
    )
    if spec.chunk_size is not None and reference.chunk_size is not None:
        shared = replace(shared, chunk_size=reference.chunk_size)
    twin = twin_of(layer, reference)
    return shared if twin is None else replace(shared, activation=twin.activation)
