"""A session: one fresh worker per group, every outcome appended at once, a crash costs the point in progress."""

from __future__ import annotations

import signal
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NotRequired, Protocol, TypedDict

from pamprof.errors import RecordError
from pamprof.measure.session.process import WorkerHung, WorkerProcess
from pamprof.measure.session.wire import GroupRequest, decode_event
from pamprof.records import Point, RankedRun, Run, Session, Skip, SkipKind, Workload
from pamprof.records.codec import decode
from pamprof.statistics import median_interval, ratio_interval
from pamprof.units import ratio, seconds, significant, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pamprof.measure.session.settings import Settings
    from pamprof.records.codec import Record


class RecordSink(Protocol):
    """Where a session's outcomes go: the file of records, or from another machine whoever sent the groups."""

    @property
    def path(self) -> Path:
        """File of the records; traces lie beside it."""
        ...

    def append(self, record: Record) -> None:
        """Keep one record."""
        ...


class Reporter(Protocol):
    """Hears how the session goes; a progress bar or plain lines."""

    def begin(self, total_points: int) -> None:
        """The session starts."""
        ...

    def points_added(self, count: int) -> None:
        """So many points more are planned."""
        ...

    def point_started(self, label: str) -> None:
        """A point is being measured."""
        ...

    def point_finished(self, label: str, text: str) -> None:
        """A point has its outcome."""
        ...

    def recorded(self, record: Run | Session) -> None:
        """A record was stored that conclusions may rest on."""
        ...

    def time_left(self, expected_seconds: float) -> None:
        """How long the points still to come are expected to take."""
        ...

    def message(self, text: str) -> None:
        """Something worth a line."""
        ...

    def end(self) -> None:
        """The session is over, however it ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """How a session ended; ``left_out`` counts planned points that the time budget did not reach."""

    measured: int
    skipped: int
    interrupted: bool
    left_out: int = 0


def together(first: SessionOutcome, second: SessionOutcome) -> SessionOutcome:
    """Both parts of one session."""
    return SessionOutcome(
        measured=first.measured + second.measured,
        skipped=first.skipped + second.skipped,
        interrupted=first.interrupted or second.interrupted,
        left_out=first.left_out + second.left_out,
    )


def utc_now() -> str:
    """This moment in UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe(workload: Workload) -> str:
    """A workload in a few words, for a line of progress."""
    return (
        f"{workload.phase} {workload.batch_size} × {tokens(workload.sequence_length)} "
        f"{workload.spec.layer} {workload.implementation} {workload.execution}{_ranks(workload)}"
    )


def _ranks(workload: Workload) -> str:
    layout = workload.layout
    return "" if layout is None else f" {layout.parallel} × {layout.ranks}"


class SessionArguments(TypedDict):
    """What every session runner is given; see ``SessionRunner``."""

    session_id: str
    device: str
    settings: Settings
    store: RecordSink
    reporter: Reporter
    first_worker: NotRequired[WorkerProcess | None]
    spawn: NotRequired[Callable[[], WorkerProcess]]
    checkpoints: NotRequired[Mapping[str, str]]
    ceilings: NotRequired[bool]


