"""The width at which the real twin has as many real parameters as a PAM spec."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.records import Scope
from pamprof.workloads.layers.recurrent.formulas import parameter_count
from pamprof.workloads.layers.recurrent.resize import resize

if TYPE_CHECKING:
    from pamprof.records import LayerSpec

# A width that suits the hardware is preferred where it matches this closely.
_MATCH_TOLERANCE = 0.01


def twin(spec: LayerSpec) -> LayerSpec:
    """The real twin of a PAM spec: the width at which it has as many real parameters.

    Widths are multiples of 8 where one of them matches within 1 %, else of 4, 2, 1.
    """
    real = replace(
        spec,
        layer="real_pam",
        activation={"modswish": "swish", "modrelu": "relu"}.get(spec.activation, spec.activation),
    )
    goal = parameter_count(spec, Scope.MODEL)

    def residual(model_dim: int) -> float:
        candidate = resize(real, model_dim)
        return float("inf") if candidate is None else abs(parameter_count(candidate, Scope.MODEL) / goal - 1)

    best = spec.model_dim
    for step in (8, 4, 2, 1):
        best = min(range(step, 3 * spec.model_dim, step), key=residual)
        if residual(best) <= _MATCH_TOLERANCE:
            break
    sized = resize(real, best)
    if sized is None:
        raise UsageError(f"PAM of width {spec.model_dim} has no real twin; choose a larger width")
    return sized
