"""One sentence for whoever signs: is the fixed state cheaper than the cache at this demand, from where on, by how much.

The rule. Where an arm has no operating point the decision is infeasible or unknown. Otherwise the device time of a
request decides, at one rate and therefore in dollars: the whole interval of the ratio below 1 is cheaper, above 1
dearer, around 1 equal, no interval unknown. The bill is told beside it: replicas come whole, and a cheaper token need
not save one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.crossover import ALWAYS_CHEAPER, ALWAYS_DEARER, CHEAPER_ABOVE
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.analysis.serving.terms import quotient
from pamprof.pricing.rates.currency import USD, Currency
from pamprof.pricing.serving.bill import equal_bills_up_to
from pamprof.units import ratio as ratio_text, si, significant, tokens

if TYPE_CHECKING:
    from pamprof.analysis.serving.crossover import Crossing
    from pamprof.pricing.serving.bill import Deployment
    from pamprof.records import Interval


class Outcome(StrEnum):
    """What is decided about the subject."""

    CHEAPER = "cheaper"
    EQUAL = "equal"
    DEARER = "dearer"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The subject (a fixed state) against a rival (a cache) of the same size on the same device.

    Attributes:
        subject, rival: Titles of the arms.
        outcome: Of the subject, per token at this demand's lengths; infeasible where either arm is.
        ratio: Subject's over rival's cost per token; None without both operating points.
        crossing: Prompt length from which the subject is cheaper, at this demand's output length.
        saved_replicas: Rival's replicas less the subject's; negative where the subject needs more.
        saved_usd_per_month: Likewise in dollars at the first rate.
        equal_bills_tokens_per_day: Demand up to which both bills are the same.
        basis: Model as soon as one of the two is.
        sentence: The decision in words.
    """

    subject: str
    rival: str
    outcome: Outcome
    ratio: Interval | None
    crossing: Crossing | None
    saved_replicas: int | None
    saved_usd_per_month: float | None
    equal_bills_tokens_per_day: float | None
    basis: Basis
    sentence: str


def decide(
    subject: Deployment, rival: Deployment, crossing: Crossing | None = None, currency: Currency = USD
) -> Decision:
    """Compare two deployments of one demand on one device at one rate."""
    ours, theirs = subject.point, rival.point
    if isinstance(ours, Refusal) or isinstance(theirs, Refusal):
        return _without_comparison(subject, rival, crossing)
    ratio = quotient(ours.device_seconds, theirs.device_seconds)
    outcome = outcome_of(ratio)
    replicas = usd = None
    if subject.bill is not None and rival.bill is not None:
        replicas = rival.bill.served.replica_count - subject.bill.served.replica_count
        usd = rival.bill.served.usd_per_month - subject.bill.served.usd_per_month
    basis = Basis.MODEL if Basis.MODEL in {ours.basis, theirs.basis} else Basis.MEASURED
    words = (
        _crossing_words(subject, rival, crossing),
        _cost_words(subject, ratio, outcome, basis),
        _bill_words(subject, replicas, usd, currency),
    )
    return Decision(
        subject=subject.curve.title,
        rival=rival.curve.title,
        outcome=outcome,
        ratio=ratio,
        crossing=crossing,
        saved_replicas=replicas,
        saved_usd_per_month=usd,
        equal_bills_tokens_per_day=equal_bills_up_to(subject, rival),
        basis=basis,
        sentence=f"{'; '.join(part for part in words if part)}.",
    )


def outcome_of(ratio: Interval) -> Outcome:
    """Cheaper where the whole interval lies below 1, dearer where all of it lies above, equal otherwise.

    Unknown where there is no interval to speak of, because one of the two rests on a single sample.
    """
    if ratio.confidence <= 0:
        return Outcome.UNKNOWN
    if ratio.high < 1:
        return Outcome.CHEAPER
    return Outcome.DEARER if ratio.low > 1 else Outcome.EQUAL


def _without_comparison(subject: Deployment, rival: Deployment, crossing: Crossing | None) -> Decision:
    said: list[str] = []
    unknown = False
    for deployment in (subject, rival):
        if isinstance(deployment.point, Refusal):
            said.append(f"{deployment.curve.title} is {deployment.point.sentence}")
            unknown = unknown or deployment.point.limit is None
        else:
            said.append(f"{deployment.curve.title} serves this demand within the limits")
    return Decision(
        subject=subject.curve.title,
        rival=rival.curve.title,
        outcome=Outcome.UNKNOWN if unknown else Outcome.INFEASIBLE,
        ratio=None,
        crossing=crossing,
        saved_replicas=None,
        saved_usd_per_month=None,
        equal_bills_tokens_per_day=None,
        basis=Basis.MODEL if unknown else Basis.MEASURED,
        sentence=f"{'; '.join(said)}.",
    )


def _crossing_words(subject: Deployment, rival: Deployment, crossing: Crossing | None) -> str:
    ours, theirs = subject.curve.title, rival.curve.title
    if crossing is None or crossing.first is None or crossing.last is None:
        return f"{ours} against {theirs}: no context length was measured for both"
    within = f"between {tokens(crossing.first)} and {tokens(crossing.last)} tokens"
    if crossing.direction == CHEAPER_ABOVE and crossing.tokens is not None:
        span = crossing.tokens
        interval = "" if span.low == span.high else f" [{significant(span.low)}, {significant(span.high)}]"
        return (
            f"{ours} is cheaper than {theirs} above about {significant(span.median)} tokens of prompt{interval} "
            f"({crossing.basis})"
        )
    if crossing.direction in {ALWAYS_CHEAPER, ALWAYS_DEARER}:
        return f"{ours} is {crossing.direction.removeprefix('always ')} than {theirs} at every prompt {within}"
    return f"{ours} and {theirs} cannot be told apart at some prompt {within}, so no crossover is resolved"


def _cost_words(subject: Deployment, ratio: Interval, outcome: Outcome, basis: Basis) -> str:
    demand = subject.demand
    verdicts = {Outcome.EQUAL: "no difference", Outcome.UNKNOWN: "unknown, a single sample has no interval"}
    verdict = verdicts.get(outcome, outcome.value)
    interval = "" if ratio.low == ratio.high else f" [{significant(ratio.low)}, {significant(ratio.high)}]"
    return (
        f"at {tokens(demand.input_tokens)} input and {tokens(demand.output_tokens)} output tokens a token costs "
        f"{ratio_text(ratio.median)}{interval} as much: {verdict} ({basis})"
    )


def _bill_words(subject: Deployment, replicas: int | None, usd: float | None, currency: Currency) -> str:
    if subject.bill is None or replicas is None or usd is None:
        return ""
    demand = f"at {si(subject.demand.tokens_per_day)} tokens a day"
    if replicas == 0:
        count = subject.bill.served.replica_count
        bill = currency.text(subject.bill.served.usd_per_month)
        return f"{demand} both need {_replicas(count)}, so the bills are equal, {bill} a month"
    words = "saves" if replicas > 0 else "needs another"
    ending = " a month" if replicas > 0 else " a month more"
    return f"{demand} it {words} {_replicas(abs(replicas))} = {currency.text(abs(usd))}{ending}"


def _replicas(count: int) -> str:
    return f"{count} replica" if count == 1 else f"{count} replicas"
