"""Energy of a window from two witnesses, the device's counter and its sampled power, and whether to believe them.

The counter of a GPU moves about every 100 ms and its power sensor may look only part of the time (arXiv:2312.02741),
so neither is quoted unless the window is long, the counter moved often, and the two agree.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pamprof.records import Energy, Unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORTEST_WINDOW_SECONDS = 2.0
FEWEST_COUNTER_UPDATES = 20
LARGEST_DISAGREEMENT = 0.05
_LEAST_COVERED = 0.9  # of the window, by readings

_COUNTER = "monitor.energy.counter_joules"
_INTEGRATED = "monitor.energy.integrated_joules"


def window_energy(
    counter: Sequence[tuple[float, float]],
    power: Sequence[tuple[float, float]],
    *,
    start: float,
    end: float,
    throttle_reasons: Sequence[str],
) -> tuple[Energy | None, tuple[Unknown, ...]]:
    """Energy between ``start`` and ``end`` and the reason for each value that is None.

    Args:
        counter: (seconds, joules since an arbitrary start), in order.
        power: (seconds, watts), in order.
        start: Clock seconds of the window's start.
        end: Clock seconds of its end.
        throttle_reasons: Throttling seen in the window.

    Returns:
        None where neither witness spoke. A counter without a power sensor (RAPL) stands alone; sampled power without
        a counter is kept but never valid.
    """
    integrated = _integral_joules(power, start, end) if power else None
    if not counter and integrated is None:
        return None, ()
    updates = sum(after[1] != before[1] for before, after in pairwise(counter)) if counter else None
    refusal = _counter_refusal(counter, updates)
    counted = None if refusal else _counter_joules(counter, end - start)
    unknowns: list[Unknown] = []
    if counter and refusal:  # without any reading the probe has said why
        unknowns.append(Unknown(field=_COUNTER, reason=refusal))
    if integrated is None:
        unknowns.append(Unknown(field=_INTEGRATED, reason="no power sensor answered during the window"))

    doubts = [refusal] if refusal else []
    if end - start < SHORTEST_WINDOW_SECONDS:
        doubts.append(f"the window of {end - start:.2f} s is shorter than {SHORTEST_WINDOW_SECONDS:g} s")
    if updates is not None and 0 < updates < FEWEST_COUNTER_UPDATES:
        doubts.append(f"the energy counter moved {updates} times, fewer than {FEWEST_COUNTER_UPDATES}")
    doubts += _gaps("energy counter", counter, start, end) + _gaps("power sensor", power, start, end)
    if counted is not None and integrated is not None and abs(integrated - counted) > LARGEST_DISAGREEMENT * counted:
        percent = abs(integrated - counted) / counted * 100
        doubts.append(
            f"counter and integrated power differ by {percent:.0f} %, more than {LARGEST_DISAGREEMENT * 100:.0f} %"
        )
    if throttle_reasons:
        doubts.append(f"the clocks were held down: {', '.join(throttle_reasons)}")
    energy = Energy(
        counter_joules=counted,
        integrated_joules=integrated,
        counter_updates=updates,
        valid=not doubts,
        invalid_reasons=tuple(doubts),
    )
    return energy, tuple(unknowns)


def _counter_refusal(counter: Sequence[tuple[float, float]], updates: int | None) -> str | None:
    """Why the counter gives no energy at all; None when it does."""
    if not counter:
        return "there is no energy counter to check the sampled power against"
    if any(after[1] < before[1] for before, after in pairwise(counter)):
        return "the energy counter was reset during the window"
    return None if updates else "the energy counter did not move during the window"


def _counter_joules(counter: Sequence[tuple[float, float]], window_seconds: float) -> float:
    """Energy between the first and the last move of the counter, scaled to the window.

    A counter read at the window's edges is off by up to one step at each; between two moves it is exact.
    """
    moves = [after for before, after in pairwise(counter) if after[1] != before[1]]
    if len(moves) < 2:
        return counter[-1][1] - counter[0][1]
    (first_seconds, first_joules), (last_seconds, last_joules) = moves[0], moves[-1]
    return (last_joules - first_joules) / (last_seconds - first_seconds) * window_seconds


def _integral_joules(power: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Trapezoid rule over the window; the first and last reading hold to its edges."""
    inside = [(min(max(at, start), end), watts) for at, watts in power]
    edges = [(start, inside[0][1]), *inside, (end, inside[-1][1])]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(edges))


def _gaps(name: str, readings: Sequence[tuple[float, float]], start: float, end: float) -> list[str]:
    """A sentence where the readings leave more than a tenth of the window out; none where there are no readings."""
    if not readings:
        return []
    covered = max(0.0, min(end, readings[-1][0]) - max(start, readings[0][0]))
    if covered >= _LEAST_COVERED * (end - start):
        return []
    return [f"the {name} answered for {covered:.2f} of {end - start:.2f} s"]
