"""Sizes that make a comparison fair: every arm at the reference's parameters, FLOPs, width or state bytes.

The axes disagree on purpose. A complex weight is two parameters and four multiplications, so arms with equal parameters
differ in FLOPs and arms with equal FLOPs differ in parameters; the residuals on the axes that were not matched are
returned with every arm and belong beside every ratio.

Sizes are matched at the reference's own position table. A table that is lengthened afterwards, to measure sequences
beyond it, is not part of the matched count.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.errors import LayerError, PamprofError, UsageError
from pamprof.records import ArmFacts, Dtype, LayerSpec, MatchResidual, Phase, Scope
from pamprof.workloads.base import ClosedForm, LayerDefinition, phases_of
from pamprof.workloads.closed_forms import checked_claim, parameter_count
from pamprof.workloads.matching.size_search import nearest_shapes
from pamprof.workloads.matching.starting_shapes import nearest_preset, preset_pair, twin_of
from pamprof.workloads.registry import definition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

TOLERANCE = 0.01


class MatchAxis(StrEnum):
    """What arms are made equal in.

    ``PARAMETERS`` counts real scalars of the full model, ``FLOPS`` its forward matrix FLOPs for a sequence, ``WIDTH``
    real scalars of the residual stream (a complex channel is two), ``STATE_BYTES`` the state or KV cache of one
    sequence. ``NONE`` takes every layer at its own sizes of the nearest preset.
    """

    PARAMETERS = "parameters"
    FLOPS = "flops"
    WIDTH = "width"
    STATE_BYTES = "state-bytes"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedArm:
    """An arm at the sizes that match the reference; ``residuals`` are on all axes, the chosen one included."""

    name: str
    spec: LayerSpec
    residuals: tuple[MatchResidual, ...]


def match(
    reference: LayerSpec,
    layer_names: Sequence[str],
    *,
    axis: str,
    sequence_length: int,
    dtype: Dtype,
    preset: str | None = None,
    fixed: Mapping[str, LayerSpec] | None = None,
) -> tuple[MatchedArm, ...]:
    """Size every layer to ``reference``; one arm for each name, in order.

    A preset's own sizes are taken where they lie within 1 %, so that a preset run compares the published pair. Else the
    shape is found that departs least from the layer's own: same depth, head_dim and feed-forward ratio where they fit,
    widths in multiples of 8.

    Args:
        reference: Sizes to match; a layer of the same name gets them unchanged.
        layer_names: Registry names.
        axis: A ``MatchAxis`` value.
        sequence_length: Tokens at which FLOPs and state bytes are compared.
        dtype: Precision policy the state bytes are counted in.
        preset: The preset ``reference`` was made from, if it was.
        fixed: Sizes that are not to be matched, by layer.

    Raises:
        UsageError: Unknown axis or layer, or no shape within 1 %; the message has the nearest.
        SpecError: ``reference`` itself cannot exist.
    """
    try:
        chosen = MatchAxis(axis)
    except ValueError as exc:
        raise UsageError(f"no match axis {axis!r}; axes are {', '.join(MatchAxis)}") from exc
    if sequence_length < 1:
        raise UsageError(f"sequence_length is {sequence_length}; matching needs 1 token or more")
    own = definition(reference.layer)
    own.check(reference)
    axes = [each for each in MatchAxis if each is not MatchAxis.NONE]
    targets: dict[MatchAxis, int] = {each: _size(own, reference, each, sequence_length, dtype) for each in axes}
    arms = []
    for name in layer_names:
        layer = definition(name)

        def size(spec: LayerSpec, axis: MatchAxis = chosen, layer: LayerDefinition = layer) -> int:
            return _size(layer, spec, axis, sequence_length, dtype)

        if name == reference.layer:
            spec = reference
        elif fixed is not None and name in fixed:
            spec = fixed[name]
        elif chosen is MatchAxis.NONE:
            spec = preset_pair(own, reference, layer, preset) or nearest_preset(own, reference, layer)
        else:
            spec = _matched(own, reference, layer, preset=preset, axis=chosen, target=targets[chosen], size=size)
        residuals = _residuals(layer, spec, targets, sequence_length, dtype)
        arms.append(MatchedArm(name=name, spec=spec, residuals=residuals))
    return tuple(arms)


def arm_facts(
    layer: LayerDefinition,
    spec: LayerSpec,
    *,
    sequence_length: int,
    dtype: Dtype,
    residuals: tuple[MatchResidual, ...] = (),
) -> ArmFacts:
    """Sizes, FLOPs per token and state of the full model; builds nothing. FLOPs that cannot be counted are None."""

    def counted(phase: Phase) -> float | None:
        if phase not in phases_of(layer):
            return None
        try:
            return layer.flop_count(
                spec, phase=phase, scope=Scope.MODEL, batch_size=1, sequence_length=sequence_length
            ).matrix_flop_count
        except PamprofError:
            return None

    try:
        forward = forward_flop_count(layer, spec, sequence_length)
    except PamprofError:
        forward = None
    train = None if forward is None else counted(Phase.TRAIN)
    return ArmFacts(
        title=layer.title,
        spec=spec,
        parameter_count=layer.parameter_count(spec, Scope.MODEL),
        matrix_flop_count_per_token=None if forward is None else forward.matrix_flop_count / sequence_length,
        state_bytes=layer.state_byte_count(spec, scope=Scope.MODEL, batch_size=1, context=sequence_length, dtype=dtype),
        matrix_dense_flop_count_per_token=(
            None if forward is None else forward.matrix_dense_flop_count / sequence_length
        ),
        train_matrix_flop_count_per_token=None if train is None else train / sequence_length,
        decode_matrix_flop_count_per_token=counted(Phase.DECODE),
        residuals=residuals,
    )


def forward_flop_count(layer: LayerDefinition, spec: LayerSpec, sequence_length: int) -> ClosedForm:
    """Forward of one whole sequence with logits at every position.

    Every block runs over the sequence as in a prefill, and the head once for each token: what a prefill of the model
    does once beyond its blocks. A definition that offers ``forward_flop_count`` may know it otherwise.
    """
    own = getattr(layer, "forward_flop_count", None)
    known: ClosedForm | None = None if own is None else own(spec, sequence_length)
    if known is not None:
        return known
    model, block = (
        layer.flop_count(spec, phase=Phase.PREFILL, scope=scope, batch_size=1, sequence_length=sequence_length)
        for scope in (Scope.MODEL, Scope.LAYER)
    )
    head = sequence_length * (model.matrix_flop_count - spec.depth * block.matrix_flop_count)
    return ClosedForm(
        matrix_flop_count=spec.depth * block.matrix_flop_count + head,
        matrix_dense_flop_count=spec.depth * block.matrix_dense_flop_count + head,
    )


def _size(layer: LayerDefinition, spec: LayerSpec, axis: MatchAxis, sequence_length: int, dtype: Dtype) -> int:
    """Raises ``LayerError`` where the layer's formula gives no size; its parameters are counted then."""
    if axis is MatchAxis.PARAMETERS:
        return parameter_count(layer, spec, Scope.MODEL)
    if axis is MatchAxis.WIDTH:
        return spec.model_dim * (2 if layer.complex_valued else 1)
    if axis is MatchAxis.FLOPS:
        size = checked_claim(lambda: forward_flop_count(layer, spec, sequence_length).matrix_flop_count)
    else:
        size = checked_claim(
            lambda: layer.state_byte_count(spec, scope=Scope.MODEL, batch_size=1, context=sequence_length, dtype=dtype),
            least=0,
        )
    if not isinstance(size, int):
        raise LayerError(f"layer {layer.name}: its formula for {axis} gives {size or 'nothing'}; match on another axis")
    return size


