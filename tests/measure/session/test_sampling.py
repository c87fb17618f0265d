from dataclasses import dataclass, field

import pytest

from pamprof.measure.machine.kernels.profile import union_length
from pamprof.measure.session import sampling
from pamprof.measure.session.sampling import Samples, sample_pairs, take_sample, warm_up
from pamprof.measure.session.settings import Settings
from pamprof.records import StopReason


@dataclass
class FakeWatch:
    """A clock that only the steps move."""

    now: float = 0.0
    order: list = field(default_factory=list)
    flushes: int = 0

    def synchronise(self):
        pass

    def flush_cache(self):
        self.flushes += 1

    def start_timer(self):
        return self.now

    def stop_timer(self, started):
        stopped = self.now
        return lambda: stopped - started

    def step(self, name, seconds):
        def run():
            self.order.append(name)
            self.now += seconds

        return run


@pytest.fixture
def watch(monkeypatch):
    fake = FakeWatch()
    monkeypatch.setattr(sampling, "perf_counter", lambda: fake.now)
    return fake


def test_a_sample_is_the_time_per_step(watch):
    samples = Samples(steps_per_sample=4)
    take_sample(watch.step("arm", 0.5), watch, samples, cold_cache=False)
    assert samples.wall_time_seconds == [0.5]
    assert samples.device_time_seconds == [0.5]
    assert samples.host_time_seconds == [0.5]


def test_a_cold_cache_is_flushed_before_every_sample_outside_its_time(watch):
    samples = Samples()
    take_sample(watch.step("arm", 0.5), watch, samples, cold_cache=True)
    assert watch.flushes == 1
    assert samples.wall_time_seconds == [0.5]


def test_pairs_are_taken_in_turn_reference_arm_arm_reference(watch):
    found = sample_pairs(
        watch.step("arm", 0.2),
        watch.step("reference", 0.1),
        watch,
        Settings(minimum_samples=4, maximum_samples=4),
        arm_steps=1,
        reference_steps=1,
    )
    assert watch.order == ["reference", "arm", "arm", "reference"] * 2
    assert found.stop_reason in (StopReason.SAMPLE_COUNT, StopReason.PRECISION)


def test_the_time_limit_ends_sampling_that_never_gets_precise(watch):
    durations = iter([0.1, 0.9, 0.5] * 1000)

    def noisy():
        watch.now += next(durations)

    found = sample_pairs(
        noisy,
        watch.step("reference", 0.1),
        watch,
        Settings(time_limit_seconds=20.0, maximum_samples=1000),
        arm_steps=1,
        reference_steps=1,
    )
    assert found.stop_reason is StopReason.TIMEOUT
    assert len(found.arm.wall_time_seconds) == len(found.reference.wall_time_seconds) >= 5
    assert found.half_width > 0.01


def test_warm_up_goes_on_until_slow_first_steps_are_over(watch):
    durations = iter([1.0, 0.5, 0.1] + [0.01] * 10_000)

    def step():
        watch.now += next(durations)

    steps, per_sample = warm_up(step, watch, sample_seconds=0.02)
    assert steps > 4
    assert per_sample == pytest.approx(2, abs=1)


def test_overlapping_kernels_are_counted_once():
    assert union_length([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0)]) == pytest.approx(4.0)
