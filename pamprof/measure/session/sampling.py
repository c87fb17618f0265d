"""Paired, interleaved sampling of an arm against its reference, until the ratio's interval is narrow enough.

One block after the other calls identical code "different" in most trials on a drifting machine; taking the two in
turn (reference, arm, arm, reference, ...) makes drift common to both and cancels it in the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from pamprof.measure.session.team import ALONE
from pamprof.records import StopReason
from pamprof.statistics import half_width, ratio_interval, should_stop
from pamprof.workloads.execution import compiler_counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.measure.session.settings import Settings
    from pamprof.measure.session.team import Team

_WARM_UP_AGREEMENT = 0.05
_LONG_STEP_SECONDS = 0.25  # two agreeing steps of this length are warm-up enough
_MOST_STEPS_PER_SAMPLE = 1000


class Stopwatch(Protocol):
    """The part of a device that sampling needs."""

    def synchronise(self) -> None:
        """Wait until the device has finished everything submitted."""
        ...

    def flush_cache(self) -> None:
        """Displace the device's last-level cache."""
        ...

    def start_timer(self) -> object:
        """Mark a moment on the device's own time line."""
        ...

    def stop_timer(self, started: object) -> Callable[[], float] | None:
        """Mark a second moment; call the result after synchronising for the seconds between, None without events."""
        ...


@dataclass(slots=True)
class Samples:
    """Samples of one side, in order, seconds per step; ``recompiled`` are those in which torch.compile worked.

    ``own_wall_time_seconds`` are those of this process, where several ranks take samples together.
    """

    wall_time_seconds: list[float] = field(default_factory=list)
    device_time_seconds: list[float] = field(default_factory=list)
    host_time_seconds: list[float] = field(default_factory=list)
    steps_per_sample: int = 1
    recompiled: list[int] = field(default_factory=list)
    own_wall_time_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSamples:
    """Everything sampling found out."""

    arm: Samples
    reference: Samples
    stop_reason: StopReason
    half_width: float | None


def take_sample(
    step: Callable[[], object], watch: Stopwatch, samples: Samples, *, cold_cache: bool, team: Team = ALONE
) -> None:
    """Time ``samples.steps_per_sample`` steps and append the times per step, those of the slowest of a ``team``."""
    if cold_cache:
        watch.flush_cache()
    watch.synchronise()
    team.line_up()
    count, compiled = samples.steps_per_sample, compiler_counts()
    begin = perf_counter()
    started = watch.start_timer()
    for _ in range(count):
        step()
    elapsed = watch.stop_timer(started)
    returned = perf_counter()
    watch.synchronise()
    end = perf_counter()
    if compiler_counts() != compiled:
        samples.recompiled.append(len(samples.wall_time_seconds))
    wall, host = team.slowest((end - begin) / count, (returned - begin) / count)
    samples.wall_time_seconds.append(wall)
    samples.host_time_seconds.append(host)
    samples.own_wall_time_seconds.append((end - begin) / count)
    if elapsed is not None:
        samples.device_time_seconds.append(elapsed() / count)


def warm_up(
    step: Callable[[], object],
    watch: Stopwatch,
    sample_seconds: float,
    *,
    longest_seconds: float = 3.0,
    team: Team = ALONE,
) -> tuple[int, int]:
    """Run steps until the two halves of the warm-up agree, or ``longest_seconds`` are over.

    Returns:
        Steps run, and the number of steps that fill ``sample_seconds``.
    """
    steps = 0
    times: list[float] = []
    team.line_up()
    (begin,) = team.slowest(perf_counter())
    batch = 1
    while True:
        start = perf_counter()
        for _ in range(batch):
            step()
        watch.synchronise()
        now, start = team.slowest(perf_counter(), start)  # one clock serves all processes of a machine
        steps += batch
        times.append((now - start) / batch)
        batch = min(_MOST_STEPS_PER_SAMPLE, max(batch, ceil(sample_seconds / 4 / max(times[-1], 1e-9))))
        spent = now - begin
        if spent >= longest_seconds or (spent >= sample_seconds and _settled(times)):
            break
    typical = min(times[len(times) // 2 :])
    return steps, max(1, min(_MOST_STEPS_PER_SAMPLE, ceil(sample_seconds / max(typical, 1e-9))))


def _settled(times: list[float]) -> bool:
    if len(times) < 2 or (len(times) < 4 and times[-1] < _LONG_STEP_SECONDS):
        return False
    half = len(times) // 2
    first, second = min(times[:half]), min(times[half:])
    return abs(first - second) <= _WARM_UP_AGREEMENT * second


def sample_pairs(
    arm: Callable[[], object],
    reference: Callable[[], object],
    watch: Stopwatch,
    settings: Settings,
    *,
    arm_steps: int,
    reference_steps: int,
    team: Team = ALONE,
) -> PairedSamples:
    """Sample arm and reference in turn until a stopping rule fires.

    Args:
        arm: One step of the arm.
        reference: One step of what it is paired with.
        watch: Clock and synchronisation of the device.
        settings: Stopping rules.
        arm_steps: Steps in one sample of the arm.
        reference_steps: Steps in one sample of the reference.
        team: Whose slowest member's times count.
    """
    mine, theirs = Samples(steps_per_sample=arm_steps), Samples(steps_per_sample=reference_steps)
    (begin,) = team.slowest(perf_counter())
    reason: StopReason | None = None
    while reason is None:
        sides = ((reference, theirs), (arm, mine))
        for step, samples in sides if len(mine.wall_time_seconds) % 2 == 0 else reversed(sides):
            take_sample(step, watch, samples, cold_cache=settings.cold_cache, team=team)
        reason = should_stop(
            mine.wall_time_seconds,
            theirs.wall_time_seconds,
            target_half_width=settings.target_half_width,
            minimum_samples=settings.minimum_samples,
            maximum_samples=settings.maximum_samples,
        )
        enough = len(mine.wall_time_seconds) >= settings.minimum_samples
        (now,) = team.slowest(perf_counter())
        if reason is None and enough and now - begin >= settings.time_limit_seconds:
            reason = StopReason.TIMEOUT
    width = half_width(ratio_interval(mine.wall_time_seconds, theirs.wall_time_seconds))
    return PairedSamples(arm=mine, reference=theirs, stop_reason=reason, half_width=width)
