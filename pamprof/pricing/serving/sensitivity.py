"""What moves the monthly bill most: every input a fifth lower and higher, all else equal, the largest swing first.

Replicas come whole, so an input may move the use of the rented time and not the bill; both are kept. Under load a
device is taken to hold the same share of a steady batch's rate after the change as before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import least_sure
from pamprof.analysis.serving.changed_curve import faster_curve
from pamprof.errors import UsageError
from pamprof.pricing.rates.hourly_rates import Rate, owned_rate
from pamprof.pricing.serving.bill import Deployment, deploy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.analysis.comparison.results import Basis
    from pamprof.pricing.rates.hourly_rates import Owned

CHANGE = 0.2


class Input(StrEnum):
    """What may be lower or higher; ``owned`` are inputs of hardware of one's own."""

    PRICE = "price"
    THROUGHPUT = "throughput"
    TOKENS_PER_DAY = "tokens per day"
    PEAK_FACTOR = "peak over mean"
    INPUT_TOKENS = "input tokens"
    OUTPUT_TOKENS = "output tokens"
    DUTY = "duty"
    TIME_PER_OUTPUT_TOKEN = "time per output token allowed"
    TIME_TO_FIRST_TOKEN = "time to first token allowed"
    OWNED_CAPITAL = "owned: price of the device"
    OWNED_LIFE = "owned: years of life"
    OWNED_ELECTRICITY = "owned: electricity price"
    OWNED_PUE = "owned: PUE"
    OWNED_POWER = "owned: power"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedBill:
    """A bill after a change: USD a month and per million tokens of working time; None with the reason without one."""

    usd_per_month: float | None
    usage_usd_per_million_tokens: float | None
    basis: Basis | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """One input, a fifth lower and a fifth higher; ``swing_usd`` is the larger distance of the bill from today's."""

    name: Input
    lower: ChangedBill
    higher: ChangedBill
    swing_usd: float
    usage_swing_ratio: float

    @property
    def basis(self) -> Basis | None:
        """That of the less sure of its bills; None without any."""
        found = [bill.basis for bill in (self.lower, self.higher) if bill.basis is not None]
        return least_sure(*found) if found else None


def sensitivities(deployment: Deployment, owned: Owned | None = None) -> tuple[Sensitivity, ...]:
    """All of them for the first rate; with ``owned`` hardware the changes of its inputs, at its own rate.

    Empty where the deployment is infeasible.
    """
    bill = deployment.bill
    if bill is None:
        return ()
    found = [
        _sensitivity(name, deployment, bill.rate, change) for name, change in _changes(deployment, bill.rate).items()
    ]
    if owned is not None:
        found += [
            _sensitivity(name, deployment, owned_rate(owned), _at_owned_rate(deployment, change))
            for name, change in _owned_changes(owned).items()
        ]
    return tuple(sorted(found, key=lambda row: (-row.swing_usd, -row.usage_swing_ratio, row.name)))


def _changes(deployment: Deployment, rate: Rate) -> dict[Input, Callable[[float], tuple[Deployment, Rate]]]:
    demand, limits = deployment.demand, deployment.limits

    def with_demand(**changes: float) -> tuple[Deployment, Rate]:
        return replace(deployment, demand=replace(demand, **changes)), rate  # type: ignore[arg-type]

    changes: dict[Input, Callable[[float], tuple[Deployment, Rate]]] = {
        Input.PRICE: lambda f: (deployment, replace(rate, usd_per_hour=rate.usd_per_hour * f)),
        Input.THROUGHPUT: lambda f: (replace(deployment, curve=faster_curve(deployment.curve, f)), rate),
        Input.TOKENS_PER_DAY: lambda f: with_demand(tokens_per_day=demand.tokens_per_day * f),
        Input.PEAK_FACTOR: lambda f: with_demand(peak_factor=max(1.0, demand.peak_factor * f)),
        Input.OUTPUT_TOKENS: lambda f: with_demand(output_tokens=max(1, round(demand.output_tokens * f))),
        Input.DUTY: lambda f: with_demand(duty=min(1.0, demand.duty * f)),
        Input.TIME_PER_OUTPUT_TOKEN: lambda f: (
            replace(deployment, limits=replace(limits, seconds_per_output_token=limits.seconds_per_output_token * f)),
            rate,
        ),
        Input.TIME_TO_FIRST_TOKEN: lambda f: (
            replace(deployment, limits=replace(limits, seconds_to_first_token=limits.seconds_to_first_token * f)),
            rate,
        ),
    }
    if demand.input_tokens:
        changes[Input.INPUT_TOKENS] = lambda f: with_demand(input_tokens=round(demand.input_tokens * f))
    return changes


def _owned_changes(owned: Owned) -> dict[Input, Callable[[float], Owned]]:
    return {
        Input.OWNED_CAPITAL: lambda f: replace(owned, capital_usd=owned.capital_usd * f),
        Input.OWNED_LIFE: lambda f: replace(owned, life_years=owned.life_years * f),
        Input.OWNED_ELECTRICITY: lambda f: replace(owned, usd_per_kilowatt_hour=owned.usd_per_kilowatt_hour * f),
        Input.OWNED_PUE: lambda f: replace(
            owned, power_usage_effectiveness=max(1.0, owned.power_usage_effectiveness * f)
        ),
        Input.OWNED_POWER: lambda f: replace(owned, watts=owned.watts * f),
    }


def _at_owned_rate(
    deployment: Deployment, change: Callable[[float], Owned]
) -> Callable[[float], tuple[Deployment, Rate]]:
    return lambda factor: (deployment, owned_rate(change(factor)))


def _sensitivity(
    name: Input, deployment: Deployment, rate: Rate, change: Callable[[float], tuple[Deployment, Rate]]
) -> Sensitivity:
    today = _changed_bill(deployment, rate)
    lower, higher = (_changed_bill(*change(factor)) for factor in (1 - CHANGE, 1 + CHANGE))
    bill, usage = today.usd_per_month, today.usage_usd_per_million_tokens
    return Sensitivity(
        name=name,
        lower=lower,
        higher=higher,
        swing_usd=max(_distances(bill, lower.usd_per_month, higher.usd_per_month), default=0.0),
        usage_swing_ratio=max(
            _distances(usage, lower.usage_usd_per_million_tokens, higher.usage_usd_per_million_tokens), default=0.0
        )
        / (usage or 1.0),
    )


def _distances(today: float | None, *others: float | None) -> Iterator[float]:
    return (abs(other - today) for other in others if other is not None and today is not None)


def _changed_bill(deployment: Deployment, rate: Rate) -> ChangedBill:
    try:
        changed = deploy(deployment.curve, deployment.demand, deployment.limits, (rate,), deployment.held)
    except UsageError as exc:
        return ChangedBill(usd_per_month=None, usage_usd_per_million_tokens=None, reason=str(exc))
    point = changed.feasible
    if changed.bill is None or point is None:
        reason = getattr(changed.point, "sentence", "unknown")
        return ChangedBill(usd_per_month=None, usage_usd_per_million_tokens=None, reason=reason)
    served = changed.bill.served
    return ChangedBill(
        usd_per_month=served.usd_per_month,
        usage_usd_per_million_tokens=served.usage.blended_usd_per_million_tokens,
        basis=point.basis,
    )
