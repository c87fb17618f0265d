"""How carefully to measure: the sampling rules that the command line sets and the worker follows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.statistics import TARGET_HALF_WIDTH

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_SECONDS = 1e6  # eleven days; an endless window or wait could never end by itself
_LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSettings:
    """Lengths of the protocol for numbers to publish, seconds.

    Attributes:
        window_seconds: One window of back-to-back steps.
        dwell_seconds: All windows of an arm in turn with the reference, and again all by itself.
        capped_dwell_seconds: The same where the device is at its power limit.
        settle_seconds: Least time before windows count.
        capped_settle_seconds: The same at the power limit.
        longest_settle_seconds: After which windows count, and the run says that it had not settled.
        fewest_windows: Of each arm, whatever the lengths.
    """

    window_seconds: float = 1.0
    dwell_seconds: float = 5.0
    capped_dwell_seconds: float = 20.0
    settle_seconds: float = 3.0
    capped_settle_seconds: float = 10.0
    longest_settle_seconds: float = 40.0
    fewest_windows: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Rules of one session's sampling.

    Attributes:
        target_half_width: Relative half width of the ratio's interval at which sampling stops.
        minimum_samples: Pairs taken whatever the interval.
        maximum_samples: Pairs after which sampling stops whatever the interval.
        time_limit_seconds: Sampling time of one point, after which it stops once ``minimum_samples`` are taken.
        sample_seconds: Shortest duration of one sample; short steps are repeated to fill it.
        monitor_seconds: Length of the utilisation and energy window; 0 switches it off.
        point_timeout_seconds: Time after which a worker that reports nothing is killed and the point skipped.
        cold_cache: Flush the device's cache before each sample.
        seed: Of weights and inputs.
        longest_warm_up_seconds: After which a step is taken for warm.
        longest_profiled_step_seconds: A longer step is not profiled kernel by kernel; None for no limit.
        kernels: Whether the kernels of one step are recorded; those of a session's reference are in any case.
        trace: Whether a Chrome trace of one step is written for each arm and phase.
        windows: Lengths where windows of back-to-back steps are sampled; None for samples until the interval is narrow.
    """

    target_half_width: float = TARGET_HALF_WIDTH
    minimum_samples: int = 5
    maximum_samples: int = 200
    time_limit_seconds: float = 6.0
    sample_seconds: float = 0.02
    monitor_seconds: float = 2.2
    point_timeout_seconds: float = 600.0
    cold_cache: bool = False
    seed: int = 0
    longest_warm_up_seconds: float = 3.0
    longest_profiled_step_seconds: float | None = None
    kernels: bool = True
    trace: bool = False
    windows: WindowSettings | None = None

    def __post_init__(self) -> None:
        """Refuse numbers no measurement can be made with."""
        for name in ("target_half_width", "time_limit_seconds", "sample_seconds", "point_timeout_seconds"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        if not 0 <= self.monitor_seconds <= _LONGEST_SECONDS:
            raise UsageError(f"monitor_seconds must be 0 to {_LONGEST_SECONDS:g}, not {self.monitor_seconds}")
        if self.point_timeout_seconds > _LONGEST_SECONDS:
            raise UsageError(
                f"point_timeout_seconds must be at most {_LONGEST_SECONDS:g}, not {self.point_timeout_seconds}"
            )
        if not 0 <= self.seed <= _LARGEST_SEED:
            raise UsageError(f"seed must be 0 to {_LARGEST_SEED}, not {self.seed}")
        if not 2 <= self.minimum_samples <= self.maximum_samples:
            raise UsageError(
                f"samples must satisfy 2 <= minimum <= maximum, not {self.minimum_samples} and {self.maximum_samples}"
            )

    def with_window(self, monitor_seconds: float) -> Settings:
        """These rules with another monitored window; where it is shorter no kernels are recorded."""
        return replace(
            self, monitor_seconds=monitor_seconds, kernels=self.kernels and monitor_seconds >= self.monitor_seconds
        )

    def changed(self, changes: Mapping[str, int | float | bool]) -> Settings:
        """These rules with ``changes``, by field."""
        return replace(self, **changes)  # type: ignore[arg-type]  # __post_init__ checks the values
