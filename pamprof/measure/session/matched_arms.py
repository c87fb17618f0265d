"""The arms of a session: PAM at a preset or at the user's own sizes, every other layer matched to it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from pamprof.errors import SpecError, UsageError
from pamprof.records import ArmFacts, LayerSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
) -> tuple[PlannedArm, ...]:
    """The arms of a comparison, the reference layer first, every other matched to PAM's sizes.

    Args:
        preset: Sizes by name.
        sizes: Changes to the PAM arm, by ``LayerSpec`` field.
        layers: Registry names; ``pam`` gives the sizes even when it is not among them.
        match_axis: What the arms are matched on.
        sequence_length: Tokens the per-token facts refer to.
        dtype: Policy the state bytes are counted in.

    Raises:
        UsageError: Unknown preset, layer or axis, or sizes that cannot be matched.
    """
    from pamprof.measure.any_layer.registration import know_factories
    from pamprof.workloads.matching.match import arm_facts, match
    from pamprof.workloads.registry import definition

    know_factories()
    source = definition("pam")
    spec = _resized(source.preset(preset), sizes)
    source.check(spec)
    ordered = sorted(dict.fromkeys(layers), key=lambda name: (name != "transformer", layers.index(name)))
    matched = match(
        spec,
        ordered,
        axis=match_axis,
        sequence_length=sequence_length,
        dtype=dtype,
        preset=None if sizes else preset,
    )
    return tuple(
        PlannedArm(
            definition=definition(arm.name),
            spec=arm.spec,
            facts=arm_facts(
                definition(arm.name), arm.spec, sequence_length=sequence_length, dtype=dtype, residuals=arm.residuals
            ),
        )
        for arm in matched
    )


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
