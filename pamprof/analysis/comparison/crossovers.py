"""Where the fixed state becomes the cheaper one: context lengths between those measured, and by bytes.

Interpolated: between two neighbouring contexts the logarithm of the cost ratio is taken as linear in the logarithm of
the context; where it passes 0 lies the crossover. Nothing measured says that it is so, hence two other lines are
followed: the ratio linear in the context, and both times linear in the context, whose difference then passes 0. The
ends of the ratios' intervals are followed in all three ways, and the crossover's interval holds every answer; none
leaves the contexts measured: nothing is extrapolated. All ratios of one crossover are to the same references
(``common_reference``).

Model: with S bytes of state per sequence and kappa bytes of KV cache per token, memory is equal at S/kappa tokens and
decode traffic at 2 S/kappa, because a state is read and written at every token and a cache only read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING, NamedTuple

from pamprof.analysis.comparison.comparisons import common_reference
from pamprof.analysis.comparison.pairing import fastest, own_seconds, time_ratio
from pamprof.analysis.comparison.results import Basis, Crossover, CrossoverQuantity, Direction
from pamprof.records import Interval, Phase
from pamprof.units import binary_bytes, ratio, significant, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pamprof.records import ArmFacts, LayerFacts, Point, Run, Session

STEADY_STEP = 0
"""As a crossover's batch size: it shrinks as sequences grow, so that a step takes about as many tokens."""

_STEADY = 1.15  # most that the tokens of such steps differ by


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossoverPlace:
    """A context at which both were measured: subject over reference, and the reference's own step time."""

    length: int
    ratio: Interval
    reference_seconds: float


def measured_crossovers(
    runs_by_point: Mapping[Point, Sequence[Run]],
    baselines: Mapping[Point, Run],
    layers: Mapping[str, LayerFacts],
    reference_layers: Sequence[str],
) -> tuple[Crossover, ...]:
    """One crossover for each phase, batch, dtype, and fixed-state implementation against references with a cache.

    Training has one besides for every group of ``steady_steps``. The references are those common to the contexts at
    which the implementation's layer was measured.
    """
    families: dict[tuple[Phase, int, str, str], list[Point]] = {}
    for point in runs_by_point:
        key = (point.phase, point.batch_size, point.scope.value, point.dtype.value)
        families.setdefault(key, []).append(point)
    steady = [(Phase.TRAIN, STEADY_STEP, points) for points in steady_steps(runs_by_point)]
    found: list[Crossover] = []
    for phase, batch_size, members in (*((key[0], key[1], members) for key, members in families.items()), *steady):
        of_family = {point: runs_by_point[point] for point in sorted(members, key=lambda p: p.sequence_length)}
        for layer, implementation in _arms(of_family, layers):
            common = common_reference(_measured(of_family, layer), baselines, reference_layers)
            held = {
                point: baseline
                for point, baseline in common.baselines.items()
                if layers[baseline.workload.spec.layer].fixed_state is False
            }
            places: list[CrossoverPlace] = []
            for point, baseline in held.items():
                best = fastest(
                    run
                    for run in runs_by_point[point]
                    if (run.workload.spec.layer, run.workload.implementation) == (layer, implementation)
                )
                if best is not None:
                    places.append(
                        CrossoverPlace(
                            length=point.sequence_length,
                            ratio=time_ratio(best, baseline).interval,
                            reference_seconds=own_seconds(baseline).median,
                        )
                    )
            if not places or (phase is not Phase.DECODE and len(held) < 2):
                continue
            limits, direction, reason = locate_crossover(places)
            found.append(
                Crossover(
                    subject_layer=layer,
                    subject_implementation=implementation,
                    batch_size=batch_size,
                    tokens=limits,
                    direction=direction,
                    reason=reason,
                    basis=Basis.MEASURED if limits is None else Basis.INTERPOLATED,
                    phase=phase,
                    dtype=members[0].dtype,
                    quantity=CrossoverQuantity.TIME,
                    contexts=tuple(place.length for place in places),
                    ratios=tuple(place.ratio for place in places),
                    reference_layers=tuple(one for one in common.layers if layers[one].fixed_state is False),
                )
            )
    return tuple(found)


def steady_steps(points: Iterable[Point]) -> tuple[tuple[Point, ...], ...]:
    """Points of training whose steps take about as many tokens at every length, as runs of longer sequences do.

    Returns:
        Groups by scope and dtype, each of one point a length and several batch sizes, in order of length; the tokens
        of a group's steps are within ``_STEADY`` of each other.
    """
    groups: list[list[Point]] = []
    trained = [point for point in points if point.phase is Phase.TRAIN]
    for point in sorted(trained, key=lambda p: (p.scope.value, p.dtype.value, _step_tokens(p), p.sequence_length)):
        last = groups[-1] if groups else None
        if (
            last is not None
            and (last[0].scope, last[0].dtype) == (point.scope, point.dtype)
            and _step_tokens(point) <= _STEADY * _step_tokens(last[0])
        ):
            last.append(point)
        else:
            groups.append([point])
    found = []
    for group in groups:
        by_length = {point.sequence_length: point for point in group}
        if len(by_length) > 1 and len({point.batch_size for point in by_length.values()}) > 1:
            found.append(tuple(by_length[length] for length in sorted(by_length)))
    return tuple(found)


def _step_tokens(point: Point) -> int:
    return point.batch_size * point.sequence_length


