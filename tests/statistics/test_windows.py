from dataclasses import replace
from math import log, sqrt

import numpy as np
import pytest

from pamprof.errors import RecordError
from pamprof.statistics import (
    IntervalBasis,
    ProcessWindows,
    QuotedRatio,
    StationarityVerdict,
    half_width,
    window_estimate,
)


def steady(ratio, *, windows=12, alone_ratio=None):
    """A process without noise: the reference takes 1 s."""
    return ProcessWindows(
        subject_seconds=(ratio,) * windows,
        reference_seconds=(1.0,) * windows,
        subject_alone_seconds=(alone_ratio,) * windows if alone_ratio else (),
        reference_alone_seconds=(1.0,) * windows if alone_ratio else (),
    )


def test_the_estimate_is_the_ratio_of_mean_window_times():
    process = ProcessWindows(subject_seconds=(1.0, 3.0, 1.0, 3.0), reference_seconds=(1.0, 1.0, 1.0, 5.0))
    found = window_estimate([process])
    assert found.ratio.interval.median == pytest.approx((8 / 4) / (8 / 4))  # the median of the pairs would be 1.0 too
    doubled = replace(process, subject_seconds=(1.0, 3.0, 1.0, 7.0))
    assert window_estimate([doubled]).ratio.interval.median == pytest.approx(12 / 8)


def test_between_processes_the_interval_is_student_t_over_the_processes():
    ratios = (1.50, 1.52, 1.54)
    found = window_estimate([steady(ratio) for ratio in ratios]).paired
    logs = [log(ratio) for ratio in ratios]
    mean = sum(logs) / 3
    spread = sqrt(sum((one - mean) ** 2 for one in logs) / 2)
    assert found.process_spread_ratio == pytest.approx(spread)
    assert spread == pytest.approx(0.01316, abs=1e-5)
    # t of 2 degrees of freedom is 4.3027
    assert log(found.interval.high) - mean == pytest.approx(4.3027 * 0.01316 / sqrt(3), rel=1e-3)
    assert log(found.interval.median) == pytest.approx(mean)
    assert found.process_ratios == pytest.approx(ratios)
    assert found.basis is IntervalBasis.PROCESSES


def test_of_two_processes_the_interval_is_as_wide_as_their_one_difference_allows():
    found = window_estimate([steady(1.50), steady(1.54)]).paired
    assert found.basis is IntervalBasis.PROCESSES
    # The standard error is half the difference of the logarithms, t of 1 degree of freedom 12.7062.
    assert log(found.interval.high / found.interval.median) == pytest.approx(12.7062 * log(1.54 / 1.50) / 2, rel=1e-4)
    assert found.process_spread_ratio == pytest.approx(log(1.54 / 1.50) / sqrt(2))


def test_of_one_process_the_interval_says_that_it_holds_windows_only():
    found = window_estimate([steady(1.5)]).paired
    assert found.basis is IntervalBasis.WINDOWS
    assert found.process_spread_ratio is None


def test_the_error_of_independent_windows_is_that_of_their_mean():
    # Quadruples alternate by ±1 %: no positive correlation, blocks of one. Mean 2, deviations ±0.01 of the relative
    # time, 8 quadruples: 0.01 / sqrt(8) corrected by 8 / 7, Student's t of 7 degrees of freedom 2.365.
    quadruples = [value for sign in (1, -1) * 4 for value in (2 * (1 + 0.01 * sign),) * 2]
    process = ProcessWindows(subject_seconds=tuple(quadruples), reference_seconds=(1.0,) * 16)
    found = window_estimate([process]).paired.interval
    assert log(found.high / found.median) == pytest.approx(2.365 * 0.01 / sqrt(8) * sqrt(8 / 7), rel=2e-3)


def test_a_steady_drift_of_both_arms_leaves_no_width_in_the_paired_interval():
    """Windows are taken in the order reference, subject, subject, reference; each is 1 % slower than the one before."""
    times = 1 + 0.0001 * np.arange(64)
    order = [(4 * quad + a, 4 * quad + b) for quad in range(16) for a, b in ((0, 1), (3, 2))]
    process = ProcessWindows(
        subject_seconds=tuple(times[s] * 1.5 for _, s in order), reference_seconds=tuple(times[r] for r, _ in order)
    )
    found = window_estimate([process]).paired.interval
    assert found.median == pytest.approx(1.5, rel=1e-6)
    assert half_width(found) < 1e-6


def test_alone_is_quoted_where_it_differs_from_paired_by_more_than_the_interval():
    processes = [steady(1.00 + shift, alone_ratio=1.03 + shift) for shift in (-0.001, 0.0, 0.001)]
    found = window_estimate(processes)
    assert found.power_coupled
    assert found.quoted is QuotedRatio.ALONE
    assert found.ratio is found.alone
    assert found.alone_over_paired.median == pytest.approx(1.03, abs=1e-3)


def test_paired_is_quoted_where_alone_agrees_or_was_not_measured():
    apart = (0.997, 1.004, 0.999)
    agreeing = window_estimate([steady(1.0, alone_ratio=ratio) for ratio in apart])
    assert not agreeing.power_coupled
    assert agreeing.ratio is agreeing.paired
    without = window_estimate([steady(1.0), steady(1.0, alone_ratio=1.0)])
    assert (without.alone, without.alone_over_paired, without.power_coupled) == (None, None, False)
    assert without.quoted is QuotedRatio.PAIRED


def test_a_transient_that_all_processes_share_is_not_stationary():
    rng = np.random.default_rng(3)

    def process(rise):
        ratio = 1.17 * (1 + rise * np.linspace(0, 1, 20)) * np.exp(0.004 * rng.standard_normal(20))
        return ProcessWindows(subject_seconds=tuple(ratio), reference_seconds=(1.0,) * 20)

    settled = window_estimate([process(0.0) for _ in range(3)]).paired.stationarity
    rising = window_estimate([process(0.024) for _ in range(3)]).paired.stationarity
    assert settled.verdict is StationarityVerdict.STATIONARY
    assert rising.verdict is StationarityVerdict.NOT_STATIONARY
    assert rising.change_ratio == pytest.approx(0.016, abs=0.004)


@pytest.mark.parametrize(
    ("processes", "words"),
    [
        ([], "no process"),
        ([ProcessWindows(subject_seconds=(1.0,) * 4, reference_seconds=(1.0,) * 5)], "equal counts"),
        ([ProcessWindows(subject_seconds=(1.0,) * 3, reference_seconds=(1.0,) * 3)], "4 or more"),
        ([steady(1.0), replace(steady(1.0), subject_seconds=(0.0,) * 12)], "process 1 has a window of 0.0 s"),
        ([replace(steady(1.0, alone_ratio=1.0), subject_alone_seconds=(1.0,))], "1 windows of an arm"),
    ],
)
def test_windows_that_cannot_be_compared_are_refused(processes, words):
    with pytest.raises(RecordError, match=words):
        window_estimate(processes)
