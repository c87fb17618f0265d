"""In which order a comparison visits its workloads: what a reader needs first, first.

Whatever ends a session early, what was measured until then answers as much as it can: first the best arms of each
phase, then the other references, published code, other lengths and batches for crossovers, the real twin, and the rest.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from pamprof.measure.comparison.plan import STEADIEST_EXECUTIONS
from pamprof.records import Execution, ImplementationKind, LayerRole, Phase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from pamprof.records import LayerFacts, Point, Workload


class Worth(IntEnum):
    """What a workload is for, in the order in which workloads are visited."""

    BEST = 0  # the likely fastest way of the session's reference and of the subjects, where a phase is summed up
    REFERENCES = 1  # the other references there
    UNCOMPILED = 2  # layers that a factory makes, without the compiler: it unrolls a loop that a library keeps fused
    PUBLISHED = 3  # the subject's published code there, as the reference is executed and eager
    CROSSOVER = 4  # the best arms at the other lengths and batches
    UNCOMPILED_ELSEWHERE = 5  # layers of factories there, without the compiler
    TWIN = 6  # the real twin where a phase is summed up
    LADDER = 7  # every other implementation there, in its best execution
    REFERENCES_ELSEWHERE = 8  # the other references at the other lengths and batches
    PUBLISHED_ELSEWHERE = 9  # published code there
    REST = 10  # everything else


_ELSEWHERE = {
    Worth.BEST: Worth.CROSSOVER,
    Worth.REFERENCES: Worth.REFERENCES_ELSEWHERE,
    Worth.UNCOMPILED: Worth.UNCOMPILED_ELSEWHERE,
    Worth.PUBLISHED: Worth.PUBLISHED_ELSEWHERE,
}
_UNCOMPILED = {Execution.COMPILED_GRAPH: Execution.GRAPH, Execution.COMPILED: Execution.EAGER}


def rank_by_worth(
    groups: Sequence[tuple[Workload, ...]],
    facts: Mapping[str, LayerFacts],
    *,
    sequence_length: int,
    has_kernels: bool,
) -> dict[Worth, tuple[Workload, ...]]:
    """Every workload of ``groups`` by what it is for; phases in the order given, and in each the point that sums it up.

    Args:
        groups: One for each point, what the others are paired with first.
        facts: What each layer declares.
        sequence_length: Tokens at which a phase is summed up where it was measured there; else at its shortest.
        has_kernels: Whether hand-written kernels run on the device.
    """
    main = _main_points(groups, sequence_length)
    order = {point: number for number, point in enumerate(_in_order([group[0].point for group in groups], main))}
    found: dict[Worth, list[Workload]] = {worth: [] for worth in Worth}
    for group in groups:
        best = _best_ways(group, facts, has_kernels=has_kernels)
        for workload in group:
            worth = _worth(workload, best, facts, first=group[0].spec.layer)
            if workload is group[0]:
                worth = Worth.BEST
            found[worth if workload.point in main else _ELSEWHERE.get(worth, Worth.REST)].append(workload)
    return {
        worth: tuple(sorted(workloads, key=lambda workload: order[workload.point]))
        for worth, workloads in found.items()
    }


def in_order(
    ranked: Mapping[Worth, tuple[Workload, ...]], expected_seconds: Mapping[str, float], *, worths: Collection[Worth]
) -> tuple[Workload, ...]:
    """The workloads of ``worths`` as they are visited: by worth, and where phases are summed up the cheapest first.

    So the first ratio comes soon, while others compile for the phase that takes longest.
    """
    cost: dict[Point, float] = {}
    for workload in ranked[Worth.BEST]:
        cost[workload.point] = cost.get(workload.point, 0.0) + expected_seconds[workload.key]
    return tuple(
        workload
        for worth in Worth
        if worth in worths
        for workload in sorted(ranked[worth], key=lambda workload: cost.get(workload.point, 0.0))
    )


def _main_points(groups: Sequence[tuple[Workload, ...]], sequence_length: int) -> set[Point]:
    """Where each phase is summed up: at the session's length or the shortest, and there at the largest batch."""
    by_phase: dict[Phase, list[Point]] = {}
    for group in groups:
        by_phase.setdefault(group[0].phase, []).append(group[0].point)
    found = set()
    for points in by_phase.values():
        lengths = {point.sequence_length for point in points}
        length = sequence_length if sequence_length in lengths else min(lengths)
        at_length = (point for point in points if point.sequence_length == length)
        found.add(max(at_length, key=lambda point: point.batch_size))
    return found


def _in_order(points: Sequence[Point], main: set[Point]) -> list[Point]:
    """Main points first; then those of their batch, decode first: two lengths at one batch show a crossover."""
    batches = {(point.phase, point.batch_size) for point in main}
    return sorted(
        points,
        key=lambda point: (
            point not in main,
            point not in main and (point.phase, point.batch_size) not in batches,
            point not in main and point.phase is not Phase.DECODE,
        ),
    )


def _best_ways(group: Sequence[Workload], facts: Mapping[str, LayerFacts], *, has_kernels: bool) -> dict[str, Workload]:
    """Of each layer the workload that is likely to be its fastest at a point.

    Hand-written kernels come before plain code, and published code last; replays before other executions, where kernels
    leave a compiler nothing to do.
    """
    kinds = [ImplementationKind.PLAIN, ImplementationKind.PUBLISHED]
    kinds.insert(0 if has_kernels else len(kinds), ImplementationKind.KERNELS)

    def preference(workload: Workload) -> tuple[int, int]:
        kind = facts[workload.spec.layer].kind_of(workload.implementation)
        if kind is ImplementationKind.KERNELS and workload.execution is Execution.GRAPH:
            return kinds.index(kind), -1
        return kinds.index(kind), STEADIEST_EXECUTIONS.index(workload.execution)

    best: dict[str, Workload] = {}
    for workload in group:
        known = best.get(workload.spec.layer)
        if known is None or preference(workload) < preference(known):
            best[workload.spec.layer] = workload
    return best


def _worth(workload: Workload, best: Mapping[str, Workload], facts: Mapping[str, LayerFacts], *, first: str) -> Worth:
    """What a workload is for where a phase is summed up."""
    layer = facts[workload.spec.layer]
    of_layer = best[workload.spec.layer]
    is_best = of_layer is workload
    if is_best and layer.role is LayerRole.REFERENCE and layer.layer != first:
        return Worth.REFERENCES
    if is_best:
        return Worth.TWIN if layer.role is LayerRole.TWIN else Worth.BEST
    if layer.carrier is not None and workload.execution is _UNCOMPILED.get(of_layer.execution):
        return Worth.UNCOMPILED
    steadiest = min((other.execution for other in best.values()), key=STEADIEST_EXECUTIONS.index)
    published = layer.kind_of(workload.implementation) is ImplementationKind.PUBLISHED
    if published and workload.execution in (steadiest, Execution.EAGER):
        return Worth.PUBLISHED
    is_rung = workload.execution is steadiest and of_layer.implementation != workload.implementation
    return Worth.LADDER if is_rung else Worth.REST
