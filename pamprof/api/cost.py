"""``pamprof.cost``: a throughput and a device become dollars per million tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.api.prices import ON_DEMAND, price_lookup
from pamprof.errors import PriceError

if TYPE_CHECKING:
    from pathlib import Path

    from pamprof.pricing.run_cost import Cost


def cost(
    *,
    tokens_per_second: float,
    gpu: str | None = None,
    price: float | str | None = None,
    prices: str | Path | None = None,
    provider: str | None = None,
    instance: str | None = None,
    purchase_option: str = ON_DEMAND,
) -> Cost:
    """Dollars per million tokens of one GPU, and the rate they rest on.

    ``cost(...).usd_per_million_tokens.median`` is the amount; ``.at_lowest_rate`` and ``.at_highest_rate`` are what the
    market's spread makes of it; ``.price`` has provider, instance, region, date and source of the rate.

    Args:
        tokens_per_second: Of one device.
        gpu: The device, such as ``H100-SXM``; it may be left out with ``price``.
        price: Your rate of one device, USD per hour; nothing is then looked up.
        prices: Your price list, CSV as ``pamprof prices list --csv`` prints it.
        provider: Of the rate, such as ``aws``. Default: the median provider.
        instance: Only this machine of the provider.
        purchase_option: ``on-demand``, ``spot``, or a committed option of the price list.

    Raises:
        PriceError: The device is unknown or has no rate, or a number from which no price follows.
    """
    from pamprof.pricing.run_cost import cost_per_million_tokens
    from pamprof.records import Interval

    if gpu is None and price is None:
        raise PriceError("no device and no price; give gpu=, such as H100-SXM, or price= in USD per device-hour")
    look_up = price_lookup(
        price=price,
        prices=prices,
        gpu=gpu,
        provider=provider,
        instance=instance,
        purchase_option=purchase_option,
    )
    quote, reason = look_up("cuda", gpu or "unnamed device", None, None)
    if quote is None:
        raise PriceError(reason or f"no rate of {gpu} is known; give price= in USD per device-hour")
    return cost_per_million_tokens(quote, Interval.exact(tokens_per_second))
