"""A comparison's session: points in order of worth, each arm beside its point's reference, as far as time allows."""

from __future__ import annotations

import contextlib
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.measure.session.compile_ahead import CompileAhead
from pamprof.measure.session.ruled_out import RuledOut
from pamprof.measure.session.runner import SessionRunner, describe, utc_now
from pamprof.measure.session.substitutes import substitute_of, with_substitute
from pamprof.records import Run, Skip, SkipKind
from pamprof.records.codec import decode
from pamprof.units import seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Unpack

    from pamprof.measure.session.further import FurtherPoints
    from pamprof.measure.session.pace import Pace
    from pamprof.measure.session.runner import SessionArguments
    from pamprof.measure.session.settings import Settings
    from pamprof.records import Point, Workload


# After these the worker's process may be unusable.
_SUSPECT = (SkipKind.OUT_OF_MEMORY, SkipKind.CRASHED)


class PacedRunner(SessionRunner):
    """Visits single workloads in the order given; all at a point are paired with the first that was measured there.

    One worker serves them all, until it dies.

    Args:
        pace: Expected times, and the budget.
        references: What workloads are paired with at points that were measured before.
        monitor_seconds: Monitored window by key, where it is not that of the settings.
        compiled_ahead: Workloads that other processes compile while earlier ones are measured.
        fresh_processes: How many workers of its own measure each point, which is then a whole group and comes as often;
            None where one worker visits single workloads.
        further: Decides, after each outcome, about points to add.
        substitutes: Whether a step that cannot be compiled or captured is measured in an execution without that.
        session: As ``SessionRunner``.
    """

    def __init__(
        self,
        *,
        pace: Pace,
        references: Mapping[Point, Workload],
        monitor_seconds: Mapping[str, float],
        compiled_ahead: tuple[Workload, ...] = (),
        fresh_processes: int | None = None,
        further: FurtherPoints | None = None,
        substitutes: bool = False,
        **session: Unpack[SessionArguments],
    ) -> None:
        super().__init__(**session, keeps_worker=True)
        self._pace = pace
        self._references.update(references)
        self._monitor_seconds = dict(monitor_seconds)
        self._compiled_ahead = compiled_ahead
        self._fresh_processes = fresh_processes
        self._further = further
        self._substitutes = substitutes
        self._last_skip: Skip | None = None
        self._runs: list[Run] = []
        self._has_measured = False
        self._is_suspect = self._had_company = False
        self._ruled_out = RuledOut()
        self._ahead: CompileAhead | None = None
        self._deadline = pace.deadline

    def _run_all(self, groups: Sequence[tuple[Workload, ...]], done: frozenset[str]) -> int:
        self._begin_compiling([workload for group in groups for workload in group if workload.key not in done])
        try:
            return self._visit_all(groups, done) if self._fresh_processes is None else self._visit_groups(groups)
        finally:
            self._end_compiling()

    def _begin_compiling(self, pending: Sequence[Workload]) -> None:
        keys = {workload.key for workload in pending}
        to_compile = tuple(workload for workload in self._compiled_ahead if workload.key in keys)
        if to_compile:
            self._ahead = CompileAhead(to_compile, device=self._device, seed=self._settings.seed)

    def _end_compiling(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def _companions(self) -> tuple[int, ...]:
        return () if self._ahead is None else self._ahead.process_ids

    def _visit_groups(self, groups: Sequence[tuple[Workload, ...]]) -> int:
        pending, left_out, first = list(groups), 0, True
        while group := self._next_group(pending, first=first):
            pending.remove(group)
            first = False
            finished: set[str] = set()
            point = group[0].point
            self._references.pop(point, None)
            members = list(group)
            while members:
                workload = members.pop(0)
                if self._pace.patience == 0:
                    left_out += 1
                    continue
                begun = perf_counter()
                self._visit(workload, finished, ())
                self._pace.learn(workload, perf_counter() - begun)
                if other := self._substitute(workload, (*finished, *(member.key for member in members))):
                    members.insert(0, other)
                    pending = [with_substitute(each, workload, other) for each in pending]
            self._end_worker()
            self._has_measured = False
            for added in self._added():
                # Anywhere among the others, so that a drift of the machine is not taken for a difference of lengths.
                places = Random(f"{self._settings.seed} {added[0].key}")
                for _ in range(self._fresh_processes or 1):
                    pending.insert(places.randint(0, len(pending)), added)
                self._reporter.points_added(len(added) * (self._fresh_processes or 1))
            self._reporter.time_left(self._pace.left(pending))
        return left_out + sum(len(group) for group in pending)

    def _next_group(self, pending: Sequence[tuple[Workload, ...]], *, first: bool) -> tuple[Workload, ...]:
        """The first that the budget is likely to last for; none is an empty one."""
        if self._pace.patience == 0:
            return ()
        return next((group for group in pending if first or self._pace.admits(*group)), ())

    def _visit_all(self, groups: Sequence[tuple[Workload, ...]], done: frozenset[str]) -> int:
        finished = set(done)
        pending = [workload for group in groups for workload in group if workload.key not in done]
        while (workload := self._next(pending)) is not None:
            begun = perf_counter()
            pending.remove(workload)
            self._visit(workload, finished, pending)
            pending = [other for other in pending if other.key not in finished]
            self._pace.learn(workload, perf_counter() - begun)
            if other := self._substitute(workload, (*finished, *(planned.key for planned in pending))):
                pending.insert(0, other)
            pending = self._with_added(pending, finished)
            self._reporter.time_left(self._pace.left((workload,) for workload in pending))
        return len(pending)

    def _substitute(self, workload: Workload, known: Collection[str]) -> Workload | None:
        """What is measured in the place of ``workload``, where its execution failed and the step may run without it.

        None where the keys of ``known`` hold it already.
        """
        skip = self._last_skip
        if not self._substitutes or skip is None or skip.workload.key != workload.key:
            return None
        other = substitute_of(skip)
        if other is None or other.key in known:
            return None
        self._pace.expect({other.key: self._pace.estimate(workload)})
        if workload.key in self._monitor_seconds:
            self._monitor_seconds[other.key] = self._monitor_seconds[workload.key]
        self._reporter.points_added(1)
        return other

    def _added(self) -> list[tuple[Workload, ...]]:
        """Points that what was measured asks for, each once, expected from now on."""
        found = () if self._further is None else self._further.after(self._runs)
        for added in found:
            self._pace.expect(added.expected_seconds)
            self._monitor_seconds.update(added.monitor_seconds)
            self._reporter.message(added.reason)
        return [added.workloads for added in found]

    def _with_added(self, pending: list[Workload], finished: Collection[str]) -> list[Workload]:
        """``pending`` with added workloads before those that are worth less."""
        for workloads in self._added():
            known = {*finished, *(workload.key for workload in pending)}
            new = [workload for workload in workloads if workload.key not in known]
            later = self._further.visited_after if self._further is not None else frozenset()
            place = next((n for n, workload in enumerate(pending) if workload.key in later), len(pending))
            pending = [*pending[:place], *new, *pending[place:]]
            self._reporter.points_added(len(new))
        return pending

    def _next(self, pending: Sequence[Workload]) -> Workload | None:
        """The first that the budget is likely to last for, and that is first of its point or can be paired.

        Until something was measured at all, the budget alone holds nothing back.
        """
        begun = set(self._references)
        nothing_yet = not self._references and self._pace.patience != 0
        for workload in pending:
            point = workload.point
            first, begun = point not in begun, begun | {point}
            paired = point in self._references
            if (paired or first) and (nothing_yet or self._pace.admits(workload)):
                return workload
        return None

    def _keep(self, line: bytes, finished: set[str]) -> None:
        with contextlib.suppress(RecordError):  # told by the session
            record = decode(line)
            if isinstance(record, Run):
                self._runs.append(record)
            if isinstance(record, Skip) and record.kind in _SUSPECT:
                self._is_suspect = True
                if record.kind is SkipKind.OUT_OF_MEMORY and self._had_company:
                    return  # to be tried again alone
                self._ruled_out.add(record, paired=self._is_paired(record.workload))
        super()._keep(line, finished)

    def _visit(self, workload: Workload, finished: set[str], pending: Sequence[Workload]) -> None:
        """Measure one workload, once more where memory ended while others held some of it.

        What needs at least as much as a workload that did not fit is not tried.

        A worker in which memory ended or a layer failed is not used again: on a GPU what failed inside a capture may
        keep its memory, or leave every later call failing.
        """
        reason = self._ruled_out.reason(workload, paired=self._is_paired(workload))
        if reason is not None:
            now, kind = utc_now(), SkipKind.OUT_OF_MEMORY
            skip = Skip(session_id=self._session_id, started_at=now, workload=workload, kind=kind, reason=reason)
            self._store_skip(skip, finished)
            return
        self._last_skip = None
        self._is_suspect, self._had_company = False, bool(self._companions()) or self._has_measured
        self._visit_once(workload, finished)
        self._has_measured = True
        if self._is_suspect:
            self._stop_worker()
            self._has_measured = False
        if self._is_suspect and workload.key not in finished:
            self._end_compiling()
            self._is_suspect = self._had_company = False
            self._visit_once(workload, finished)
            if self._is_suspect:
                self._stop_worker()
            self._begin_compiling(pending)
        elif self._ahead is not None:
            self._ahead.go_on()

    def _count_skip(self, skip: Skip, finished: set[str]) -> None:
        self._last_skip = skip
        super()._count_skip(skip, finished)

    def _is_paired(self, workload: Workload) -> bool:
        reference = self._references.get(workload.point)
        return reference is not None and reference.key != workload.key

    def _visit_once(self, workload: Workload, finished: set[str]) -> None:
        reference = self._references.get(workload.point)
        self._unready_reason = ""
        together = (reference, workload) if reference and self._is_paired(workload) else (workload,)
        failed = self._run_worker(together, finished)
        if failed is None or failed.key == workload.key:
            return
        if self._unready_reason:
            self._is_suspect = True
            if self._had_company:
                return  # to be tried again alone
        how = self._unready_reason or "the worker ended"
        late = self._pace.budget_left == 0
        skip = Skip(
            session_id=self._session_id,
            started_at=utc_now(),
            workload=workload,
            kind=SkipKind.INTERRUPTED if late else SkipKind.CRASHED,
            reason=f"{describe(failed)}, which this is paired with, could not be built again: {how}",
        )
        self._store_skip(skip, finished)

    def _settings_of(self, workloads: tuple[Workload, ...]) -> Settings:
        window = self._monitor_seconds.get(workloads[-1].key, self._settings.monitor_seconds)
        return self._settings.with_window(window)

    def _patience_seconds(self) -> float:
        least, most = self._pace.patience, super()._patience_seconds()
        return most if least is None else min(most, least)

    def _hung_reason(self, waited_seconds: float) -> tuple[SkipKind, str]:
        if waited_seconds >= super()._patience_seconds():
            return super()._hung_reason(waited_seconds)
        return (
            SkipKind.INTERRUPTED,
            f"no result within the time budget of {seconds(self._pace.budget_seconds)}; raise --time-budget or go on "
            "with --resume",
        )
