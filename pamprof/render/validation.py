"""A validation as a table: pamprof's value beside the witness, the verdict, and notes on rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.records.validation import Agreement, ValidationVerdict
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import cleaned, device_label, plural

if TYPE_CHECKING:
    from pamprof.records import Environment
    from pamprof.records.validation import Validation, ValidationRow

_DIGITS = 5


def validation_view(validation: Validation) -> TableView:
    """The table of a validation, free of control characters."""
    counts = {verdict: sum(row.verdict is verdict for row in validation.rows) for verdict in ValidationVerdict}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    numbered = {index: number for number, index in enumerate(_with_notes(validation), start=1)}
    return cleaned(
        TableView(
            title=f"pamprof validate: {device_label(validation.environment)}, {validation.started_at}",
            summary=f"{plural(len(validation.rows), 'comparison')}: {said}. {_machine(validation.environment)}. "
            f"Took {units.seconds(validation.seconds)}; made by: {validation.command}",
            columns=("what", "pamprof", "witness", "deviation", "tolerance", "verdict", "note"),
            right=frozenset({3, 4}),
            rows=tuple(
                (
                    f"{row.group}: {row.subject}",
                    _quantity(row.ours, row.unit, row.ours_source),
                    _quantity(row.witness, row.unit, row.witness_source),
                    _deviation(row),
                    _tolerance(row),
                    row.verdict.value,
                    str(numbered.get(index, "")),
                )
                for index, row in enumerate(validation.rows)
            ),
            notes=(
                *(f"{number}: {validation.rows[index].note}." for index, number in numbered.items()),
                *_legend(validation),
            ),
        )
    )


def _with_notes(validation: Validation) -> list[int]:
    return [index for index, row in enumerate(validation.rows) if row.note]


def _legend(validation: Validation) -> list[str]:
    verdicts = {row.verdict for row in validation.rows}
    agreements = {row.agreement for row in validation.rows if row.tolerance is not None}
    said = ["Deviation: pamprof / witness − 1; of ratios between 0 and 1, pamprof − witness."]
    if Agreement.LOWER_BOUND in agreements:
        said.append("A tolerance “at most” belongs to a bound: pamprof states the least there can be.")
    if Agreement.UPPER_BOUND in agreements:
        said.append("A tolerance “at least” belongs to a bound: what was achieved is the least that pamprof can read.")
    if ValidationVerdict.EXPLAINED in verdicts:
        said.append(
            "Explained: outside the tolerance, but what the hardware adds to the arithmetic (whole tiles, read from "
            "the names of the kernels) leads to a range that holds the witness."
        )
    return said


def _machine(environment: Environment) -> str:
    parts = [f"torch {environment.torch_version}"]
    if environment.driver_version:
        parts.append(f"driver {environment.driver_version}")
    if environment.cuda_version:
        parts.append(f"CUDA {environment.cuda_version}")
    commit = f" ({environment.git_commit})" if environment.git_commit else ""
    return ", ".join([*parts, f"pamprof {environment.pamprof_version}{commit}"])


def _quantity(value: float | None, unit: str, source: str) -> str:
    if value is None:
        return f"{units.UNKNOWN} ({source})" if source else units.UNKNOWN
    if unit == "B":
        text = units.binary_bytes(value, _DIGITS)
    elif unit == "ratio":
        text = units.percent(value, 3)
    else:
        text = units.si(value, unit, _DIGITS)
    return f"{text} ({source})"


def _deviation(row: ValidationRow) -> str:
    if row.deviation is None:
        return units.UNKNOWN
    if row.agreement is Agreement.ABSOLUTE:
        return f"{row.deviation * 100:+.2f} points".replace("-", "−")
    return f"{row.deviation * 100:+.2f} %".replace("-", "−")


def _tolerance(row: ValidationRow) -> str:
    if row.tolerance is None:
        return units.UNKNOWN
    limit = f"{row.tolerance * 100:g}"
    match row.agreement:
        case Agreement.RELATIVE:
            return f"±{limit} %"
        case Agreement.ABSOLUTE:
            return f"±{limit} points"
        case Agreement.LOWER_BOUND:
            return f"at most +{limit} %"
        case Agreement.UPPER_BOUND:
            return f"at least −{limit} %"
