"""Replicas of a demand that changes over the day: started ahead of when they are needed, rented by the hour."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pamprof.errors import UsageError
from pamprof.pricing.serving.arithmetic import HOURS_PER_DAY, SECONDS_PER_HOUR
from pamprof.units import HOURS_PER_MONTH

_SECONDS_PER_DAY = HOURS_PER_DAY * SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class DayProfile:
    """A day's demand.

    Attributes:
        factors: Each hour's rate over the day's mean, 24 of them; their mean is 1.
        start_up_seconds: From the order of a replica to its first request; it is paid for from the order on.
    """

    factors: tuple[float, ...]
    start_up_seconds: float = 0.0

    @classmethod
    def of(cls, shares: tuple[float, ...], start_up_seconds: float = 0.0) -> DayProfile:
        """From 24 numbers in any unit, in proportion to which the hours are busy.

        Raises:
            UsageError: Not 24 numbers of 0 or more, or all are 0; a start-up of a day or more.
        """
        if len(shares) != HOURS_PER_DAY or any(not 0 <= share < float("inf") for share in shares) or not sum(shares):
            raise UsageError(
                f"a day's profile of {len(shares)} numbers is none; give 24 of 0 or more, one an hour, not all 0"
            )
        if not 0 <= start_up_seconds < _SECONDS_PER_DAY:
            raise UsageError(f"a start-up of {start_up_seconds:g} s is no part of a day; give 0 s to less than a day")
        mean = sum(shares) / HOURS_PER_DAY
        return cls(factors=tuple(share / mean for share in shares), start_up_seconds=start_up_seconds)

    @property
    def peak_factor(self) -> float:
        """The busiest hour's rate over the mean."""
        return max(self.factors)


CONSTANT_DEMAND = DayProfile(factors=(1.0,) * HOURS_PER_DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Replicas of a day.

    Attributes:
        hourly: Needed in each hour.
        replica_hours_per_day: Paid for, start-up included.
    """

    hourly: tuple[int, ...]
    replica_hours_per_day: float

    @property
    def largest(self) -> int:
        """Replicas of the busiest hour."""
        return max(self.hourly)

    @property
    def smallest(self) -> int:
        """Replicas of the quietest hour."""
        return min(self.hourly)

    def usd_per_month(self, usd_per_hour: float) -> float:
        """At a rate of one replica."""
        return self.replica_hours_per_day / HOURS_PER_DAY * HOURS_PER_MONTH * usd_per_hour


def fleet(requests_per_second: float, highest_per_second: float, profile: DayProfile, minimum_replicas: int) -> Fleet:
    """The fewest replicas that hold the level in every hour.

    A replica of n gets every n-th part of the requests at random. The day is known ahead, so each replica is ordered
    its start-up time before the hour that needs it and stays until no hour within the next start-up time does.

    Args:
        requests_per_second: The day's mean.
        highest_per_second: What one replica carries within the level, above 0.
        profile: How the day is spread.
        minimum_replicas: Never fewer.
    """
    hourly = tuple(
        max(minimum_replicas, ceil(round(requests_per_second * factor / highest_per_second, 9)))
        for factor in profile.factors
    )
    ahead = profile.start_up_seconds / SECONDS_PER_HOUR
    whole, part = int(ahead), ahead % 1
    hours = 0.0
    for hour in range(HOURS_PER_DAY):
        # Until `part` before its end an hour looks `whole` hours ahead, then one more.
        near = max(hourly[(hour + later) % HOURS_PER_DAY] for later in range(whole + 1))
        hours += (1 - part) * near + part * max(near, hourly[(hour + whole + 1) % HOURS_PER_DAY])
    return Fleet(hourly=hourly, replica_hours_per_day=hours)
