"""Sampling rules that cannot be followed are refused before a worker starts."""

import math

import pytest

from pamprof.errors import UsageError
from pamprof.measure.session.settings import Settings


@pytest.mark.parametrize(
    "changes",
    [
        {"monitor_seconds": math.nan},
        {"monitor_seconds": math.inf},
        {"monitor_seconds": -1.0},
        {"point_timeout_seconds": math.inf},
        {"point_timeout_seconds": math.nan},
        {"point_timeout_seconds": 0.0},
        {"seed": -1},
        {"seed": 2**64},
        {"target_half_width": 0.0},
        {"minimum_samples": 1},
        {"minimum_samples": 9, "maximum_samples": 8},
    ],
)
def test_rules_that_no_measurement_can_follow_are_refused_by_name(changes):
    with pytest.raises(UsageError, match=next(iter(changes)).partition("_")[0]):
        Settings(**changes)


def test_a_window_of_no_length_switches_it_off():
    assert Settings(monitor_seconds=0).monitor_seconds == 0
