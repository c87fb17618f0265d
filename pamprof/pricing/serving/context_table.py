"""Crossover contexts by bytes alone: every fixed state measured against every cache measured, and their variants.

A state varies in its dtype and, where its products are complex, in one or three states a head; a cache in its own
dtype, 16 or 8 bits. The bytes are those the measured decode steps allocated, divided by their sequences and tokens;
variants nobody measured follow by their element's size. A step that moves as many bytes takes as long only where bytes
are what bounds it, so these are models; what curves measured stands beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.errors import SpecError
from pamprof.records import Dtype, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.serving.terms import Curve
    from pamprof.records import LayerFacts, Run

STATE = "state"
CACHE = "kv-cache"
_ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "fp8": 1}
_STATE_DTYPES = ("float32", "bfloat16")
_STATES_PER_HEAD = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextRow:
    """One fixed state against one cache.

    Attributes:
        state: Architecture and variant, such as ``PAM, float32 state, K = 3``.
        state_bytes: S, of one sequence.
        cache: Architecture and variant.
        cache_bytes_per_token: Kappa.
        memory_tokens: S / kappa, equal memory.
        traffic_tokens: 2 S / kappa, equal decode traffic.
        basis: Counted bytes make a model of time, so always a model.
    """

    state: str
    state_bytes: float
    cache: str
    cache_bytes_per_token: float
    memory_tokens: float
    traffic_tokens: float
    basis: Basis = Basis.MODELLED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variant:
    name: str
    byte_count: float


def context_table(curves: Sequence[Curve], layers: Mapping[str, LayerFacts]) -> tuple[ContextRow, ...]:
    """Every state and cache among ``curves`` and its variants; empty where one of the two kinds is missing."""
    states = _distinct(variant for curve in curves for variant in _states(curve, layers))
    caches = _distinct(variant for curve in curves for variant in _caches(curve, layers))
    return tuple(
        ContextRow(
            state=state.name,
            state_bytes=state.byte_count,
            cache=cache.name,
            cache_bytes_per_token=cache.byte_count,
            memory_tokens=memory_crossover_tokens(state.byte_count, cache.byte_count),
            traffic_tokens=traffic_crossover_tokens(state.byte_count, cache.byte_count),
        )
        for state in states
        for cache in caches
    )


def holds(curve: Curve) -> str | None:
    """``state`` or ``kv-cache``, whichever the arm keeps between tokens; None where its runs do not say."""
    return next((run.memory.state_kind for run in _decoding(curve)), None)


def bytes_per_sequence(run: Run) -> float:
    """S of a decode run: state or cache of one sequence, bytes."""
    return run.memory.state_bytes / run.workload.batch_size


def cache_bytes_per_token(run: Run) -> float:
    """Kappa of a decode run: it allocates room for its context and the token it adds."""
    return bytes_per_sequence(run) / (run.workload.sequence_length + 1)


def _decoding(curve: Curve) -> list[Run]:
    return [run for run in curve.runs if run.workload.phase is Phase.DECODE and run.memory.state_bytes > 0]


def _states(curve: Curve, layers: Mapping[str, LayerFacts]) -> list[_Variant]:
    run = next((run for run in _decoding(curve) if run.memory.state_kind == STATE), None)
    if run is None:
        return []
    element = bytes_per_sequence(run) / _ELEMENT_BYTES[_state_dtype(run)]
    layer = layers[run.workload.spec.layer]
    return [
        _Variant(name=f"{layer.title}, {dtype} state, K = {count}", byte_count=element * _ELEMENT_BYTES[dtype] * count)
        for count in (_STATES_PER_HEAD if layer.complex_valued else _STATES_PER_HEAD[:1])
        for dtype in _STATE_DTYPES
    ]


def _caches(curve: Curve, layers: Mapping[str, LayerFacts]) -> list[_Variant]:
    run = next((run for run in _decoding(curve) if run.memory.state_kind == CACHE), None)
    if run is None:
        return []
    own = run.workload.dtype.value
    per_element = cache_bytes_per_token(run) / _ELEMENT_BYTES[own]
    return [
        _Variant(
            name=f"{layers[run.workload.spec.layer].title}, {dtype} cache",
            byte_count=per_element * _ELEMENT_BYTES[dtype],
        )
        for dtype in dict.fromkeys((own, "bfloat16", "fp8"))
    ]


def _state_dtype(run: Run) -> str:
    """A state is kept in float32 whatever the precision policy, unless the workload says otherwise."""
    return (run.workload.spec.state_dtype or Dtype.FLOAT32).value


def _distinct(variants: Iterable[_Variant]) -> list[_Variant]:
    """Each size once: implementations of one architecture keep the same bytes."""
    return list({round(variant.byte_count): variant for variant in reversed(list(variants))}.values())[::-1]


def memory_crossover_tokens(state_bytes: float, kv_bytes_per_token: float) -> float:
    """S / kappa: the context at which both take the same memory, so that equally many sequences fit."""
    for name, value in (("state_bytes", state_bytes), ("kv_bytes_per_token", kv_bytes_per_token)):
        if not value > 0:
            raise SpecError(f"{name} {value} must lie above zero; check the sizes it comes from")
    return state_bytes / kv_bytes_per_token


def traffic_crossover_tokens(state_bytes: float, kv_bytes_per_token: float) -> float:
    """2 S / kappa: the context at which a decode step moves the same bytes; twice the memory crossover."""
    return 2 * memory_crossover_tokens(state_bytes, kv_bytes_per_token)
