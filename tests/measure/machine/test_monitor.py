from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from pamprof.hardware.probe import Observation, Sample
from pamprof.hardware.replay import ReplayDevice, ReplayProbe
from pamprof.measure.machine.monitor import LONGEST_QUEUE_SECONDS, MOST_POINTS_PER_SERIES, monitor, thinned
from pamprof.records import Unknown
from tests.synthetic import synthetic_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.hardware.probe import Probe
    from pamprof.records import Monitor


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0

    def clock(self) -> float:
        return self.now

    def step_of(self, seconds: float) -> Callable[[], None]:
        def step() -> None:
            self.now += seconds

        return step


class ScriptedProbe:
    """Returns the given observations in turn, the last one again and again."""

    interval_seconds = 0.02

    def __init__(self, *script: Observation, at_end: Observation | None = None) -> None:
        self.script = script
        self.at_end = at_end or Observation()
        self.polls = 0

    def start(self) -> Observation:
        return Observation()

    def poll(self) -> Observation:
        self.polls += 1
        return self.script[min(self.polls, len(self.script)) - 1] if self.script else Observation()

    def finish(self) -> Observation:
        return self.at_end


def watch(
    fake: FakeTime, probes: Sequence[Probe], *, seconds: float = 1.0, step_seconds: float = 0.01
) -> tuple[Monitor, dict[str, str]]:
    window, unknowns = monitor(
        fake.step_of(step_seconds),
        synchronise=lambda: None,
        probes=probes,
        minimum_seconds=seconds,
        origin=900.0,
        clock=fake.clock,
        background=False,
    )
    return window, {unknown.field: unknown.reason for unknown in unknowns}


def test_every_step_of_the_window_is_counted() -> None:
    window, _ = watch(FakeTime(), ())
    assert window.start_seconds == 100.0
    assert window.steps == round(window.window_seconds / 0.01)


@pytest.mark.parametrize("step_seconds", [1e-5, 1e-3, 0.03])
def test_the_queue_never_holds_much_more_than_fifty_milliseconds(step_seconds: float) -> None:
    fake, waits = FakeTime(), [1000.0]
    monitor(
        fake.step_of(step_seconds),
        synchronise=lambda: waits.append(fake.now),
        probes=(),
        minimum_seconds=0.5,
        origin=0.0,
        clock=fake.clock,
        background=False,
    )
    longest = max(after - before for before, after in pairwise(waits))
    assert longest <= LONGEST_QUEUE_SECONDS + step_seconds + 1e-9
    assert waits[-1] - 1000.0 < 0.5 + step_seconds + 1e-6


def test_a_step_longer_than_the_window_runs_once() -> None:
    window, _ = watch(FakeTime(), (), seconds=0.1, step_seconds=3.0)
    assert window.steps == 1
    assert window.window_seconds == pytest.approx(3.0)


def test_a_probe_that_raises_becomes_a_reason_and_the_others_go_on() -> None:
    class Broken(ScriptedProbe):
        def poll(self) -> Observation:
            raise ZeroDivisionError("no sensor")

    healthy = ScriptedProbe(Observation(throttle_reasons=(), other_process_count=2))
    window, reasons = watch(FakeTime(), (Broken(), healthy))
    assert reasons["monitor.series"] == "Broken failed: ZeroDivisionError: no sensor"
    assert healthy.polls > 5
    assert window.other_process_count == 2
    assert window.throttle_reasons == ()


def test_a_probe_that_fails_at_the_end_does_not_fail_the_measurement() -> None:
    class Broken(ScriptedProbe):
        def finish(self) -> Observation:
            raise OSError("gone")

    window, reasons = watch(FakeTime(), (Broken(),))
    assert window.steps > 0
    assert "Broken failed: OSError: gone" in reasons["monitor.series"]


def test_fields_nobody_reads_are_unknown_with_a_reason() -> None:
    window, reasons = watch(FakeTime(), ())
    assert window.energy is None
    assert window.throttle_reasons is None
    assert window.other_process_count is None
    assert set(reasons) == {"monitor.energy", "monitor.throttle_reasons", "monitor.other_process_count"}


