"""From which load on one architecture needs fewer replicas than another: a sentence a pair, a table, rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.pricing.serving.load_crossings import prompt_crossings
from pamprof.render.formats.table_view import TableView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.pricing.serving.load_crossings import LoadCrossing, PromptCrossing
    from pamprof.pricing.serving.load_study import LoadStudy
    from pamprof.render.formats.csv import Value

CROSSING_COLUMNS = (
    "fixed state", "cache", "prompt", "state: one device", "cache: one device", "fewer replicas", "above",
    "always above", "basis",
)  # fmt: skip


def crossing_sentences(study: LoadStudy, crossings: Sequence[LoadCrossing]) -> tuple[str, ...]:
    """One for each pair."""
    pairs = dict.fromkeys((row.subject, row.rival) for row in crossings)
    asked = round(study.question.requests.mean_input_tokens)
    changes = prompt_crossings(crossings)
    return tuple(
        _sentence(
            [row for row in crossings if (row.subject, row.rival) == pair],
            [change for change in changes if (change.subject, change.rival) == pair],
            asked,
        )
        for pair in pairs
    )


def _sentence(rows: Sequence[LoadCrossing], changes: Sequence[PromptCrossing], asked: int) -> str:
    at = next((row for row in rows if row.input_tokens == asked), rows[0])
    prompts = f"prompts of {units.tokens(at.input_tokens)} tokens"
    if at.fewer is None:
        first = f"{at.subject} and {at.rival} hold the same load at {prompts}, within what is told apart"
    else:
        other = at.rival if at.fewer == at.subject else at.subject
        some = units.significant(at.first_per_second)
        every = f"at every load above {units.significant(at.lasting_per_second)}"
        where = (
            f"{every} requests a second"
            if at.first_per_second == at.lasting_per_second
            else f"at some loads above {some} requests a second, and {every}"
        )
        first = f"at {prompts} {at.fewer} needs fewer replicas, and so dollars at one rate, than {other}: {where}"
    if changes:
        then = "; ".join(
            f"above prompts of about {units.significant(change.tokens)} tokens (between {units.tokens(change.low)} and "
            f"{units.tokens(change.high)} simulated) it is {change.fewer_above} that needs fewer"
            for change in changes
        )
    else:
        told = [row for row in rows if row.fewer is not None]
        then = (
            f"no prompt length from {units.tokens(rows[0].input_tokens)} to {units.tokens(rows[-1].input_tokens)} "
            "tokens changes that"
            if len(told) > 1
            else "no other prompt length is known to change that"
        )
    return f"{first[:1].upper()}{first[1:]}; {then} ({at.basis})."


def crossing_table(crossings: Sequence[LoadCrossing]) -> TableView | None:
    """Every pair and prompt length; None where no fixed state meets a cache."""
    if not crossings:
        return None
    return TableView(
        title="From which load on replicas differ",
        summary=(
            "All requests in the busiest hour, a second: above the first rate the one named may need fewer replicas, "
            "above the second it always does. Answers as long as asked for, at the medians of the step times; at one "
            "rate of a device-hour dollars follow replicas."
        ),
        columns=CROSSING_COLUMNS,
        right=frozenset({2, 3, 4, 6, 7}),
        rows=tuple(_row(row) for row in crossings),
        notes=("Rates are found to 1 % each; two that differ by less than 2 % are not told apart",),
    )


def _row(row: LoadCrossing) -> tuple[str, ...]:
    return (
        row.subject,
        row.rival,
        units.tokens(row.input_tokens),
        f"{units.significant(row.subject_per_second)}/s",
        f"{units.significant(row.rival_per_second)}/s",
        row.fewer or "not told apart",
        units.UNKNOWN if row.first_per_second is None else f"{units.significant(row.first_per_second)}/s",
        units.UNKNOWN if row.lasting_per_second is None else f"{units.significant(row.lasting_per_second)}/s",
        row.basis.value,
    )


def crossing_rows(crossings: Sequence[LoadCrossing]) -> dict[str, list[dict[str, Value]]]:
    """Both kinds of crossovers for programs."""
    return {
        "load_crossovers": [
            {
                "subject": row.subject,
                "rival": row.rival,
                "mean_input_tokens": row.input_tokens,
                "subject_requests_per_second": row.subject_per_second,
                "rival_requests_per_second": row.rival_per_second,
                "fewer_replicas": row.fewer,
                "first_requests_per_second": row.first_per_second,
                "lasting_requests_per_second": row.lasting_per_second,
                "basis": row.basis.value,
            }
            for row in crossings
        ],
        "prompt_crossovers": [asdict(change) for change in prompt_crossings(crossings)],
    }
