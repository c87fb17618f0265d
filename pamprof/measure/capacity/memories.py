"""Memories of one head, in which n pairs of keys and values are written and from which each key then reads.

Axes: S seeds, n pairs, d head_dim, K states. Keys and values are complex [S, n, d] and have length 1; a real matrix and
a KV cache take their real parts, brought to length 1 again.

PAM's matrices are written and read by the layer's own recurrence. K states of one head (v11 of the published code)
each hold all pairs and differ in their decays alone: S^(k) = sum over s of decay_k^(n-1-s) v_s ⊗ conj(k_s), read as
the sum over k of exp(i phi_k) S^(k) q / sqrt(d). The phases phi_k are 0 where training begins. Readings are brought to
the length of the values again: times sqrt(d) / K.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import log, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.records import AssociativeMemory, RetrievalScore
from pamprof.workloads.layers.pam.implementations import arithmetic
from pamprof.workloads.layers.pam.recurrence import log_chunked_pam
from pamprof.workloads.layers.presets import preset
from pamprof.workloads.layers.recurrent.decay_gates import log_decay_and_write
from pamprof.workloads.layers.recurrent.model import RecurrentLayer
from pamprof.workloads.layers.recurrent.parameters import DecayParameters, initialise

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 512  # tokens of the recurrence at a time: it keeps a state for each of its chunks
_SMALLEST = "tiny"  # preset whose first head says what decays training begins with; its sizes do not matter

ELEMENTS_AT_ONCE = 1 << 22  # scores held at once: 32 MiB of complex64


def random_pairs(seeds: range, associations: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Keys and values, complex64 [S, n, d] of length 1, uniform directions; a seed's are the same on any device."""
    drawn = [torch.randn(2, associations, head_dim, 2, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    pairs = functional.normalize(torch.stack(drawn).flatten(-2), dim=-1)
    keys, values = torch.view_as_complex(pairs.unflatten(-1, (-1, 2))).unbind(1)
    return keys, values


@cache
def initial_decays(states: int) -> tuple[float, ...]:
    """The decay of each of K states of a head of the layer before training, its input zero."""
    spec = replace(preset("pam", _SMALLEST), state_count=states)
    layer = RecurrentLayer(spec, arithmetic("planar"))
    initialise(layer, 0)
    silence = torch.zeros(1, 1, 2, spec.model_dim)
    (gates,) = (module for module in layer.modules() if isinstance(module, DecayParameters))
    with torch.no_grad():
        log_decay, _ = log_decay_and_write(gates, silence.flatten(2), silence[:, :, 0])
    return tuple(log_decay[0, 0, 0].double().exp().reshape(states).tolist())


def read_back(memory: AssociativeMemory, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """What each key reads after all pairs were written, and the values as that memory holds them, both [S, n, d]."""
    return _READERS[memory](keys, values)


def retrieved(read: Tensor, values: Tensor, score: RetrievalScore) -> Tensor:
    """Whether each reading scores highest with its own value among all; bool [S, n]."""
    if score is RetrievalScore.ABSOLUTE_REAL and read.is_complex():
        read, values = (torch.view_as_real(x).flatten(-2) for x in (read, values))
    own = torch.arange(read.shape[1], device=read.device)
    return _closest(read, values) == own


def vector_memory(keys: Tensor, values: Tensor) -> Tensor:
    """Sum of the circular convolutions k ⊛ v, d numbers, unbound by the conjugate spectrum of each key."""
    spectra = torch.fft.fft(keys)
    state = (spectra * torch.fft.fft(values)).sum(1, keepdim=True)
    read: Tensor = torch.fft.ifft(spectra.conj() * state)
    return read


def write_states(keys: Tensor, values: Tensor, decays: tuple[float, ...]) -> Tensor:
    """The K states after all pairs, [S, 1, K, d_v, d_k], from keys and values [S, n, d]."""
    states = None
    for k, v in zip(keys.split(_PIECE, 1), values.split(_PIECE, 1), strict=True):
        _, states = _remembered(k, k, v, decays, (0.0,) * len(decays), states)
    assert states is not None
    return states


def read_states(states: Tensor, queries: Tensor, phases: tuple[float, ...]) -> Tensor:
    """What queries [S, n, d] read from ``states``, which tokens that write nothing and keep everything leave alone."""
    kept = (1.0,) * len(phases)
    pieces = ((q, torch.zeros_like(q)) for q in queries.split(_PIECE, 1))
    read = [_remembered(q, nothing, nothing, kept, phases, states)[0] for q, nothing in pieces]
    return torch.cat(read, 1) * (sqrt(queries.shape[2]) / len(phases))


def _remembered(  # noqa: PLR0917 - as the recurrence has them
    q: Tensor, k: Tensor, v: Tensor, decays: tuple[float, ...], phases: tuple[float, ...], states: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The layer's recurrence of one head on a piece [S, T, d] that goes on from ``states``."""
    log_decay, angles = (
        torch.tensor(values, device=q.device, dtype=q.real.dtype)[:, None].expand(len(q), 1, -1, q.shape[1])
        for values in ([log(decay) for decay in decays], phases)
    )
    coefficients = torch.polar(torch.ones_like(angles), angles)
    q, k, v = (x.unsqueeze(1) for x in (q, k, v))
    read, states = log_chunked_pam(q, k, v, log_decay, states, coefficients=coefficients)
    return read.squeeze(1), states


def _matrix(states: int, *, forgets: bool = False) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def read(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        decays = initial_decays(states) if forgets else (1.0,) * states
        return read_states(write_states(keys, values, decays), keys, (0.0,) * states), values

    return read


def _vector(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    return vector_memory(keys, values), values


def _real_matrix(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    keys, values = _real(keys), _real(values)
    return keys @ (values.mT @ keys).mT, values


def _kv_cache(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention in the limit of a large scale: the value of the nearest key."""
    keys, values = _real(keys), _real(values)
    nearest = _closest(keys, keys, signed=True)
    return values.gather(1, nearest.unsqueeze(-1).expand_as(values)), values


def _closest(read: Tensor, among: Tensor, *, signed: bool = False) -> Tensor:
    """Which of ``among`` [S, n, d] has the largest inner product with each reading, [S, n]; a few rows at a time."""
    rows = max(1, ELEMENTS_AT_ONCE // (among.shape[0] * among.shape[1]))
    scores = (part @ among.mH for part in read.split(rows, dim=1))
    return torch.cat([(part if signed else part.abs()).argmax(-1) for part in scores], dim=1)


def _real(numbers: Tensor) -> Tensor:
    return functional.normalize(numbers.real, dim=-1)


_READERS: dict[AssociativeMemory, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    AssociativeMemory.VECTOR: _vector,
    AssociativeMemory.PAM_K1: _matrix(1),
    AssociativeMemory.PAM_K3: _matrix(3),
    AssociativeMemory.REAL_MATRIX: _real_matrix,
    AssociativeMemory.KV_CACHE: _kv_cache,
    AssociativeMemory.PAM_K1_FORGETTING: _matrix(1, forgets=True),
    AssociativeMemory.PAM_K3_FORGETTING: _matrix(3, forgets=True),
}
