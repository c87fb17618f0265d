"""Times between simulated rates: exact where they follow a power of the rate, and honest about where they do not."""

from __future__ import annotations

import pytest

from pamprof.analysis.serving.operating_point import TIME_PER_OUTPUT_TOKEN, TIME_TO_FIRST_TOKEN
from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.highest_rate import THROUGHPUT
from pamprof.analysis.simulation.metrics import LoadMetrics, Percentiles
from pamprof.analysis.simulation.rate_grid import RateGrid, grid_of

NONE = Percentiles(p50=None, p95=None, p99=None)


def metrics(rate: float, first: float | None, each: float | None) -> LoadMetrics:
    return LoadMetrics(
        requests_per_second=rate, seconds_to_first_token=NONE, seconds_per_output_token=NONE, end_to_end_seconds=NONE,
        level_seconds_to_first_token=first, level_seconds_per_output_token=each, holds=True, good_ratio=1.0,
        good_requests_per_second=rate, busy_ratio=0.5, prompt_ratio=0.1, mean_batch=1.0, preemptions=0, refused=0,
        reused_ratio=0.0,
    )  # fmt: skip


def grid(rates: tuple[float, ...], first, each) -> RateGrid:
    found = grid_of([metrics(rate, first(rate), each(rate)) for rate in rates])
    assert found is not None
    return found


def test_a_power_of_the_rate_is_read_exactly() -> None:
    found = grid((1.0, 2.0, 5.0, 9.0), lambda rate: 0.01 * rate**2, lambda rate: 0.001 * rate)
    assert found.each is not None
    assert found.at(found.first, 3.0) == pytest.approx(0.09)
    assert found.at(found.each, 7.0) == pytest.approx(0.007)
    assert max(*found.first.errors, *found.each.errors) == pytest.approx(0.0, abs=1e-12)
    limits = Limits(seconds_to_first_token=0.16, seconds_per_output_token=1.0)
    assert found.highest_within(limits) == (pytest.approx(4.0), TIME_TO_FIRST_TOKEN, pytest.approx(0.0, abs=1e-12))
    limits = Limits(seconds_to_first_token=0.16, seconds_per_output_token=0.003)
    assert found.highest_within(limits) == (pytest.approx(3.0), TIME_PER_OUTPUT_TOKEN, pytest.approx(0.0, abs=1e-12))


def test_ends_are_told() -> None:
    found = grid((1.0, 2.0, 4.0), lambda rate: rate, lambda rate: 0.1)
    assert found.at(found.first, 0.1) == 1.0
    assert found.at(found.first, 4.1) is None
    assert found.highest_within(Limits(seconds_to_first_token=9.0, seconds_per_output_token=1.0))[:2] == (
        4.0,
        THROUGHPUT,
    )
    assert found.highest_within(Limits(seconds_to_first_token=0.5, seconds_per_output_token=1.0)) == (
        None, TIME_TO_FIRST_TOKEN, 0.0,
    )  # fmt: skip


def test_a_queue_is_read_within_the_error_that_is_told() -> None:
    def waiting(rate: float) -> float:
        return 0.05 + 0.1 * rate / (2 * (1 - 0.1 * rate))  # M/D/1 of 0.1 s and the service's half

    found = grid((0.5, 1, 2, 3, 4, 5, 6, 7, 8, 8.5, 9), waiting, lambda rate: 0.01)
    for low, high in zip(found.rates, found.rates[1:], strict=False):
        rate = (low * high) ** 0.5
        read = found.at(found.first, rate)
        assert read is not None
        assert abs(read / waiting(rate) - 1) <= found.error_at(found.first, rate)
    limit = waiting(8.2)
    rate, bound, error = found.highest_within(Limits(seconds_to_first_token=limit, seconds_per_output_token=1.0))
    assert bound == TIME_TO_FIRST_TOKEN
    assert rate is not None
    assert abs(rate / 8.2 - 1) <= error < 0.06


def test_rates_that_are_one_and_times_that_are_none_are_left_out() -> None:
    found = grid_of([
        metrics(1.0, 0.1, None), metrics(1.001, 0.2, None), metrics(2.0, 0.2, None), metrics(3.0, float("inf"), None),
        metrics(4.0, 0.4, None),
    ])  # fmt: skip
    assert found is not None
    assert found.rates == (1.0, 2.0, 4.0)
    assert found.each is None
    assert grid_of([metrics(1.0, 0.1, None), metrics(2.0, 0.2, None)]) is None
