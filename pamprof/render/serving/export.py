"""A cost study as plain rows for spreadsheets and programs; billing columns carry their FOCUS names.

FOCUS 1.x (focus.finops.org): BillingCurrency, ChargeCategory, ProviderName, ResourceType, RegionId, PricingCategory,
PricingUnit, PricingQuantity, ListUnitPrice, EffectiveCost, ConsumedUnit, ConsumedQuantity, all for one month of 730 h
and in BillingCurrency. Other columns end in their unit; dollars in them are US dollars.
"""

from __future__ import annotations

import csv
import io
from math import isinf
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.pricing.serving.bill import STEADY
from pamprof.pricing.serving.sensitivity import CHANGE
from pamprof.render.formats.csv import Value, for_spreadsheets, guard
from pamprof.units import HOURS_PER_MONTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.serving.crossover import Crossing
    from pamprof.pricing.serving.bill import Bill, Deployment
    from pamprof.pricing.serving.study import ServingStudy, SizeClass, StudyArm

Row = dict[str, Value]
Export = dict[str, Value | list[Row] | list[str]]
SIMULATED = "simulated"
_DAYS_PER_MONTH = HOURS_PER_MONTH / 24


def bill_rows(study: ServingStudy, unreadable: Sequence[str] = ()) -> list[Row]:
    """One row for every arm and way of paying; an infeasible arm has one row without dollars and with its reason.

    ``unreadable`` has a sentence for each line of the records that could not be read.
    """
    return [
        {**row, "unreadable_line_count": len(unreadable)}
        for found in study.classes
        for arm in found.arms
        for row in ([_row(study, found, arm, bill) for bill in arm.deployment.bills] or [_row(study, found, arm, None)])
    ]


def serving_csv(study: ServingStudy, unreadable: Sequence[str] = ()) -> str:
    """The bill rows as CSV; unknown numbers are empty cells."""
    rows = bill_rows(study, unreadable)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: guard(value) if isinstance(value, str) else value for name, value in row.items()})
    return for_spreadsheets(buffer.getvalue())


def serving_export(study: ServingStudy, unreadable: Sequence[str] = (), alerts: Sequence[str] = ()) -> Export:
    """Everything as JSON values: the bill rows, and the decisions, crossovers, fronts, sensitivities and quality."""
    demand, limits, currency = study.request.demand, study.request.limits, study.request.currency
    return {
        "input_tokens": demand.input_tokens,
        "output_tokens": demand.output_tokens,
        "tokens_per_day": demand.tokens_per_day,
        "peak_factor": demand.peak_factor,
        "duty": demand.duty,
        "minimum_replicas": demand.minimum_replicas,
        "percentile": study.request.percentile,
        "limit_seconds_per_output_token": limits.seconds_per_output_token,
        "limit_seconds_to_first_token": limits.seconds_to_first_token,
        "BillingCurrency": currency.code,
        "exchange_rate_per_usd": float(currency.units_per_usd),
        "exchange_rate_stated_on": currency.stated_on.isoformat() if currency.stated_on else None,
        "alerts": list(alerts),
        "unreadable_lines": list(unreadable),
        "bills": bill_rows(study, unreadable),
        "decisions": [row for found in study.classes for row in _decision_rows(found)],
        "crossovers": [row for found in study.classes for row in _crossover_rows(found)],
        "front": [row for found in study.classes for arm in found.arms for row in _front_rows(arm)],
        "sensitivities": [row for found in study.classes for arm in found.arms for row in _sensitivity_rows(arm)],
        "quality": _quality_rows(study),
    }


