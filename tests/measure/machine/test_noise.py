import json
from itertools import cycle

import pytest
import torch
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.hardware.device import open_device
from pamprof.measure.machine import noise
from pamprof.measure.machine.noise import measure_noise, noise_of
from pamprof.measure.session.settings import Settings
from pamprof.statistics import Verdict
from tests.measure.session.test_sampling import watch as fake_watch

watch = fake_watch  # the clock that only the steps move

RULES = Settings(minimum_samples=8, maximum_samples=40, sample_seconds=0.02, target_half_width=1e-9)


def floor(step, clock, settings=RULES):
    return noise_of(step, clock, device_name="a fake", workload="a step", settings=settings)


def jitter(clock, durations):
    """A step that takes the next of ``durations``."""
    following = cycle(durations)

    def step():
        clock.now += next(following)

    return step


def test_a_machine_without_noise_has_a_floor_of_zero(watch):
    found = floor(watch.step("a", 0.01), watch)
    assert found.half_width == pytest.approx(0, abs=1e-9)
    assert found.median_deviation == pytest.approx(0, abs=1e-9)
    assert found.pair_deviation == pytest.approx(0, abs=1e-9)
    assert found.verdict is Verdict.EQUIVALENT
    assert RULES.minimum_samples < found.samples < RULES.maximum_samples


def test_a_restless_machine_has_a_wide_floor_around_one(watch):
    durations = [1.0, 1.3, 0.8, 1.1, 0.9, 1.25, 0.7]  # seven, so that they fall differently on either side of a pair
    found = floor(jitter(watch, durations), watch)
    assert found.half_width > 0.02
    assert found.pair_deviation > 0.1
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.ratio.low < 1 < found.ratio.high


def test_more_noise_gives_a_higher_floor(watch):
    calm = floor(jitter(watch, [1.0, 1.003, 0.998, 1.001, 0.999, 1.0025, 0.997]), watch)
    restless = floor(jitter(watch, [1.0, 1.3, 0.8, 1.1, 0.9, 1.25, 0.7]), watch)
    assert 0 < calm.half_width < 0.01 < restless.half_width


def test_the_time_limit_ends_it(watch):
    limited = Settings(minimum_samples=8, maximum_samples=200, time_limit_seconds=20.0, target_half_width=1e-9)
    found = floor(jitter(watch, [1.0, 1.2, 0.9]), watch, limited)
    assert 8 <= found.samples <= 12
    assert floor(watch.step("a", 0.01), watch).samples <= RULES.maximum_samples


def test_the_tiny_transformer_runs_against_itself_on_the_cpu():
    torch.set_num_threads(1)
    found = measure_noise(open_device("cpu"), time_limit_seconds=0.1)
    assert found.workload.startswith("transformer/sdpa/eager prefill/model B1 T256 float32")
    assert found.samples >= 5
    assert found.half_width == pytest.approx((found.ratio.high - found.ratio.low) / (2 * found.ratio.median))
    assert found.half_width > 0
    assert found.ratio.low <= 1 + found.median_deviation <= found.ratio.high


@pytest.fixture
def measured(monkeypatch, watch):
    found = floor(jitter(watch, [1.0, 1.3, 0.8, 1.1, 0.9, 1.25, 0.7]), watch)
    monkeypatch.setattr(noise, "measure_noise", lambda device: found)
    return found


def test_doctor_prints_the_floor_in_words(measured):
    result = CliRunner().invoke(app, ["doctor", "--device", "cpu", "--noise"])
    assert result.exit_code == 0
    assert "half width" in result.stdout
    assert f"{measured.samples} pairs" in result.stdout
    assert f"{measured.half_width:.2%}"[:-1] in result.stdout


def test_doctor_prints_the_floor_as_json(measured):
    result = CliRunner().invoke(app, ["doctor", "--device", "cpu", "--noise", "--json"])
    document = json.loads(result.stdout)
    assert document["half_width"] == measured.half_width
    assert document["median_deviation"] == measured.median_deviation
    assert document["samples"] == measured.samples
    assert document["verdict"] == "inconclusive"
