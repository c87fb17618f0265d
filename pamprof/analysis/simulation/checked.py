"""A load as it was served beside what was predicted of it, both judged in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.metrics import Level, measure_load
from pamprof.analysis.simulation.outcome import Outcome
from pamprof.analysis.simulation.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.simulation.metrics import LoadMetrics, Percentiles
    from pamprof.records import ServeCheck

QUANTITIES = {
    "seconds_to_first_token": "to first token",
    "seconds_per_output_token": "per output token",
    "end_to_end_seconds": "end to end",
}
PERCENTILE_NAMES = ("p50", "p95", "p99")
_FEWEST = 2
# The 99th percentile of fewer requests is their slowest one.
_FEWEST_FOR_P99 = 100
# Steps this much longer or shorter than by the step times of the prediction are of a machine that was busy.
_BUSY_RATIO = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One time of one percentile: as served and as predicted, seconds; None where no request has it."""

    quantity: str
    percentile: str
    measured: float | None
    predicted: float | None

    @property
    def error(self) -> float | None:
        """The prediction less the measurement, over the measurement."""
        if self.measured is None or self.predicted is None or not self.measured:
            return None
        return self.predicted / self.measured - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLoad:
    """A record and what follows from it.

    Attributes:
        check: The record.
        measured, predicted: All times of the requests that were served.
        measured_metrics, predicted_metrics: Judged by the limits; None where too few were served.
    """

    check: ServeCheck
    measured: Outcome
    predicted: Outcome
    measured_metrics: LoadMetrics | None
    predicted_metrics: LoadMetrics | None

    @property
    def rows(self) -> tuple[Compared, ...]:
        """Every percentile of every time; the 99th without values where too few requests say anything of it."""
        known = PERCENTILE_NAMES if self.counted >= _FEWEST_FOR_P99 else PERCENTILE_NAMES[:-1]
        return tuple(
            Compared(
                quantity=quantity,
                percentile=percentile,
                measured=_value(self.measured_metrics, quantity, percentile) if percentile in known else None,
                predicted=_value(self.predicted_metrics, quantity, percentile) if percentile in known else None,
            )
            for quantity in QUANTITIES
            for percentile in PERCENTILE_NAMES
        )

    @property
    def counted(self) -> int:
        """Requests that metrics count."""
        return len(self.measured.requests) - self.measured.requests.measured_from

    @property
    def step_ratio(self) -> float | None:
        """How long the steps that ran took over what the prediction has for them; None where unknown."""
        expected = self.check.expected_seconds
        return self.check.busy_seconds / expected if expected else None

    @property
    def was_busy(self) -> bool:
        """Whether the machine did something else, too, while it served or while its steps were timed."""
        ratio = self.step_ratio
        return ratio is not None and not 1 / _BUSY_RATIO <= ratio <= _BUSY_RATIO

    @property
    def judged(self) -> tuple[Compared, ...]:
        """The known percentiles of the times to the first and per output token."""
        return tuple(row for row in self.rows if row.error is not None and row.quantity != "end_to_end_seconds")

    @property
    def largest_error(self) -> Compared | None:
        """The one that lies furthest from its prediction."""
        known = self.judged
        return max(known, key=lambda row: abs(row.error or 0.0), default=None)

    @property
    def host_ratio(self) -> float:
        """Share of the busy time in which the loop itself ran and no step."""
        return 1 - self.check.device_seconds / self.check.busy_seconds if self.check.busy_seconds else 0.0


def _value(metrics: LoadMetrics | None, quantity: str, percentile: str) -> float | None:
    if metrics is None:
        return None
    percentiles: Percentiles = getattr(metrics, quantity)
    value: float | None = getattr(percentiles, percentile)
    return None if value == float("inf") else value


def checked_load(check: ServeCheck) -> CheckedLoad:
    """Both sides of a record; of an interrupted one the requests that were served, and those alone."""
    import numpy as np

    served = np.array([value is not None for value in check.finish_seconds])
    if not check.interrupted:
        served[:] = True  # who was refused is in both
    kept = np.flatnonzero(served)
    requests = Requests(
        arrival_seconds=np.array(check.arrival_seconds)[kept],
        input_tokens=np.array(check.input_tokens)[kept],
        output_tokens=np.array(check.output_tokens)[kept],
        per_second=check.requests_per_second,
        measured_from=int((kept < check.measured_from).sum()),
    )

    def outcome(first: Sequence[float | None], finish: Sequence[float | None]) -> Outcome:
        times = [np.array([np.inf if value is None else value for value in of])[kept] for of in (first, finish)]
        return Outcome(
            requests=requests,
            admitted_seconds=times[0],
            first_seconds=times[0],
            finish_seconds=times[1],
            busy_seconds=check.busy_seconds,
            prompt_seconds=0.0,
            decoded_tokens=check.token_count,
            decode_steps=check.decode_step_count,
            preemptions=check.preemption_count,
            refused=int((~np.isfinite(times[1])).sum()),
            timeline=(),
        )

    measured = outcome(check.first_seconds, check.finish_seconds)
    predicted = outcome(check.prediction.first_seconds, check.prediction.finish_seconds)
    level = Level(
        limits=Limits(
            seconds_per_output_token=check.limit_seconds_per_output_token,
            seconds_to_first_token=check.limit_seconds_to_first_token,
        ),
        percentile=check.percentile,
    )
    enough = len(kept) - requests.measured_from >= _FEWEST
    return CheckedLoad(
        check=check,
        measured=measured,
        predicted=predicted,
        measured_metrics=measure_load(measured, level) if enough else None,
        predicted_metrics=measure_load(predicted, level) if enough else None,
    )
