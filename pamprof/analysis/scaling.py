"""Where the fixed state becomes the cheaper one: context lengths by measurement and by bytes.

Measured: between two neighbouring contexts the logarithm of the cost ratio is taken as linear in the logarithm of the
context; where it passes 0 lies the crossover. The ends of the ratios' intervals are followed in the same way, which is
its interval, and none of the three leaves the contexts measured: nothing is extrapolated.

Model: with S bytes of state per sequence and kappa bytes of KV cache per token, memory is equal at S/kappa tokens and
decode traffic at 2 S/kappa, because a state is read and written at every token and a cache only read.
"""

from __future__ import annotations

from itertools import pairwise
from math import exp, log
from typing import TYPE_CHECKING

from pamprof.analysis.labels import PAM, TRANSFORMER, TWIN
from pamprof.analysis.pairing import fastest, time_ratio
from pamprof.analysis.results import Basis, Crossover, CrossoverQuantity
from pamprof.records import Interval, Phase
from pamprof.units import binary_bytes, ratio, significant, tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.records import ArmFacts, Point, Run, Session

_FIXED_STATE_LAYERS = (PAM, TWIN)
_CACHE_LAYERS = (TRANSFORMER,)


def measured_crossovers(
    runs_by_point: Mapping[Point, Sequence[Run]], baselines: Mapping[Point, Run]
) -> tuple[Crossover, ...]:
    """One crossover for each phase, batch, dtype, and fixed-state implementation against a transformer baseline."""
    families: dict[tuple[Phase, int, str, str], list[Point]] = {}
    for point in runs_by_point:
        key = (point.phase, point.batch_size, point.scope.value, point.dtype.value)
        families.setdefault(key, []).append(point)
    found: list[Crossover] = []
    for (phase, batch_size, _, _), members in families.items():
        points = sorted(
            (p for p in members if baselines[p].workload.spec.layer in _CACHE_LAYERS), key=lambda p: p.sequence_length
        )
        if phase is not Phase.DECODE and len(points) < 2:
            continue
        for layer, implementation in _arms(runs_by_point, points):
            ratios: list[tuple[int, Interval]] = []
            for point in points:
                best = fastest(
                    run
                    for run in runs_by_point[point]
                    if (run.workload.spec.layer, run.workload.implementation) == (layer, implementation)
                )
                if best is not None:
                    ratios.append((point.sequence_length, time_ratio(best, baselines[point]).interval))
            limits, direction, reason = _locate(ratios)
            found.append(
                Crossover(
                    subject_layer=layer,
                    subject_implementation=implementation,
                    batch_size=batch_size,
                    tokens=limits,
                    direction=direction,
                    reason=reason,
                    basis=Basis.MEASURED,
                    phase=phase,
                    dtype=points[0].dtype,
                    quantity=CrossoverQuantity.TIME,
                )
            )
    return tuple(found)


def modelled_crossovers(sessions: Iterable[Session]) -> tuple[Crossover, ...]:
    """Crossovers of memory (S/kappa) and decode traffic (2 S/kappa) by bytes, from the first session that has both."""
    for session in sessions:
        cache = next((facts for facts in session.arms if facts.spec.layer in _CACHE_LAYERS), None)
        states = [facts for facts in session.arms if facts.spec.layer in _FIXED_STATE_LAYERS]
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
        direction="cheaper above",
        reason=(
            f"{what} at {'2·S/κ' if factor == 2 else 'S/κ'}, with a state S of {binary_bytes(facts.state_bytes)} "
            f"and a cache of κ = {significant(bytes_per_token, 5)} bytes a token"
        ),
        basis=Basis.MODEL,
        phase=Phase.DECODE,
        dtype=session.dtype,
        quantity=quantity,
    )


def _arms(runs_by_point: Mapping[Point, Sequence[Run]], points: Sequence[Point]) -> tuple[tuple[str, str], ...]:
    arms = {
        (run.workload.spec.layer, run.workload.implementation): None
        for point in points
        for run in runs_by_point[point]
        if run.workload.spec.layer in _FIXED_STATE_LAYERS
    }
    return tuple(arms)


def _locate(ratios: Sequence[tuple[int, Interval]]) -> tuple[Interval | None, str, str]:
    """Interval of the crossover, direction, and the sentence that says where it comes from."""
    measured = ", ".join(
        f"{ratio(r.median)} [{significant(r.low)}, {significant(r.high)}] at {tokens(length)}" for length, r in ratios
    )
    if all(r.high < 1 for _, r in ratios):
        return None, "always cheaper", f"cheaper at every context measured: {measured}"
    if all(r.low > 1 for _, r in ratios):
        return None, "always dearer", f"dearer at every context measured: {measured}"
    curves = [
        [(length, value) for (length, _), value in zip(ratios, values, strict=True)]
        for values in zip(*((r.low, r.median, r.high) for _, r in ratios), strict=True)
    ]
    lows, medians, highs = (_falls(curve) for curve in curves)
    confidence = min(r.confidence for _, r in ratios)
    if ratios[0][1].low > 1 and ratios[-1][1].high < 1 and len(medians) == 1 and confidence > 0:
        interval = Interval(low=lows[0], median=medians[0], high=highs[-1], confidence=confidence)
        return interval, "cheaper above", f"interpolated between the contexts measured: {measured}"
    if ratios[0][1].high < 1 and ratios[-1][1].low > 1:
        return None, "unknown", f"cheaper at the shortest context and dearer at the longest: {measured}"
    return None, "unknown", f"at one end the two cannot be told apart, which leaves the crossover open: {measured}"


def _falls(curve: Sequence[tuple[int, float]]) -> list[float]:
    """Contexts at which a curve of ratios comes down through 1."""
    return [
        _crossing(first, before, last, after)
        for (first, before), (last, after) in pairwise(curve)
        if before > 1 >= after
    ]


def _crossing(first: int, ratio_first: float, last: int, ratio_last: float) -> float:
    share = log(ratio_first) / (log(ratio_first) - log(ratio_last))
    return exp(log(first) + share * (log(last) - log(first)))
