"""A third length near a crossover: between two lengths at one of which the subject is cheaper and at the other not.

What two lengths far apart say about where the two cost the same depends on how one interpolates between them. A length
near that place, measured, leaves little of that. It is a power of two, else a whole number of chunks, well inside the
two; each pair of neighbouring lengths that were planned gets one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import exp, log, log2
from typing import TYPE_CHECKING

from pamprof.measure.session.further import AddedPoint
from pamprof.records import LayerRole
from pamprof.statistics import ratio_interval
from pamprof.units import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pamprof.records import LayerFacts, Point, Run, Workload

# Least factor between the third length and those on both sides of it.
_WELL_INSIDE = 1.25
_NEAR = 2**0.5  # most between a power of two and the crossover
_CHUNK_TOKENS = 64  # of an arm that names no chunk size
Arm = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Two neighbouring lengths of one phase and batch, with everything that could be measured at each."""

    first: tuple[Workload, ...]
    last: tuple[Workload, ...]

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens, the shorter first."""
        return self.first[0].sequence_length, self.last[0].sequence_length


def brackets(groups: Sequence[tuple[Workload, ...]]) -> tuple[Bracket, ...]:
    """Neighbouring lengths with room for a third well inside; ``groups`` hold one point each."""
    families: dict[Point, list[tuple[Workload, ...]]] = {}
    for group in groups:
        families.setdefault(replace(group[0].point, sequence_length=1), []).append(group)
    found = []
    for members in families.values():
        ordered = sorted(members, key=lambda group: group[0].sequence_length)
        for first, last in pairwise(ordered):
            if last[0].sequence_length > _WELL_INSIDE**2 * first[0].sequence_length:
                found.append(Bracket(first=first, last=last))
    return tuple(found)


def third_length(lengths: tuple[int, int], logarithms: tuple[float, float], chunk_tokens: int) -> int | None:
    """The length to measure between two; None where the sign does not change or the crossover lies at one of them.

    Args:
        lengths: The shorter first.
        logarithms: Of the cost ratio at each.
        chunk_tokens: Whole numbers of these are taken where no power of two is near.
    """
    (low, high), (before, after) = lengths, logarithms
    if (before > 0) == (after > 0):
        return None
    place = exp(log(low) + before / (before - after) * log(high / low))
    power = 2 ** round(log2(place))
    chunks = chunk_tokens * max(1, round(place / chunk_tokens))
    near = max(power / place, place / power) <= _NEAR
    return next(
        (
            length
            for length in ((power, chunks) if near else (chunks,))
            if _WELL_INSIDE * low <= length <= high / _WELL_INSIDE
        ),
        None,
    )


@dataclass(slots=True, kw_only=True)
class CrossoverPoints:
    """Adds third lengths to a comparison.

    Attributes:
        brackets: Where one may be added.
        facts: What each layer declares.
        earlier: Runs of earlier sessions; a length between two planned ones that they have stays the third.
        cost: Expected seconds and monitored window of a workload.
        visited_after: Keys of planned workloads that are visited after an added one.
    """

    brackets: tuple[Bracket, ...]
    facts: Mapping[str, LayerFacts]
    earlier: tuple[Run, ...]
    cost: Callable[[Workload], tuple[float, float]]
    visited_after: frozenset[str] = frozenset()
    _added: set[Point] = field(default_factory=set, init=False)

    def may_add(self) -> str:
        """``decode 1 × 256 to 32k``, for each bracket without a third length."""
        return ", ".join(
            f"{bracket.first[0].phase} {bracket.first[0].batch_size} × {tokens(low)} to {tokens(high)}"
            for bracket in self.brackets
            if bracket.first[0].point not in self._added and self._pairs(bracket)
            for low, high in (bracket.lengths,)
        )

    def after(self, runs: Sequence[Run]) -> tuple[AddedPoint, ...]:
        """Points that ``runs`` and those of earlier sessions ask for."""
        found = []
        for bracket in self.brackets:
            if bracket.first[0].point in self._added:
                continue
            workloads = self._between(bracket, (*self.earlier, *runs))
            if workloads:
                self._added.add(bracket.first[0].point)
                found.append(self._point(bracket, workloads))
        return tuple(found)

    def _point(self, bracket: Bracket, workloads: tuple[Workload, ...]) -> AddedPoint:
        costs = {workload.key: self.cost(workload) for workload in workloads}
        low, high = bracket.lengths
        phase, length = workloads[0].phase, workloads[0].sequence_length
        return AddedPoint(
            workloads=workloads,
            expected_seconds={key: seconds for key, (seconds, _) in costs.items()},
            monitor_seconds={key: window for key, (_, window) in costs.items()},
            reason=(
                f"{phase} at batch {workloads[0].batch_size} crosses between {tokens(low)} and {tokens(high)} tokens: "
                f"{tokens(length)} is measured, too"
            ),
        )

    def _pairs(self, bracket: Bracket) -> bool:
        """Whether there is a fixed state among the subjects and a reference whose cache grows."""
        reference = bracket.first[0].spec.layer
        layers = {workload.spec.layer for workload in bracket.first}
        return any(map(self._is_subject, layers)) and any(self._is_reference(layer, reference) for layer in layers)

    def _is_subject(self, layer: str) -> bool:
        return self.facts[layer].role is LayerRole.SUBJECT and bool(self.facts[layer].fixed_state)

    def _is_reference(self, layer: str, first: str) -> bool:
        named = layer == first or self.facts[layer].role is LayerRole.REFERENCE
        return named and self.facts[layer].fixed_state is False

    def _between(self, bracket: Bracket, runs: Sequence[Run]) -> tuple[Workload, ...]:
        """The first reference, the best references and the best subject of both ends, at the third length."""
        ends = [_best_logarithms(runs, group) for group in (bracket.first, bracket.last)]
        both = [arm for arm in ends[0] if arm in ends[1]]
        first = bracket.first[0]
        subjects = [arm for arm in both if self._is_subject(arm[0])]
        references = [arm for arm in both if self._is_reference(arm[0], first.spec.layer)]
        if not subjects or not references:
            return ()
        rivals = [min(references, key=lambda arm: end[arm][0]) for end in ends]
        chosen = None
        for subject in sorted(subjects, key=lambda arm: sum(end[arm][0] for end in ends)):
            before, after = (end[subject][0] - end[rival][0] for end, rival in zip(ends, rivals, strict=True))
            chunk = ends[0][subject][1].spec.chunk_size or _CHUNK_TOKENS
            length = third_length(bracket.lengths, (before, after), chunk)
            if length is not None:
                chosen = subject, self._known_length(bracket, runs) or length
                break
        if chosen is None:
            return ()
        subject, length = chosen
        wanted = [first, *(end[arm][1] for end, arm in zip(ends, rivals, strict=True)), *(e[subject][1] for e in ends)]
        placed = (replace(workload, sequence_length=length) for workload in wanted)
        return tuple({workload.key: workload for workload in placed}.values())

    def _known_length(self, bracket: Bracket, runs: Sequence[Run]) -> int | None:
        """A length between that was measured already, because an earlier session added it."""
        low, high = bracket.lengths
        first = bracket.first[0]
        inside = [run.workload.sequence_length for run in runs if low < run.workload.sequence_length < high]
        measured = {run.workload.key for run in runs}
        return next((n for n in sorted(inside) if replace(first, sequence_length=n).key in measured), None)


def _best_logarithms(runs: Sequence[Run], group: Sequence[Workload]) -> dict[Arm, tuple[float, Workload]]:
    """Of every layer and implementation its fastest way at a point, with the logarithm of its ratio to the reference.

    Only workloads of ``group`` count, and several runs of one with their mean.
    """
    planned = {workload.key for workload in group}
    logarithms: dict[str, list[float]] = {}
    workloads: dict[str, Workload] = {}
    for run in runs:
        if run.workload.key not in planned:
            continue
        is_reference = run.workload.key == run.reference.key
        timing = run.timing
        ratio = ratio_interval(timing.wall_time_seconds, timing.reference_wall_time_seconds).median
        logarithms.setdefault(run.workload.key, []).append(0.0 if is_reference else log(ratio))
        workloads[run.workload.key] = run.workload
    best: dict[Arm, tuple[float, Workload]] = {}
    for key, workload in workloads.items():
        arm = (workload.spec.layer, workload.implementation)
        mean = sum(logarithms[key]) / len(logarithms[key])
        if arm not in best or mean < best[arm][0]:
            best[arm] = mean, workload
    return best
