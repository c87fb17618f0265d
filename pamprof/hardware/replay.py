"""A device that plays a recorded run: tests and demos of everything above the hardware, without a GPU.

Its clock is its own: a step takes exactly the wall time that was recorded for it, and nothing takes any other time.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from pamprof.hardware.memory import DeviceMemory, is_out_of_memory
from pamprof.hardware.probe import Observation, Sample
from pamprof.records import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from pamprof.records import Monitor, Run

_ROOT_PATH = "monitor."


class ReplayDevice:
    """A ``Device`` whose times and memory are those of a recorded run.

    ``step`` and ``reference_step`` stand for the workload: each call moves ``clock`` by the next recorded wall time,
    and the device's timer by the next recorded device time. The recording starts over when it is used up.
    """

    def __init__(self, run: Run) -> None:
        import torch

        self.kind = run.environment.device_kind
        self.name = run.environment.device_name
        self.uuid: str | None = None
        self.torch_device: torch.device = torch.device("cpu")
        self._run = run
        self._now_seconds = 0.0
        self._device_seconds = 0.0
        timing = run.timing
        self._has_timer = timing.device_time_seconds is not None
        self._steps = cycle(
            zip(timing.wall_time_seconds, timing.device_time_seconds or timing.wall_time_seconds, strict=True)
        )
        self._reference_steps = cycle(
            zip(
                timing.reference_wall_time_seconds,
                timing.reference_device_time_seconds or timing.reference_wall_time_seconds,
                strict=True,
            )
        )

    def clock(self) -> float:
        """Seconds of recorded time played so far."""
        return self._now_seconds

    def step(self) -> None:
        """Play one step of the arm."""
        self._play(*next(self._steps))

    def reference_step(self) -> None:
        """Play one step of the reference."""
        self._play(*next(self._reference_steps))

    def _play(self, wall_seconds: float, device_seconds: float) -> None:
        self._now_seconds += wall_seconds
        self._device_seconds += device_seconds

    def synchronise(self) -> None:
        """Played steps are finished."""

    def start_timer(self) -> float:
        """Device seconds played so far."""
        return self._device_seconds

    def stop_timer(self, started: object) -> Callable[[], float] | None:
        """Device seconds played since; None where the recording has no events."""
        if not self._has_timer:
            return None
        if not isinstance(started, float):
            raise TypeError(f"stop_timer takes what start_timer returned, not {type(started).__name__}")
        elapsed = self._device_seconds - started
        return lambda: elapsed

    def flush_cache(self) -> None:
        """A recording has no cache."""

    def empty_cache(self) -> None:
        """A recording holds no memory."""

    def reset_peak_memory(self) -> None:
        """The peak is the recorded one."""

    def memory(self) -> DeviceMemory:
        """Memory as recorded; where the device's use is unknown, what the run accounts for."""
        memory = self._run.memory
        used = memory.device_used_bytes if memory.device_used_bytes is not None else memory.accounted_bytes
        return DeviceMemory(
            total_bytes=self._run.environment.device_memory_bytes,
            used_bytes=used,
            allocated_bytes=memory.accounted_bytes,
            reserved_bytes=memory.reserved_bytes,
        )

    def is_out_of_memory(self, error: BaseException) -> bool:
        """See ``pamprof.hardware.memory.is_out_of_memory``."""
        return is_out_of_memory(error)


class ReplayProbe:
    """Plays the signals of a recorded window into a new one, stretched to its length.

    Energy is played as a counter that moves as often as the recorded one did. What was unknown in the run stays
    unknown, for the recorded reason.
    """

    interval_seconds = 0.02

    def __init__(self, run: Run, clock: Callable[[], float]) -> None:
        self._monitor = run.monitor
        self._unknowns = tuple(unknown for unknown in run.unknowns if unknown.field.startswith(_ROOT_PATH))
        self._clock = clock
        self._start_seconds = 0.0

    def start(self) -> Observation:
        """Remember when the new window opened."""
        self._start_seconds = self._clock()
        return Observation()

    def poll(self) -> Observation:
        """Nothing: a recording is played whole when the window closes."""
        return Observation()

    def finish(self) -> Observation:
        """Every recorded sample, re-dated into the window that just closed."""
        if self._monitor is None:
            return Observation(unknowns=(Unknown(field="monitor.series", reason="the run recorded no window"),))
        recorded = self._monitor
        end = self._clock()
        scale = (end - self._start_seconds) / recorded.window_seconds
        samples = tuple(
            Sample(series.signal, series.source, self._start_seconds + (at - recorded.start_seconds) * scale, value)
            for series in recorded.series
            for at, value in zip(series.times_seconds, series.values, strict=True)
        )
        return Observation(
            samples=samples,
            energy_readings=self._energy_readings(recorded, end),
            throttle_reasons=recorded.throttle_reasons,
            other_process_count=recorded.other_process_count,
            unknowns=self._unknowns,
        )

    def _energy_readings(self, recorded: Monitor, end: float) -> tuple[tuple[float, float], ...]:
        """As many evenly spaced moves of a counter as were recorded, at the recorded mean power."""
        energy = recorded.energy
        if energy is None or energy.counter_joules is None or not energy.counter_updates:
            return ()
        length, moves = end - self._start_seconds, energy.counter_updates
        watts = energy.counter_joules / recorded.window_seconds
        return tuple(
            (self._start_seconds + length * move / moves, watts * length * move / moves) for move in range(moves + 1)
        )
