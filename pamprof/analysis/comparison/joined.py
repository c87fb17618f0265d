"""Runs of the reference protocol: windows of back-to-back steps in fresh processes, joined to one run of a workload."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from pamprof.records import Run
from pamprof.statistics import (
    FEWEST_WINDOWS,
    LogEstimate,
    ProcessWindows,
    QuotedRatio,
    WindowEstimate,
    join_processes,
    mean_estimates,
    window_estimate,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Process = tuple[str, str]
"""Session and group of a run: the worker process that measured it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedRun(Run):
    """The latest run of a workload, standing for those of all fresh processes that measured it.

    Attributes:
        processes: The runs, one a process, in order of time.
        windows: The workload over what it was paired with, processes joined.
        own_seconds: Logarithm of its own mean step time: by itself in the processes that have that, or beside its
            reference where none has.
    """

    processes: tuple[Run, ...]
    windows: WindowEstimate
    own_seconds: LogEstimate

    def over_reference(self, quoted: QuotedRatio | None = None) -> dict[Process, LogEstimate]:
        """Logarithm of the ratio to its reference of each process; that which is quoted, unless one is named.

        Empty where it lacks the one named.
        """
        ratio = {None: self.windows.ratio, QuotedRatio.ALONE: self.windows.alone}.get(quoted, self.windows.paired)
        return {} if ratio is None else dict(zip(map(process_of, self.processes), ratio.estimates, strict=True))

    def alone_seconds(self) -> dict[Process, LogEstimate]:
        """Logarithm of its mean step time by itself of each process; empty where a process lacks it."""
        found = self.windows.subject_alone
        return dict(zip(map(process_of, self.processes), found, strict=True)) if found else {}


def process_of(run: Run) -> Process:
    """The process that measured it."""
    return run.session_id, run.group_id


def has_windows(run: Run) -> bool:
    """Whether it was measured by the reference protocol."""
    return run.timing.window_seconds is not None


def takes_precedence(run: Run, known: Run) -> bool:
    """Whether ``run`` counts instead of ``known``, both of one workload: windows before samples, then the later one."""
    if has_windows(run) is not has_windows(known):
        return has_windows(run)
    return run.started_at >= known.started_at


def processes_of(run: Run) -> tuple[Run, ...]:
    """The runs that it stands for."""
    return run.processes if isinstance(run, JoinedRun) else (run,)


def join_windows(latest: Run, runs: Sequence[Run], problems: list[str]) -> Run:
    """``latest``, a run of windows, joined with the other processes in ``runs`` that measured its workload.

    A process with too few windows to count is left out with a sentence in ``problems``; where none is left, ``latest``
    stays as it is.
    """
    found = [run for run in _one_a_process(runs) if _is_like(run, latest)]
    usable = tuple(run for run in found if has_enough_windows(run))
    if len(usable) < len(found):
        count = len(found) - len(usable)
        problems.append(
            f"{latest.workload.key}: {count} process{'es' if count > 1 else ''} with fewer than {FEWEST_WINDOWS} "
            f"windows {'are' if count > 1 else 'is'} left out; measure again"
        )
    if not usable:
        return latest
    whole = usable[-1]
    windows = windows_of(usable, runs)
    alone = [times for run in usable if len(times := run.timing.alone_wall_time_seconds or ()) >= FEWEST_WINDOWS]
    own = mean_estimates(alone or [run.timing.wall_time_seconds for run in usable])
    kept: dict[str, Any] = {field.name: getattr(whole, field.name) for field in fields(Run)}
    return JoinedRun(**kept, processes=usable, windows=windows, own_seconds=join_processes(own))


def windows_of(processes: Sequence[Run], runs: Iterable[Run]) -> WindowEstimate:
    """A workload over its reference, from its runs and the reference's own among ``runs``.

    Raises:
        RecordError: As ``window_estimate``.
    """
    references = {
        (process_of(run), run.workload.key): run
        for run in runs
        if run.workload.key == run.reference.key and has_windows(run)
    }
    return window_estimate([_windows(run, references) for run in processes])


def _windows(run: Run, references: Mapping[tuple[Process, str], Run]) -> ProcessWindows:
    timing, reference = run.timing, references.get((process_of(run), run.reference.key))
    mine = timing.alone_wall_time_seconds or ()
    # The reference over itself is the noise floor of the pairs. Alone it has one series, which is no ratio.
    itself = run.workload.key == run.reference.key
    theirs = () if reference is None or itself else reference.timing.alone_wall_time_seconds or ()
    enough = min(len(mine), len(theirs)) >= FEWEST_WINDOWS
    return ProcessWindows(
        subject_seconds=timing.wall_time_seconds,
        reference_seconds=timing.reference_wall_time_seconds,
        subject_alone_seconds=mine if enough else (),
        reference_alone_seconds=theirs if enough else (),
    )


def _one_a_process(runs: Sequence[Run]) -> list[Run]:
    """The last run of each workload in each process, in order of time."""
    last: dict[tuple[Process, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.started_at):
        last[process_of(run), run.workload.key] = run
    return sorted(last.values(), key=lambda run: run.started_at)


def _is_like(run: Run, latest: Run) -> bool:
    return has_windows(run) and (run.workload, run.reference) == (latest.workload, latest.reference)


def has_enough_windows(run: Run) -> bool:
    """Whether its windows in turn are as many as an estimate needs."""
    pairs = run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds
    return len(pairs[0]) == len(pairs[1]) >= FEWEST_WINDOWS