def _row(study: ServingStudy, found: SizeClass, arm: StudyArm, bill: Bill | None) -> Row:
    deployment = arm.deployment
    point, demand = deployment.feasible, deployment.demand
    first, idle = (point.seconds_to_first_token, point.idle_seconds_to_first_token) if point else (None, None)
    load = arm.load
    metrics = None if load is None else load.metrics
    steady = deployment if load is None else load.steady
    steady_point = steady.feasible
    steady_bill = next((each for each in steady.bills if bill is not None and each.rate == bill.rate), None)
    modelled = None if steady_point is None else steady_point.seconds_to_first_token
    refusal = deployment.point.sentence if isinstance(deployment.point, Refusal) else None
    tokens_per_month = demand.tokens_per_day * _DAYS_PER_MONTH
    return {
        "arm": deployment.curve.title,
        "device_name": found.environment.device_name,
        "parameter_count": deployment.curve.runs[0].parameter_count,
        "session_ids": " ".join(sorted({run.session_id for run in deployment.curve.runs})),
        "measured_on": max(run.started_at for run in deployment.curve.runs)[:10],
        **_focus(study, bill, tokens_per_month),
        "purchase_option": bill.rate.option if bill else None,
        "price_provenance": bill.rate.provenance if bill else None,
        "usd_per_device_hour": bill.rate.usd_per_hour if bill else None,
        "batch_size": point.batch_size if point else None,
        "bound": point.bound if point else None,
        "seconds_per_output_token": point.seconds_per_output_token.median if point else None,
        "seconds_to_first_token": (first.median if first else None)
        if metrics is None
        else metrics.level_seconds_to_first_token,
        "device_seconds_per_request": point.device_seconds.median if point else None,
        **_dollars(deployment, bill),
        "basis": point.basis.value if point else None,
        "model_error_ratio": point.error if point else None,
        "infeasible": refusal,
        "api_break_even_tokens_per_day": arm.break_even.first_tokens_per_day if arm.break_even else None,
        "api_lasting_break_even_tokens_per_day": arm.break_even.lasting_tokens_per_day if arm.break_even else None,
        "seconds_to_first_token_basis": SIMULATED if metrics is not None else Basis.MODELLED.value if first else None,
        "idle_seconds_to_first_token": idle.median if idle else None,
        "replica_tokens_per_day": deployment.capacity_tokens_per_day,
        "replicas_from": SIMULATED if deployment.held != STEADY else "steady batch" if point else None,
        "held_requests_per_second": deployment.held.median / point.device_seconds.median if point else None,
        "level_seconds_per_output_token": None if metrics is None else metrics.level_seconds_per_output_token,
        "steady_replica_count": steady_bill.served.replica_count if steady_bill else None,
        "steady_usd_per_month": steady_bill.served.usd_per_month if steady_bill else None,
        "steady_seconds_to_first_token": modelled.median if modelled else None,
    }


def _focus(study: ServingStudy, bill: Bill | None, tokens_per_month: float) -> Row:
    convert = study.request.currency.convert
    chosen = bill.rate.quote.chosen if bill and bill.rate.quote else None
    return {
        "BillingCurrency": study.request.currency.code if bill else None,
        "ChargeCategory": "Usage" if bill else None,
        "ProviderName": chosen.provider if chosen else None,
        "ResourceType": chosen.instance if chosen else None,
        "RegionId": chosen.region if chosen else None,
        "PricingCategory": bill.rate.category if bill else None,
        "PricingUnit": "Hours" if bill else None,
        "PricingQuantity": bill.served.replica_count * HOURS_PER_MONTH if bill else None,
        "ListUnitPrice": convert(float(chosen.usd_per_device_hour)) if chosen else None,
        "EffectiveCost": convert(bill.served.usd_per_month) if bill else None,
        "ConsumedUnit": "Tokens" if bill else None,
        "ConsumedQuantity": tokens_per_month if bill else None,
    }


def _dollars(deployment: Deployment, bill: Bill | None) -> Row:
    names = (
        "replica_count", "busy_ratio", "usd_per_month", "usd_per_month_low", "usd_per_month_high",
        "usd_per_month_market_low", "usd_per_month_market_high", "usage_input_usd_per_million_tokens",
        "usage_output_usd_per_million_tokens", "usage_blended_usd_per_million_tokens",
        "usage_blended_usd_per_million_tokens_low", "usage_blended_usd_per_million_tokens_high",
        "allocation_blended_usd_per_million_tokens",
    )  # fmt: skip
    point = deployment.feasible
    if bill is None or point is None:
        return dict.fromkeys(names)
    confidence, served = point.device_seconds.confidence, bill.served
    month = bill.interval(lambda s: s.usd_per_month, confidence)
    market = bill.market(lambda s: s.usd_per_month, confidence)
    usage = bill.interval(lambda s: s.usage.blended_usd_per_million_tokens, confidence)
    values: tuple[Value, ...] = (
        served.replica_count, served.busy_ratio, month.median, month.low, _closed(month.high), market.low,
        _closed(market.high),
        served.usage.input_usd_per_million_tokens, served.usage.output_usd_per_million_tokens, usage.median, usage.low,
        usage.high, served.allocation.blended_usd_per_million_tokens,
    )  # fmt: skip
    return dict(zip(names, values, strict=True))


