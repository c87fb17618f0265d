from dataclasses import replace

import pytest

from pamprof.measure.machine.sensors import SensorMeans
from pamprof.measure.session.settings import WindowSettings
from pamprof.measure.session.windows import sample_windows
from pamprof.records import StopReason

RULES = WindowSettings(
    window_seconds=1e-4, dwell_seconds=6e-4, capped_dwell_seconds=12e-4, settle_seconds=0.0, capped_settle_seconds=0.0,
    longest_settle_seconds=5.0, fewest_windows=4,
)  # fmt: skip


class Watch:
    def synchronise(self):
        pass

    def flush_cache(self):
        raise AssertionError("nobody asked for a cold cache")

    def start_timer(self):
        return None

    def stop_timer(self, started):
        return None


class Sensors:
    def __init__(self, *, powers=(100.0,), capped=False):
        self._powers = powers
        self._asked = 0
        self._capped = capped

    def during(self, work):
        work()
        self._asked += 1
        power = self._powers[min(self._asked, len(self._powers)) - 1]
        return SensorMeans(power_watts=power, clock_hertz=None, at_power_limit=self._capped)


def sampled(monkeypatch, sensors, *, itself=False, rules=RULES):
    """Windows with a clock that only steps move: 50 microseconds a step of the reference, 100 of the arm."""
    now = [0.0]
    order = []
    for module in ("sampling", "windows"):
        monkeypatch.setattr(f"pamprof.measure.session.{module}.perf_counter", lambda: now[0])

    def step(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds

        return run

    arm = step("arm", 1e-4)
    reference = arm if itself else step("reference", 5e-5)
    found = sample_windows(
        arm, reference, Watch(), sensors, rules, arm_step_seconds=1e-4, reference_step_seconds=5e-5, itself=itself,
        cold_cache=False,
    )  # fmt: skip
    return found, order


def test_windows_alternate_and_the_arm_is_then_timed_by_itself(monkeypatch):
    found, order = sampled(monkeypatch, Sensors())
    assert found.settled
    assert found.pairs.stop_reason is StopReason.SAMPLE_COUNT
    assert len(found.pairs.arm.wall_time_seconds) == 6
    assert found.pairs.arm.wall_time_seconds == pytest.approx([1e-4] * 6)
    assert found.pairs.reference.wall_time_seconds == pytest.approx([5e-5] * 6)
    assert found.pairs.reference.steps_per_sample == 2  # of 50 microseconds in a window of 100
    assert found.alone_seconds == pytest.approx([1e-4] * 6)
    turns = "".join(name[0] for name in order).replace("rr", "r")
    assert "raar" * 3 in turns
    assert turns.endswith("a" * 6)


def test_at_the_power_limit_windows_go_on_for_longer(monkeypatch):
    found, _ = sampled(monkeypatch, Sensors(capped=True))
    assert len(found.pairs.arm.wall_time_seconds) == 12


def test_a_device_whose_power_keeps_rising_has_not_settled(monkeypatch):
    rising = tuple(100.0 * 1.02**number for number in range(400))
    found, _ = sampled(monkeypatch, Sensors(powers=rising), rules=replace(RULES, longest_settle_seconds=0.01))
    assert not found.settled


def test_a_reference_paired_with_itself_takes_few_pairs_and_all_windows_alone(monkeypatch):
    found, _ = sampled(monkeypatch, Sensors(), itself=True)
    assert len(found.pairs.arm.wall_time_seconds) == RULES.fewest_windows
    assert len(found.alone_seconds) == 6
