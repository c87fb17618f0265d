"""How many associations a memory holds: what ``pamprof capacity`` measured, point by point and seed by seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pamprof.records.environment import Environment
from pamprof.records.price import PriceQuote
from pamprof.records.run import Unknown


class AssociativeMemory(StrEnum):
    """What holds the associations of one head; the words of ``--state``.

    Nothing forgets (every decay is 1), as in the published test, except in the last two, whose decays are those a head
    of PAM begins training with. K states of one head have a decay each and are read as one sum.
    """

    VECTOR = "vector"
    PAM_K1 = "pam-k1"
    PAM_K3 = "pam-k3"
    REAL_MATRIX = "real-matrix"
    KV_CACHE = "kv-cache"
    PAM_K1_FORGETTING = "pam-k1-forgetting"
    PAM_K3_FORGETTING = "pam-k3-forgetting"


class RetrievalScore(StrEnum):
    """How close a reading is to a value; the words of ``--score``.

    The published figure, 13 % of 64 pairs in a vector state of 64, is that of the first: the second, which the probe in
    the published repository computes (qllm2, memory_probes, read November 2026), finds 9 %.
    """

    ABSOLUTE_REAL = "absolute-real"  # |Re <value, read>|: the absolute inner product of the 2 d real coordinates
    MODULUS = "modulus"  # |<value, read>|: blind to a phase that all channels share


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPoint:
    """``associations`` pairs written to an empty memory, each then asked for.

    Attributes:
        state: What holds them.
        head_dim: Channels of keys and values: complex numbers, or real ones of a real matrix and a KV cache.
        associations: Pairs written.
        correct: Pairs retrieved, one count a seed.
        interference: Root mean square over the pairs of |read - value|, values of length 1, one number a seed; empty
            where the memory forgets, whose values return shorter than they were written.
    """

    state: AssociativeMemory
    head_dim: int
    associations: int
    correct: tuple[int, ...]
    interference: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """One run of ``pamprof capacity``.

    Attributes:
        session_id: Its own.
        started_at: UTC, ISO 8601.
        command: What was called.
        environment: Where.
        unknowns: Why fields of ``environment`` are None.
        score: How the closest value is found.
        first_seed: Of the random pairs; the others follow by 1.
        points: By head_dim, then associations.
        left_out: Points that the time budget left out.
        time_budget_seconds: After this no further point began.
        seconds: How long it took.
        quote: The price of the device; None where it has none.
        quote_unknown_reason: Why.
    """

    session_id: str
    started_at: str
    command: str
    environment: Environment
    unknowns: tuple[Unknown, ...]
    score: RetrievalScore
    first_seed: int
    points: tuple[CapacityPoint, ...]
    left_out: int
    time_budget_seconds: float
    seconds: float
    quote: PriceQuote | None
    quote_unknown_reason: str | None
