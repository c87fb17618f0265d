"""Rows of a validation: two numbers, a tolerance, and the verdict that follows; or the reason there is none."""

from __future__ import annotations

from math import isfinite

from pamprof.records.validation import Agreement, ValidationGroup, ValidationRow, ValidationVerdict

FLOP_TOLERANCE = 0.01
MEMORY_TOLERANCE = 0.02
ENERGY_TOLERANCE = 0.05


def judged(
    group: ValidationGroup,
    subject: str,
    *,
    unit: str,
    ours: float,
    ours_source: str,
    witness: float,
    witness_source: str,
    tolerance: float,
    agreement: Agreement = Agreement.RELATIVE,
    explained: tuple[float, float] | None = None,
    note: str = "",
) -> ValidationRow:
    """The row of two known numbers.

    Args:
        group: What it is about.
        subject: What was run.
        unit: ``FLOP``, ``B``, ``J`` or ``ratio``.
        ours: pamprof's value.
        ours_source: By which of its means.
        witness: The other side's value.
        witness_source: Who that is.
        tolerance: Largest deviation that agrees.
        agreement: What the tolerance limits.
        explained: Lowest and highest value of the witness that follow from ours and what the hardware is known to
            add; a witness between them (within the tolerance) is explained.
        note: Said beside the row.
    """
    if agreement is Agreement.ABSOLUTE:
        deviation: float | None = ours - witness
    else:
        deviation = ours / witness - 1 if witness else None
    if deviation is None:
        agrees = ours == witness
    elif agreement is Agreement.LOWER_BOUND:
        agrees = deviation <= tolerance
    elif agreement is Agreement.UPPER_BOUND:
        agrees = deviation >= -tolerance
    else:
        agrees = abs(deviation) <= tolerance
    verdict = ValidationVerdict.AGREES if agrees else ValidationVerdict.DISAGREES
    if not agrees and explained is not None:
        low, high = explained
        if low * (1 - tolerance) <= witness <= high * (1 + tolerance):
            verdict = ValidationVerdict.EXPLAINED
    return ValidationRow(
        group=group,
        subject=subject,
        unit=unit,
        ours=ours,
        ours_source=ours_source,
        witness=witness,
        witness_source=witness_source,
        deviation=deviation if deviation is not None and isfinite(deviation) else None,
        tolerance=tolerance,
        agreement=agreement,
        verdict=verdict,
        note=note,
    )


def not_available(
    group: ValidationGroup, subject: str, *, unit: str, witness_source: str, reason: str
) -> ValidationRow:
    """The row of a comparison that cannot be made here."""
    return ValidationRow(
        group=group,
        subject=subject,
        unit=unit,
        ours=None,
        ours_source="",
        witness=None,
        witness_source=witness_source,
        deviation=None,
        tolerance=None,
        agreement=Agreement.RELATIVE,
        verdict=ValidationVerdict.NOT_AVAILABLE,
        note=reason,
    )
