from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pamprof.measure.machine.energy import window_energy

Readings = list[tuple[float, float]]


def steady(watts: float, seconds: float, *, every: float = 0.02) -> tuple[Readings, Readings]:
    """A counter that moves every 100 ms and a power sensor, both polled through the window."""
    times = [index * every for index in range(int(seconds / every) + 1)]
    return [(at, watts * int(at * 10 + 1e-9) / 10) for at in times], [(at, watts) for at in times]


@given(watts=st.floats(1, 2000), seconds=st.floats(2.1, 20))
def test_steady_power_is_power_times_time_and_valid(watts: float, seconds: float) -> None:
    counter, power = steady(watts, seconds)
    energy, unknowns = window_energy(counter, power, start=0.0, end=seconds, throttle_reasons=())
    assert energy is not None
    assert unknowns == ()
    assert energy.counter_joules == pytest.approx(watts * seconds, rel=1e-6)
    assert energy.integrated_joules == pytest.approx(watts * seconds, rel=1e-6)
    assert energy.valid, energy.invalid_reasons


def test_no_witness_is_no_energy() -> None:
    assert window_energy([], [], start=0.0, end=3.0, throttle_reasons=()) == (None, ())


def test_power_without_a_counter_is_kept_but_not_valid() -> None:
    _, power = steady(200, 3)
    energy, unknowns = window_energy([], power, start=0.0, end=3.0, throttle_reasons=())
    assert energy is not None
    assert energy.integrated_joules == pytest.approx(600)
    assert energy.counter_updates is None
    assert energy.invalid_reasons == ("there is no energy counter to check the sampled power against",)
    assert unknowns == ()  # the probe has said why the counter is missing


def test_a_counter_without_power_stands_alone() -> None:
    counter, _ = steady(50, 3)
    energy, unknowns = window_energy(counter, [], start=0.0, end=3.0, throttle_reasons=())
    assert energy is not None
    assert energy.valid
    assert [unknown.field for unknown in unknowns] == ["monitor.energy.integrated_joules"]


def test_a_counter_seen_moving_once_is_marked() -> None:
    counter = [(0.0, 10.0), (1.0, 10.0), (2.0, 17.0), (3.0, 17.0)]
    energy, _ = window_energy(counter, [], start=0.0, end=3.0, throttle_reasons=())
    assert energy is not None
    assert energy.counter_joules == 7.0
    assert energy.invalid_reasons == ("the energy counter moved 1 times, fewer than 20",)


def test_a_gap_in_the_power_readings_is_marked() -> None:
    counter, power = steady(100, 3)
    energy, _ = window_energy(counter, power[:75], start=0.0, end=3.0, throttle_reasons=())
    assert energy is not None
    assert energy.invalid_reasons == ("the power sensor answered for 1.48 of 3.00 s",)


def test_throttling_is_named_in_the_reasons() -> None:
    counter, power = steady(100, 3)
    energy, _ = window_energy(counter, power, start=0.0, end=3.0, throttle_reasons=("software power cap",))
    assert energy is not None
    assert energy.invalid_reasons == ("the clocks were held down: software power cap",)


def test_trapezoids_follow_a_ramp() -> None:
    counter, _ = steady(100, 3)
    power = [(index * 0.1, index * 10.0) for index in range(31)]  # 0 to 300 W in 3 s
    energy, _ = window_energy(counter, power, start=0.0, end=3.0, throttle_reasons=())
    assert energy is not None
    assert energy.integrated_joules == pytest.approx(450.0)
    assert not energy.valid
