"""What can be wrong with a rate or a device's figures: a closed list, each told in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pamprof.records import Price


class Severity(StrEnum):
    """What a finding does to an exit code."""

    WARNING = "warning"
    FAILURE = "failure"


class Rule(StrEnum):
    """The closed list of what can be wrong with a rate."""

    NO_PRICE = "price not above zero"
    SPOT_ABOVE_ON_DEMAND = "spot above on-demand"
    SPLIT_MACHINE = "part of a machine"
    WRONG_DEVICE_COUNT = "wrong device count"
    WRONG_VCPU_COUNT = "wrong vCPU count"
    SUPERSEDED = "superseded rate"
    CONFLICTING_RATES = "conflicting rates"
    OUT_OF_LINE_REGION = "out of line with other regions"
    WRONG_DEVICE = "another device's row"
    PART_OF_DEVICE = "part of a device"
    OPEN_BOARD = "board not told"
    NOT_SCALED = "one price for several counts"
    WRONG_MEMORY = "another device's memory"
    SPARSE_PEAK = "sparse peak listed as dense"
    ONE_DIE = "one of two dies"
    UNKNOWN_DATE = "unknown date"
    STALE = "stale"
    FUTURE_DATE = "date in the future"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault.

    Attributes:
        severity: Warning or failure.
        rule: Which fault.
        subject: The row it was found in.
        sentence: What was seen, in numbers, and what to do about it.
    """

    severity: Severity
    rule: Rule
    subject: str
    sentence: str


def subject_of(price: Price) -> str:
    """How a finding names a row."""
    return f"{price.provider} {price.instance}, {price.region}, {price.purchase_option}, {price.device_name}"
