"""A curve, a demand and a rate become replicas, a monthly bill and dollars per million tokens, each with its interval.

Two uncertainties travel separately: the interval at the chosen rate is the measurement's, the market span runs from the
lowest comparable rate at the fast end to the highest at the slow end. A modelled time makes every dollar modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from pamprof.analysis.serving.operating_point import OperatingPoint, Refusal, operating_point
from pamprof.analysis.serving.terms import Limits, Traffic
from pamprof.pricing.rates.hourly_rates import Rate, UnknownRate
from pamprof.pricing.serving.arithmetic import (
    BreakEven,
    Demand,
    Served,
    api_break_even,
    api_usd_per_token,
    replica_tokens_per_day,
    served,
)
from pamprof.records import Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamprof.analysis.serving.terms import Curve
    from pamprof.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The share of a steady batch's rate that one device holds under load, by end of the step times.

    Attributes:
        fast, median, slow: All 1 in a steady batch; ``slow`` None where no rate holds the service level there.
    """

    fast: float = 1.0
    median: float = 1.0
    slow: float | None = 1.0


STEADY = Held()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A demand met at one rate.

    Attributes:
        rate: The way of paying.
        served: At the medians.
        fast, slow: At the ends of the device time's interval, same rate; ``slow`` None where nothing serves there.
        cheapest, most_expensive: At the fast end and the market's lowest rate, at the slow end and its highest; the
            latter None like ``slow``.
    """

    rate: Rate
    served: Served
    fast: Served
    slow: Served | None
    cheapest: Served
    most_expensive: Served | None

    def interval(self, of: Callable[[Served], float], confidence: float) -> Interval:
        """Any number of the bill with the measurement's interval, at the chosen rate; infinite above where open."""
        return _ordered(of(self.fast), of(self.served), inf if self.slow is None else of(self.slow), confidence)

    def market(self, of: Callable[[Served], float], confidence: float) -> Interval:
        """Any number of the bill over measurement and market together; infinite above where open."""
        most = inf if self.most_expensive is None else of(self.most_expensive)
        return _ordered(of(self.cheapest), of(self.served), most, confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One arm under one demand.

    Attributes:
        curve: The arm's serving curve, with the runs every dollar comes from.
        demand: What is served.
        limits: The service level.
        point: The batch it runs at, or why there is none.
        bills: One for each known rate, on demand (or the user's own) first; empty where infeasible.
        held: What of a steady batch's rate one device is taken to hold.
    """

    curve: Curve
    demand: Demand
    limits: Limits
    point: OperatingPoint | Refusal
    bills: tuple[Bill, ...]
    held: Held = STEADY

    @property
    def feasible(self) -> OperatingPoint | None:
        """The operating point; None where there is none."""
        return self.point if isinstance(self.point, OperatingPoint) else None

    @property
    def bill(self) -> Bill | None:
        """At the first rate, the one conclusions are drawn from."""
        return self.bills[0] if self.bills else None

    @property
    def capacity_tokens_per_day(self) -> float | None:
        """What one replica carries at the demand's peak and duty."""
        point = self.feasible
        return (
            None
            if point is None
            else replica_tokens_per_day(point.device_seconds.median, self.demand, self.held.median)
        )


def deploy(
    curve: Curve, demand: Demand, limits: Limits, rates: Sequence[Rate | UnknownRate], held: Held = STEADY
) -> Deployment:
    """Put one arm at its best batch within the limits and price the demand at every rate."""
    traffic = Traffic(input_tokens=demand.input_tokens, output_tokens=demand.output_tokens)
    point = operating_point(curve, traffic, limits)
    known = tuple(rate for rate in rates if isinstance(rate, Rate)) if isinstance(point, OperatingPoint) else ()
    return Deployment(
        curve=curve,
        demand=demand,
        limits=limits,
        point=point,
        bills=tuple(bill_at(point, demand, rate, held) for rate in known if isinstance(point, OperatingPoint)),
        held=held,
    )


def bill_at(point: OperatingPoint, demand: Demand, rate: Rate, held: Held = STEADY) -> Bill:
    """The demand's bill at one operating point and one rate."""
    prefill, decode = point.prefill_seconds, point.decode_seconds

    def slowly(usd_per_hour: float) -> Served | None:
        return None if held.slow is None else served(prefill.high, decode.high, usd_per_hour, demand, held.slow)

    return Bill(
        rate=rate,
        served=served(prefill.median, decode.median, rate.usd_per_hour, demand, held.median),
        fast=served(prefill.low, decode.low, rate.usd_per_hour, demand, held.fast),
        slow=slowly(rate.usd_per_hour),
        cheapest=served(prefill.low, decode.low, rate.low, demand, held.fast),
        most_expensive=slowly(rate.high),
    )


def break_even_against_api(deployment: Deployment, input_usd: float, output_usd: float) -> BreakEven | None:
    """Demands from which the deployment costs no more than an API at USD per million tokens in and out.

    None where it never does, or is infeasible.
    """
    point, bill = deployment.feasible, deployment.bill
    if point is None or bill is None:
        return None
    return api_break_even(
        point.device_seconds.median,
        bill.rate.usd_per_hour,
        api_usd_per_token(input_usd, output_usd, deployment.demand),
        deployment.demand,
        deployment.held.median,
    )


def equal_bills_up_to(first: Deployment, second: Deployment) -> float | None:
    """The daily demand up to which both arms need the minimum of replicas and so cost the same, tokens.

    None where one is infeasible or the two are rented at different rates.
    """
    capacities = (first.capacity_tokens_per_day, second.capacity_tokens_per_day)
    if first.bill is None or second.bill is None or None in capacities:
        return None
    if first.bill.rate.usd_per_hour != second.bill.rate.usd_per_hour:
        return None
    return first.demand.minimum_replicas * min(capacity for capacity in capacities if capacity is not None)


def measured_watts(runs: Sequence[Run]) -> float | None:
    """The highest mean power of a monitored run, watts; None where power was not sampled."""
    means = [
        sum(series.values) / len(series.values)
        for run in runs
        if run.monitor is not None
        for series in run.monitor.series
        if series.signal == "power_watts" and series.values
    ]
    return max(means, default=None)


def _ordered(low: float, median: float, high: float, confidence: float) -> Interval:
    # Whole replicas make the cost of rented time jump, so that the fast end may cost more per token than the middle.
    return Interval(low=min(low, median, high), median=median, high=max(low, median, high), confidence=confidence)
