import pytest

from pamprof.statistics.conformal import conformal_quantile
from pamprof.statistics.power_law import power_law
from pamprof.statistics.proportions import clustered_proportion

Z2 = 1.959964**2


def test_without_scatter_between_clusters_the_interval_is_wilsons():
    found = clustered_proportion([10] * 10, 20)  # 100 of 200, every cluster alike
    half = 1.959964 / (1 + Z2 / 200) * (0.25 / 200 + Z2 / 160_000) ** 0.5
    assert (found.low, found.median, found.high) == pytest.approx((0.5 - half, 0.5, 0.5 + half))


def test_at_all_and_at_none_the_interval_keeps_its_width():
    found = clustered_proportion([50, 50], 50)
    assert (found.low, found.median, found.high) == pytest.approx((100 / (100 + Z2), 1.0, 1.0))
    found = clustered_proportion([0, 0], 50)
    assert (found.low, found.median, found.high) == pytest.approx((0.0, 0.0, Z2 / (100 + Z2)))


def test_trials_that_go_by_cluster_count_as_one_each():
    # Shares 0 and 1: variance 0.5 between clusters against 0.25 / 50, a design effect of 100, one trial left.
    found = clustered_proportion([0, 50], 50)
    half = 1.959964 / (1 + Z2) * (0.25 + Z2 / 4) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_a_power_law_is_found_with_the_scatter_of_its_seeds():
    places = [16.0, 64.0, 256.0]
    exact = power_law(places, [[3 * x**-0.5] * 4 for x in places])
    assert (exact.exponent.low, exact.exponent.median, exact.exponent.high) == pytest.approx((-0.5,) * 3)
    assert exact.factor.median == pytest.approx(3.0)
    scattered = power_law(places, [[3 * x**-0.5 * seed for seed in (0.9, 1.1)] for x in places])
    assert scattered.exponent.high - scattered.exponent.low == pytest.approx(0.0, abs=1e-12)  # the same at every place
    assert scattered.factor.low < 2.7
    assert scattered.factor.high > 3.3


def test_a_power_law_needs_places_seeds_and_something_above_zero():
    assert power_law([1.0, 2.0], [[1.0, 1.0]] * 2) is None
    assert power_law([1.0, 2.0, 3.0], [[1.0]] * 3) is None
    assert power_law([1.0, 2.0, 3.0], [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]) is None


@pytest.mark.parametrize(("count", "expected"), [(8, None), (9, 9), (19, 18), (99, 90)])
def test_the_conformal_score_has_the_rank_that_one_more_error_stays_within(count, expected):
    # ceil(0.9 (n + 1)): 9 of 9, 18 of 19, 90 of 99; of 8 it would be the ninth.
    assert conformal_quantile([float(each) for each in range(count, 0, -1)], 0.9) == expected
