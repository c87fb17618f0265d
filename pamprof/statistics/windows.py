"""The ratio of two arms from windows of back-to-back steps in fresh processes: the reference protocol.

In a window an arm runs for about a second without a pause; its mean step time counts. Windows of the two arms alternate
in the order reference, subject, subject, reference, ... Each arm also has windows by itself, because arms that take
turns share one power budget: where the ratio of the arms alone differs from the paired one, the alone one is true of an
arm in use, and is quoted.

The estimate of a process is the ratio of mean window times. Its error is that of a circular block bootstrap over the
windows of the process, in closed form, so that nothing is drawn: the variance of a mean over resampled blocks is the
mean square of the block sums. Paired windows enter as quadruples (two windows of each arm), in which a steady drift
cancels. ``join_processes`` joins the processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, log, sqrt
from statistics import fmean
from typing import TYPE_CHECKING

from pamprof.errors import RecordError
from pamprof.statistics.autocorrelation import (
    CAUTIOUS_ERRORS,
    block_length,
    correlation_of,
    kept_by_blocks,
    variance_growth,
)
from pamprof.statistics.intervals import CONFIDENCE
from pamprof.statistics.log_estimate import LogEstimate
from pamprof.statistics.processes import FEWEST_PROCESSES, join_processes, spread_ratio
from pamprof.statistics.stationarity import Stationarity, stationarity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Interval

FEWEST_WINDOWS = 4


class QuotedRatio(StrEnum):
    """Which ratio is quoted."""

    PAIRED = "paired"
    ALONE = "alone"


class IntervalBasis(StrEnum):
    """What an interval holds."""

    PROCESSES = "processes"  # windows, and what a fresh process moves
    WINDOWS = "windows"  # windows alone: one process


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessWindows:
    """Windows of one fresh process in the order they were taken, mean seconds per step of each.

    Attributes:
        subject_seconds: In turn with the reference.
        reference_seconds: As many: windows 0 and 1 of both arms are one quadruple reference, subject, subject,
            reference; windows 2 and 3 are the next.
        subject_alone_seconds: While the subject ran by itself; empty where that was not measured.
        reference_alone_seconds: The same of the reference.
    """

    subject_seconds: tuple[float, ...]
    reference_seconds: tuple[float, ...]
    subject_alone_seconds: tuple[float, ...] = ()
    reference_alone_seconds: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRatio:
    """Subject over reference.

    Attributes:
        interval: The ratio of mean window times with its interval.
        basis: What the interval holds.
        estimates: Logarithm of the ratio of each process, in order.
        process_spread_ratio: Relative standard deviation of ``process_ratios``; None with fewer than two.
        stationarity: Of the ratio from the first windows to the last, all processes together.
    """

    interval: Interval
    basis: IntervalBasis
    estimates: tuple[LogEstimate, ...]
    process_spread_ratio: float | None
    stationarity: Stationarity

    @property
    def process_ratios(self) -> tuple[float, ...]:
        """The ratio of each process, in order."""
        return tuple(exp(one.value) for one in self.estimates)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEstimate:
    """What the reference protocol says about two arms.

    Attributes:
        paired: From windows in turn.
        alone: From windows in which each arm ran by itself; None where one process or more lacks them.
        alone_over_paired: How far the two lie apart, with the interval of that; None likewise.
        power_coupled: Whether that interval leaves out 1; False where there is nothing to compare.
        quoted: ``alone`` when coupled.
        subject_alone: Logarithm of the subject's mean window alone, of each process; empty without ``alone``.
    """

    paired: WindowRatio
    alone: WindowRatio | None
    alone_over_paired: Interval | None
    power_coupled: bool
    quoted: QuotedRatio
    subject_alone: tuple[LogEstimate, ...] = ()

    @property
    def ratio(self) -> WindowRatio:
        """The quoted ratio."""
        return self.alone if self.quoted is QuotedRatio.ALONE and self.alone is not None else self.paired


def window_estimate(processes: Sequence[ProcessWindows]) -> WindowEstimate:
    """Join the windows of fresh processes.

    Raises:
        RecordError: No process, too few windows, arms with unequal numbers of paired windows, or a time that is not a
            positive number.
    """
    if not processes:
        raise RecordError("no process with windows; measure the point again")
    for number, process in enumerate(processes):
        _check(number, process)
    paired = _paired(processes)
    with_alone = all(one.subject_alone_seconds and one.reference_alone_seconds for one in processes)
    ratio_of_paired = _ratio(paired, [(one.subject_seconds, one.reference_seconds) for one in processes])
    if not with_alone:
        return WindowEstimate(
            paired=ratio_of_paired,
            alone=None,
            alone_over_paired=None,
            power_coupled=False,
            quoted=QuotedRatio.PAIRED,
        )
    subject = mean_estimates([one.subject_alone_seconds for one in processes])
    reference = mean_estimates([one.reference_alone_seconds for one in processes])
    alone = [mine.minus(theirs) for mine, theirs in zip(subject, reference, strict=True)]
    # The difference is taken within each process, so that what moves both ratios of a process cancels.
    apart = join_processes([a.minus(p) for a, p in zip(alone, paired, strict=True)]).interval(CONFIDENCE)
    coupled = apart.confidence > 0 and not apart.low <= 1 <= apart.high
    return WindowEstimate(
        paired=ratio_of_paired,
        alone=_ratio(alone, [(one.subject_alone_seconds, one.reference_alone_seconds) for one in processes]),
        alone_over_paired=apart,
        power_coupled=coupled,
        quoted=QuotedRatio.ALONE if coupled else QuotedRatio.PAIRED,
        subject_alone=tuple(subject),
    )


def _check(number: int, process: ProcessWindows) -> None:
    if len(process.subject_seconds) != len(process.reference_seconds):
        raise RecordError(
            f"process {number} has {len(process.subject_seconds)} windows of the subject and "
            f"{len(process.reference_seconds)} of the reference; windows in turn need equal counts"
        )
    alone = [times for times in (process.subject_alone_seconds, process.reference_alone_seconds) if times]
    for times in (process.subject_seconds, process.reference_seconds, *alone):
        if len(times) < FEWEST_WINDOWS:
            raise RecordError(f"process {number} has {len(times)} windows of an arm; take {FEWEST_WINDOWS} or more")
        for value in times:
            if not (isfinite(value) and value > 0):
                raise RecordError(f"process {number} has a window of {value} s; a time is a positive number")


def _paired(processes: Sequence[ProcessWindows]) -> list[LogEstimate]:
    """ln(mean of the subject / mean of the reference) of each process."""
    values, parts = [], []
    for one in processes:
        mine, theirs = fmean(one.subject_seconds), fmean(one.reference_seconds)
        values.append(log(mine / theirs))
        # To first order the logarithm of the ratio moves with each pair of windows by this much.
        moves = [s / mine - r / theirs for s, r in zip(one.subject_seconds, one.reference_seconds, strict=True)]
        # An odd pair at the end is joined to the quadruple before it by the mean alone.
        parts.append([fmean(moves[index : index + 2]) for index in range(0, len(moves) - 1, 2)])
    return _with_block_errors(values, parts)


def mean_estimates(arms: Sequence[tuple[float, ...]]) -> list[LogEstimate]:
    """ln(mean) of the windows of one arm in each process."""
    means = [fmean(times) for times in arms]
    return _with_block_errors(
        [log(mean) for mean in means],
        [[value / mean - 1 for value in times] for times, mean in zip(arms, means, strict=True)],
    )


def _with_block_errors(values: Sequence[float], parts: Sequence[Sequence[float]]) -> list[LogEstimate]:
    """Give each process's value the error of the mean of its parts; all processes share one autocorrelation."""
    correlation = correlation_of(parts, errors=0.0 if len(parts) >= FEWEST_PROCESSES else CAUTIOUS_ERRORS)
    growth = variance_growth(correlation)
    estimates = []
    for value, moves in zip(values, parts, strict=True):
        count = len(moves)
        length = block_length(count, correlation)
        mean = fmean(moves)
        round_again = [*moves, *moves[: length - 1]]
        sums = [sum(round_again[start : start + length]) - length * mean for start in range(count)]
        variance = fmean(one * one for one in sums) / (count * length)
        # Resampling shrinks the variance by (n - block)/n, and blocks miss the correlation across their ends.
        variance *= count / max(1, count - length) * growth / kept_by_blocks(correlation, length)
        estimates.append(
            LogEstimate(
                value=value,
                standard_error=sqrt(variance),
                freedom=float(max(1, count // length - 1)),
                effective_samples=count / growth,
            )
        )
    return estimates


def _ratio(
    estimates: Sequence[LogEstimate], windows: Sequence[tuple[tuple[float, ...], tuple[float, ...]]]
) -> WindowRatio:
    joined = join_processes(estimates)
    shortest = min(min(len(mine), len(theirs)) for mine, theirs in windows)
    # The same window of all processes together: noise of the processes cancels, a transient that they share does not.
    course = [fmean(mine[index] / theirs[index] for mine, theirs in windows) for index in range(shortest)]
    return WindowRatio(
        interval=joined.interval(CONFIDENCE),
        basis=IntervalBasis.PROCESSES if len(estimates) > 1 else IntervalBasis.WINDOWS,
        estimates=tuple(estimates),
        process_spread_ratio=spread_ratio(estimates),
        stationarity=stationarity(course),
    )
