from math import log, sqrt

import pytest

from pamprof.statistics import compare_processes, repeats_to_settle
from pamprof.statistics.log_estimate import LogEstimate
from pamprof.statistics.processes import join_processes, spread_ratio


def estimate(value, error=0.0, freedom=10.0):
    return LogEstimate(value=value, standard_error=error, freedom=freedom, effective_samples=11.0)


def test_scatter_of_three_processes_replaces_the_smaller_error_of_their_samples():
    joined = join_processes([estimate(value, error=0.001) for value in (0.0, 0.03, 0.06)])
    assert joined.value == pytest.approx(0.03)
    assert joined.standard_error == pytest.approx(0.03 / sqrt(3))
    assert joined.freedom == 2


def test_processes_that_agree_by_chance_are_not_known_better_than_their_samples_tell():
    joined = join_processes([estimate(0.01, error=0.02) for _ in range(3)])
    assert joined.standard_error == pytest.approx(0.02 / sqrt(3))
    assert joined.freedom == pytest.approx(30)


def test_two_processes_have_the_error_of_their_difference_and_one_that_of_its_samples():
    joined = join_processes([estimate(0.0, error=0.02), estimate(1.0, error=0.02)])
    assert (joined.standard_error, joined.freedom) == (pytest.approx(0.5), 1.0)
    assert join_processes([estimate(1.0, error=0.02)]).standard_error == pytest.approx(0.02)


def test_spread_is_the_standard_deviation_between_processes():
    assert spread_ratio([estimate(0.0)]) is None
    assert spread_ratio([estimate(0.00), estimate(0.02)]) == pytest.approx(0.01 * sqrt(2))


def test_one_process_a_side_presumes_a_spread_that_counts_as_known():
    found = compare_processes([estimate(0.1, error=0.03)], [estimate(0.0, error=0.03)], presumed_spread_ratio=0.04)
    assert found.process_error == pytest.approx(0.05)
    assert found.estimate.standard_error == pytest.approx(0.05 * sqrt(2))
    # Welch: (0.0009 + 0.0016)^2 / (0.0009^2 / 20); the two sides together have 20 degrees of freedom.
    assert found.estimate.freedom == pytest.approx(0.0025**2 / (0.0009**2 / 20))
    assert not found.spread_measured


def test_two_processes_a_side_measure_the_spread_around_their_own_side():
    found = compare_processes(
        [estimate(0.50), estimate(0.52)], [estimate(0.00), estimate(0.04)], presumed_spread_ratio=0.5
    )
    # (2 x 0.01^2 + 2 x 0.02^2) / 2 degrees of freedom
    assert found.spread_ratio == pytest.approx(sqrt(0.0005))
    assert found.spread_measured
    assert found.estimate.value == pytest.approx(0.49)
    assert found.estimate.standard_error == pytest.approx(sqrt(0.0005))
    assert found.estimate.freedom == 2


def test_samples_without_an_error_give_no_interval_until_processes_show_one():
    alone = compare_processes([estimate(0.1, freedom=0.0)], [estimate(0.0)], presumed_spread_ratio=0.01)
    assert alone.estimate.interval(0.95).confidence == 0
    several = [estimate(value, freedom=0.0) for value in (0.0, 0.01, 0.02)]
    assert compare_processes(several, several, presumed_spread_ratio=0.01).estimate.interval(0.95).confidence == 0.95


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        (0.05, 3),  # t of 4 degrees of freedom 2.776 x 1 % x sqrt(2 / 3) = 0.0227
        (0.020, 4),  # 2.447 x 1 % x sqrt(2 / 4) = 0.0173
        (-0.014, 6),  # 2.306 x 1 % x sqrt(2 / 5) = 0.0146 is too wide, 2.228 x 1 % x sqrt(2 / 6) = 0.0129 is not
        (0.0, None),
    ],
)
def test_repeats_are_the_fewest_processes_whose_interval_ends_before_the_limit(distance, expected):
    assert repeats_to_settle(distance, 0.01, confidence=0.95) == expected


def test_an_interval_of_processes_holds_what_a_fresh_one_moves():
    """0.757 and 1.157: what a CPU gave for one code measured twice, with intervals of half width 20 and 10 %."""
    for ratio, error in ((0.757, 0.105), (1.157, 0.051)):
        found = compare_processes(
            [estimate(log(ratio), error=error / sqrt(2))],
            [estimate(0.0, error=error / sqrt(2))],
            presumed_spread_ratio=0.07,
        )
        interval = found.estimate.interval(0.95)
        assert interval.low < 1 < interval.high