def _closed(high: float) -> float | None:
    """None for an interval without an upper end."""
    return None if isinf(high) else high


def _decision_rows(found: SizeClass) -> list[Row]:
    decision = found.decision
    if decision is None:
        return []
    ratio = decision.ratio
    return [
        {
            "subject": decision.subject,
            "rival": decision.rival,
            "outcome": decision.outcome.value,
            "cost_ratio": ratio.median if ratio else None,
            "cost_ratio_low": ratio.low if ratio else None,
            "cost_ratio_high": ratio.high if ratio else None,
            "saved_replica_count": decision.saved_replicas,
            "saved_usd_per_month": decision.saved_usd_per_month,
            "equal_bills_tokens_per_day": decision.equal_bills_tokens_per_day,
            "basis": decision.basis.value if decision.basis else None,
            "sentence": decision.sentence,
        }
    ]


def _crossover_rows(found: SizeClass) -> list[Row]:
    rows: list[Row] = []
    if found.crossings is not None:
        both = (found.crossings.subject, found.crossings.rival)
        for quantity, at in (
            ("request cost", found.crossings.request),
            ("decode cost", found.crossings.decode),
            ("capacity", found.crossings.capacity),
        ):
            rows.append(_crossover_row(both, quantity, at))
    for row in found.contexts:
        for quantity, tokens in (("memory", row.memory_tokens), ("decode traffic", row.traffic_tokens)):
            rows.append(
                {
                    "subject": row.state,
                    "rival": row.cache,
                    "quantity": quantity,
                    "tokens": tokens,
                    "tokens_low": None,
                    "tokens_high": None,
                    "direction": "cheaper above",
                    "basis": row.basis.value,
                }
            )
    return rows


def _crossover_row(both: tuple[str, str], quantity: str, at: Crossing) -> Row:
    return {
        "subject": both[0],
        "rival": both[1],
        "quantity": quantity,
        "tokens": at.tokens.median if at.tokens else None,
        "tokens_low": at.tokens.low if at.tokens else None,
        "tokens_high": at.tokens.high if at.tokens else None,
        "direction": at.direction,
        "basis": at.basis.value,
    }


def _front_rows(arm: StudyArm) -> list[Row]:
    return [
        {
            "arm": arm.deployment.curve.title,
            "batch_size": point.batch_size,
            "seconds_per_output_token": point.seconds_per_output_token.median,
            "device_seconds_per_request": point.device_seconds.median,
            "basis": point.basis.value,
        }
        for point in arm.front
    ]


def _sensitivity_rows(arm: StudyArm) -> list[Row]:
    return [
        {
            "arm": arm.deployment.curve.title,
            "input": row.name,
            "change_ratio": change,
            "usd_per_month": outcome.usd_per_month,
            "usage_blended_usd_per_million_tokens": outcome.usage_usd_per_million_tokens,
            "unknown_reason": outcome.reason,
            "basis": outcome.basis.value if outcome.basis else None,
        }
        for row in arm.sensitivities
        for change, outcome in ((-CHANGE, row.lower), (CHANGE, row.higher))
    ]


def _quality_rows(study: ServingStudy) -> list[Row]:
    return [
        {
            "layer": row.layer,
            "perplexity": row.perplexity,
            "perplexity_source": row.source,
            "goal_perplexity": row.goal,
            "parameter_factor": row.needed.parameter_factor if row.needed else None,
            "training_cost_factor": row.needed.training_cost_factor if row.needed else None,
            "basis": row.needed.basis.value if row.needed else None,
            "scaling_source": row.needed.source if row.needed else None,
            "limits": row.needed.limits if row.needed else None,
            "training_device_hours": row.training_hours.median if row.training_hours else None,
        }
        for row in study.quality
    ]