def modelled_crossovers(
    sessions: Sequence[Session], reference_layers: Sequence[str], layers: Mapping[str, LayerFacts]
) -> tuple[Crossover, ...]:
    """Crossovers of memory (S/kappa) and decode traffic (2 S/kappa) by bytes.

    They are of the first reference that has a cache, in the first session that has it and a fixed state.
    """
    places = [(layer, session) for layer in reference_layers for session in sessions]
    for layer, session in places:
        caches = (arm for arm in session.arms if arm.spec.layer == layer and layers[layer].fixed_state is False)
        cache = next(caches, None)
        states = [arm for arm in session.arms if layers[arm.spec.layer].fixed_state]
        if cache is None or not states or cache.state_bytes <= 0:
            continue
        return tuple(
            _by_bytes(facts, cache, session, quantity)
            for facts in states
            for quantity in (CrossoverQuantity.MEMORY, CrossoverQuantity.DECODE_TRAFFIC)
        )
    return ()


def _by_bytes(facts: ArmFacts, cache: ArmFacts, session: Session, quantity: CrossoverQuantity) -> Crossover:
    bytes_per_token = cache.state_bytes / session.sequence_length
    factor = 2 if quantity is CrossoverQuantity.DECODE_TRAFFIC else 1
    length = factor * facts.state_bytes / bytes_per_token
    what = "as much is read and written for each token" if factor == 2 else "one sequence holds as much memory"
    return Crossover(
        subject_layer=facts.spec.layer,
        subject_implementation="",
        batch_size=1,
        tokens=Interval.exact(length),
        direction=Direction.CHEAPER_ABOVE,
        reason=(
            f"{what} at {'2·S/κ' if factor == 2 else 'S/κ'}, with a state S of {binary_bytes(facts.state_bytes)} "
            f"and a cache of the {cache.title} of κ = {significant(bytes_per_token, 5)} bytes a token"
        ),
        basis=Basis.MODELLED,
        phase=Phase.DECODE,
        dtype=session.dtype,
        quantity=quantity,
        reference_layers=(cache.spec.layer,),
    )


def _arms(
    runs_by_point: Mapping[Point, Sequence[Run]], layers: Mapping[str, LayerFacts]
) -> tuple[tuple[str, str], ...]:
    arms = {
        (run.workload.spec.layer, run.workload.implementation): None
        for runs in runs_by_point.values()
        for run in runs
        if layers[run.workload.spec.layer].fixed_state
    }
    return tuple(arms)


def _measured(runs_by_point: Mapping[Point, Sequence[Run]], layer: str) -> dict[Point, Sequence[Run]]:
    """The points that have a layer."""
    return {
        point: runs for point, runs in runs_by_point.items() if any(run.workload.spec.layer == layer for run in runs)
    }


def locate_crossover(places: Sequence[CrossoverPlace]) -> tuple[Interval | None, Direction, str]:
    """Interval of the crossover, direction, and the sentence that says where it comes from."""
    ratios = [place.ratio for place in places]
    measured = ", ".join(
        f"{ratio(r.median)} [{significant(r.low)}, {significant(r.high)}] at {tokens(place.length)}"
        for place, r in zip(places, ratios, strict=True)
    )
    if all(r.high < 1 for r in ratios):
        return None, Direction.ALWAYS_CHEAPER, f"cheaper at every context measured: {measured}"
    if all(r.low > 1 for r in ratios):
        return None, Direction.NEVER_CHEAPER, f"more expensive at every context measured: {measured}"
    lows, medians, highs = (_falls(places, end) for end in (lambda r: r.low, lambda r: r.median, lambda r: r.high))
    confidence = min(r.confidence for r in ratios)
    if ratios[0].low > 1 and ratios[-1].high < 1 and len(medians) == 1 and confidence > 0:
        interval = Interval(low=min(lows[0]), median=medians[0].logarithmic, high=max(highs[-1]), confidence=confidence)
        return interval, Direction.CHEAPER_ABOVE, f"interpolated between the contexts measured: {measured}"
    if ratios[0].high < 1 and ratios[-1].low > 1:
        reason = f"cheaper at the shortest context and more expensive at the longest: {measured}"
    else:
        reason = f"at one end the two cannot be told apart, which leaves the crossover open: {measured}"
    return None, Direction.UNDECIDED, reason


class _Fall(NamedTuple):
    """A context at which a ratio comes down through 1: in the logarithms, and with a ratio or times that are affine."""

    logarithmic: float
    affine_ratio: float
    affine_times: float


def _falls(places: Sequence[CrossoverPlace], end: Callable[[Interval], float]) -> list[_Fall]:
    """Where one end of the ratios comes down through 1."""
    return [
        _fall((first, end(first.ratio)), (last, end(last.ratio)))
        for first, last in pairwise(places)
        if end(first.ratio) > 1 >= end(last.ratio)
    ]


def _fall(before: tuple[CrossoverPlace, float], after: tuple[CrossoverPlace, float]) -> _Fall:
    (first, ratio_first), (last, ratio_last) = before, after
    excess, lack = ratio_first - 1, ratio_last - 1
    seconds, seconds_less = excess * first.reference_seconds, lack * last.reference_seconds
    share = log(ratio_first) / (log(ratio_first) - log(ratio_last))
    span = last.length - first.length
    return _Fall(
        logarithmic=exp(log(first.length) + share * log(last.length / first.length)),
        affine_ratio=first.length + excess / (excess - lack) * span,
        affine_times=first.length + seconds / (seconds - seconds_less) * span,
    )
