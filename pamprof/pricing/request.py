"""The price of a request: input and output tokens by the share of device time each takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.errors import PriceError
from pamprof.pricing.run_cost import MILLION, SECONDS_PER_HOUR, as_quote, check_share, check_throughput
from pamprof.records import Interval

if TYPE_CHECKING:
    from decimal import Decimal

    from pamprof.records import PriceQuote


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCost:
    """A request's dollars, split by the device time its two halves take.

    Attributes:
        input_usd_per_million_tokens: Prompt tokens at prefill throughput.
        output_usd_per_million_tokens: Generated tokens at decode throughput.
        blended_usd_per_million_tokens: All tokens of the request.
        device_seconds: Time the request takes of one device.
        usd: Its bill: input tokens x input rate + output tokens x output rate = device seconds x rate per second.
    """

    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    blended_usd_per_million_tokens: float
    device_seconds: float
    usd: float


def request_cost(
    price: PriceQuote | Decimal | float,
    *,
    input_tokens: int,
    output_tokens: int,
    input_tokens_per_second: float,
    output_tokens_per_second: float,
    utilisation: float = 1.0,
) -> RequestCost:
    """Split a request's device time into prices of its input and output tokens; the two add up to its bill.

    Args:
        price: A quote, or USD per device-hour.
        input_tokens: Prompt length.
        output_tokens: Generated length.
        input_tokens_per_second: Prefill throughput of the device, all sequences of the batch together.
        output_tokens_per_second: Decode throughput of the device, likewise.
        utilisation: Share of the rented time the device works, in (0, 1].

    Raises:
        PriceError: A count below zero, no tokens at all, or a throughput or utilisation that cannot be.
    """
    if input_tokens < 0 or output_tokens < 0 or input_tokens + output_tokens == 0:
        raise PriceError(
            f"a request of {input_tokens} input and {output_tokens} output tokens has no price; give counts"
        )
    check_throughput(Interval.exact(input_tokens_per_second))
    check_throughput(Interval.exact(output_tokens_per_second))
    check_share(utilisation, "utilisation")
    usd_per_second = float(as_quote(price).chosen.usd_per_device_hour) / SECONDS_PER_HOUR / utilisation
    device_seconds = input_tokens / input_tokens_per_second + output_tokens / output_tokens_per_second
    usd = device_seconds * usd_per_second
    return RequestCost(
        input_usd_per_million_tokens=usd_per_second / input_tokens_per_second * MILLION,
        output_usd_per_million_tokens=usd_per_second / output_tokens_per_second * MILLION,
        blended_usd_per_million_tokens=usd / (input_tokens + output_tokens) * MILLION,
        device_seconds=device_seconds,
        usd=usd,
    )