class SessionRunner:
    """Runs the groups of one session.

    Args:
        session_id: Written into every record.
        device: As the worker opens it.
        settings: Sampling rules.
        store: Where outcomes go.
        reporter: Who hears of progress.
        first_worker: A worker started early, while the parent was still planning; used for the first group.
        spawn: Starts a worker.
        checkpoints: Files of weights, by what the arms' sizes call them.
        ceilings: Whether the device's ceilings are measured before the first arm.
        time_budget_seconds: Of all groups together, shared equally among those still to come. None for no end.
        keeps_worker: Whether a worker goes on with the next group; else each has one of its own.
    """

    def __init__(
        self,
        *,
        session_id: str,
        device: str,
        settings: Settings,
        store: RecordSink,
        reporter: Reporter,
        first_worker: WorkerProcess | None = None,
        spawn: Callable[[], WorkerProcess] = WorkerProcess,
        checkpoints: Mapping[str, str] | None = None,
        ceilings: bool = True,
        time_budget_seconds: float | None = None,
        keeps_worker: bool = False,
    ) -> None:
        self._session_id = session_id
        self._device = device
        self._settings = settings
        self._store = store
        self._reporter = reporter
        self._worker = first_worker
        self._spawn = spawn
        self._checkpoints = dict(checkpoints or {})
        self._origin = time.perf_counter()
        self._time_budget_seconds = time_budget_seconds
        self._keeps_worker = keeps_worker
        self._group_id = ""
        self._deadline: float | None = None
        self._unready_reason = ""
        self._references: dict[Point, Workload] = {}
        self._measured = 0
        self._skipped = 0
        self._asked_for_ceilings = not ceilings

    def run(self, groups: Sequence[tuple[Workload, ...]], done: frozenset[str]) -> SessionOutcome:
        """Measure every group; ``done`` are keys that have an outcome from an earlier session in the same file."""
        self._reporter.begin(sum(workload.key not in done for group in groups for workload in group))
        interrupted, left_out = False, 0
        try:
            left_out = self._run_all(groups, done)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            self._stop_worker()
            self._reporter.end()
        return SessionOutcome(
            measured=self._measured, skipped=self._skipped, interrupted=interrupted, left_out=left_out
        )

    def _run_all(self, groups: Sequence[tuple[Workload, ...]], done: frozenset[str]) -> int:
        """Measure every group, none after the budget's end; how many workloads were left out by then."""
        for number, group in enumerate(groups):
            self._deadline = self._share_of_budget(len(groups) - number)
            if self._deadline is not None and self._deadline <= time.perf_counter():
                return sum(workload.key not in done for missing in groups[number:] for workload in missing)
            if any(workload.key not in done for workload in group):
                self._run_group(group, done)
        return 0

    def _share_of_budget(self, groups_left: int) -> float | None:
        """When the group about to begin should end, so that each of those left gets an equal share."""
        if self._time_budget_seconds is None:
            return None
        now = time.perf_counter()
        return now + max(0.0, self._origin + self._time_budget_seconds - now) / groups_left

    def _run_group(self, group: tuple[Workload, ...], done: frozenset[str]) -> None:
        """Measure one group, in as many workers as its crashes need."""
        remaining = group
        finished = set(done)
        while any(workload.key not in finished for workload in remaining):
            failed = self._run_worker(remaining, finished)
            if failed is None:
                return
            finished.add(failed.key)
            remaining = tuple(workload for workload in remaining if workload.key != failed.key)

    def _run_worker(self, workloads: tuple[Workload, ...], finished: set[str]) -> Workload | None:
        """One worker's life; the workload it died on, None when it ended well."""
        worker = self._worker if self._worker is not None else self._spawn()
        if worker is not self._worker or not self._group_id:
            self._group_id = uuid.uuid4().hex[:12]
        self._worker = worker
        by_key = {workload.key: workload for workload in workloads}
        # Of one that says nothing before it dies: the first workload that still needs an outcome.
        current = next((workload for workload in workloads if workload.key not in finished), workloads[0])
        ended_well, hung, patience = False, False, self._patience_seconds()
        worker.send(
            GroupRequest(
                session_id=self._session_id,
                group_id=self._group_id,
                origin_seconds=self._origin,
                device=self._device,
                workloads=workloads,
                done=tuple(sorted(finished)),
                settings=self._settings_of(workloads),
                ceilings=not self._asked_for_ceilings,
                folder=str(self._store.path.parent.resolve()),
                checkpoints=self._checkpoints,
                deadline_seconds=self._deadline,
                companions=self._companions(),
            ),
            last=not self._keeps_worker,
        )
        self._asked_for_ceilings = True
        try:
            for line in worker.lines(patience):
                event = decode_event(line)
                if event is None:
                    self._keep(line, finished)
                elif event.event == "started":
                    current = by_key.get(event.key, current)  # a sweep finds its last batches itself
                    self._reporter.point_started(describe(current))
                elif event.event == "unready":
                    self._unready_reason = event.reason
                    return by_key[event.key]
                elif event.event == "finished":
                    ended_well = True
                    if self._keeps_worker:
                        return None
        except WorkerHung:
            hung = True
            worker.kill()
        status, last_line = worker.close()
        self._worker, self._group_id = None, ""
        if ended_well:
            return None
        waited = patience if hung else None
        self._record_death(current, status=status, waited=waited, last_line=last_line, finished=finished)
        return current

    def _settings_of(self, workloads: tuple[Workload, ...]) -> Settings:
        """Sampling rules of a group."""
        return self._settings

    def _companions(self) -> tuple[int, ...]:
        """Processes of this session that share the device with the worker."""
        return ()

    def _patience_seconds(self) -> float:
        """How long a worker may say nothing."""
        return self._settings.point_timeout_seconds

    def _hung_reason(self, waited_seconds: float) -> tuple[SkipKind, str]:
        """Why a point has no number whose worker said nothing for ``waited_seconds``."""
        reason = f"no result within {seconds(waited_seconds)}; raise --point-timeout or choose a smaller size"
        return SkipKind.TIMEOUT, reason

    def _keep(self, line: bytes, finished: set[str]) -> None:
        try:
            record = decode(line)
        except RecordError as exc:
            self._reporter.message(f"a record from the worker was refused: {exc}")
            return
        self._store.append(record)
        if isinstance(record, Run):
            self._reporter.recorded(record)
            if record.workload.key == record.reference.key:
                self._references.setdefault(record.workload.point, record.workload)
            finished.add(record.workload.key)
            self._measured += 1
            self._reporter.point_finished(describe(record.workload), outcome_text(record))
        elif isinstance(record, RankedRun):
            finished.add(record.workload.key)
            self._measured += 1
            self._reporter.point_finished(describe(record.workload), _ranked_outcome(record))
        elif isinstance(record, Skip):
            self._count_skip(record, finished)

    def _record_death(
        self, workload: Workload, *, status: int, waited: float | None, last_line: str, finished: set[str]
    ) -> None:
        if workload.key in finished:
            self._reporter.message(f"the worker ended after {describe(workload)} ({last_line or f'status {status}'})")
            return
        if status == -signal.SIGTERM:  # nobody ends a worker so who does not end its job or its machine as well
            raise KeyboardInterrupt
        if waited is not None:
            kind, reason = self._hung_reason(waited)
        elif status == -signal.SIGKILL:
            kind = SkipKind.OUT_OF_MEMORY
            reason = "the operating system killed the worker, which it does when memory runs out; choose a smaller size"
        else:
            kind = SkipKind.CRASHED
            how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
            who = f"{workload.spec.layer} {workload.implementation}"
            reason = f"the worker ended with {how} while it measured {who}" + (f": {last_line}" if last_line else "")
        now = utc_now()
        skip = Skip(session_id=self._session_id, started_at=now, workload=workload, kind=kind, reason=reason)
        self._store_skip(skip, finished)

    def _store_skip(self, skip: Skip, finished: set[str]) -> None:
        self._store.append(skip)
        self._count_skip(skip, finished)

    def _count_skip(self, skip: Skip, finished: set[str]) -> None:
        finished.add(skip.workload.key)
        self._skipped += 1
        self._reporter.point_finished(describe(skip.workload), f"skipped, {skip.kind}: {skip.reason}")

    def _end_worker(self) -> None:
        """Let a worker that waits for another group end by itself."""
        if self._worker is not None:
            self._worker.close()
            self._worker, self._group_id = None, ""

    def _stop_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker.close()
            self._worker, self._group_id = None, ""


def outcome_text(run: Run) -> str:
    """A run's step time and its ratio in a few words, for a line of progress."""
    step = median_interval(run.timing.wall_time_seconds)
    text = f"{seconds(step.median)} per step"
    if run.workload.key == run.reference.key:
        return f"{text} (reference)"
    against = ratio_interval(run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds)
    return f"{text}, {ratio(against.median)} [{significant(against.low)}, {significant(against.high)}] the reference"


def _ranked_outcome(run: RankedRun) -> str:
    step = median_interval(run.wall_time_seconds)
    against = ratio_interval(run.wall_time_seconds, run.alone_wall_time_seconds)
    width = f"[{significant(against.low)}, {significant(against.high)}]"
    return f"{seconds(step.median)} per step, {ratio(against.median)} {width} one device"
