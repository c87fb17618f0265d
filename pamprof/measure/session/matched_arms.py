"""The arms of a session: PAM at a preset or at the user's own sizes, every other layer matched to it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import msgspec

from pamprof.errors import LayerError, PamprofError, SpecError, UsageError
from pamprof.measure.session.layer_fault import fault_sentence, fault_traceback
from pamprof.records import ArmFacts, LayerFacts, LayerSpec, UnplannedLayer
from pamprof.workloads.base import layer_facts
from pamprof.workloads.registry import BUILT_IN_LAYERS, layer_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pamprof.records import Dtype
    from pamprof.workloads.base import LayerDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedArm:
    """One architecture of a session: its definition, matched sizes and facts."""

    definition: LayerDefinition
    spec: LayerSpec
    facts: ArmFacts


def matched_arms(
    *,
    preset: str,
    sizes: Mapping[str, int | float | str],
    layers: tuple[str, ...],
    match_axis: str,
    sequence_length: int,
    dtype: Dtype,
    checkpoints: Mapping[str, Path] | None = None,
) -> tuple[PlannedArm, ...]:
    """The arms of a comparison, the reference layer first, every other matched to PAM's sizes.

    Args:
        preset: Sizes by name.
        sizes: Changes to the PAM arm, by ``LayerSpec`` field.
        layers: Registry names; ``pam`` gives the sizes even when it is not among them.
        match_axis: What the arms are matched on.
        sequence_length: Tokens the per-token facts refer to.
        dtype: Policy the state bytes are counted in.
        checkpoints: Files of weights by layer. Their sizes are taken as they are, and the others matched to PAM's, or
            to the first's where PAM has neither a file nor sizes of its own.

    Raises:
        UsageError: Unknown preset, layer or axis, sizes that cannot be matched, or a file that does not fit.
    """
    from pamprof.measure.any_layer.registration import know_factories
    from pamprof.measure.session.counted_forms import CountedForms
    from pamprof.measure.session.stored_sizes import stored_spec
    from pamprof.workloads.checkpoints.files import identity
    from pamprof.workloads.matching.match import arm_facts, match
    from pamprof.workloads.registry import definition

    know_factories()
    files = checkpoints or {}
    stored = {
        name: spec
        for name, path in files.items()
        if (spec := stored_spec(definition(name), path, preset=preset, sizes=sizes)) is not None
    }
    if stored and ("pam" in stored or not sizes):
        spec = stored.get("pam") or next(iter(stored.values()))
    else:
        spec = _resized(definition("pam").preset(preset), sizes)
    definition(spec.layer).check(spec)
    matched = match(
        spec,
        _reference_first(layers),
        axis=match_axis,
        sequence_length=sequence_length,
        dtype=dtype,
        preset=None if sizes or stored else preset,
        fixed=stored,
    )
    matched = tuple(
        replace(arm, spec=replace(arm.spec, checkpoint=identity(files[arm.name]) if arm.name in files else None))
        for arm in matched
    )
    return tuple(
        PlannedArm(
            definition=definition(arm.name),
            spec=arm.spec,
            facts=arm_facts(
                # What a factory makes was counted already.
                definition(arm.name)
                if arm.spec.source is not None
                else CountedForms(definition(arm.name)).as_definition(),
                arm.spec,
                sequence_length=sequence_length,
                dtype=dtype,
                residuals=arm.residuals,
            ),
        )
        for arm in matched
    )


def planned_arms(
    *,
    preset: str,
    sizes: Mapping[str, int | float | str],
    layers: tuple[str, ...],
    match_axis: str,
    sequence_length: int,
    dtype: Dtype,
    checkpoints: Mapping[str, Path] | None = None,
) -> tuple[tuple[PlannedArm, ...], tuple[UnplannedLayer, ...]]:
    """``matched_arms``, and the layers from elsewhere that fail while they are planned: each costs itself alone.

    Raises:
        UsageError: As ``matched_arms``, of layers of this package and names that nothing is registered under; or no
            layer is left.
    """
    arms: list[PlannedArm] = []
    failed: list[UnplannedLayer] = []
    for name in _reference_first(layers):
        try:
            (arm,) = matched_arms(
                preset=preset,
                sizes=sizes,
                layers=(name,),
                match_axis=match_axis,
                sequence_length=sequence_length,
                dtype=dtype,
                checkpoints=checkpoints,
            )
            _check_planned(arm, dtype)
        except (Exception, SystemExit) as exc:  # a layer may raise anything; the others must be planned
            if name in BUILT_IN_LAYERS or name not in layer_names():
                raise
            is_told = isinstance(exc, PamprofError)
            reason = str(exc) if is_told else fault_sentence(name, exc)
            trace = None if is_told and exc.__cause__ is None else fault_traceback(exc)
            failed.append(UnplannedLayer(layer=name, reason=reason, traceback=trace))
        else:
            arms.append(arm)
    if not arms:
        raise LayerError(f"no layer is left to measure; the first reason: {failed[0].reason}")
    return tuple(arms), tuple(failed)


def _reference_first(layers: tuple[str, ...]) -> list[str]:
    return sorted(dict.fromkeys(layers), key=lambda name: (name != "transformer", layers.index(name)))


def _check_planned(arm: PlannedArm, dtype: Dtype) -> None:
    """Ask a layer for everything that planning asks for, and see that its declarations can be stored and read back.

    Raises:
        LayerError: They cannot, or it has no implementation.
    """
    layer = arm.definition
    names = tuple(layer.implementations)
    if not names or not all(isinstance(name, str) for name in names):
        raise LayerError(f"layer {arm.spec.layer}: its implementations are {names!r}; name one or more")
    for name in names:
        layer.supports(name, dtype)
    for declared, kind in ((layer_facts(layer), LayerFacts), (arm.facts, ArmFacts)):
        try:
            msgspec.json.decode(msgspec.json.encode(declared), type=kind)
        except (TypeError, msgspec.MsgspecError) as exc:
            raise LayerError(f"layer {arm.spec.layer}: what it declares cannot be stored: {exc}") from exc


def check_implementations(arms: Iterable[PlannedArm], names: Iterable[str]) -> None:
    """Raise ``UsageError`` for an implementation that none of ``arms`` has."""
    known = {name for arm in arms for name in arm.definition.implementations}
    for name in names:
        if name not in known:
            raise UsageError(f"no layer has an implementation {name!r}; there are {', '.join(sorted(known))}")


def _resized(spec: LayerSpec, sizes: Mapping[str, int | float | str]) -> LayerSpec:
    """``spec`` with the user's sizes; what was not given follows from the width, as in the paper's own models.

    Raises:
        SpecError: Heads or head_dim that do not divide the width, unless both were given.
    """
    width = int(sizes.get("model_dim", spec.model_dim))
    derived: dict[str, int] = {}
    if "model_dim" in sizes:
        derived["hidden_dim"] = width * spec.hidden_dim // spec.model_dim
    if not ("heads" in sizes and "head_dim" in sizes) and {"model_dim", "heads", "head_dim"} & set(sizes):
        if "heads" in sizes:
            derived["head_dim"] = width // _divisor("heads", int(sizes["heads"]), width)
        elif "head_dim" in sizes:
            derived["heads"] = width // _divisor("head_dim", int(sizes["head_dim"]), width)
        else:
            derived["head_dim"] = max(size for size in range(1, spec.head_dim + 1) if width % size == 0)
            derived["heads"] = width // derived["head_dim"]
    known = {field.name for field in fields(LayerSpec)}
    given = {name: value for name, value in sizes.items() if name in known}
    return replace(spec, **{**derived, **given})  # type: ignore[arg-type]


def _divisor(name: str, value: int, width: int) -> int:
    if width % value:
        near = sorted((size for size in range(1, width + 1) if width % size == 0), key=lambda size: abs(size - value))
        raise SpecError(f"{name} {value} does not divide model_dim {width}; try {near[0]}, or give heads and head_dim")
    return value
