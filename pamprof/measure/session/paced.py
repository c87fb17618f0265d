"""A comparison's session: points in order of worth, each arm beside its point's reference, as far as time allows."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.measure.session.runner import SessionRunner, describe, utc_now
from pamprof.records import Skip, SkipKind
from pamprof.units import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from pamprof.measure.session.pace import Pace
    from pamprof.measure.session.runner import SessionArguments
    from pamprof.measure.session.settings import Settings
    from pamprof.records import Point, Workload

# Beyond the budget, for a point that takes much longer than expected to report.
_LEAST_GRACE_SECONDS = 15.0
_GRACE_RATIO = 0.1


class PacedRunner(SessionRunner):
    """Visits single workloads in the order given; all at a point are paired with the first that was measured there.

    One worker serves them all, until it dies.

    Args:
        pace: Expected times, and the budget.
        references: What workloads are paired with at points that were measured before.
        monitor_seconds: Monitored window by key, where it is not that of the settings.
        session: As ``SessionRunner``.
    """

    def __init__(
        self,
        *,
        pace: Pace,
        references: Mapping[Point, Workload],
        monitor_seconds: Mapping[str, float],
        **session: Unpack[SessionArguments],
    ) -> None:
        super().__init__(**session, keeps_worker=True)
        self._pace = pace
        self._references.update(references)
        self._monitor_seconds = monitor_seconds
        self._deadline = pace.deadline

    def _run_all(self, groups: Sequence[tuple[Workload, ...]], done: frozenset[str]) -> int:
        finished = set(done)
        pending = [workload for group in groups for workload in group if workload.key not in done]
        while (workload := self._next(pending)) is not None:
            pending.remove(workload)
            begun = perf_counter()
            self._visit(workload, finished)
            self._pace.learn(workload, perf_counter() - begun)
            self._reporter.time_left(self._pace.left(pending))
        return len(pending)

    def _next(self, pending: Sequence[Workload]) -> Workload | None:
        """The first that the budget is likely to last for, and that is first of its point or can be paired."""
        begun = set(self._references)
        for workload in pending:
            point = workload.point
            first, begun = point not in begun, begun | {point}
            paired = point in self._references
            if (paired or first) and (self._pace.admits(workload) or not self._references):
                return workload
        return None

    def _visit(self, workload: Workload, finished: set[str]) -> None:
        reference = self._references.get(workload.point)
        paired = reference is not None and reference.key != workload.key
        failed = self._run_worker((reference, workload) if reference and paired else (workload,), finished)
        if failed is None or failed.key == workload.key:
            return
        reason = f"the worker ended while it built {describe(failed)} again, which this is paired with"
        skip = Skip(
            session_id=self._session_id,
            started_at=utc_now(),
            workload=workload,
            kind=SkipKind.CRASHED,
            reason=reason,
        )
        self._store_skip(skip, finished)

    def _settings_of(self, workloads: tuple[Workload, ...]) -> Settings:
        window = self._monitor_seconds.get(workloads[-1].key, self._settings.monitor_seconds)
        return replace(self._settings, monitor_seconds=window)

    def _patience_seconds(self) -> float:
        left = self._pace.budget_left
        if left is None or self._pace.budget_seconds is None:
            return super()._patience_seconds()
        grace = max(_LEAST_GRACE_SECONDS, _GRACE_RATIO * self._pace.budget_seconds)
        return min(super()._patience_seconds(), left + grace)

    def _hung_reason(self, waited_seconds: float) -> tuple[SkipKind, str]:
        if waited_seconds >= super()._patience_seconds():
            return super()._hung_reason(waited_seconds)
        return (
            SkipKind.INTERRUPTED,
            f"no result within the time budget of {seconds(self._pace.budget_seconds)}; raise --time-budget or go on "
            "with --resume",
        )
