"""Named sizes of PAM and the widths of its real twin at equal parameters.

Sources: arXiv:2604.05030 (sizes and activations of its tables; V = 50,257, T = 2,048); ``tiny`` is ours, made so that a
whole comparison finishes on two CPU cores within a minute; ``1b`` is ours too, the 100m shape widened and deepened.
"""

from __future__ import annotations

from dataclasses import replace

from pamprof.errors import UsageError
from pamprof.records import LayerSpec, Scope
from pamprof.workloads.layers.recurrent.formulas import parameter_count

_PAPER_VOCABULARY_SIZE = 50_257  # GPT-2's tokeniser
_PAPER_SEQUENCE_LENGTH = 2_048

# Widths the hardware likes are preferred where one matches this closely.
_MATCH_TOLERANCE = 0.01


def _sizes(
    model_dim: int,
    heads: int,
    head_dim: int,
    depth: int,
    activation: str,
    *,
    vocabulary_size: int = _PAPER_VOCABULARY_SIZE,
    maximum_sequence_length: int = _PAPER_SEQUENCE_LENGTH,
    chunk_size: int = 256,
) -> LayerSpec:
    return LayerSpec(
        layer="pam",
        model_dim=model_dim,
        heads=heads,
        head_dim=head_dim,
        depth=depth,
        hidden_dim=3 * model_dim,
        vocabulary_size=vocabulary_size,
        maximum_sequence_length=maximum_sequence_length,
        activation=activation,
        chunk_size=chunk_size,
    )


# The paper's small runs (5m, 10m, 25m) use modReLU, the later 100m runs modSwish.
PRESETS = {
    "tiny": _sizes(48, 3, 16, 2, "modswish", vocabulary_size=2_048, maximum_sequence_length=512, chunk_size=64),
    "5m": _sizes(44, 2, 16, 12, "modrelu"),
    "10m": _sizes(88, 4, 16, 6, "modrelu"),
    "25m": _sizes(160, 4, 32, 16, "modrelu"),
    "100m": _sizes(384, 6, 64, 16, "modswish"),
    "1b": _sizes(1152, 16, 72, 24, "modswish"),
}


def preset(name: str) -> LayerSpec:
    """Sizes of a named preset; raises ``UsageError`` naming the presets there are."""
    if name not in PRESETS:
        raise UsageError(f"no preset {name!r} of layer pam; presets are {', '.join(PRESETS)}")
    return PRESETS[name]


def resize(spec: LayerSpec, model_dim: int) -> LayerSpec | None:
    """The same depth, head_dim, and ratios of inner and hidden width at another width; None where no head is left."""
    if model_dim < 1:
        return None
    heads = round(model_dim * spec.heads / spec.model_dim)
    hidden_dim = round(model_dim * spec.hidden_dim / spec.model_dim)
    if heads < 1 or hidden_dim < 1:
        return None
    return replace(spec, model_dim=model_dim, heads=heads, hidden_dim=hidden_dim)


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
