"""How long what is still to come will take: an estimate made before the first point, corrected by every point since.

The clock is ``time.perf_counter``, which is one for all processes of a machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.units import seconds as seconds_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from pamprof.records import Workload

# Beyond the budget, for a point that takes much longer than expected to report.
_LEAST_GRACE_SECONDS = 15.0
_GRACE_RATIO = 0.1

# An estimate counts as much as this many measured points of average length.
_POINTS_OF_AN_ESTIMATE = 2.0

# By how much the whole may be off before a point was measured, and once half of it is known.
_FIRST_UNCERTAINTY = 0.6
_LEAST_UNCERTAINTY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTime:
    """Seconds, with the range in which they are likely to lie."""

    low: float
    seconds: float
    high: float


@dataclass(slots=True)
class _Spent:
    """Seconds that points took, and that they had been expected to take."""

    seconds: float = 0.0
    expected: float = 0.0

    def add(self, seconds: float, expected: float) -> None:
        self.seconds += seconds
        self.expected += expected


class Pace:
    """Expected and spent time of one session.

    Args:
        expected_seconds: Of each planned workload by key, before anything was measured.
        budget_seconds: From ``begun`` on; None for no end.
        begun: Moment on ``clock``.
        closing_seconds: What comes after the last point whatever the budget: the report is written.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        expected_seconds: Mapping[str, float],
        *,
        budget_seconds: float | None,
        begun: float,
        closing_seconds: float = 0.0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._expected = dict(expected_seconds)
        self._clock = clock
        self.budget_seconds = budget_seconds
        self._begun = begun
        self._closing_seconds = closing_seconds
        self._all = _Spent()
        self._kinds: dict[tuple[str, str], _Spent] = {}
        mean = sum(self._expected.values()) / max(1, len(self._expected))
        self._weight = _POINTS_OF_AN_ESTIMATE * mean

    @property
    def deadline(self) -> float | None:
        """When the budget is used up; None where there is no end."""
        return None if self.budget_seconds is None else self._begun + self.budget_seconds

    @property
    def patience(self) -> float | None:
        """Seconds after which nothing is waited for any more: what is left of the budget, and some grace."""
        if self.budget_seconds is None or self.deadline is None:
            return None
        grace = max(_LEAST_GRACE_SECONDS, _GRACE_RATIO * self.budget_seconds)
        return max(0.0, self.deadline + grace - self._clock())

    @property
    def budget_left(self) -> float | None:
        """Seconds of the budget, 0 at least; None where there is no end."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    def expect(self, expected_seconds: Mapping[str, float]) -> None:
        """Workloads joined the plan, with their expected seconds by key."""
        self._expected.update(expected_seconds)

    def learn(self, workload: Workload, seconds: float) -> None:
        """A point took ``seconds``."""
        expected = self._expected.get(workload.key)
        if expected is not None:
            self._all.add(seconds, expected)
            self._kinds.setdefault(_kind(workload), _Spent()).add(seconds, expected)

    def estimate(self, workload: Workload) -> float:
        """Seconds that a point was expected to take before anything was measured."""
        return self._expected[workload.key]

    def expected(self, workload: Workload) -> float:
        """Seconds that a point will take, by its estimate and by what points like it took."""
        overall = _factor(self._all, 1.0, self._weight)
        factor = _factor(self._kinds.get(_kind(workload), _Spent()), overall, self._weight)
        return self._expected[workload.key] * factor

    def admits(self, *workloads: Workload) -> bool:
        """Whether the budget is likely to last for all of ``workloads``."""
        left = self.budget_left
        return left is None or self.needed(workloads) <= left

    def needed(self, workloads: Iterable[Workload]) -> float:
        """Seconds for all of ``workloads``, whatever the budget."""
        return sum(self.expected(workload) for workload in workloads)

    def left(self, groups: Iterable[Collection[Workload]]) -> float:
        """Seconds for as many of ``groups`` as the budget is likely to last for, and for what comes then.

        A group is measured as a whole or not at all, so that a session may end long before its budget does.
        """
        budget, spent = self.budget_left, 0.0
        for group in groups:
            needed = self.needed(group)
            if budget is None or spent + needed <= budget:
                spent += needed
        return spent + self._closing_seconds

    def whole(self, workloads: Iterable[Workload]) -> ExpectedTime:
        """What ``left`` gives, with its range."""
        workloads = tuple(workloads)
        needed = self.needed(workloads)
        known = self._all.expected / max(self._all.expected + needed, 1e-9)
        doubt = max(_LEAST_UNCERTAINTY, _FIRST_UNCERTAINTY * (1 - 2 * known))
        low, middle, high = (
            self._within_budget(each) + self._closing_seconds
            for each in (needed / (1 + doubt), needed, needed * (1 + doubt))
        )
        return ExpectedTime(low=low, seconds=middle, high=high)

    def _within_budget(self, seconds: float) -> float:
        return seconds if self.budget_left is None else min(seconds, self.budget_left)


def used_up(budget_seconds: float, left_out: int) -> str:
    """A sentence without a full stop for a session whose budget ended before its ``left_out`` last points."""
    missing = f", {left_out} planned point{'s are' if left_out > 1 else ' is'} not measured" if left_out else ""
    return f"the time budget of {seconds_text(budget_seconds)} is used up{missing}; --resume measures what is missing"


def _kind(workload: Workload) -> tuple[str, str]:
    return workload.phase, workload.execution


def _factor(spent: _Spent, prior: float, weight: float) -> float:
    """Seconds spent over seconds expected, drawn towards ``prior`` while little is known."""
    return (spent.seconds + prior * weight) / (spent.expected + weight) if spent.expected + weight > 0 else prior
