"""Memories of one head, in which n pairs of keys and values are written and from which each key then reads.

Axes: S seeds, n pairs, d head_dim, K states. Keys and values are complex [S, n, d] and have length 1; a real matrix and
a KV cache take their real parts, brought to length 1 again.

K states of one head (v11 of the published code) each hold all pairs and differ in their decays alone: S^(k) = sum over
s of decay_k^(n-1-s) v_s ⊗ conj(k_s), read as the sum over k of c_k S^(k) q with c_k = exp(i phi_k) / K. The phases
phi_k are 0 where training begins.
"""

from __future__ import annotations

from math import exp, log1p
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pamprof.records import AssociativeMemory, RetrievalScore
from pamprof.workloads.layers.recurrent.parameters import INITIAL_DT_BIAS, INITIAL_PROTECT_BIAS

if TYPE_CHECKING:
    from collections.abc import Callable

_STATE_OFFSETS = {1: (0.0,), 3: (-2.0, 0.0, 2.0)}  # of dt, from linspace(-2, 2, K), where training begins


ELEMENTS_AT_ONCE = 1 << 22  # scores held at once: 32 MiB of complex64


def random_pairs(seeds: range, associations: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Keys and values, complex64 [S, n, d] of length 1, uniform directions; a seed's are the same on any device."""
    drawn = [torch.randn(2, associations, head_dim, 2, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    pairs = functional.normalize(torch.stack(drawn).flatten(-2), dim=-1)
    keys, values = torch.view_as_complex(pairs.unflatten(-1, (-1, 2))).unbind(1)
    return keys, values


def initial_decays(states: int) -> tuple[float, ...]:
    """The decay of each of K states of a head before training, its input zero: exp(-dt)(1 - p) + p."""
    protect = 1 / (1 + exp(-INITIAL_PROTECT_BIAS))
    steps = (log1p(exp(INITIAL_DT_BIAS + offset)) for offset in _STATE_OFFSETS[states])
    return tuple(exp(-step) * (1 - protect) + protect for step in steps)


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
    """The K states after all pairs, [K, S, d_v, d_k]."""
    age = torch.arange(keys.shape[1] - 1, -1, -1, device=keys.device, dtype=torch.float64)
    weights = torch.stack([torch.full_like(age, decay) ** age for decay in decays]).to(keys.real.dtype)
    return (values * weights[:, None, :, None]).mT @ keys.conj()


def read_states(states: Tensor, queries: Tensor, phases: tuple[float, ...]) -> Tensor:
    """The sum over states of exp(i phase) S q / K: [S, n, d] from [K, S, d_v, d_k] and queries [S, n, d]."""
    shares = torch.tensor([1 / len(phases)] * len(phases), device=states.device)
    turns = torch.polar(shares, torch.tensor(phases, device=states.device)).to(states.dtype)
    return queries @ (turns[:, None, None, None] * states).sum(0).mT


def _matrix(decays: tuple[float, ...]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def read(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return read_states(write_states(keys, values, decays), keys, (0.0,) * len(decays)), values

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
    AssociativeMemory.PAM_K1: _matrix((1.0,)),
    AssociativeMemory.PAM_K3: _matrix((1.0,) * 3),
    AssociativeMemory.REAL_MATRIX: _real_matrix,
    AssociativeMemory.KV_CACHE: _kv_cache,
    AssociativeMemory.PAM_K1_FORGETTING: _matrix(initial_decays(1)),
    AssociativeMemory.PAM_K3_FORGETTING: _matrix(initial_decays(3)),
}
