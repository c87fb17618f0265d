"""Synthetic series of known ratio, autocorrelated, with heavy tails and a drift that both arms share.

The logarithm of a sample is the logarithm of the true time, plus a wandering of the machine common to both arms
(first-order autoregressive, correlation 0.97, 3 %, and a rise of 10 % from the first sample to the last), plus noise of
the arm's own: first-order autoregressive with the scenario's correlation, 1 % strong, normal, or driven by Student's t
with 3 degrees of freedom.
"""

from __future__ import annotations

import dataclasses
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from pamprof.statistics import ratio_interval, should_stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pamprof.records import Interval

RATIO = 1.54
_OWN_NOISE = 0.01
_WANDERING = 0.03
_RISE = 0.1
_MOST_SAMPLES = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of series; without ``samples`` the product's stopping rule ends it, at 200 at most."""

    correlation: float
    heavy_tails: bool
    samples: int | None

    @property
    def name(self) -> str:
        """For tables and files."""
        return f"{self.correlation:g} {'heavy' if self.heavy_tails else 'normal'} {self.samples or 'stopped'}"


SCENARIOS = tuple(
    Scenario(correlation=correlation, heavy_tails=heavy, samples=samples)
    for samples in (5, 10, 30, 100, None)
    for correlation in (0.0, 0.4, 0.8)
    for heavy in (False, True)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """One series' interval of a ratio that truly is ``RATIO``."""

    scenario: str
    number: int
    low: float
    high: float
    samples: int

    @property
    def covers(self) -> bool:
        """Whether the truth lies inside."""
        return self.low <= RATIO <= self.high


def coverages(series: int) -> Iterator[Coverage]:
    """``series`` series of every scenario; the same on every machine."""
    for index, scenario in enumerate(SCENARIOS):
        generator = np.random.default_rng([20_261_122, index])
        for number in range(series):
            subject, reference = _pair(generator, scenario)
            interval, samples = _interval(subject, reference, scenario)
            yield Coverage(
                scenario=scenario.name,
                number=number,
                low=round(interval.low, 4),
                high=round(interval.high, 4),
                samples=samples,
            )


def _pair(generator: np.random.Generator, scenario: Scenario) -> tuple[list[float], list[float]]:
    count = scenario.samples or _MOST_SAMPLES
    machine = _WANDERING * _autoregressive(generator, count, 0.97, heavy_tails=False)
    machine += np.linspace(0.0, _RISE, count)
    sides = [
        0.01
        * ratio
        * np.exp(
            machine
            + _OWN_NOISE * _autoregressive(generator, count, scenario.correlation, heavy_tails=scenario.heavy_tails)
        )
        for ratio in (RATIO, 1.0)
    ]
    return sides[0].tolist(), sides[1].tolist()


def _autoregressive(
    generator: np.random.Generator, count: int, correlation: float, *, heavy_tails: bool
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A stationary series [count] of variance 1; a run-up lets it forget its first value."""
    run_up = 100
    size = run_up + count
    shocks = generator.standard_t(3, size) / sqrt(3) if heavy_tails else generator.standard_normal(size)
    series = np.empty(size)
    series[0] = shocks[0]
    for index in range(1, size):
        series[index] = correlation * series[index - 1] + sqrt(1 - correlation**2) * shocks[index]
    return series[run_up:]


def _interval(subject: list[float], reference: list[float], scenario: Scenario) -> tuple[Interval, int]:
    samples = scenario.samples
    if samples is None:
        samples = next(count for count in range(1, _MOST_SAMPLES + 1) if _stopped(subject[:count], reference[:count]))
    return ratio_interval(subject[:samples], reference[:samples]), samples


def _stopped(subject: list[float], reference: list[float]) -> bool:
    stop = should_stop(subject, reference, minimum_samples=5, maximum_samples=_MOST_SAMPLES)
    return stop is not None
