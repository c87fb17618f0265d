"""The time of one run over another's, through the reference both were sampled beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.records import Interval
from pamprof.statistics import chained_ratio_interval, ratio_interval, unpaired_ratio_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRatio:
    """Subject time over baseline time, and whether both were measured in one worker beside one reference."""

    interval: Interval
    paired: bool


def is_reference(run: Run) -> bool:
    """Whether the run is the reference against itself."""
    return run.workload.key == run.reference.key


def time_ratio(subject: Run, baseline: Run) -> TimeRatio:
    """Wall time per step of ``subject`` over ``baseline``, both at one point.

    With a common reference the medians are additive: ratio(a, c) = ratio(a, b) · ratio(b, c) exactly, which the ladder
    relies on; the reference itself is the fixed zero of that scale. Without one, plain medians are divided and the
    drift between the two is not in the interval.
    """
    if subject is baseline:
        return TimeRatio(interval=Interval.exact(1.0), paired=True)
    if subject.reference.key != baseline.reference.key:
        interval = unpaired_ratio_interval(subject.timing.wall_time_seconds, baseline.timing.wall_time_seconds)
        return TimeRatio(interval=interval, paired=False)
    paired = (subject.session_id, subject.group_id) == (baseline.session_id, baseline.group_id)
    mine, theirs = subject.timing, baseline.timing
    if is_reference(baseline):
        interval = ratio_interval(mine.wall_time_seconds, mine.reference_wall_time_seconds)
    elif is_reference(subject):
        interval = ratio_interval(theirs.wall_time_seconds, theirs.reference_wall_time_seconds).inverse()
    else:
        interval = chained_ratio_interval(
            mine.wall_time_seconds,
            mine.reference_wall_time_seconds,
            theirs.wall_time_seconds,
            theirs.reference_wall_time_seconds,
        )
    return TimeRatio(interval=interval, paired=paired)


def fastest(runs: Iterable[Run]) -> Run | None:
    """The run with the smallest time, judged by the same ratios the report shows; the first of equals."""
    best: Run | None = None
    for run in runs:
        if best is None or time_ratio(run, best).interval.median < 1:
            best = run
    return best
