"""One sentence for whoever signs: is the fixed state cheaper than the cache at this demand, from where on, by how much.

The rule. Where an arm has no operating point the decision is infeasible or unknown. Otherwise the device time of a
request decides, at one rate and therefore in dollars: the whole interval of the ratio below 1 is cheaper, above 1
more expensive, around 1 equal, no interval unknown. The bill is told beside it: replicas come whole, and a cheaper
token need not save one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis, least_sure
from pamprof.analysis.serving.crossover import ALWAYS_CHEAPER, ALWAYS_MORE_EXPENSIVE, CHEAPER_ABOVE
from pamprof.analysis.serving.operating_point import Refusal
from pamprof.analysis.serving.terms import quotient
from pamprof.pricing.rates.currency import USD, Currency
from pamprof.pricing.serving import sentences
from pamprof.pricing.serving.bill import equal_bills_up_to
from pamprof.units import ratio as ratio_text, si, significant, tokens

if TYPE_CHECKING:
    from pamprof.analysis.serving.crossover import Crossing
    from pamprof.pricing.serving.bill import Deployment
    from pamprof.records import Interval


class CostOutcome(StrEnum):
    """What is decided about the subject."""

    CHEAPER = "cheaper"
    EQUAL = "equal"
    MORE_EXPENSIVE = "more expensive"
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
        basis: That of the less sure of the two; None without both operating points.
        sentence: The decision in words.
    """

    subject: str
    rival: str
    outcome: CostOutcome
    ratio: Interval | None
    crossing: Crossing | None
    saved_replicas: int | None
    saved_usd_per_month: float | None
    equal_bills_tokens_per_day: float | None
    basis: Basis | None
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
    saved = None
    if subject.bill is not None and rival.bill is not None:
        ours_served, theirs_served = subject.bill.served, rival.bill.served
        saved = (
            theirs_served.replica_count - ours_served.replica_count,
            theirs_served.usd_per_month - ours_served.usd_per_month,
        )
    basis = least_sure(ours.basis, theirs.basis)
    words = (
        _crossing_sentence(subject, rival, crossing),
        _cost_sentence(subject, rival, ratio, outcome, basis),
        _bill_sentence(subject, rival, saved, currency, basis),
    )
    return Decision(
        subject=subject.curve.title,
        rival=rival.curve.title,
        outcome=outcome,
        ratio=ratio,
        crossing=crossing,
        saved_replicas=None if saved is None else saved[0],
        saved_usd_per_month=None if saved is None else saved[1],
        equal_bills_tokens_per_day=equal_bills_up_to(subject, rival),
        basis=basis,
        sentence=f"{'; '.join(part for part in words if part)}.",
    )


def outcome_of(ratio: Interval) -> CostOutcome:
    """Cheaper where the whole interval lies below 1, more expensive where all of it lies above, equal otherwise.

    Unknown where there is no interval to speak of, because one of the two rests on a single sample.
    """
    if ratio.confidence <= 0:
        return CostOutcome.UNKNOWN
    if ratio.high < 1:
        return CostOutcome.CHEAPER
    return CostOutcome.MORE_EXPENSIVE if ratio.low > 1 else CostOutcome.EQUAL


def _without_comparison(subject: Deployment, rival: Deployment, crossing: Crossing | None) -> Decision:
    said: list[str] = []
    unknown = False
    for deployment in (subject, rival):
        if isinstance(deployment.point, Refusal):
            said.append(sentences.ARM_REFUSED.format(arm=deployment.curve.title, sentence=deployment.point.sentence))
            unknown = unknown or deployment.point.limit is None
        else:
            said.append(sentences.ARM_SERVES.format(arm=deployment.curve.title))
    return Decision(
        subject=subject.curve.title,
        rival=rival.curve.title,
        outcome=CostOutcome.UNKNOWN if unknown else CostOutcome.INFEASIBLE,
        ratio=None,
        crossing=crossing,
        saved_replicas=None,
        saved_usd_per_month=None,
        equal_bills_tokens_per_day=None,
        basis=None,
        sentence=f"{'; '.join(said)}.",
    )


def _crossing_sentence(subject: Deployment, rival: Deployment, crossing: Crossing | None) -> str:
    named = {"subject": subject.curve.title, "rival": rival.curve.title}
    if crossing is None or crossing.first is None or crossing.last is None:
        return sentences.NO_COMMON_LENGTH.format(**named)
    if crossing.direction == CHEAPER_ABOVE and crossing.tokens is not None:
        return sentences.CHEAPER_ABOVE_PROMPT.format(
            **named,
            length=significant(crossing.tokens.median),
            interval=_brackets(crossing.tokens),
            basis=crossing.basis,
        )
    within = {"first": tokens(crossing.first), "last": tokens(crossing.last), "basis": crossing.basis}
    if crossing.direction == ALWAYS_CHEAPER:
        return sentences.CHEAPER_AT_EVERY_PROMPT.format(**named, **within)
    if crossing.direction == ALWAYS_MORE_EXPENSIVE:
        return sentences.MORE_EXPENSIVE_AT_EVERY_PROMPT.format(**named, **within)
    return sentences.NO_CROSSOVER_RESOLVED.format(**named, **within)


def _cost_sentence(subject: Deployment, rival: Deployment, ratio: Interval, outcome: CostOutcome, basis: Basis) -> str:
    verdicts = {CostOutcome.EQUAL: sentences.VERDICT_EQUAL, CostOutcome.UNKNOWN: sentences.VERDICT_UNKNOWN}
    return sentences.TOKEN_COST.format(
        input=tokens(subject.demand.input_tokens),
        output=tokens(subject.demand.output_tokens),
        subject=subject.curve.title,
        rival=rival.curve.title,
        ratio=ratio_text(ratio.median),
        interval=_brackets(ratio),
        verdict=verdicts.get(outcome, outcome.value),
        basis=basis,
    )


def _bill_sentence(
    subject: Deployment, rival: Deployment, saved: tuple[int, float] | None, currency: Currency, basis: Basis
) -> str:
    if subject.bill is None or saved is None:
        return ""
    replicas, usd = saved
    count, amount = abs(replicas), abs(usd)
    if replicas == 0:
        template = sentences.BILLS_EQUAL
        count, amount = subject.bill.served.replica_count, subject.bill.served.usd_per_month
    else:
        template = sentences.BILL_LOWER if replicas > 0 else sentences.BILL_HIGHER
    return template.format(
        demand=si(subject.demand.tokens_per_day),
        replicas=(sentences.ONE_REPLICA if count == 1 else sentences.REPLICAS).format(count=count),
        amount=currency.text(amount),
        subject=subject.curve.title,
        rival=rival.curve.title,
        basis=basis,
    )


def _brackets(interval: Interval) -> str:
    return "" if interval.low == interval.high else f" [{significant(interval.low)}, {significant(interval.high)}]"
