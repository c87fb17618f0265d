"""What moves the monthly bill most: every input a fifth lower and higher, all else equal, the largest swing first.

Replicas come whole, so an input may move the use of the rented time and not the bill; both are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.pricing.rates.hourly_rates import Rate, owned_rate
from pamprof.pricing.serving.bill import Deployment, FasterCurve, deploy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pamprof.pricing.rates.hourly_rates import Owned

CHANGE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A bill after a change: USD a month and per million tokens of working time; None with the reason without one."""

    usd_per_month: float | None
    usage_usd_per_million_tokens: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """One input, a fifth lower and a fifth higher; ``swing_usd`` is the larger distance of the bill from today's."""

    name: str
    lower: Outcome
    higher: Outcome
    swing_usd: float
    usage_swing_ratio: float


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
            _sensitivity(name, deployment, owned_rate(owned), _at_home(deployment, change))
            for name, change in _owned_changes(owned).items()
        ]
    return tuple(sorted(found, key=lambda row: (-row.swing_usd, -row.usage_swing_ratio, row.name)))


def _changes(deployment: Deployment, rate: Rate) -> dict[str, Callable[[float], tuple[Deployment, Rate]]]:
    demand, limits = deployment.demand, deployment.limits

    def with_demand(**changes: float) -> tuple[Deployment, Rate]:
        return replace(deployment, demand=replace(demand, **changes)), rate  # type: ignore[arg-type]

    changes: dict[str, Callable[[float], tuple[Deployment, Rate]]] = {
        "price": lambda f: (deployment, replace(rate, usd_per_hour=rate.usd_per_hour * f)),
        "throughput": lambda f: (replace(deployment, curve=FasterCurve(curve=deployment.curve, speed=f)), rate),
        "tokens per day": lambda f: with_demand(tokens_per_day=demand.tokens_per_day * f),
        "peak over mean": lambda f: with_demand(peak_factor=max(1.0, demand.peak_factor * f)),
        "output tokens": lambda f: with_demand(output_tokens=max(1, round(demand.output_tokens * f))),
        "duty": lambda f: with_demand(duty=min(1.0, demand.duty * f)),
        "time per output token allowed": lambda f: (
            replace(deployment, limits=replace(limits, seconds_per_output_token=limits.seconds_per_output_token * f)),
            rate,
        ),
        "time to first token allowed": lambda f: (
            replace(deployment, limits=replace(limits, seconds_to_first_token=limits.seconds_to_first_token * f)),
            rate,
        ),
    }
    if demand.input_tokens:
        changes["input tokens"] = lambda f: with_demand(input_tokens=round(demand.input_tokens * f))
    return changes


def _owned_changes(owned: Owned) -> dict[str, Callable[[float], Owned]]:
    return {
        "owned: price of the device": lambda f: replace(owned, capital_usd=owned.capital_usd * f),
        "owned: years of life": lambda f: replace(owned, life_years=owned.life_years * f),
        "owned: electricity price": lambda f: replace(owned, usd_per_kilowatt_hour=owned.usd_per_kilowatt_hour * f),
        "owned: PUE": lambda f: replace(owned, power_usage_effectiveness=max(1.0, owned.power_usage_effectiveness * f)),
        "owned: power": lambda f: replace(owned, watts=owned.watts * f),
    }


def _at_home(deployment: Deployment, change: Callable[[float], Owned]) -> Callable[[float], tuple[Deployment, Rate]]:
    return lambda factor: (deployment, owned_rate(change(factor)))


def _sensitivity(
    name: str, deployment: Deployment, rate: Rate, change: Callable[[float], tuple[Deployment, Rate]]
) -> Sensitivity:
    usual = _outcome(deployment, rate)
    lower, higher = (_outcome(*change(factor)) for factor in (1 - CHANGE, 1 + CHANGE))
    bill, usage = usual.usd_per_month, usual.usage_usd_per_million_tokens
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


def _distances(usual: float | None, *others: float | None) -> Iterator[float]:
    return (abs(other - usual) for other in others if other is not None and usual is not None)


def _outcome(deployment: Deployment, rate: Rate) -> Outcome:
    try:
        changed = deploy(deployment.curve, deployment.demand, deployment.limits, (rate,))
    except UsageError as exc:
        return Outcome(usd_per_month=None, usage_usd_per_million_tokens=None, reason=str(exc))
    if changed.bill is None:
        reason = getattr(changed.point, "sentence", "unknown")
        return Outcome(usd_per_month=None, usage_usd_per_million_tokens=None, reason=reason)
    served = changed.bill.served
    return Outcome(
        usd_per_month=served.usd_per_month, usage_usd_per_million_tokens=served.usage.blended_usd_per_million_tokens
    )
