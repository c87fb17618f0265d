"""Doubts about what an arm's code does beside its step: compiling anew, breaking graphs, growing, claiming figures."""

from __future__ import annotations

from itertools import combinations
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.joined import processes_of
from pamprof.analysis.comparison.pairing import is_reference
from pamprof.analysis.comparison.results import Doubt, DoubtKind
from pamprof.units import binary_bytes, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pamprof.records import Run

FEWEST_IN_ORDER = 5
LEAST_RISE_RATIO = 0.05
# Standard deviations of Mann and Kendall's count of ordered pairs, which chance exceeds once in 700 series; fewer than
# seven values cannot reach it, and must all rise.
_TREND_DEVIATIONS = 3.0
# CUDA's allocator gives out no less; one tensor a sample is the least that a growing step keeps.
_LEAST_KEPT_BYTES = {"cuda": 512, "cpu": 1}

_QUANTITIES = {
    "parameter_count": "parameters",
    "matrix_flop_count": "matrix FLOPs",
    "state_byte_count": "bytes of state",
}


def code_doubts(run: Run) -> Iterator[Doubt]:
    """Every doubt of this module about one run, the gravest first."""
    yield from _recompiled(run)
    yield from _grows(run)
    yield from _graph_breaks(run)
    yield from _refused_claims(run)


def rises(values: Sequence[float]) -> float | None:
    """By how much a series rises from its first third to its last, relative; None where noise may be all of it.

    Mann and Kendall's test: of all pairs, so many more must be in rising order than chance gives.
    """
    count = len(values)
    if count < FEWEST_IN_ORDER:
        return None
    pairs = count * (count - 1) // 2
    balance = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    deviation = sqrt(count * (count - 1) * (2 * count + 5) / 18)
    third = max(1, count // 3)
    rise = median(values[-third:]) / median(values[:third]) - 1
    in_order = balance == pairs or (balance - 1) / deviation >= _TREND_DEVIATIONS
    return rise if in_order and rise > LEAST_RISE_RATIO else None


def _recompiled(run: Run) -> Iterator[Doubt]:
    timings = [one.timing for one in processes_of(run)]
    count = sum(timing.recompilation_count or 0 for timing in timings)
    breaks = sum(timing.graph_break_count or 0 for timing in timings)
    if not count and not breaks:
        return
    where = ""
    if all(timing.recompiled_samples is not None for timing in timings):
        mine = sum(len(timing.recompiled_samples or ()) for timing in timings)
        theirs = sum(len(timing.reference_recompiled_samples or ()) for timing in timings)
        samples = sum(len(timing.wall_time_seconds) for timing in timings)
        where = f": inside {mine} of {samples} samples" + (f" and {theirs} of the reference's" if theirs else "")
    yield Doubt(
        kind=DoubtKind.RECOMPILED,
        observation=(
            f"torch.compile compiled {count}×, with {breaks} graph breaks, between first and last sample{where}"
        ),
        advice="samples hold time of the compiler; see `TORCH_LOGS=recompiles,graph_breaks` for the reason",
        shift_ratio=None,
    )


def _graph_breaks(run: Run) -> Iterator[Doubt]:
    found = run.graph_breaks
    if found is None or not found.count:
        return
    first = "" if found.first_reason is None else f", the first: {found.first_reason}"
    yield Doubt(
        kind=DoubtKind.GRAPH_BREAKS,
        observation=f"torch.compile met {found.count} graph break{'s' if found.count > 1 else ''}{first}",
        advice="between its pieces the arm runs as Python; its time is that of code compiled in part",
        shift_ratio=0.0,
    )


def _grows(run: Run) -> Iterator[Doubt]:
    """Bytes that stay from step to step, or times that rise with them; what arm and reference share cancels."""
    seen: list[str] = []
    grows, shift = False, 0.0
    for one in processes_of(run):
        timing = one.timing
        grown, samples = timing.grown_bytes or 0, len(timing.wall_time_seconds)
        if grown >= _LEAST_KEPT_BYTES[run.environment.device_kind] * samples:
            grows = True
            seen.append(f"it held {binary_bytes(grown)} more after {samples} samples than before")
        own, others = timing.wall_time_seconds, timing.reference_wall_time_seconds
        course = own if is_reference(run) else [mine / theirs for mine, theirs in zip(own, others, strict=True)]
        rise = rises(course)
        if rise is not None:
            shift = max(shift, rise)
            seen.append(
                f"{'its time' if is_reference(run) else 'its ratio'} rose by {percent(rise)} from the first samples to "
                f"the last (steps of {seconds(own[0])} to {seconds(own[-1])})"
            )
    if seen:
        yield Doubt(
            kind=DoubtKind.GROWS if grows else DoubtKind.SLOWS,
            observation="; ".join(dict.fromkeys(seen[:4])),
            advice=(
                "state that grows with every step has no step time: it depends on how many went before"
                if grows
                else "a state that grows or a machine that slows down leaves no step time to quote; measure again"
            ),
            shift_ratio=shift or None,
        )


def _refused_claims(run: Run) -> Iterator[Doubt]:
    for claim in run.refused_claims or ():
        what = _QUANTITIES.get(claim.quantity, claim.quantity)
        counted = "nothing could be counted" if claim.counted is None else f"counted were {claim.counted}"
        yield Doubt(
            kind=DoubtKind.CLOSED_FORM,
            observation=f"the layer's formula for {what} gives {claim.claimed}; {counted}",
            advice="the count is used; times are not affected",
            shift_ratio=0.0,
        )
