"""Percentiles, goodput and busy share of a simulation, and whether it holds a service level."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pamprof.analysis.serving.terms import Limits
    from pamprof.analysis.simulation.outcome import Outcome

PERCENTILES = (50.0, 95.0, 99.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A service level under load: ``percentile`` per cent of the requests (0 to 100) are within ``limits``."""

    limits: Limits
    percentile: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Seconds at the 50th, 95th and 99th percentile; None where no request has such a time."""

    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadMetrics:
    """What users and owner of one server see at one rate.

    Attributes:
        requests_per_second: Rate of arrivals.
        seconds_to_first_token, seconds_per_output_token, end_to_end_seconds: Of the measured requests.
        level_seconds_to_first_token, level_seconds_per_output_token: At the level's percentile; the latter None where
            answers have one token.
        holds: Whether both are within the limits.
        good_ratio: Share of the measured requests that are within both limits.
        good_requests_per_second: The rate times that share.
        busy_ratio: Share of the time in which the device worked, from the first arrival to the last token.
        prompt_ratio: Share of its work in which prompts were read.
        mean_batch: Sequences that a decode step carried.
        preemptions: How often a sequence lost its cache and was read again.
        refused: Requests too long for the memory.
        reused_ratio: Share of the prompts' tokens that were not read, because a prefix was kept.
    """

    requests_per_second: float
    seconds_to_first_token: Percentiles
    seconds_per_output_token: Percentiles
    end_to_end_seconds: Percentiles
    level_seconds_to_first_token: float | None
    level_seconds_per_output_token: float | None
    holds: bool
    good_ratio: float
    good_requests_per_second: float
    busy_ratio: float
    prompt_ratio: float
    mean_batch: float
    preemptions: int
    refused: int
    reused_ratio: float


def quantile(values: NDArray[np.float64], percentile: float) -> float | None:
    """The smallest value that ``percentile`` per cent of them do not exceed; None without values."""
    import numpy as np

    known = values[~np.isnan(values)]
    return float(np.percentile(known, percentile, method="inverted_cdf")) if len(known) else None


def measure_load(outcome: Outcome, level: Level) -> LoadMetrics:
    """Judge a simulation by a service level."""
    import numpy as np

    first, each = outcome.seconds_to_first_token, outcome.seconds_per_output_token
    limits = level.limits
    at_first, at_each = quantile(first, level.percentile), quantile(each, level.percentile)
    good = (first <= limits.seconds_to_first_token) & (np.isnan(each) | (each <= limits.seconds_per_output_token))
    rate = outcome.requests.per_second
    span = outcome.span_seconds
    return LoadMetrics(
        requests_per_second=rate,
        seconds_to_first_token=_percentiles(first),
        seconds_per_output_token=_percentiles(each),
        end_to_end_seconds=_percentiles(outcome.end_to_end_seconds),
        level_seconds_to_first_token=at_first,
        level_seconds_per_output_token=at_each,
        holds=_within(at_first, limits.seconds_to_first_token) and _within(at_each, limits.seconds_per_output_token),
        good_ratio=float(good.mean()),
        good_requests_per_second=rate * float(good.mean()),
        busy_ratio=outcome.busy_seconds / span if span else 0.0,
        prompt_ratio=outcome.prompt_seconds / outcome.busy_seconds if outcome.busy_seconds else 0.0,
        mean_batch=outcome.decoded_tokens / outcome.decode_steps if outcome.decode_steps else 0.0,
        preemptions=outcome.preemptions,
        refused=outcome.refused,
        reused_ratio=outcome.reused_tokens / max(1, int(outcome.requests.input_tokens.sum())),
    )


def _percentiles(values: NDArray[np.float64]) -> Percentiles:
    p50, p95, p99 = (quantile(values, percentile) for percentile in PERCENTILES)
    return Percentiles(p50=p50, p95=p95, p99=p99)


def _within(found: float | None, limit: float) -> bool:
    return found is None or (not isnan(found) and found <= limit)
