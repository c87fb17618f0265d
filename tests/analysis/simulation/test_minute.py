from __future__ import annotations

import pytest

from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.minute import SLOTS, busiest_minute
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from tests.analysis.simulation.servers import LinearTimes, requests, server


def test_a_short_run_is_shown_whole_and_its_slots_add_up() -> None:
    # Reading takes 0.5 s, then four steps of a second decode; the second request waits for the first step to end.
    times = LinearTimes(base=1.0, prompt_token=0.05)
    outcome = simulate(requests([0.0, 1.0], [10, 10], [5, 1]), server(times), timeline=True)
    found = busiest_minute(outcome)
    slot = found.seconds / SLOTS
    assert found.seconds == pytest.approx(outcome.busy_seconds)
    assert sum(found.reading) * slot == pytest.approx(1.0)
    assert sum(found.decoding) * slot == pytest.approx(4.0)
    assert sum(found.running) * slot == pytest.approx(4.0 + 0.5)  # the first one, while the second is read
    both = [reading + decoding for reading, decoding in zip(found.reading, found.decoding, strict=True)]
    assert min(both) == pytest.approx(1.0)
    assert max(both) == pytest.approx(1.0)
    assert found.reading[0] == pytest.approx(1.0)
    assert found.decoding[0] == 0.0
    assert found.running[-1] == pytest.approx(1.0)
    assert (found.most_running, found.most_waiting) == (1, 1)


def test_of_a_long_run_the_minute_with_most_requests_is_shown() -> None:
    calm = draw_requests(200, Arrivals(per_second=0.5), Lengths(mean=10), Lengths(mean=20), seed=1)
    arrivals = [*calm.arrival_seconds, *(float(calm.arrival_seconds[150]) + n * 0.01 for n in range(60))]
    crowd = requests(sorted(arrivals), [10] * 260, [20] * 260)
    found = busiest_minute(simulate(crowd, server(LinearTimes(base=0.01, each=0.02, prompt_token=0.01)), timeline=True))
    assert found.seconds == 60.0
    burst = float(calm.arrival_seconds[150])
    assert found.start_seconds <= burst + 30
    assert found.start_seconds + 60 > burst
    assert max(found.running) > 20
    assert (found.most_running, found.most_waiting) == (73, 39)
