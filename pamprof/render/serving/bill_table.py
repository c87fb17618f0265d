"""The monthly bills of a cost study as a table, with what an API would have to charge to be the cheaper one."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.pricing.rates.hourly_rates import Rate
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import brackets

if TYPE_CHECKING:
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.bill import Bill, Deployment
    from pamprof.pricing.serving.study import Request, SizeClass, StudyArm
    from pamprof.records import Interval

OPEN = "open"


def bill_table(found: SizeClass, request: Request, name: str) -> TableView | None:
    """Every arm under every way of paying; None where nothing is feasible."""
    if not any(arm.deployment.bills for arm in found.arms):
        return None
    unknown = tuple(f"{rate.option}: unknown, {rate.reason}" for rate in found.rates if not isinstance(rate, Rate))
    api = request.api_usd_per_million
    return TableView(
        title=f"Monthly bills, {name}",
        summary=(
            f"{request.currency.code} for 730 hours: [interval of the device time], then over the market's rates too."
        ),
        columns=(
            "arm",
            "paid",
            "a device-hour",
            "replicas",
            "a month",
            "over the market",
            "with idle time, a million",
            "basis",
        ),
        right=frozenset({2, 3, 4, 5, 6}),
        rows=tuple(
            _bill_row(arm.deployment, bill, request.currency) for arm in found.arms for bill in arm.deployment.bills
        ),
        notes=(
            *(f"{rate.option}: {rate.provenance}" for rate in found.rates if isinstance(rate, Rate)),
            *unknown,
            *((_api_words(arm, api, request.currency) for arm in found.arms) if api is not None else ()),
        ),
    )


def _bill_row(deployment: Deployment, bill: Bill, currency: Currency) -> tuple[str, ...]:
    point = deployment.feasible
    confidence = point.device_seconds.confidence if point is not None else 0.0
    month = bill.interval(lambda s: s.usd_per_month, confidence)
    market = bill.market(lambda s: s.usd_per_month, confidence)
    return (
        deployment.curve.title,
        bill.rate.option,
        currency.rate_text(bill.rate.usd_per_hour),
        replica_words(bill),
        money(month, currency),
        market_words(market, currency),
        currency.text(bill.served.allocation.blended_usd_per_million_tokens),
        units.UNKNOWN if point is None else point.basis.value,
    )


def _api_words(arm: StudyArm, api: tuple[float, float], currency: Currency) -> str:
    title = arm.deployment.curve.title
    price = f"an API at {currency.text(api[0])} in and {currency.text(api[1])} out per million"
    if arm.break_even is None:
        return f"{title}: never cheaper than {price}"
    first, lasting = arm.break_even.first_tokens_per_day, arm.break_even.lasting_tokens_per_day
    words = f"{title}: no more expensive than {price} from {units.si(first)} tokens a day"
    words = words if first == lasting else f"{words}, at every demand from {units.si(lasting)}"
    point = arm.deployment.feasible
    return words if point is None else f"{words} ({point.basis})"


def replica_words(bill: Bill) -> str:
    """``45 [44, 46]``, the interval where the measurement leaves one."""
    count, fast = bill.served.replica_count, bill.fast.replica_count
    if bill.slow is None:
        return f"{units.whole(count)} [{units.whole(fast)}, {OPEN}]"
    low, high = sorted((fast, bill.slow.replica_count))
    return units.whole(count) if low == high else f"{units.whole(count)} [{units.whole(low)}, {units.whole(high)}]"


def money(interval: Interval, currency: Currency) -> str:
    """``$0.412 [0.410, 0.415]``; ``open`` where the interval has no upper end."""

    def end(value: float) -> str:
        return OPEN if isinf(value) else currency.text(value).replace("$", "").replace(f"{currency.code} ", "")

    return f"{currency.text(interval.median)} {brackets(interval, end)}".rstrip()


def market_words(market: Interval, currency: Currency) -> str:
    """``$2 596 to $9 672``, or ``and more``."""
    return f"{currency.text(market.low)} {'and more' if isinf(market.high) else f'to {currency.text(market.high)}'}"
