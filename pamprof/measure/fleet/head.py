"""The head of a fleet: hands out groups, keeps what comes back, and begins a group again whose machine was lost."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pamprof.errors import DeviceError, RecordError
from pamprof.measure.fleet.messages import FleetTask, Said, decode_message, encode_task, own_versions
from pamprof.measure.session.pace import used_up
from pamprof.measure.session.runner import SessionOutcome, describe, outcome_text, utc_now
from pamprof.measure.session.substitutes import substitute_of, with_substitute
from pamprof.records import Ceilings, Run, Session, Skip, SkipKind, Workload
from pamprof.records.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.measure.fleet.engine import Engine, News
    from pamprof.measure.fleet.messages import Machine, NodeMessage
    from pamprof.measure.session.further import FurtherPoints
    from pamprof.measure.session.groups import GroupsTask
    from pamprof.measure.session.pace import Pace
    from pamprof.measure.session.runner import RecordSink, Reporter
    from pamprof.records.codec import Record

_ATTEMPTS = 3
_NEWS_SECONDS = 1.0
# Nodes of a cluster that scales may be long in coming.
_MACHINE_SECONDS = 120.0


@dataclass(slots=True, kw_only=True)
class _Turn:
    """A group that waits or runs.

    Attributes:
        group: The first workload is what the others are paired with; a substitute in the place of what failed.
        number: Of the attempt, from 1.
        finished: Keys with an outcome from this attempt.
        session: Whose records these are; None until the machine says what it is.
        machine: Likewise.
        failure: What the machine said of its end.
    """

    group: tuple[Workload, ...]
    number: int = 1
    finished: set[str] = field(default_factory=set)
    session: Session | None = None
    machine: Machine | None = None
    failure: str = ""

    @property
    def missing(self) -> tuple[Workload, ...]:
        """What has no outcome yet, in order."""
        return tuple(workload for workload in self.group if workload.key not in self.finished)

    @property
    def where(self) -> str:
        return f" on {self.machine.node}" if self.machine is not None else ""


class FleetRunner:
    """Measures groups on whatever an engine has.

    Args:
        engine: Runs them.
        task: What all groups share.
        copies: Fresh processes for each point.
        store: Where outcomes go.
        reporter: Who hears of progress.
        pace: Expected times, and the budget by the clock of this machine.
        begin_session: The stored header for a machine's kind of device.
        further: Decides, after each outcome, about points to add.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        task: GroupsTask,
        copies: int,
        store: RecordSink,
        reporter: Reporter,
        pace: Pace,
        begin_session: Callable[[Machine], Session],
        further: FurtherPoints | None,
    ) -> None:
        self._engine = engine
        self._task = task
        self._copies = copies
        self._store = store
        self._reporter = reporter
        self._pace = pace
        self._begin_session = begin_session
        self._further = further
        self._waiting: deque[_Turn] = deque()
        self._running: dict[str, _Turn] = {}
        self._sessions: dict[str, Session] = {}
        self._with_ceilings: set[str] = set()
        self._runs: dict[str, list[Run]] = {}
        self._measured = self._skipped = self._left_out = 0

    def run(self, groups: Sequence[tuple[Workload, ...]]) -> SessionOutcome:
        """Measure every group; a group of a lost machine is measured on another, at most twice.

        Raises:
            DeviceError: A machine cannot work for this head, or the engine takes no group.
        """
        self._waiting.extend(_Turn(group=group) for group in groups)
        self._reporter.begin(sum(map(len, groups)))
        interrupted = False
        try:
            self._run_all()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._reporter.end()
        return SessionOutcome(
            measured=self._measured, skipped=self._skipped, interrupted=interrupted, left_out=self._left_out
        )

    def _run_all(self) -> None:
        last_seen = time.monotonic()
        while self._waiting or self._running:
            self._begin_groups()
            for news in self._engine.news(_NEWS_SECONDS):
                self._hear(news)
            if self._running:
                last_seen = time.monotonic()
            elif self._waiting and time.monotonic() - last_seen > _MACHINE_SECONDS:
                self._leave_out_the_rest()
                self._reporter.message("no machine is left; --resume measures what is missing")
                return
        if self._left_out and self._pace.budget_seconds is not None:
            self._reporter.message(used_up(self._pace.budget_seconds, self._left_out))

    def _begin_groups(self) -> None:
        for _ in range(min(self._engine.free(), len(self._waiting))):
            if self._pace.budget_left == 0:
                self._leave_out_the_rest()
                return
            turn = self._waiting.popleft()
            keys = {workload.key for workload in turn.group}
            needed = self._pace.needed(turn.group)
            task = replace(
                self._task,
                groups=(turn.group,),
                expected_seconds={workload.key: self._pace.expected(workload) for workload in turn.group},
                monitor_seconds={
                    key: self._task.monitor_seconds[key] for key in keys & set(self._task.monitor_seconds)
                },
                compiled_ahead=tuple(workload for workload in self._task.compiled_ahead if workload.key in keys),
            )
            given = FleetTask(
                head=own_versions(),
                task=task,
                time_budget_seconds=self._pace.budget_left,
                with_ceilings=tuple(
                    name for name, session in self._sessions.items() if session.session_id in self._with_ceilings
                ),
            )
            self._running[self._engine.begin(encode_task(given), expected_seconds=needed)] = turn

    def _leave_out_the_rest(self) -> None:
        self._left_out += sum(len(turn.missing) for turn in self._waiting)
        self._waiting.clear()

    def _hear(self, news: News) -> None:
        turn = self._running[news.attempt]
        if not news.line:
            del self._running[news.attempt]
            self._end(turn, news.fault)
            return
        message = decode_message(news.line)
        if message is not None:
            self._heed(turn, message)
            return
        try:
            record = decode(news.line)
        except RecordError as exc:
            self._reporter.message(f"a record{turn.where} was refused: {exc}")
            return
        self._keep(turn, record)

    def _heed(self, turn: _Turn, message: NodeMessage) -> None:
        match message.said:
            case Said.MACHINE if message.machine is not None:
                turn.machine = message.machine
                name = message.machine.device_name
                if name not in self._sessions:
                    self._sessions[name] = self._begin_session(message.machine)
                turn.session = self._sessions[name]
            case Said.STARTED:
                self._reporter.point_started(f"{message.text}{turn.where}")
            case Said.REFUSED:
                raise DeviceError(message.text)
            case Said.FAILED:
                turn.failure = message.text
            case Said.ENDED:
                self._left_out += message.left_out
                turn.finished.update(workload.key for workload in turn.group)
            case _:
                self._reporter.message(message.text)

    def _keep(self, turn: _Turn, record: Record) -> None:
        if turn.session is None or isinstance(record, Session) or not isinstance(record, Run | Skip | Ceilings):
            self._reporter.message("a record of no session was refused")
            return
        record = replace(record, session_id=turn.session.session_id)
        if isinstance(record, Ceilings):
            if record.session_id in self._with_ceilings:
                return
            self._with_ceilings.add(record.session_id)
        self._store.append(record)
        if isinstance(record, Run):
            turn.finished.add(record.workload.key)
            self._measured += 1
            self._reporter.recorded(record)
            self._reporter.point_finished(describe(record.workload), f"{outcome_text(record)}{turn.where}")
            if record.elapsed_seconds is not None:
                self._pace.learn(record.workload, record.elapsed_seconds)
            self._add_points(record)
        elif isinstance(record, Skip):
            self._count(record, turn)
            self._substitute(record, turn)
        self._reporter.time_left(self._seconds_left())

    def _count(self, skip: Skip, turn: _Turn) -> None:
        turn.finished.add(skip.workload.key)
        self._skipped += 1
        self._reporter.point_finished(describe(skip.workload), f"skipped, {skip.kind}: {skip.reason}")

    def _substitute(self, skip: Skip, turn: _Turn) -> None:
        """Plan what the machine measures in the place of a failed execution, for whoever takes over from it, too.

        Groups that wait begin with it, unless another kind of device, which may compile the step, measures as well.
        """
        other = substitute_of(skip) if self._task.substitutes else None
        if other is None:
            return
        if other not in turn.group:
            self._reporter.points_added(1)
            self._pace.expect({other.key: self._pace.estimate(skip.workload)})
            if skip.workload.key in self._task.monitor_seconds:
                self._task.monitor_seconds[other.key] = self._task.monitor_seconds[skip.workload.key]
        for each in (turn, *(self._waiting if len(self._sessions) == 1 else ())):
            each.group = with_substitute(each.group, skip.workload, other)

    def _add_points(self, run: Run) -> None:
        """Points that what was measured on one kind of device asks for, before those still to come."""
        runs = self._runs.setdefault(run.environment.device_name, [])
        runs.append(run)
        for added in () if self._further is None else self._further.after(runs):
            self._pace.expect(added.expected_seconds)
            self._task.monitor_seconds.update(added.monitor_seconds)
            self._reporter.message(added.reason)
            self._reporter.points_added(len(added.workloads) * self._copies)
            self._waiting.extendleft(_Turn(group=added.workloads) for _ in range(self._copies))

    def _end(self, turn: _Turn, fault: str) -> None:
        """An attempt is over: what it lacks is measured again, paired anew, by another."""
        missing = turn.missing
        if not missing:
            return
        why = turn.failure or fault or "it ended before its group did"
        if turn.number < _ATTEMPTS:
            first = turn.group[0]
            group = (first, *(workload for workload in missing if workload.key != first.key))
            self._reporter.message(f"lost{turn.where}: {len(missing)} of {len(turn.group)} points begin again ({why})")
            self._reporter.points_added(len(group) - len(missing))
            self._waiting.appendleft(_Turn(group=group, number=turn.number + 1))
            return
        session = turn.session or next(iter(self._sessions.values()), None)
        if session is None:
            raise DeviceError(f"no machine could begin: {why}")
        for workload in missing:
            skip = Skip(
                session_id=session.session_id,
                started_at=utc_now(),
                workload=workload,
                kind=SkipKind.INTERRUPTED,  # going on tries again
                reason=f"its machine was lost {_ATTEMPTS} times, the last time because {why}",
            )
            self._store.append(skip)
            self._count(skip, turn)

    def _seconds_left(self) -> float:
        turns = (*self._waiting, *self._running.values())
        at_a_time = max(1, len(self._running))
        return self._pace.needed(workload for turn in turns for workload in turn.missing) / at_a_time