def _residuals(
    layer: LayerDefinition, spec: LayerSpec, targets: Mapping[MatchAxis, int], sequence_length: int, dtype: Dtype
) -> tuple[MatchResidual, ...]:
    residuals = []
    for axis, target in targets.items():
        try:
            size = _size(layer, spec, axis, sequence_length, dtype)
        except PamprofError:
            continue  # FLOPs that cannot be counted
        residuals.append(MatchResidual(axis=axis.value, residual=size / target - 1))
    return tuple(residuals)


def _matched(
    own: LayerDefinition,
    reference: LayerSpec,
    layer: LayerDefinition,
    *,
    preset: str | None,
    axis: MatchAxis,
    target: int,
    size: Callable[[LayerSpec], int],
) -> LayerSpec:
    published = preset_pair(own, reference, layer, preset)
    start = twin_of(layer, reference) or published or nearest_preset(own, reference, layer)
    for ready in (published, start):
        if ready is not None and abs(size(ready) / target - 1) <= TOLERANCE:
            return ready
    shapes = nearest_shapes(layer, start, target=target, size=size, tolerance=TOLERANCE)
    if shapes and abs(size(shapes[0]) / target - 1) <= TOLERANCE:
        return shapes[0]
    if shapes and getattr(layer, "keeps_depth", False):
        return min(shapes, key=lambda spec: abs(size(spec) / target - 1))
    nearest = " and ".join(
        f"model_dim {spec.model_dim}, depth {spec.depth}, hidden_dim {spec.hidden_dim} "
        f"({100 * (size(spec) / target - 1):+.1f} %)"
        for spec in shapes
    )
    raise UsageError(
        f"no size of layer {layer.name} lies within {TOLERANCE:.0%} of {target} {axis}; "
        + (f"nearest: {nearest}; " if nearest else "none is possible at all; ")
        + "change the reference's sizes or match on another axis"
    )
