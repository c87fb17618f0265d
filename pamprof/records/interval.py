"""A median with its confidence interval, the only form in which an estimate travels."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, hypot, log

_LARGEST_LOGARITHM = 600.0  # exp() of it is 1e260, which products of a few estimates keep finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate: ``low <= median <= high`` at ``confidence`` (a ratio, such as 0.95), all in one unit."""

    low: float
    median: float
    high: float
    confidence: float

    @classmethod
    def exact(cls, value: float) -> Interval:
        """An interval without width, for a counted number."""
        return cls(low=value, median=value, high=value, confidence=1.0)

    def scaled(self, factor: float) -> Interval:
        """The interval of ``factor`` times the estimate; ``factor`` must be positive."""
        return Interval(
            low=self.low * factor, median=self.median * factor, high=self.high * factor, confidence=self.confidence
        )

    def times(self, other: Interval) -> Interval:
        """The interval of the product with an independent estimate; relative widths add up in quadrature."""
        below = hypot(log(self.median) - log(self.low), log(other.median) - log(other.low))
        above = hypot(log(self.high) - log(self.median), log(other.high) - log(other.median))
        median = self.median * other.median
        return Interval(
            low=median * exp(-min(below, _LARGEST_LOGARITHM)),
            median=median,
            high=median * exp(min(above, _LARGEST_LOGARITHM)),
            confidence=min(self.confidence, other.confidence),
        )

    def holding(self, other: Interval) -> Interval:
        """The same estimate with ends that hold those of ``other``, too."""
        return Interval(
            low=min(self.low, other.low),
            median=self.median,
            high=max(self.high, other.high),
            confidence=min(self.confidence, other.confidence),
        )

    def inverse(self) -> Interval:
        """The interval of the reciprocal of a positive estimate."""
        return Interval(low=1 / self.high, median=1 / self.median, high=1 / self.low, confidence=self.confidence)
