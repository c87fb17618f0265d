"""The arithmetic of a deployment in plain numbers: device seconds, demand and a rate in, replicas and dollars out.

Nothing here knows a curve, a price list or an interval; callers evaluate the same functions at the ends of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pamprof.errors import UsageError
from pamprof.units import HOURS_PER_MONTH

SECONDS_PER_DAY = 86_400
HOURS_PER_DAY = 24
MILLION = 1_000_000
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What has to be served.

    Attributes:
        input_tokens: Prompt of a request.
        output_tokens: Generated tokens of a request.
        tokens_per_day: Input and output tokens of all requests together.
        peak_factor: The busiest moment's rate over the day's mean, at least 1.
        duty: Share of a replica's time that may be planned with at the peak, in (0, 1]; 1 plans without headroom.
        minimum_replicas: Never fewer, at least 1.
    """

    input_tokens: int
    output_tokens: int
    tokens_per_day: float
    peak_factor: float = 1.0
    duty: float = 1.0
    minimum_replicas: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.tokens_per_day < float("inf"):
            raise UsageError(f"a demand of {self.tokens_per_day:g} tokens a day has no bill; give a number above zero")
        if not 1 <= self.peak_factor < float("inf"):
            raise UsageError(f"a peak of {self.peak_factor:g} times the mean lies below the mean; give 1 or more")
        if not 0 < self.duty <= 1:
            raise UsageError(f"duty {self.duty:g} is not a share of the rented time; give a ratio above 0, at most 1")
        if self.minimum_replicas < 1:
            raise UsageError(f"{self.minimum_replicas} replicas serve nothing; give 1 or more")

    @property
    def tokens_per_request(self) -> int:
        """Input and output tokens of one request."""
        return self.input_tokens + self.output_tokens

    @property
    def requests_per_day(self) -> float:
        """Requests a day."""
        return self.tokens_per_day / self.tokens_per_request


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDollars:
    """USD per million tokens; input x its rate + output x its rate = the request's device time x the hourly rate.

    ``input_usd_per_million_tokens`` is None for requests without a prompt.
    """

    input_usd_per_million_tokens: float | None
    output_usd_per_million_tokens: float
    blended_usd_per_million_tokens: float

    def scaled(self, factor: float) -> TokenDollars:
        """All of them ``factor`` times as high."""
        own = self.input_usd_per_million_tokens
        return TokenDollars(
            input_usd_per_million_tokens=None if own is None else own * factor,
            output_usd_per_million_tokens=self.output_usd_per_million_tokens * factor,
            blended_usd_per_million_tokens=self.blended_usd_per_million_tokens * factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A demand met.

    Attributes:
        replica_count: Devices rented.
        busy_ratio: Share of the rented time that the demand takes in full batches, on average over the day.
        usd_per_month: Replicas x rate x 730 h, idle time included.
        usage: Dollars of the working time alone.
        allocation: Dollars of the rented time, idle included; equal to usage where ``busy_ratio`` is 1.
    """

    replica_count: int
    busy_ratio: float
    usd_per_month: float
    usage: TokenDollars
    allocation: TokenDollars


def token_dollars(prefill_seconds: float, decode_seconds: float, usd_per_hour: float, demand: Demand) -> TokenDollars:
    """Input and output priced by the device time each takes of one request, seconds."""
    usd_per_second = usd_per_hour / SECONDS_PER_HOUR
    return TokenDollars(
        input_usd_per_million_tokens=(
            prefill_seconds * usd_per_second / demand.input_tokens * MILLION if demand.input_tokens else None
        ),
        output_usd_per_million_tokens=decode_seconds * usd_per_second / demand.output_tokens * MILLION,
        blended_usd_per_million_tokens=(prefill_seconds + decode_seconds)
        * usd_per_second
        / demand.tokens_per_request
        * MILLION,
    )


def served(
    prefill_seconds: float, decode_seconds: float, usd_per_hour: float, demand: Demand, held_ratio: float = 1.0
) -> Served:
    """Replicas, bill and dollars per million tokens of a demand at a request's device seconds and an hourly rate.

    ``held_ratio`` is the share of a steady batch's rate that one device holds when requests arrive as they do.
    """
    device_seconds = prefill_seconds + decode_seconds
    peak_tokens_per_second = demand.tokens_per_day / SECONDS_PER_DAY * demand.peak_factor
    replica_tokens_per_second = demand.tokens_per_request / device_seconds * demand.duty * held_ratio
    count = max(demand.minimum_replicas, ceil(peak_tokens_per_second / replica_tokens_per_second))
    busy = demand.requests_per_day * device_seconds / (count * SECONDS_PER_DAY)
    usage = token_dollars(prefill_seconds, decode_seconds, usd_per_hour, demand)
    return Served(
        replica_count=count,
        busy_ratio=busy,
        usd_per_month=count * usd_per_hour * HOURS_PER_MONTH,
        usage=usage,
        allocation=usage.scaled(1 / busy),
    )


def replica_tokens_per_day(device_seconds: float, demand: Demand, held_ratio: float = 1.0) -> float:
    """The largest daily demand one replica carries at the demand's peak and duty, input and output tokens."""
    full = demand.tokens_per_request * demand.duty * SECONDS_PER_DAY / (device_seconds * demand.peak_factor)
    return full * held_ratio


def api_usd_per_token(input_usd_per_million: float, output_usd_per_million: float, demand: Demand) -> float:
    """What an API charges for a mean token of the demand's requests."""
    request = demand.input_tokens * input_usd_per_million + demand.output_tokens * output_usd_per_million
    return request / MILLION / demand.tokens_per_request


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """Demands from which own devices cost no more than a price per token; replicas come whole, so there are two.

    Attributes:
        first_tokens_per_day: The smallest such demand.
        lasting_tokens_per_day: From here on at every demand; before it a further replica may cost more for a while.
    """

    first_tokens_per_day: float
    lasting_tokens_per_day: float


def api_break_even(
    device_seconds: float, usd_per_hour: float, usd_per_token: float, demand: Demand, held_ratio: float = 1.0
) -> BreakEven | None:
    """When own replicas cost no more than paying ``usd_per_token``; None where they never are.

    A replica pays off at ``x`` tokens a day and carries ``c``. With n replicas own devices cost less from n x on,
    which lies within their capacity only if x <= c. The last step that begins above it, n x > (n - 1) c, is the
    largest n below c / (c - x).
    """
    if usd_per_token <= 0:
        return None
    pays = usd_per_hour * HOURS_PER_DAY / usd_per_token
    carries = replica_tokens_per_day(device_seconds, demand, held_ratio)
    if pays >= carries:
        return None
    last = max(demand.minimum_replicas, ceil(carries / (carries - pays)) - 1)
    return BreakEven(first_tokens_per_day=demand.minimum_replicas * pays, lasting_tokens_per_day=last * pays)
