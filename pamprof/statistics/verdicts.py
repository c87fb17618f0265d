"""What the interval of a ratio says against the equivalence band."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Interval

EQUIVALENCE_BAND = 0.01  # ratio


class Verdict(StrEnum):
    """What a ratio's interval says against the equivalence band, within 1 %."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


def verdict(interval: Interval) -> Verdict:
    """The subject's verdict from the interval of subject time over baseline time.

    The band reaches from ``1 / (1 + EQUIVALENCE_BAND)`` to ``1 + EQUIVALENCE_BAND``. ``EQUIVALENT``: the whole
    interval lies in it; ``FASTER`` or ``SLOWER``: the whole interval lies beyond it on one side; ``INCONCLUSIVE``:
    anything else, and an interval of confidence 0.
    """
    if interval.confidence <= 0:
        return Verdict.INCONCLUSIVE
    lower, upper = 1 / (1 + EQUIVALENCE_BAND), 1 + EQUIVALENCE_BAND
    if lower <= interval.low and interval.high <= upper:
        return Verdict.EQUIVALENT
    if interval.high < lower:
        return Verdict.FASTER
    if interval.low > upper:
        return Verdict.SLOWER
    return Verdict.INCONCLUSIVE
