"""What the interval of a ratio says against the equivalence band."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Interval

EQUIVALENCE_BAND = 0.01


class Verdict(StrEnum):
    """What a ratio's interval says against the equivalence band (default within 1 %)."""

    FASTER = "faster"
    SLOWER = "slower"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"


def verdict(interval: Interval, band: float = EQUIVALENCE_BAND) -> Verdict:
    """The subject's verdict from the interval of subject time over baseline time.

    ``EQUIVALENT`` when the whole interval lies within ``1/(1 + band)`` and ``1 + band``, ``FASTER`` or ``SLOWER`` when
    all of it lies beyond the band on one side, ``INCONCLUSIVE`` otherwise and for an interval of confidence 0.
    """
    if interval.confidence <= 0:
        return Verdict.INCONCLUSIVE
    lower, upper = 1 / (1 + band), 1 + band
    if lower <= interval.low and interval.high <= upper:
        return Verdict.EQUIVALENT
    if interval.high < lower:
        return Verdict.FASTER
    if interval.low > upper:
        return Verdict.SLOWER
    return Verdict.INCONCLUSIVE
