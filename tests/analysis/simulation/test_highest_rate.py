from __future__ import annotations

import pytest

from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.highest_rate import HighestRate, highest_rate, sustained_rate
from pamprof.analysis.simulation.metrics import Level, measure_load
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from tests.analysis.simulation.servers import LinearTimes, server

DRAWN = draw_requests(1_200, Arrivals(per_second=1.0), Lengths(mean=0), Lengths(mean=10), seed=9)


def found(first: float, each: float = 1.0, step: float = 0.01, near: float | None = None) -> HighestRate:
    level = Level(limits=Limits(seconds_per_output_token=each, seconds_to_first_token=first), percentile=95)
    served = server(LinearTimes(base=step), largest_batch=1)
    return highest_rate(
        lambda rate: simulate(DRAWN.at_rate(rate), served),
        lambda outcome: measure_load(outcome, level),
        level,
        overload_per_second=1e6,
        near=near,
    )


def test_a_server_in_full_use_sustains_one_request_in_its_time() -> None:
    served = simulate(DRAWN.at_rate(1e6), server(LinearTimes(base=0.01), largest_batch=1))
    assert sustained_rate(served) == pytest.approx(10.0)


def test_the_level_holds_at_the_highest_rate_and_not_a_hundredth_above() -> None:
    limit = 0.35
    result = found(limit)
    assert result.bound == "time to first token"
    assert result.requests_per_second is not None
    at = {tried.requests_per_second: tried for tried in result.tried}
    assert at[result.requests_per_second].holds
    above = min(rate for rate in at if rate > result.requests_per_second)
    assert not at[above].holds
    assert above / result.requests_per_second < 1.0101


def test_a_stricter_level_never_holds_at_a_higher_rate() -> None:
    rates = [found(limit).requests_per_second or 0.0 for limit in (0.05, 0.1, 0.2, 0.4, 0.8)]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]
    slower = [found(0.4, step=step).requests_per_second or 0.0 for step in (0.005, 0.01, 0.02)]
    assert slower == sorted(slower, reverse=True)


def test_it_is_the_same_wherever_the_search_begins() -> None:
    alone = found(0.35).requests_per_second
    assert alone is not None
    for near in (alone, alone * 1.5, alone / 3):
        assert found(0.35, near=near).requests_per_second == pytest.approx(alone, rel=0.02)


def test_a_level_that_one_request_alone_misses_has_no_rate() -> None:
    assert found(0.005).requests_per_second is None
    assert found(0.005).bound == "time to first token"
    assert found(1.0, each=0.009).bound == "time per output token"


def test_a_level_that_holds_in_full_use_is_bound_by_throughput() -> None:
    result = found(1e3)
    assert (result.bound, result.requests_per_second) == ("throughput", result.sustained_per_second)
