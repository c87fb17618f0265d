from __future__ import annotations

import pytest

from pamprof.errors import UsageError
from pamprof.pricing.serving.fleet import CONSTANT_DEMAND, DayProfile, fleet

# Half of the mean at night, one and a half times at day.
DAY = (1.0,) * 12 + (3.0,) * 12


def test_a_constant_demand_rents_whole_replicas_all_month() -> None:
    found = fleet(10.0, 4.0, CONSTANT_DEMAND, 1)
    assert (found.largest, found.smallest, found.replica_hours_per_day) == (3, 3, 72.0)
    assert found.usd_per_month(2.0) == 3 * 730 * 2.0
    assert fleet(8.0, 4.0, CONSTANT_DEMAND, 1).largest == 2
    assert fleet(8.0, 4.0, CONSTANT_DEMAND, 5).largest == 5


def test_hours_are_relative_to_their_mean_and_rent_what_they_need() -> None:
    profile = DayProfile.of(DAY)
    assert profile.peak_factor == 1.5
    found = fleet(8.0, 2.0, profile, 1)
    assert found.hourly == (2,) * 12 + (6,) * 12
    assert found.replica_hours_per_day == 12 * 2 + 12 * 6


@pytest.mark.parametrize(("start_up_seconds", "extra_hours"), [(900.0, 0.25), (3_600.0, 1.0), (9_000.0, 2.5)])
def test_a_start_up_is_paid_for_each_replica_that_starts(start_up_seconds: float, extra_hours: float) -> None:
    found = fleet(8.0, 2.0, DayProfile.of(DAY, start_up_seconds), 1)
    assert found.replica_hours_per_day == pytest.approx(12 * 2 + 12 * 6 + 4 * extra_hours)


def test_replicas_that_would_start_again_before_they_are_up_are_kept() -> None:
    shares = tuple(1.0 if hour == 5 else 3.0 for hour in range(24))
    hours = [fleet(8.0, 1.0, DayProfile.of(shares, start_up), 1).replica_hours_per_day for start_up in (0.0, 7_200.0)]
    quiet, busy = fleet(8.0, 1.0, DayProfile.of(shares), 1).hourly[5:7]
    assert hours == [23 * busy + quiet, 24 * busy]


@pytest.mark.parametrize("shares", [(1.0,) * 23, (0.0,) * 24, (*(1.0,) * 23, -1.0), (*(1.0,) * 23, float("nan"))])
def test_what_is_no_day_is_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="give 24 of 0 or more"):
        DayProfile.of(shares)


def test_a_start_up_of_a_day_is_refused() -> None:
    with pytest.raises(UsageError, match="less than a day"):
        DayProfile.of(DAY, 86_400.0)
