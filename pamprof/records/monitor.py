"""What the device was seen to do while an arm ran alone: signals over time, energy, throttling."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A signal sampled over time.

    Attributes:
        signal: Name with its unit last, such as ``gpu_busy_ratio``, ``power_watts``, ``sm_clock_hertz``.
        source: Who measured it, such as ``nvml utilization samples``.
        times_seconds: Seconds since the session's start.
        values: One value per time.
    """

    signal: str
    source: str
    times_seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of the monitored window.

    Attributes:
        counter_joules: Energy between the first and the last move of the device's counter, scaled to the window's
            length; None where there is no counter, or it was reset or stood still.
        integrated_joules: Sampled power integrated over the window; None where power is not readable.
        counter_updates: Times the counter was seen to move.
        valid: Whether the value may be quoted.
        invalid_reasons: Why not, one sentence each.
    """

    counter_joules: float | None
    integrated_joules: float | None
    counter_updates: int | None
    valid: bool
    invalid_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """A window in which the arm ran alone, step after step, while the device was sampled.

    Attributes:
        start_seconds: Since the session's start.
        window_seconds: Length.
        steps: Steps completed in the window.
        series: Signals sampled in it.
        energy: Energy of it; None where the device reports none.
        throttle_reasons: Clock-event reasons seen that hold the clocks down, in NVML's words (idle and chosen clock
            settings left out); None where they cannot be read.
        other_process_count: Other processes seen on the device; None where they cannot be listed.
    """

    start_seconds: float
    window_seconds: float
    steps: int
    series: tuple[Series, ...]
    energy: Energy | None
    throttle_reasons: tuple[str, ...] | None
    other_process_count: int | None
