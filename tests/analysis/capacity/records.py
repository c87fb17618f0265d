"""A record of capacity whose numbers follow simple formulas."""

from __future__ import annotations

from pamprof.records import AssociativeMemory, Capacity, CapacityPoint, RetrievalScore
from tests.synthetic import STARTED_AT, synthetic_environment, synthetic_quote

SEEDS = 4


def point(state, associations, correct, *, head_dim=64, distance=None):
    """A point with the same ``correct`` of every seed; ``distance`` is the interference of the first seed."""
    scattered = () if distance is None else tuple(distance * (1 + 0.01 * seed) for seed in range(SEEDS))
    return CapacityPoint(
        state=state,
        head_dim=head_dim,
        associations=associations,
        correct=(correct,) * SEEDS,
        interference=scattered,
    )


def capacity_record(
    points=None, *, device="cuda", started_at=STARTED_AT, left_out=0, score=RetrievalScore.ABSOLUTE_REAL
):
    memory = AssociativeMemory
    if points is None:
        points = (
            *(point(memory.VECTOR, n, round(n * r), distance=n**0.5) for n, r in ((16, 0.74), (64, 0.13), (256, 0.02))),
            *(point(memory.PAM_K1, n, n - (n > 128), distance=((n - 1) / 64) ** 0.5) for n in (16, 64, 256)),
            *(point(memory.PAM_K3, n, n - (n > 128), distance=((n - 1) / 64) ** 0.5) for n in (16, 64, 256)),
            *(point(memory.KV_CACHE, n, n, distance=0.0) for n in (16, 64, 256)),
        )
    return Capacity(
        session_id="cafe0001",
        started_at=started_at,
        command="pamprof capacity --device cuda",
        environment=synthetic_environment(device),
        unknowns=(),
        score=score,
        first_seed=0,
        points=tuple(points),
        left_out=left_out,
        time_budget_seconds=60.0,
        seconds=8.0,
        quote=synthetic_quote(device),
        quote_unknown_reason=None if device == "cuda" else "a processor of no price",
    )
