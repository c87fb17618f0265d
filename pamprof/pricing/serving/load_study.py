"""What a demand costs when requests arrive as they do, beside the answer of a steady batch."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from pamprof.analysis.serving.operating_point import OperatingPoint
from pamprof.analysis.simulation.arm import LoadedArm, loaded_arm, mean_traffic, server_point
from pamprof.analysis.simulation.measured_times import End
from pamprof.errors import RecordError, UnsupportedError, UsageError
from pamprof.pricing.rates.hourly_rates import Rate, UnknownRate
from pamprof.pricing.serving.arithmetic import SECONDS_PER_DAY, Demand
from pamprof.pricing.serving.bill import Deployment, deploy
from pamprof.pricing.serving.fleet import CONSTANT_DEMAND, DayProfile, Fleet, fleet
from pamprof.records import Interval
from pamprof.units import significant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.comparison.results import Basis
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.simulation.arm import ServerSettings
    from pamprof.analysis.simulation.highest_rate import HighestRate
    from pamprof.analysis.simulation.metrics import Level, LoadMetrics
    from pamprof.analysis.simulation.requests import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadQuestion:
    """What is asked for.

    Attributes:
        requests: What arrives; its rate is the whole demand's, a day's mean.
        level: The service level.
        settings: How servers are run.
        profile: How the day is spread.
        minimum_replicas: Never fewer.
        replicas: So many, whatever they hold; None for as few as hold the level.
        asked: The demand of which ``requests`` are the busiest moment, where that is what was asked for.
        watched: Ends of the step times at which one replica's times are looked at.
    """

    requests: Requests
    level: Level
    settings: ServerSettings
    profile: DayProfile = CONSTANT_DEMAND
    minimum_replicas: int = 1
    replicas: int | None = None
    asked: Demand | None = None
    watched: tuple[End, ...] = tuple(End)

    def __post_init__(self) -> None:
        if self.replicas is not None and self.replicas < 1:
            raise UsageError(f"{self.replicas} replicas serve nothing; give 1 or more")

    @property
    def demand(self) -> Demand:
        """The same demand for a steady batch: requests of mean lengths, peak of the busiest hour."""
        if self.asked is not None:
            return self.asked
        traffic = mean_traffic(self.requests)
        return Demand(
            input_tokens=traffic.input_tokens,
            output_tokens=traffic.output_tokens,
            tokens_per_day=self.requests.per_second * SECONDS_PER_DAY * traffic.token_count,
            peak_factor=self.profile.peak_factor,
            minimum_replicas=self.minimum_replicas,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmUnderLoad:
    """One arm's answer.

    Attributes:
        title: The arm.
        steady: The answer of a steady batch for the same demand.
        loaded: The arm that was simulated; None where it could not be.
        refusal: Why there is no answer; empty where there is one.
        highest: By end of the step times' intervals.
        fleets: By end; empty where no rate holds the level at the medians, and without an end where none holds there.
        busiest: One replica's times in the busiest hour, by end.
        rate: What replicas are paid with; None where no rate is known.
        rate_refusal: Why none is; empty where one is.
    """

    title: str
    steady: Deployment
    loaded: LoadedArm | None
    refusal: str
    highest: Mapping[End, HighestRate]
    fleets: Mapping[End, Fleet]
    busiest: Mapping[End, LoadMetrics]
    rate: Rate | None
    rate_refusal: str

    @property
    def fleet(self) -> Fleet | None:
        """Replicas at the medians; None where no rate holds the level."""
        return self.fleets.get(End.MEDIAN)

    @property
    def metrics(self) -> LoadMetrics | None:
        """One replica's times in the busiest hour, at the medians."""
        return self.busiest.get(End.MEDIAN)

    @property
    def basis(self) -> Basis | None:
        """Of the least sure step time that was used."""
        return None if self.loaded is None else self.loaded.table.basis

    @property
    def confidence(self) -> float:
        """Of the intervals: that of the step times."""
        return 1.0 if self.loaded is None else self.loaded.point.device_seconds.confidence

    @property
    def open_ends(self) -> tuple[End, ...]:
        """Ends of the step times at which no rate holds the level, although one does at the medians."""
        return tuple(end for end in self.highest if self.fleets and end not in self.fleets)

    @property
    def highest_per_second(self) -> Interval | None:
        """The highest rate of one replica, slow to fast; None where none holds the level."""
        found = self.highest.get(End.MEDIAN)
        if found is None or found.requests_per_second is None:
            return None
        return self._over_ends({end: each.requests_per_second or 0.0 for end, each in self.highest.items()})

    @property
    def usd_per_month(self) -> Interval | None:
        """The bill over the interval of the step times; infinite above where no rate holds the level at their end."""
        if self.rate is None or self.fleet is None:
            return None
        hourly = self.rate.usd_per_hour
        return self._over_ends(
            {end: self.fleets[end].usd_per_month(hourly) if end in self.fleets else inf for end in self.highest}
        )

    @property
    def market_usd_per_month(self) -> Interval | None:
        """The same over the market's rates, too."""
        found, rate = self.usd_per_month, self.rate
        if found is None or rate is None:
            return None
        return Interval(
            low=found.low * rate.low / rate.usd_per_hour,
            median=found.median,
            high=found.high * rate.high / rate.usd_per_hour,
            confidence=found.confidence,
        )

    def _over_ends(self, values: Mapping[End, float]) -> Interval:
        median = values[End.MEDIAN]
        every = values.values()
        return Interval(low=min(every), median=median, high=max(every), confidence=self.confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStudy:
    """The answer of ``pamprof simulate``; arms with the highest rate first, those without an answer last."""

    question: LoadQuestion
    arms: tuple[ArmUnderLoad, ...]


def load_study(
    curves: Sequence[ServingCurve],
    question: LoadQuestion,
    rates_by_device: Mapping[str, tuple[Rate | UnknownRate, ...]],
) -> LoadStudy:
    """Simulate every arm.

    Raises:
        RecordError: No curve.
    """
    if not curves:
        raise RecordError("the records hold no serving curve; measure with pamprof serve-sweep")
    arms = [arm_under_load(curve, question, rates_by_device[curve.environment.device_name]) for curve in curves]
    return LoadStudy(question=question, arms=tuple(sorted(arms, key=_order)))


def _order(arm: ArmUnderLoad) -> tuple[bool, float]:
    highest = arm.highest_per_second
    return highest is None, 0.0 if highest is None else -highest.median


def arm_under_load(curve: ServingCurve, question: LoadQuestion, rates: tuple[Rate | UnknownRate, ...]) -> ArmUnderLoad:
    """Simulate one arm."""
    steady = deploy(curve, question.demand, question.level.limits, rates)
    rate = next((rate for rate in rates if isinstance(rate, Rate)), None)
    unpaid = "" if rate is not None else next((each.reason for each in rates if isinstance(each, UnknownRate)), "none")
    limits = question.level.limits
    point = server_point(curve, mean_traffic(question.requests), limits) if steady.feasible is None else steady.feasible

    def refused(reason: str) -> ArmUnderLoad:
        return ArmUnderLoad(
            title=curve.title,
            steady=steady,
            loaded=None,
            refusal=reason,
            highest={},
            fleets={},
            busiest={},
            rate=rate,
            rate_refusal=unpaid,
        )

    if not isinstance(point, OperatingPoint):
        return refused(point.sentence)
    try:
        loaded = loaded_arm(curve, point, question.requests, question.level, question.settings)
        highest = _highest(loaded)
        fleets = {} if highest[End.MEDIAN].requests_per_second is None else _fleets(question, highest)
        replicas = question.replicas or (fleets[End.MEDIAN].largest if fleets else None)
        share = 0.0 if replicas is None else question.requests.per_second * question.profile.peak_factor / replicas
        busiest = {end: loaded.metrics(share, end) for end in question.watched} if share else {}
    except UnsupportedError as exc:
        return refused(f"unknown: {exc}")
    return ArmUnderLoad(
        title=curve.title,
        steady=steady,
        loaded=loaded,
        refusal="" if fleets else _none_holds(highest),
        highest=highest,
        fleets=fleets,
        busiest=busiest,
        rate=rate,
        rate_refusal=unpaid,
    )


def _none_holds(highest: Mapping[End, HighestRate]) -> str:
    fast = highest[End.FAST].requests_per_second
    but = (
        ""
        if fast is None
        else f", but for {significant(fast)}/s with all step times at the fast end of their intervals"
    )
    return f"infeasible: {highest[End.MEDIAN].bound}, missed at every rate tried{but}"


def _highest(loaded: LoadedArm) -> dict[End, HighestRate]:
    median = loaded.highest_rate()
    near = median.requests_per_second
    return {end: median if end is End.MEDIAN else loaded.highest_rate(end, near) for end in End}


def _fleets(question: LoadQuestion, highest: Mapping[End, HighestRate]) -> dict[End, Fleet]:
    rate, profile = question.requests.per_second, question.profile
    if question.replicas is not None:
        given = question.replicas
        same = Fleet(hourly=(given,) * len(profile.factors), replica_hours_per_day=float(given * len(profile.factors)))
        return dict.fromkeys(End, same)
    return {
        end: fleet(rate, found.requests_per_second * question.demand.duty, profile, question.minimum_replicas)
        for end, found in highest.items()
        if found.requests_per_second is not None
    }
