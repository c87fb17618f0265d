"""Rates too old to trust: older than 90 days, or of unknown date, as seen on a day the caller passes in.

Age is a warning, and a failure where the caller is strict. A rate the user gave has no age.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING

from pamprof.pricing.rates.findings import Finding, Rule, Severity, subject_of
from pamprof.pricing.rates.processors import is_cpu_machine
from pamprof.pricing.rates.rate_dates import MAXIMUM_AGE
from pamprof.pricing.rates.rate_words import USER

if TYPE_CHECKING:
    from datetime import date

    from pamprof.records import Price


def staleness(price: Price, today: date, strict: bool = False) -> Finding | None:
    """The doubt about one rate's age on ``today``; None for a fresh rate and for one the user gave."""
    if price.provider == USER:
        return None
    # No source of the refresh lists CPU machines.
    remedy = "give --price or a list with --prices" if is_cpu_machine(price) else "refresh the prices or give --price"
    severity = Severity.FAILURE if strict else Severity.WARNING
    subject = subject_of(price)
    if price.observed_on is None:
        sentence = f"The rate's source names no day ({price.observed_text}); {remedy}."
        return Finding(severity=severity, rule=Rule.UNKNOWN_DATE, subject=subject, sentence=sentence)
    age = today - price.observed_on
    if age < timedelta(0):
        sentence = (
            f"The rate is dated {price.observed_on}, after today, {today}; correct the date or this machine's clock."
        )
        return Finding(severity=severity, rule=Rule.FUTURE_DATE, subject=subject, sentence=sentence)
    if age > MAXIMUM_AGE:
        sentence = (
            f"The rate was read on {price.observed_on}, {age.days} days ago, more than {MAXIMUM_AGE.days}; {remedy}."
        )
        return Finding(severity=severity, rule=Rule.STALE, subject=subject, sentence=sentence)
    return None


def ages(prices: tuple[Price, ...], today: date, strict: bool = False) -> tuple[Finding, ...]:
    """The doubts about the age of many rates, one finding for all of a provider's rows with the same doubt."""
    groups: dict[tuple[str, Rule, str], list[Finding]] = defaultdict(list)
    for price in prices:
        finding = staleness(price, today, strict)
        if finding is not None:
            groups[price.provider, finding.rule, finding.sentence].append(finding)
    return tuple(
        Finding(
            severity=found[0].severity,
            rule=rule,
            subject=f"{provider}, {len(found)} row{'s' if len(found) > 1 else ''}",
            sentence=sentence,
        )
        for (provider, rule, sentence), found in groups.items()
    )
