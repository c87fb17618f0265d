"""The time of one run over another's, through the reference both were sampled beside."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.joined import JoinedRun, process_of, processes_of
from pamprof.analysis.comparison.results import ProcessRatios
from pamprof.records import Interval
from pamprof.statistics import (
    CONFIDENCE,
    LogEstimate,
    QuotedRatio,
    chained_ratio_interval,
    join_processes,
    median_interval,
    paired_estimate,
    ratio_interval,
    spread_ratio,
    unpaired_estimate,
    unpaired_ratio_interval,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.joined import Process
    from pamprof.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRatio:
    """Subject time over baseline time, and whether both were measured in one worker beside one reference.

    Attributes:
        interval: The ratio.
        paired: Whether both were measured in one worker beside one reference.
        processes: What stands behind it where both are runs of windows; None otherwise.
    """

    interval: Interval
    paired: bool
    processes: ProcessRatios | None = None


def is_reference(run: Run) -> bool:
    """Whether the run is the reference against itself."""
    return run.workload.key == run.reference.key


def time_ratio(subject: Run, baseline: Run) -> TimeRatio:
    """Wall time per step of ``subject`` over ``baseline``, both at one point.

    With a common reference the logarithms are additive: ratio(a, c) = ratio(a, b) · ratio(b, c) exactly, which the
    ladder relies on; the reference itself is the fixed zero of that scale. Without one, plain times are divided and the
    drift between the two is not in the interval.
    """
    if subject is baseline:
        return TimeRatio(interval=Interval.exact(1.0), paired=True)
    if isinstance(subject, JoinedRun) or isinstance(baseline, JoinedRun):
        return _ratio_of_processes(subject, baseline)
    if subject.reference.key != baseline.reference.key:
        interval = unpaired_ratio_interval(subject.timing.wall_time_seconds, baseline.timing.wall_time_seconds)
        return TimeRatio(interval=interval, paired=False)
    paired = process_of(subject) == process_of(baseline)
    mine, theirs = subject.timing, baseline.timing
    if is_reference(baseline):
        interval = reference_ratio(subject)
    elif is_reference(subject):
        interval = reference_ratio(baseline).inverse()
    else:
        interval = chained_ratio_interval(
            mine.wall_time_seconds,
            mine.reference_wall_time_seconds,
            theirs.wall_time_seconds,
            theirs.reference_wall_time_seconds,
        )
    return TimeRatio(interval=interval, paired=paired)


def reference_ratio(run: Run) -> Interval:
    """The run over what it was paired with, which for the reference itself is the noise."""
    if isinstance(run, JoinedRun):
        return run.windows.ratio.interval
    return ratio_interval(run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds)


def own_seconds(run: Run) -> Interval:
    """Step time of the run by itself: the mean of its windows over processes, or the median of its samples."""
    if isinstance(run, JoinedRun):
        return run.own_seconds.interval(CONFIDENCE)
    return median_interval(run.timing.wall_time_seconds)


def fastest(runs: Iterable[Run]) -> Run | None:
    """The run with the smallest time, judged by the same ratios the report shows; the first of equals."""
    best: Run | None = None
    for run in runs:
        if best is None or time_ratio(run, best).interval.median < 1:
            best = run
    return best


def _ratio_of_processes(subject: Run, baseline: Run) -> TimeRatio:
    """The ratio where one of the two or both are joined processes."""
    if subject.reference.key != baseline.reference.key:
        mine, theirs = (
            run.own_seconds if isinstance(run, JoinedRun) else unpaired_estimate(run.timing.wall_time_seconds)
            for run in (subject, baseline)
        )
        return TimeRatio(interval=mine.minus(theirs).interval(CONFIDENCE), paired=False)
    estimate, spread = _chained(_over_reference(subject), _over_reference(baseline))
    arms = [run for run in (subject, baseline) if not is_reference(run)]
    quoted = [run.windows.quoted for run in arms if isinstance(run, JoinedRun)]
    alone = _alone(subject, baseline)
    if alone is not None and quoted == [QuotedRatio.ALONE] * 2:
        estimate, spread = alone
    interval = estimate.interval(CONFIDENCE)
    processes = None
    if isinstance(subject, JoinedRun) and isinstance(baseline, JoinedRun):
        paired, _ = _chained(*(_over_reference(run, QuotedRatio.PAIRED) for run in (subject, baseline)))
        processes = ProcessRatios(
            process_count=min(len(processes_of(run)) for run in arms or (subject,)),
            paired=paired.interval(CONFIDENCE),
            alone=None if alone is None else alone[0].interval(CONFIDENCE),
            power_coupled=QuotedRatio.ALONE in quoted,
            quoted=quoted[0] if len(set(quoted)) == 1 else None,
            spread_ratio=spread,
        )
    return TimeRatio(interval=interval, paired=_share_processes(subject, baseline), processes=processes)


def _over_reference(run: Run, quoted: QuotedRatio | None = None) -> dict[Process, LogEstimate] | None:
    """Logarithm of the ratio to the reference of each process; None for the reference, which is the zero of it."""
    if is_reference(run):
        return None
    if isinstance(run, JoinedRun):
        return run.over_reference(quoted)
    return {process_of(run): paired_estimate(run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds)}


def _alone(subject: Run, baseline: Run) -> tuple[LogEstimate, float | None] | None:
    """The ratio of two runs of windows alone, and its spread between processes; None where a process lacks it.

    By itself an arm needs no reference, whose error would count twice.
    """
    if not isinstance(subject, JoinedRun) or not isinstance(baseline, JoinedRun):
        return None
    if is_reference(subject) or is_reference(baseline):
        found = [_over_reference(run, QuotedRatio.ALONE) for run in (subject, baseline)]
    else:
        found = [run.alone_seconds() for run in (subject, baseline)]
    return None if {} in found else _chained(*found)


def _chained(
    subject: dict[Process, LogEstimate] | None, baseline: dict[Process, LogEstimate] | None
) -> tuple[LogEstimate, float | None]:
    """Subject over baseline, and its spread between processes: within each process where both have the same ones."""
    if subject is not None and baseline is not None and subject.keys() != baseline.keys():
        return join_processes(list(subject.values())).minus(join_processes(list(baseline.values()))), None
    zero = LogEstimate(value=0.0, standard_error=0.0, freedom=inf, effective_samples=inf)
    found = [
        (zero if subject is None else subject[process]).minus(zero if baseline is None else baseline[process])
        for process in subject or baseline or {("", ""): zero}
    ]
    return join_processes(found), spread_ratio(found)


def _share_processes(subject: Run, baseline: Run) -> bool:
    mine, theirs = ({process_of(one) for one in processes_of(run)} for run in (subject, baseline))
    return mine <= theirs or theirs <= mine
