"""What ``pamprof validate`` finds: the tool's own counts beside what an independent witness counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pamprof.records.environment import Environment
from pamprof.records.run import Unknown


class ValidationGroup(StrEnum):
    """What a row is about; the words ``--only`` takes."""

    FLOPS = "flops"
    BYTES = "bytes"
    MEMORY = "memory"
    ENERGY = "energy"
    UTILISATION = "utilisation"


class Agreement(StrEnum):
    """What ``ValidationRow.tolerance`` limits."""

    RELATIVE = "relative"  # the distance of ours / witness from 1
    ABSOLUTE = "absolute"  # the distance of two ratios 0..1
    LOWER_BOUND = "lower bound"  # how far ours, which promises to be the least, may exceed the witness, relative
    UPPER_BOUND = "upper bound"  # how far ours, which promises to be no less, may fall short of the witness, relative


class ValidationVerdict(StrEnum):
    """Outcome of a row."""

    AGREES = "agrees"
    EXPLAINED = "explained"  # outside the tolerance, inside it once what the hardware adds was computed
    DISAGREES = "disagrees"
    NOT_AVAILABLE = "not available"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationRow:
    """One quantity, counted twice.

    Attributes:
        group: What it is about.
        subject: What was run.
        unit: ``FLOP``, ``B``, ``J`` or ``ratio`` (0..1).
        ours: pamprof's value; None where the row is not available.
        ours_source: By which of its means.
        witness: The other side's value; None where the row is not available.
        witness_source: Who that is, such as the name of a hardware counter.
        deviation: ours / witness - 1, or ours - witness for an absolute agreement; None where there is neither.
        tolerance: What the deviation may be; None where the row is not available.
        agreement: How it is limited.
        verdict: What follows.
        note: Why a row deviates or is not available; empty where there is nothing to say.
    """

    group: ValidationGroup
    subject: str
    unit: str
    ours: float | None
    ours_source: str
    witness: float | None
    witness_source: str
    deviation: float | None
    tolerance: float | None
    agreement: Agreement
    verdict: ValidationVerdict
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One run of ``pamprof validate``.

    Attributes:
        started_at: ISO 8601, UTC.
        command: What was called, without paths of the machine.
        environment: Where.
        unknowns: Why fields of ``environment`` are None.
        rows: In the order they were made.
        seconds: How long it took.
    """

    started_at: str
    command: str
    environment: Environment
    unknowns: tuple[Unknown, ...]
    rows: tuple[ValidationRow, ...]
    seconds: float
