"""What a fresh process moves: estimates of one quantity from several processes, joined, compared, and planned.

Samples of one process say nothing about what the next process would measure: memory is laid out anew, kernels are
chosen anew, the device has another temperature. An interval that is to hold for a fresh process therefore takes in the
scatter of processes, or a presumed scatter where only one process was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from pamprof.statistics.log_estimate import LogEstimate, student_quantile, welch_freedom

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST_PROCESSES = 3
MOST_REPEATS = 100
_FEWEST_FREEDOM = 2  # of a measured spread; with one, Student's t is 12.7


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessComparison:
    """One quantity of HEAD over BASE, each measured by one or more processes.

    Attributes:
        estimate: Logarithm of the ratio; its error holds what a fresh process moves.
        spread_ratio: Relative standard deviation between processes that the error rests on.
        spread_measured: Whether the spread was measured by these processes; otherwise it was presumed.
        process_error: Standard error of one process of one side, from spread and samples together.
    """

    estimate: LogEstimate
    spread_ratio: float
    spread_measured: bool
    process_error: float


def join_processes(estimates: Sequence[LogEstimate]) -> LogEstimate:
    """The mean of estimates from fresh processes.

    Its error is that of their scatter, with Student's t, which of two processes is 12.7 times it. Where they scatter
    less than their own errors explain, those errors are used, with their own degrees of freedom: the scatter of few
    processes is small by chance, and no process is known better than its samples tell. One process has the error of its
    samples alone.
    """
    value = fmean(one.value for one in estimates)
    variance, freedom = _within(estimates)
    if len(estimates) > 1:
        variance, freedom = _wider((variance, freedom), _scatter((estimates,)))
    return LogEstimate(
        value=value,
        standard_error=sqrt(variance / len(estimates)),
        freedom=freedom,
        effective_samples=sum(one.effective_samples for one in estimates),
    )


def spread_ratio(estimates: Sequence[LogEstimate]) -> float | None:
    """Relative standard deviation of estimates from several processes; None with fewer than two."""
    return None if len(estimates) < 2 else sqrt(_scatter((estimates,))[0])


def compare_processes(
    head: Sequence[LogEstimate], base: Sequence[LogEstimate], *, presumed_spread_ratio: float
) -> ProcessComparison:
    """HEAD over BASE, with an error that holds what a fresh process moves.

    Args:
        head: Estimates of each process of HEAD, at least one.
        base: The same of BASE.
        presumed_spread_ratio: Relative standard deviation between processes, used where both sides together leave
            fewer than two degrees of freedom to measure it, that is below four processes.
    """
    every = (*head, *base)
    within = _within(every)
    scatter = _scatter((head, base))
    measured = scatter[1] >= _FEWEST_FREEDOM
    if measured:
        spread = sqrt(scatter[0])
        variance, freedom = _wider(within, scatter)
    else:
        spread = presumed_spread_ratio
        variance = within[0] + spread**2
        # A presumed spread is taken as known. Without an error of the samples there is still no error.
        freedom = welch_freedom((within[0], within[1]), (spread**2, inf)) if within[1] > 0 else 0.0
    return ProcessComparison(
        estimate=LogEstimate(
            value=fmean(one.value for one in head) - fmean(one.value for one in base),
            standard_error=sqrt(variance * (1 / len(head) + 1 / len(base))),
            freedom=freedom,
            effective_samples=min(one.effective_samples for one in every),
        ),
        spread_ratio=spread,
        spread_measured=measured,
        process_error=sqrt(variance),
    )


def repeats_to_settle(distance: float, process_error: float, *, confidence: float) -> int | None:
    """How many processes each side needs until its interval is narrower than ``distance``.

    Args:
        distance: Between the logarithm of the ratio and the limit of its verdict.
        process_error: Standard error of one process, as a logarithm.
        confidence: Of the interval.

    Returns:
        At least three; None where a hundred would not do.
    """
    for count in range(FEWEST_PROCESSES, MOST_REPEATS + 1):
        reach = student_quantile(0.5 + confidence / 2, 2 * (count - 1)) * process_error * sqrt(2 / count)
        if reach <= abs(distance):
            return count
    return None


def _within(estimates: Sequence[LogEstimate]) -> tuple[float, float]:
    """Mean variance of the estimates by their own errors, and its degrees of freedom; 0 where one has no error."""
    terms = [(one.standard_error**2, one.freedom) for one in estimates]
    freedom = welch_freedom(*terms) if all(freedom > 0 for _, freedom in terms) else 0.0
    return fmean(variance for variance, _ in terms), freedom


def _scatter(sides: Sequence[Sequence[LogEstimate]]) -> tuple[float, float]:
    """Variance of estimates around the mean of their side, pooled, and its degrees of freedom."""
    total, freedom = 0.0, 0
    for side in sides:
        mean = fmean(one.value for one in side)
        total += sum((one.value - mean) ** 2 for one in side)
        freedom += len(side) - 1
    return (total / freedom if freedom else 0.0), float(freedom)


def _wider(within: tuple[float, float], scatter: tuple[float, float]) -> tuple[float, float]:
    return scatter if scatter[0] > within[0] or within[1] <= 0 else within