def test_energy_one_probe_cannot_read_and_another_can_is_known() -> None:
    fake = FakeTime()

    class Counter(ScriptedProbe):
        def poll(self) -> Observation:
            return Observation(energy_readings=((fake.now, 7 * fake.now),))

    refused = Observation(unknowns=(Unknown(field="monitor.energy.counter_joules", reason="the device is a CPU"),))
    window, reasons = watch(fake, (ScriptedProbe(at_end=refused), Counter()), seconds=2.5)
    assert window.energy is not None
    assert window.energy.counter_joules == pytest.approx(7 * window.window_seconds)
    assert window.energy.valid
    assert "monitor.energy.counter_joules" not in reasons
    assert reasons["monitor.energy.integrated_joules"] == "no power sensor answered during the window"


def test_samples_from_before_the_window_are_left_out() -> None:
    early = Observation(
        samples=(Sample("power_watts", "test", 999.0, 50.0), Sample("power_watts", "test", 1000.2, 300.0))
    )
    window, _ = watch(FakeTime(), (ScriptedProbe(at_end=early),))
    assert window.series[0].values == (300.0,)
    assert window.series[0].times_seconds == pytest.approx((100.2,))


def test_an_error_of_the_step_goes_through_and_ends_the_sampler() -> None:
    def failing() -> None:
        raise MemoryError("out of memory")

    with pytest.raises(MemoryError):
        monitor(failing, synchronise=lambda: None, probes=(ScriptedProbe(),), minimum_seconds=1.0, origin=0.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "pamprof-sampler"]


def test_the_background_thread_polls_while_steps_run() -> None:
    probe = ScriptedProbe(Observation(other_process_count=0))
    probe.interval_seconds = 0.002
    window, _ = monitor(
        lambda: sum(range(1000)),
        synchronise=lambda: None,
        probes=(probe,),
        minimum_seconds=0.1,
        origin=time.perf_counter(),
    )
    assert probe.polls >= 3
    assert window.window_seconds >= 0.1
    assert not [thread for thread in threading.enumerate() if thread.name == "pamprof-sampler"]


def test_a_long_series_keeps_its_extremes_its_ends_and_its_mean() -> None:
    values = [300.0 + (index % 7) for index in range(3000)]
    values[1234], values[2345] = 20.0, 700.0
    samples = [Sample("power_watts", "nvml", index * 0.01, value) for index, value in enumerate(values)]
    series = thinned("power_watts", samples, end=30.0, origin=0.0)
    assert len(series.values) <= MOST_POINTS_PER_SERIES
    assert (min(series.values), max(series.values)) == (20.0, 700.0)
    assert (series.times_seconds[0], series.times_seconds[-1]) == (0.0, pytest.approx(29.99))
    assert sum(series.values) / len(series.values) == pytest.approx(sum(values) / len(values), rel=0.01)
    assert "of 3000 samples" in series.source


def test_a_short_series_is_untouched() -> None:
    samples = [Sample("power_watts", "nvml", index * 0.01, float(index)) for index in range(200)]
    series = thinned("power_watts", samples, end=2.0, origin=0.0)
    assert series.values == tuple(float(index) for index in range(200))
    assert series.source == "nvml"


def test_a_replayed_run_gives_its_own_window_again() -> None:
    run = synthetic_run(step_seconds=0.02)
    assert run.monitor is not None
    assert run.monitor.energy is not None
    device = ReplayDevice(run)
    window, unknowns = monitor(
        device.step,
        synchronise=device.synchronise,
        probes=(ReplayProbe(run, device.clock),),
        minimum_seconds=run.monitor.window_seconds,
        origin=-run.monitor.start_seconds,
        clock=device.clock,
        background=False,
    )
    assert unknowns == ()
    assert {series.signal for series in window.series} == {series.signal for series in run.monitor.series}
    played = {series.signal: series for series in window.series}
    for series in run.monitor.series:
        assert played[series.signal].values == series.values
        assert played[series.signal].times_seconds == pytest.approx(series.times_seconds, rel=0.01)
    assert window.throttle_reasons == run.monitor.throttle_reasons
    assert window.energy is not None
    watts = run.monitor.energy.counter_joules / run.monitor.window_seconds
    assert window.energy.counter_joules == pytest.approx(watts * window.window_seconds)
    assert window.energy.counter_updates == run.monitor.energy.counter_updates
    assert window.energy.valid, window.energy.invalid_reasons
