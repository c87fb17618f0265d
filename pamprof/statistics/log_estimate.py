"""An estimate of a logarithm with its standard error, and Student's t, from which every interval is made."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, pi, sqrt, tan
from statistics import NormalDist

from pamprof.records import Interval

_LARGEST_LOGARITHM = 700.0  # exp() of it is 1e304


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEstimate:
    """The logarithm of a time or of a ratio.

    Attributes:
        value: The natural logarithm.
        standard_error: Of ``value``.
        freedom: Degrees of freedom of the standard error; 0 where there is none, as for a single sample.
        effective_samples: Independent samples with the same standard error.
    """

    value: float
    standard_error: float
    freedom: float
    effective_samples: float

    def interval(self, confidence: float) -> Interval:
        """The interval of the time or ratio, symmetric in the logarithm; confidence 0 where there is no error."""
        if self.freedom <= 0:
            return Interval(low=_exp(self.value), median=_exp(self.value), high=_exp(self.value), confidence=0.0)
        reach = student_quantile(0.5 + confidence / 2, self.freedom) * self.standard_error
        return Interval(
            low=_exp(self.value - reach),
            median=_exp(self.value),
            high=_exp(self.value + reach),
            confidence=confidence,
        )

    def minus(self, other: LogEstimate) -> LogEstimate:
        """The difference of two independent estimates, degrees of freedom by Welch and Satterthwaite."""
        difference = self.value - other.value
        if self.freedom <= 0 or other.freedom <= 0:
            return LogEstimate(value=difference, standard_error=0.0, freedom=0.0, effective_samples=1.0)
        mine, theirs = self.standard_error**2, other.standard_error**2
        return LogEstimate(
            value=difference,
            standard_error=sqrt(mine + theirs),
            freedom=welch_freedom((mine, self.freedom), (theirs, other.freedom)),
            effective_samples=min(self.effective_samples, other.effective_samples),
        )


def welch_freedom(*terms: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of independent variances, given as (variance, degrees of freedom)."""
    spread = sum(variance**2 / freedom for variance, freedom in terms)
    return sum(variance for variance, _ in terms) ** 2 / spread if spread > 0 else sum(freedom for _, freedom in terms)


def student_quantile(probability: float, freedom: float) -> float:
    """Student's t quantile: exact at 1 and 2 degrees of freedom, Cornish-Fisher (within 1 %) from 3 on."""
    if freedom < 2:
        return tan(pi * (probability - 0.5))
    if freedom < 3:
        return (2 * probability - 1) * sqrt(2 / (4 * probability * (1 - probability)))
    z = NormalDist().inv_cdf(probability)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _exp(logarithm: float) -> float:
    """The exponential, clamped to normal floats, so that extreme samples give a wide interval and not an error or 0."""
    return exp(min(max(logarithm, -_LARGEST_LOGARITHM), _LARGEST_LOGARITHM))
