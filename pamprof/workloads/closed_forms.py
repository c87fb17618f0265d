"""A layer's own figures, checked when they are made, and what is counted instead where one cannot be true."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

import torch
from torch import nn

from pamprof.records import RefusedClaim
from pamprof.workloads.registry import BUILT_IN_LAYERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.records import LayerSpec, Scope
    from pamprof.workloads.base import ClosedForm, LayerDefinition

# A formula leaves out what hardly matters, such as one bias; more than this is another number.
_AGREEMENT_RATIO = 1e-3


def checked_claim(claim: Callable[[], object], *, least: int = 1) -> int | str | None:
    """The whole number that ``claim`` gives, ``least`` or more; else in words what it gave; None where it has none."""
    try:
        value = claim()
    except Exception as exc:  # noqa: BLE001 - a foreign formula may raise anything, and costs its claim alone
        return f"{type(exc).__name__}: {' '.join(str(exc).split()) or 'no message'}"
    if value is None:
        return None
    try:
        number = index(value)  # type: ignore[arg-type]  # whatever it is, it becomes an integer or is refused
    except TypeError:
        return f"{value!r:.60}, not a whole number"
    return number if number >= least else f"{number}, less than {least}"


def matrix_flops_of(form: ClosedForm | None) -> int | None:
    """Of a closed form, where the layer has one."""
    return None if form is None else form.matrix_flop_count


def refused_claim(quantity: str, claimed: int | str | None, counted: int | None) -> RefusedClaim | None:
    """The refusal of what is no number, or of a number that the count contradicts; None where none is claimed."""
    if isinstance(claimed, str):
        return RefusedClaim(quantity=quantity, claimed=claimed, counted=counted)
    if claimed is None or counted is None or abs(claimed - counted) <= _AGREEMENT_RATIO * counted:
        return None
    return RefusedClaim(quantity=quantity, claimed=str(claimed), counted=counted)


def counted_parameter_count(definition: LayerDefinition, spec: LayerSpec, implementation: str, scope: Scope) -> int:
    """Real scalars of a model built on the meta device: each parameter once, a complex one as two."""
    model = definition.build(spec, implementation=implementation, scope=scope, device=torch.device("meta"), seed=0)
    if not isinstance(model, nn.Module):
        raise TypeError(f"layer {definition.name} built {type(model).__name__}, not a torch module")
    return real_scalar_count(model)


def real_scalar_count(module: nn.Module) -> int:
    """Real scalars of a module's parameters, each parameter once, a complex one as two."""
    return sum(parameter.numel() * (2 if parameter.is_complex() else 1) for parameter in module.parameters())


def parameter_count(definition: LayerDefinition, spec: LayerSpec, scope: Scope) -> int:
    """By the layer's formula; counted on the meta device where that gives no count, or not that of the layer's model.

    Formulas of this package are held to their models by tests; that of another is held to the first model asked about.
    What a factory of somebody else's makes was counted already, in a process that may run its code.
    """
    if spec.source is not None:
        return definition.parameter_count(spec, scope)
    claimed = checked_claim(lambda: definition.parameter_count(spec, scope))
    if isinstance(claimed, int) and _is_trusted(definition, spec, scope, claimed):
        return claimed
    return counted_parameter_count(definition, spec, definition.implementations[0], scope)


# By identity: the definition, kept so that no other takes its place, and whether its formula agreed with its model.
_agreed: dict[tuple[int, Scope], tuple[LayerDefinition, bool]] = {}


def _is_trusted(definition: LayerDefinition, spec: LayerSpec, scope: Scope, claimed: int) -> bool:
    if definition.name in BUILT_IN_LAYERS:
        return True
    key = (id(definition), scope)
    if key not in _agreed:
        try:
            counted = counted_parameter_count(definition, spec, definition.implementations[0], scope)
        except Exception:  # noqa: BLE001 - a foreign layer need not build on the meta device
            return True
        _agreed[key] = definition, refused_claim("parameter_count", claimed, counted) is None
    return _agreed[key][1]
