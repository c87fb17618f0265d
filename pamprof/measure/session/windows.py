"""Sampling for numbers to publish: steady state first, then windows of back-to-back steps, in turn and alone.

A device under its power limit takes seconds to settle, and two arms that take turns share what power there is. So both
run in turn until step times, power and clocks no longer change; then they are timed in windows of about a second, in
the order reference, arm, arm, reference; then the arm is timed by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from pamprof.measure.session.sampling import PairedSamples, Samples, take_sample
from pamprof.records import StopReason
from pamprof.statistics import half_width, ratio_interval
from pamprof.statistics.stationarity import FEWEST_VALUES, StationarityVerdict, stationarity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.measure.machine.sensors import SensorMeans
    from pamprof.measure.session.sampling import Stopwatch
    from pamprof.measure.session.settings import WindowSettings

_SETTLED_RATIO = 0.01
_SENSOR_RATIO = 0.03  # power and clocks are read with less resolution than step times
_LATEST_VALUES = 2 * FEWEST_VALUES


class Sensors(Protocol):
    """What is looked at while the device settles, and never beside a window that counts."""

    def during(self, work: Callable[[], object]) -> SensorMeans:
        """Do ``work``, and what power and clocks were meanwhile."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSamples:
    """Pairs of windows, windows of the arm alone, and whether they were steady.

    Attributes:
        pairs: As samples, each a window.
        alone_seconds: Mean step time of each window of the arm by itself.
        settled: Whether step times, power and clocks were stationary before the first pair and the first window alone.
    """

    pairs: PairedSamples
    alone_seconds: tuple[float, ...]
    settled: bool


def sample_windows(
    arm: Callable[[], object],
    reference: Callable[[], object],
    watch: Stopwatch,
    sensors: Sensors,
    rules: WindowSettings,
    *,
    arm_step_seconds: float,
    reference_step_seconds: float,
    itself: bool,
    cold_cache: bool,
) -> WindowSamples:
    """Settle, sample in turn, settle again, sample alone.

    Args:
        arm: One step of the arm.
        reference: One step of what it is paired with; the arm itself where there is none.
        watch: Clock and synchronisation of the device.
        sensors: Power and clocks.
        rules: Lengths.
        arm_step_seconds: About how long a step of the arm takes.
        reference_step_seconds: Likewise.
        itself: Whether the reference is the arm itself: few pairs then, which show how far equal things differ.
        cold_cache: Flush the device's cache before each window.
    """
    mine = _Arm(step=arm, samples=Samples(steps_per_sample=_steps(arm_step_seconds, rules)))
    theirs = _Arm(step=reference, samples=Samples(steps_per_sample=_steps(reference_step_seconds, rules)))
    in_turn = _settle((theirs,) if itself else (theirs, mine), watch, sensors, rules, cold_cache=cold_cache)
    if itself:
        mine.samples.steps_per_sample = theirs.samples.steps_per_sample
    dwell = rules.capped_dwell_seconds if in_turn.at_power_limit else rules.dwell_seconds
    window_pairs = max(rules.fewest_windows, ceil(dwell / rules.window_seconds))
    if itself:
        window_pairs = rules.fewest_windows  # a noise floor, not a result
    for number in range(window_pairs + window_pairs % 2):
        for side in (theirs, mine) if number % 2 == 0 else (mine, theirs):
            take_sample(side.step, watch, side.samples, cold_cache=cold_cache)
    pairs = PairedSamples(
        arm=mine.samples,
        reference=theirs.samples,
        stop_reason=StopReason.SAMPLE_COUNT,
        half_width=half_width(ratio_interval(mine.samples.wall_time_seconds, theirs.samples.wall_time_seconds)),
    )
    by_itself = _Arm(step=arm, samples=Samples(steps_per_sample=mine.samples.steps_per_sample))
    alone = in_turn if itself else _settle((by_itself,), watch, sensors, rules, cold_cache=cold_cache)
    for _ in range(max(rules.fewest_windows, ceil(dwell / rules.window_seconds))):
        take_sample(arm, watch, by_itself.samples, cold_cache=cold_cache)
    return WindowSamples(
        pairs=pairs,
        alone_seconds=tuple(by_itself.samples.wall_time_seconds),
        settled=in_turn.settled and alone.settled,
    )


@dataclass(slots=True)
class _Arm:
    step: Callable[[], object]
    samples: Samples


@dataclass(slots=True)
class _Course:
    """What was seen while the device settled."""

    powers: list[float] = field(default_factory=list)
    clocks: list[float] = field(default_factory=list)
    at_power_limit: bool = False
    settled: bool = False


def _settle(
    arms: Sequence[_Arm], watch: Stopwatch, sensors: Sensors, rules: WindowSettings, *, cold_cache: bool
) -> _Course:
    """Run windows that count for nothing until they no longer change, or for the longest time allowed."""
    course = _Course()
    trial = [Samples(steps_per_sample=max(1, arm.samples.steps_per_sample // 2)) for arm in arms]
    begin = perf_counter()

    def turn() -> None:
        for arm, samples in zip(arms, trial, strict=True):
            take_sample(arm.step, watch, samples, cold_cache=cold_cache)

    while True:
        seen = sensors.during(turn)
        for values, value in ((course.powers, seen.power_watts), (course.clocks, seen.clock_hertz)):
            if value is not None:
                values.append(value)
        course.at_power_limit = course.at_power_limit or seen.at_power_limit
        spent = perf_counter() - begin
        least = rules.capped_settle_seconds if course.at_power_limit else rules.settle_seconds
        if spent >= least and len(trial[0].wall_time_seconds) >= FEWEST_VALUES:
            course.settled = all(_is_steady(s.wall_time_seconds, _SETTLED_RATIO) for s in trial) and all(
                _is_steady(values, _SENSOR_RATIO) for values in (course.powers, course.clocks) if values
            )
        if course.settled or spent >= rules.longest_settle_seconds:
            break
    for arm, samples in zip(arms, trial, strict=True):
        typical = sorted(samples.wall_time_seconds)[len(samples.wall_time_seconds) // 2]
        arm.samples.steps_per_sample = _steps(typical, rules)
    return course


def _is_steady(values: Sequence[float], tolerance_ratio: float) -> bool:
    found = stationarity(values[-_LATEST_VALUES:], tolerance_ratio=tolerance_ratio)
    if found.verdict is not StationarityVerdict.STATIONARY or found.resolution_ratio is None:
        return False
    return found.resolution_ratio <= tolerance_ratio  # too noisy to tell is not steady


def _steps(step_seconds: float, rules: WindowSettings) -> int:
    return max(1, ceil(rules.window_seconds / max(step_seconds, 1e-9)))
