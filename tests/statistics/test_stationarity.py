import numpy as np
import pytest

from pamprof.statistics import StationarityVerdict, stationarity


def test_few_values_are_too_short_and_say_how_many_are_needed():
    found = stationarity([1.0] * 9)
    assert found.verdict is StationarityVerdict.TOO_SHORT
    assert (found.change_ratio, found.resolution_ratio) == (None, None)
    assert found.reason == "9 values are too few to tell, 10 are needed"
    assert stationarity([0.0] * 12).verdict is StationarityVerdict.TOO_SHORT


def test_a_constant_series_is_stationary():
    found = stationarity([3.0] * 12)
    assert found.verdict is StationarityVerdict.STATIONARY
    assert (found.change_ratio, found.resolution_ratio) == (0.0, 0.0)


def test_the_change_is_that_of_the_last_third_over_the_first():
    # Thirds of 100, 101 and 103: 3 %.
    found = stationarity([100.0, 100.1, 99.9, 100.0, 101.0, 101.1, 100.9, 101.0, 103.0, 103.1, 102.9, 103.0])
    assert found.change_ratio == pytest.approx(0.03)
    assert found.verdict is StationarityVerdict.NOT_STATIONARY
    assert "above the first" in found.reason


def test_a_change_within_the_tolerance_is_none_however_clear():
    series = [100 + 0.05 * index for index in range(15)]
    assert stationarity(series).verdict is StationarityVerdict.STATIONARY
    assert stationarity(series, tolerance_ratio=0.004).verdict is StationarityVerdict.NOT_STATIONARY


def test_a_change_that_noise_explains_is_none():
    noise = np.random.default_rng(1).standard_normal(30)
    drift = np.linspace(0, 0.03, 30)
    assert stationarity(list(1 + drift + 0.002 * noise)).verdict is StationarityVerdict.NOT_STATIONARY
    loud = stationarity(list(1 + drift + 0.05 * noise))
    assert loud.verdict is StationarityVerdict.STATIONARY
    assert loud.resolution_ratio > 0.02


def wandering(correlation, count, seed):
    rng = np.random.default_rng(seed)
    series = rng.standard_normal(count + 50)
    for index in range(1, count + 50):
        series[index] = correlation * series[index - 1] + np.sqrt(1 - correlation**2) * series[index]
    return list(1 + 0.02 * series[50:])


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.05), (0.5, 0.09), (0.8, 0.17)])
def test_slow_wandering_is_seldom_taken_for_a_trend(correlation, most):
    verdicts = [stationarity(wandering(correlation, 20, seed)).verdict for seed in range(400)]
    assert np.mean([one is StationarityVerdict.NOT_STATIONARY for one in verdicts]) <= most


def test_a_warm_up_is_found_in_power_and_its_end_is_seen():
    # Power that settles at 700 W with a time constant of 4 s, once a second.
    power = [700 - 250 * np.exp(-second / 4) for second in range(60)]
    assert stationarity(power[:20]).verdict is StationarityVerdict.NOT_STATIONARY
    settled = stationarity(power[-20:])
    assert settled.verdict is StationarityVerdict.STATIONARY
    assert settled.resolution_ratio < 0.01
