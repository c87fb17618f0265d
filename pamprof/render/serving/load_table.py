"""A cost study under load beside its steady batch: what one device holds, replicas, bills, first tokens, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.render.formats.table_view import TableView
from pamprof.render.serving.bill_table import money, replica_words
from pamprof.render.simulation.differences import difference

if TYPE_CHECKING:
    from pamprof.pricing.rates.currency import Currency
    from pamprof.pricing.serving.study import Request, SizeClass, StudyArm

_COLUMNS = (
    "arm", "one device holds", "steady: one device", "replicas", "steady: replicas", "a month", "steady: a month",
    "to first token", "steady: to first token (modelled)", "basis",
)  # fmt: skip


def load_table(found: SizeClass, request: Request, name: str) -> TableView | None:
    """Both answers side by side; None in a steady batch."""
    if request.percentile is None:
        return None
    return TableView(
        title=f"Under load and in a steady batch, {name}",
        summary=(
            f"Requests that arrive at random in the busiest moment, {request.percentile:g} % of them within the limits "
            f"(simulated); {request.currency.code} for 730 hours. Steady: every device always full and nobody waits, "
            "as with pamprof cost --steady and in the live inputs of its page."
        ),
        columns=_COLUMNS,
        right=frozenset(range(1, len(_COLUMNS) - 1)),
        rows=tuple(_row(arm, request.currency) for arm in found.arms),
        modelled=frozenset({8}),
        notes=tuple(_difference(arm, request) for arm in found.arms),
    )


def _row(arm: StudyArm, currency: Currency) -> tuple[str, ...]:
    load, bill = arm.load, arm.deployment.bill
    steady = None if load is None else load.steady
    point, steady_bill = (None, None) if steady is None else (steady.feasible, steady.bill)
    highest = None if load is None else load.highest_per_second
    first = None if load is None or load.metrics is None else load.metrics.level_seconds_to_first_token
    modelled = None if point is None else point.seconds_to_first_token
    return (
        arm.deployment.curve.title,
        units.UNKNOWN if highest is None else f"{units.significant(highest.median)}/s",
        units.UNKNOWN if point is None else f"{units.significant(1 / point.device_seconds.median)}/s",
        units.UNKNOWN if bill is None else replica_words(bill),
        units.UNKNOWN if steady_bill is None else replica_words(steady_bill),
        units.UNKNOWN if bill is None else _month(arm, currency),
        units.UNKNOWN if steady_bill is None else currency.text(steady_bill.served.usd_per_month),
        units.seconds(first),
        units.seconds(None if modelled is None else modelled.median),
        units.UNKNOWN if load is None or load.basis is None else load.basis.value,
    )


def _month(arm: StudyArm, currency: Currency) -> str:
    bill, point = arm.deployment.bill, arm.deployment.feasible
    if bill is None or point is None:
        return units.UNKNOWN
    return money(bill.interval(lambda served: served.usd_per_month, point.device_seconds.confidence), currency)


def _difference(arm: StudyArm, request: Request) -> str:
    if arm.load is None or arm.question is None:
        return f"{arm.deployment.curve.title}: not simulated"
    if arm.load.loaded is None and arm.deployment.bill is not None:
        return (
            f"{arm.deployment.curve.title}: {arm.load.refusal}, so that it could not be simulated; its replicas are "
            "those of a steady batch"
        )
    return difference(arm.load, arm.question, request.currency).removesuffix(".")


def load_sentence(found: SizeClass, request: Request) -> str:
    """What the decision's replicas hold, and what they would be in a steady batch; empty in one."""
    if request.percentile is None or found.decision is None:
        return ""
    decided = [
        arm for arm in found.arms if arm.deployment.curve.title in (found.decision.subject, found.decision.rival)
    ]
    changed = [
        f"{units.whole(steady.served.replica_count)} with {arm.deployment.curve.title}"
        for arm in decided
        if arm.load is not None and (steady := arm.load.steady.bill) is not None and (bill := arm.deployment.bill)
        if bill.served.replica_count != steady.served.replica_count
    ]
    refused = any(isinstance(arm.deployment.point, Refusal) for arm in decided)
    beside = f", where a steady batch needs {' and '.join(changed)}" if changed else ""
    if not changed and not refused:
        beside = ", as many as in a steady batch"
    return (
        f" Replicas are those that keep {request.percentile:g} % of requests that arrive at random within the limits "
        f"(simulated){beside}."
    )
