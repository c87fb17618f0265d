"""Expected times, by a clock that the tests set by hand."""

from dataclasses import replace

import pytest

from pamprof.measure.session.pace import Pace
from pamprof.records import Execution, Phase
from tests.synthetic import synthetic_workload

TRAIN, OTHER_TRAIN = (synthetic_workload(batch_size=batch) for batch in (1, 2))
DECODE = synthetic_workload(phase=Phase.DECODE)
COMPILED = replace(TRAIN, execution=Execution.COMPILED)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def pace(expected, *, budget=None, clock=None, closing=0.0):
    seconds = {workload.key: value for workload, value in expected.items()}
    return Pace(seconds, budget_seconds=budget, begun=100.0, closing_seconds=closing, clock=clock or Clock())


def test_before_a_point_was_measured_the_estimate_stands():
    found = pace({TRAIN: 4.0, DECODE: 6.0})
    assert (found.expected(TRAIN), found.expected(DECODE), found.left(((TRAIN,), (DECODE,)))) == (4.0, 6.0, 10.0)


def test_points_of_the_same_phase_and_execution_teach_most():
    found = pace({TRAIN: 4.0, OTHER_TRAIN: 4.0, DECODE: 4.0, COMPILED: 4.0})
    found.learn(TRAIN, 12.0)
    # An estimate weighs as two points, 8 s. All: (12 + 8) / (4 + 8) = 5/3; of the kind: (12 + 8 * 5/3) / 12 = 19/9.
    assert found.expected(OTHER_TRAIN) == pytest.approx(4 * 19 / 9)
    # Nothing of their kind was measured: the factor of all.
    assert found.expected(DECODE) == pytest.approx(4 * 5 / 3)
    assert found.expected(COMPILED) == pytest.approx(4 * 5 / 3)


def test_after_many_points_their_own_pace_counts():
    found = pace({TRAIN: 4.0, OTHER_TRAIN: 4.0})
    for _ in range(1000):
        found.learn(TRAIN, 8.0)
    assert found.expected(OTHER_TRAIN) == pytest.approx(8.0, rel=0.01)


def test_a_point_that_nobody_planned_teaches_nothing():
    found = pace({TRAIN: 4.0})
    found.learn(DECODE, 1000.0)
    assert found.expected(TRAIN) == 4.0


def test_the_range_is_wide_before_and_narrow_once_half_is_known():
    found = pace({TRAIN: 10.0, OTHER_TRAIN: 10.0})
    first = found.whole((TRAIN, OTHER_TRAIN))
    assert (first.low, first.seconds, first.high) == (pytest.approx(20 / 1.6), 20.0, pytest.approx(20 * 1.6))
    found.learn(TRAIN, 10.0)
    then = found.whole((OTHER_TRAIN,))
    assert (then.low, then.seconds, then.high) == (pytest.approx(10 / 1.1), pytest.approx(10), pytest.approx(11))


def test_without_a_budget_everything_is_admitted_and_nothing_ends():
    found = pace({TRAIN: 1e6})
    assert found.admits(TRAIN)
    assert (found.deadline, found.budget_left, found.patience) == (None, None, None)


def test_a_budget_runs_from_the_beginning_and_bounds_every_figure():
    clock = Clock()
    found = pace({TRAIN: 30.0, DECODE: 50.0}, budget=60.0, clock=clock)
    assert found.deadline == 160.0
    assert found.left(((TRAIN,), (DECODE,))) == 30.0
    clock.now = 125.0
    assert found.budget_left == 35.0
    assert found.admits(TRAIN)
    assert not found.admits(DECODE)
    whole = found.whole((TRAIN, DECODE))
    assert (whole.low, whole.seconds, whole.high) == (35.0, 35.0, 35.0)
    clock.now = 1000.0
    assert found.budget_left == 0.0
    assert not found.admits(TRAIN)


def test_writing_the_report_takes_its_time_after_the_last_point_and_after_the_budget():
    clock = Clock()
    found = pace({TRAIN: 40.0, DECODE: 60.0}, budget=60.0, closing=5.0, clock=clock)
    assert found.left(((TRAIN,), (DECODE,))) == 45.0  # both do not fit
    assert found.left(((TRAIN, DECODE),)) == 5.0  # nor does a point that has both
    assert found.left(()) == 5.0
    whole = found.whole((TRAIN, DECODE))
    assert (whole.low, whole.seconds, whole.high) == (65.0, 65.0, 65.0)
    clock.now += 60.0
    assert found.left(((DECODE,),)) == 5.0


@pytest.mark.parametrize(("budget", "grace"), [(60.0, 15.0), (600.0, 60.0)])
def test_a_point_may_overrun_the_budget_by_a_tenth_or_fifteen_seconds(budget, grace):
    clock = Clock()
    found = pace({TRAIN: 1.0}, budget=budget, clock=clock)
    assert found.patience == budget + grace
    clock.now += budget + grace + 1
    assert found.patience == 0.0


def test_the_time_left_is_right_within_a_fifth_from_the_first_third_on_where_the_estimate_was_off_by_two():
    workloads = [synthetic_workload(batch_size=batch) for batch in range(1, 31)]
    found = pace(dict.fromkeys(workloads, 2.0))
    for number, workload in enumerate(workloads[:-1], start=1):
        found.learn(workload, 4.0)
        if number >= 10:
            assert found.left([[workload] for workload in workloads[number:]]) == pytest.approx(
                4.0 * (30 - number), rel=0.2
            )
