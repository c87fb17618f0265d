"""The demand of ``pamprof cost`` under load: requests that arrive at random in its busiest moment, simulated.

A steady batch never waits and is always full. Here requests of the demand's own lengths arrive as a Poisson stream at
the peak's rate, and a device holds what keeps the percentile asked for within the limits. Everything that follows from
replicas (bills, break-evens, the demand a device carries) follows from the share of the steady rate that it holds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.analysis.serving.operating_point import OperatingPoint, Refusal
from pamprof.analysis.simulation.arm import ServerSettings
from pamprof.analysis.simulation.measured_times import End
from pamprof.analysis.simulation.metrics import Level
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.pricing.rates.hourly_rates import Rate
from pamprof.pricing.serving import defaults
from pamprof.pricing.serving.arithmetic import SECONDS_PER_DAY
from pamprof.pricing.serving.bill import Deployment, Held, bill_at
from pamprof.pricing.serving.load_study import LoadQuestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.serving.terms import Limits
    from pamprof.pricing.rates.hourly_rates import UnknownRate
    from pamprof.pricing.serving.arithmetic import Demand
    from pamprof.pricing.serving.load_study import ArmUnderLoad


def load_question(demand: Demand, limits: Limits, percentile: float) -> LoadQuestion:
    """What is simulated for a demand: as ``pamprof simulate --arrivals poisson:`` at the rate of its busiest moment."""
    drawn = draw_requests(
        defaults.REQUESTS,
        Arrivals(per_second=1.0),
        Lengths(mean=float(demand.input_tokens)),
        Lengths(mean=float(demand.output_tokens)),
        seed=defaults.SEED,
    )
    return LoadQuestion(
        requests=drawn.at_rate(demand.requests_per_day / SECONDS_PER_DAY * demand.peak_factor),
        level=Level(limits=limits, percentile=percentile),
        settings=ServerSettings(),
        minimum_replicas=demand.minimum_replicas,
        asked=demand,
        watched=(End.MEDIAN,),
    )


def deployed_under_load(arm: ArmUnderLoad, rates: Sequence[Rate | UnknownRate]) -> Deployment:
    """The arm's deployment with the replicas that its load needs.

    The steady one where nothing could be simulated: ``arm.refusal`` says why, and whoever shows it tells so.
    """
    steady, highest = arm.steady, arm.highest_per_second
    if arm.loaded is None:
        return steady
    if highest is None:
        limit = arm.highest[End.MEDIAN].bound
        return replace(steady, point=Refusal(limit=limit, sentence=arm.refusal), bills=())
    point = arm.loaded.point
    held = _held(arm, point)
    known = tuple(rate for rate in rates if isinstance(rate, Rate))
    return replace(
        steady, point=point, held=held, bills=tuple(bill_at(point, steady.demand, rate, held) for rate in known)
    )


def _held(arm: ArmUnderLoad, point: OperatingPoint) -> Held:
    seconds = point.device_seconds
    fast, median, slow = (arm.highest[end].requests_per_second for end in (End.FAST, End.MEDIAN, End.SLOW))
    middle = (median or 0.0) * seconds.median
    return Held(
        # Rates are found to 1 %: where the fast end holds none, it holds what the medians do.
        fast=middle if fast is None else fast * seconds.low,
        median=middle,
        slow=None if slow is None else slow * seconds.high,
    )
