"""A load study as plain rows for programs: one for every arm and end of the step times' intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.simulation.measured_times import End
from pamprof.analysis.simulation.prefixes import PREFIX_POLICY
from pamprof.render.formats.csv import Value
from pamprof.render.simulation.crossings import crossing_rows
from pamprof.render.simulation.measured_view import measured_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.simulation.measured_elsewhere import MeasuredCurve
    from pamprof.analysis.simulation.metrics import LoadMetrics
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.load_crossings import LoadCrossing
    from pamprof.pricing.serving.load_study import ArmUnderLoad, LoadStudy

Row = dict[str, Value]


def load_export(
    study: LoadStudy,
    currency: Currency,
    *,
    seed: int,
    unreadable: Sequence[str] = (),
    alerts: Sequence[str] = (),
    crossings: Sequence[LoadCrossing] = (),
    measured: Sequence[MeasuredCurve] = (),
) -> dict[str, object]:
    """Everything as JSON values; dollars are US dollars."""
    question = study.question
    limits = question.level.limits
    return {
        "requests_per_second": question.requests.per_second,
        "request_count": len(question.requests),
        "measured_from": question.requests.measured_from,
        "mean_input_tokens": question.requests.mean_input_tokens,
        "mean_output_tokens": question.requests.mean_output_tokens,
        "seed": seed,
        "percentile": question.level.percentile,
        "limit_seconds_per_output_token": limits.seconds_per_output_token,
        "limit_seconds_to_first_token": limits.seconds_to_first_token,
        "prefix_tokens": question.requests.prefix_tokens or None,
        "prefix_policy": None if question.requests.prefixes is None else PREFIX_POLICY,
        "hourly_factors": list(question.profile.factors),
        "start_up_seconds": question.profile.start_up_seconds,
        "minimum_replicas": question.minimum_replicas,
        "BillingCurrency": currency.code,
        "exchange_rate_per_usd": float(currency.units_per_usd),
        "rows": [_row(arm, end) for arm in study.arms for end in (End if arm.highest else (End.MEDIAN,))],
        "rates_tried": [
            {"arm": arm.title, **_times(tried)}
            for arm in study.arms
            if arm.highest
            for tried in arm.highest[End.MEDIAN].tried
        ],
        **crossing_rows(crossings),
        "measured_elsewhere": measured_rows(measured, question),
        "alerts": list(alerts),
        "unreadable_lines": list(unreadable),
    }


def open_end(arm: ArmUnderLoad, end: End) -> str:
    """Why an interval is open: no rate holds the level at an end of the step times."""
    bound = arm.highest[end].bound
    return f"infeasible: {bound}, missed at every rate tried with all step times at the {end} end of their intervals"


def _row(arm: ArmUnderLoad, end: End) -> Row:
    point, bill, fleet = arm.steady.feasible, arm.steady.bill, arm.fleets.get(end)
    highest, metrics, loaded = arm.highest.get(end), arm.busiest.get(end), arm.loaded
    return {
        "arm": arm.title,
        "step_times": end.value,
        "refusal": arm.refusal or (open_end(arm, end) if end in arm.open_ends else None),
        "basis": None if arm.basis is None else arm.basis.value,
        "largest_batch": None if loaded is None else loaded.largest_batch,
        "chunk_tokens": None if loaded is None else loaded.chunk_tokens,
        "memory_policy": None if loaded is None else loaded.policy.value,
        "prefix_bytes": None if loaded is None else loaded.prefix_bytes,
        "highest_requests_per_second": None if highest is None else highest.requests_per_second,
        "sustained_requests_per_second": None if highest is None else highest.sustained_per_second,
        "bound": None if highest is None else highest.bound,
        "replica_count": None if fleet is None else fleet.largest,
        "least_replica_count": None if fleet is None else fleet.smallest,
        "replica_hours_per_day": None if fleet is None else fleet.replica_hours_per_day,
        "usd_per_hour": None if arm.rate is None else arm.rate.usd_per_hour,
        "usd_per_month": None if fleet is None or arm.rate is None else fleet.usd_per_month(arm.rate.usd_per_hour),
        **({} if metrics is None else _times(metrics)),
        "steady_requests_per_second": None if point is None else 1 / point.device_seconds.median,
        "steady_batch_size": None if point is None else point.batch_size,
        "steady_seconds_to_first_token": None
        if point is None or point.seconds_to_first_token is None
        else point.seconds_to_first_token.median,
        "steady_seconds_per_output_token": None if point is None else point.seconds_per_output_token.median,
        "steady_replica_count": None if bill is None else bill.served.replica_count,
        "steady_usd_per_month": None if bill is None else bill.served.usd_per_month,
    }


def _times(metrics: LoadMetrics) -> Row:
    named = {
        "seconds_to_first_token": metrics.seconds_to_first_token,
        "seconds_per_output_token": metrics.seconds_per_output_token,
        "end_to_end_seconds": metrics.end_to_end_seconds,
    }
    return {
        "replica_requests_per_second": metrics.requests_per_second,
        **{
            f"{name}_{percentile}": getattr(found, percentile)
            for name, found in named.items()
            for percentile in ("p50", "p95", "p99")
        },
        "level_seconds_to_first_token": _finite(metrics.level_seconds_to_first_token),
        "level_seconds_per_output_token": _finite(metrics.level_seconds_per_output_token),
        "holds": metrics.holds,
        "good_ratio": metrics.good_ratio,
        "good_requests_per_second": metrics.good_requests_per_second,
        "busy_ratio": metrics.busy_ratio,
        "prompt_ratio": metrics.prompt_ratio,
        "mean_batch": metrics.mean_batch,
        "preemption_count": metrics.preemptions,
        "refused_count": metrics.refused,
        "reused_prompt_ratio": metrics.reused_ratio,
    }


def _finite(value: float | None) -> float | None:
    return None if value == float("inf") else value
