"""The monitored window: one arm runs alone, step after step, while a thread samples every probe.

It is separate from the timed samples, so the sampler may cost a little without touching them. A probe that fails
turns its own fields into unknowns and disturbs nothing else.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING

from pamprof.hardware.host import HostProbe
from pamprof.hardware.nvml.device import NvmlDevice
from pamprof.hardware.nvml.probe import NvmlProbe
from pamprof.hardware.probe import Observation, Probe, Sample
from pamprof.hardware.rapl import RaplProbe
from pamprof.measure.machine.energy import window_energy
from pamprof.measure.session.team import ALONE
from pamprof.records import Monitor, Series, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.hardware.device import Device
    from pamprof.measure.session.team import Team

MOST_POINTS_PER_SERIES = 200
LONGEST_QUEUE_SECONDS = 0.05
_FINISH_SLACK_SECONDS = 0.25  # a probe's last reading is taken just after the last step
_PATH = "monitor."


def probes_for(device: Device, nvml: NvmlDevice) -> tuple[Probe, ...]:
    """The probes of a device: NVML and the host for a GPU, the host and its RAPL counters for a CPU."""
    if device.kind == "cuda":
        return NvmlProbe(nvml), HostProbe()
    return NvmlProbe(NvmlDevice(None, absent_reason="the device is a CPU")), HostProbe(), RaplProbe()


def monitor(
    step: Callable[[], object],
    *,
    synchronise: Callable[[], None],
    probes: Sequence[Probe],
    minimum_seconds: float,
    origin: float,
    clock: Callable[[], float] = time.perf_counter,
    background: bool = True,
    team: Team = ALONE,
) -> tuple[Monitor, tuple[Unknown, ...]]:
    """Run ``step`` back to back for at least ``minimum_seconds`` while the probes are sampled.

    The device's queue is kept to about 50 ms of work, so that the window ends when it should; a step that raises ends
    the sampling and the error goes through.

    Args:
        step: One step of the arm, launched without waiting.
        synchronise: Waits for the device.
        probes: What to sample; each keeps its own interval.
        minimum_seconds: Least length of the window.
        origin: The session's start on ``clock``; ``time.perf_counter`` is one clock for all processes of a machine.
        clock: Monotonic seconds; the probes' samples must come from the same clock.
        background: Sample from a thread. False samples between batches of steps instead, for a clock that is not real
            time, such as a recording's.
        team: Who runs the step together.

    Returns:
        The window, and the reason for every field of it that is None or signal that is missing.
    """
    synchronise()
    team.line_up()
    window = OpenWindow(probes, origin=origin, clock=clock, background=background)
    between: Callable[[], None] = _nothing if background else window.poll_due
    agreed: Callable[[], float] = lambda: team.slowest(clock())[0]  # noqa: E731
    try:
        (until,) = team.slowest(window.start + minimum_seconds)
        steps = _run_steps(step, synchronise, between, agreed, until)
        end = clock()
    finally:
        window.close()
    return window.seen(steps=steps, end=end)


class OpenWindow:
    """A window over steps that somebody else runs: sampled from now on, until it is closed.

    Attributes:
        start: When it began, on the clock.

    Args:
        probes: What to sample; each keeps its own interval.
        origin: The session's start on ``clock``.
        clock: Monotonic seconds.
        background: Sample from a thread; False where ``poll_due`` is called instead.
        least_interval_seconds: Between two polls of one probe, where its own interval is shorter.
    """

    def __init__(
        self,
        probes: Sequence[Probe],
        *,
        origin: float,
        clock: Callable[[], float] = time.perf_counter,
        background: bool = True,
        least_interval_seconds: float = 0.0,
    ) -> None:
        self._origin = origin
        self._sampler = _Sampler(probes, clock, least_interval_seconds)
        self._sampler.start(background=background)
        self.poll_due = self._sampler.poll_due
        self.start = clock()

    def close(self) -> None:
        """Take the last readings."""
        self._sampler.stop()

    def seen(self, *, steps: int, end: float) -> tuple[Monitor, tuple[Unknown, ...]]:
        """What was seen from the start to ``end``, in which ``steps`` were completed; as ``monitor`` returns it."""
        return _assemble(self._sampler.observations, steps=steps, start=self.start, end=end, origin=self._origin)


def _nothing() -> None:
    """The thread does the sampling."""


def _run_steps(
    step: Callable[[], object],
    synchronise: Callable[[], None],
    between: Callable[[], None],
    clock: Callable[[], float],
    until: float,
) -> int:
    steps, batch = 0, 1
    now = clock()
    while True:
        before = now
        for _ in range(batch):
            step()
        synchronise()
        now = clock()
        steps += batch
        if now >= until:
            return steps
        between()
        step_seconds = max((now - before) / batch, 1e-7)
        fitting = min(LONGEST_QUEUE_SECONDS, until - now) / step_seconds
        batch = max(1, min(2 * batch, math.ceil(fitting)))


class _Sampler:
    """Polls each probe when it is due, from a thread of its own or when told to, and collects what they saw."""

    def __init__(self, probes: Sequence[Probe], clock: Callable[[], float], least_interval_seconds: float) -> None:
        self._least_interval_seconds = least_interval_seconds
        self.observations: list[Observation] = []
        self._clock = clock
        self._probes = tuple(probes)
        self._due: list[float] = []
        self._silent: set[int] = set()  # probes that failed; they are not asked again
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, background: bool) -> None:
        for probe in self._probes:
            self._ask(probe, probe.start)
        self._due = [self._clock() + self._interval(probe) for probe in self._probes]
        if background and self._probes:
            self._thread = threading.Thread(target=self._run, name="pamprof-sampler", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        for probe in self._probes:
            self._ask(probe, probe.finish)

    def poll_due(self) -> None:
        for position, probe in enumerate(self._probes):
            now = self._clock()
            if now >= self._due[position]:
                self._due[position] = now + self._interval(probe)
                self._ask(probe, probe.poll)

    def _interval(self, probe: Probe) -> float:
        return max(probe.interval_seconds, self._least_interval_seconds)

    def _run(self) -> None:
        while not self._stopping.wait(min(1.0, max(0.001, min(self._due) - self._clock()))):
            self.poll_due()

    def _ask(self, probe: Probe, question: Callable[[], Observation]) -> None:
        if id(probe) in self._silent:
            return
        try:
            self.observations.append(question())
        except Exception as exc:  # noqa: BLE001 - a broken sensor must not cost the measurement
            self._silent.add(id(probe))
            reason = f"{type(probe).__name__} failed: {type(exc).__name__}: {exc}"
            self.observations.append(Observation(unknowns=(Unknown(field="monitor.series", reason=reason),)))


def _assemble(
    observations: Sequence[Observation], *, steps: int, start: float, end: float, origin: float
) -> tuple[Monitor, tuple[Unknown, ...]]:
    samples = sorted(
        (sample for seen in observations for sample in seen.samples), key=lambda sample: sample.clock_seconds
    )
    series = _all_series(samples, start=start, end=end, origin=origin)
    throttles = [seen.throttle_reasons for seen in observations if seen.throttle_reasons is not None]
    throttle_reasons = tuple(dict.fromkeys(reason for reasons in throttles for reason in reasons))
    others = [seen.other_process_count for seen in observations if seen.other_process_count is not None]
    energy, energy_unknowns = window_energy(
        sorted(reading for seen in observations for reading in seen.energy_readings),
        [(s.clock_seconds, s.value) for s in samples if s.signal == "power_watts" and start <= s.clock_seconds <= end],
        start=start,
        end=end,
        throttle_reasons=throttle_reasons,
    )
    window = Monitor(
        start_seconds=start - origin,
        window_seconds=end - start,
        steps=steps,
        series=series,
        energy=energy,
        throttle_reasons=throttle_reasons if throttles else None,
        other_process_count=max(others) if others else None,
    )
    told = [unknown for seen in observations for unknown in seen.unknowns]
    return window, _reasons(window, [*told, *energy_unknowns])


def _reasons(window: Monitor, told: Sequence[Unknown]) -> tuple[Unknown, ...]:
    """One reason for each missing field; what one probe could not read and another could is known."""
    known = set()
    if window.energy is not None and window.energy.counter_joules is not None:
        known.add("monitor.energy.counter_joules")
    merged: dict[str, list[str]] = {}
    for unknown in told:
        field = unknown.field
        if window.energy is None and field == "monitor.energy.counter_joules":
            field = "monitor.energy"
        if field not in known and unknown.reason not in merged.setdefault(field, []):
            merged[field].append(unknown.reason)
    for field in ("energy", "throttle_reasons", "other_process_count"):
        if getattr(window, field) is None:
            merged.setdefault(_PATH + field, ["no probe of this device reads it"])
    return tuple(Unknown(field=field, reason="; ".join(reasons)) for field, reasons in merged.items())


def _all_series(samples: Sequence[Sample], *, start: float, end: float, origin: float) -> tuple[Series, ...]:
    by_signal: dict[str, list[Sample]] = {}
    for sample in samples:
        if start <= sample.clock_seconds <= end + _FINISH_SLACK_SECONDS:
            by_signal.setdefault(sample.signal, []).append(sample)
    return tuple(thinned(signal, points, end=end, origin=origin) for signal, points in by_signal.items())


def thinned(signal: str, samples: Sequence[Sample], *, end: float, origin: float) -> Series:
    """A series of at most 200 points: every k-th sample, and always the first, the last, the lowest and the highest.

    Every k-th sample keeps the mean, the two extremes keep the range; nothing is averaged. The source says when
    samples were left out. A sample taken just after the window is dated at its end.
    """
    kept: Sequence[Sample] = samples
    sources = tuple(dict.fromkeys(sample.source for sample in samples))
    source = ", ".join(sources)
    if len(samples) > MOST_POINTS_PER_SERIES:
        stride = math.ceil(len(samples) / (MOST_POINTS_PER_SERIES - 3))
        values = [sample.value for sample in samples]
        extremes = {values.index(min(values)), values.index(max(values)), len(samples) - 1}
        positions = sorted(set(range(0, len(samples), stride)) | extremes)
        kept = [samples[position] for position in positions]
        source += f"; every {stride}th of {len(samples)} samples, extremes kept"
    return Series(
        signal=signal,
        source=source,
        times_seconds=tuple(min(sample.clock_seconds, end) - origin for sample in kept),
        values=tuple(sample.value for sample in kept),
    )
