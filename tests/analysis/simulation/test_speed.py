"""How long a million requests take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.operating_point import OperatingPoint, operating_point
from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.arm import ServerSettings, loaded_arm, mean_traffic
from pamprof.analysis.simulation.metrics import Level
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.records.store import read_records

SWEEP = Path(__file__).parents[3] / "reports" / "2026-11-23-nvidia-h200-serving" / "100m"


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.85])
@pytest.mark.parametrize("layer", ["llama", "pam"])
def test_a_million_requests_of_varied_lengths_take_less_than_a_minute(layer: str, share: float) -> None:
    records = read_records(SWEEP / f"{layer}.jsonl")
    curve = serving_curves(records.runs, records.skips)[0]
    limits = Limits(seconds_per_output_token=0.05, seconds_to_first_token=2.0)
    begun = time.process_time()  # of one core, whatever else the machine does
    lengths = (Lengths(mean=1_500, sigma=1.0), Lengths(mean=300, sigma=1.0))
    requests = draw_requests(1_000_000, Arrivals(per_second=100.0), *lengths, seed=1)
    point = operating_point(curve, mean_traffic(requests), limits)
    assert isinstance(point, OperatingPoint)
    arm = loaded_arm(curve, point, requests, Level(limits=limits, percentile=95), ServerSettings())
    found = arm.metrics(share / point.device_seconds.median)
    assert time.process_time() - begun < 60
    assert found.refused == 0
    assert found.holds
    first = found.seconds_to_first_token
    assert first.p50 is not None
    assert first.p99 is not None
    assert first.p99 > first.p50 > 0
