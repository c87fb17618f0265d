"""The tables of capacity: what is held, the law of interference, published points, every accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.capacity.conclude import LAW_FROM
from pamprof.render.capacity.looks import memory_name
from pamprof.render.capacity.numbers import count, fitted, per_kib, percent
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.capacity.conclude import CapacityFindings, HeldAssociations, InterferenceLaw
    from pamprof.pricing.memory_rent import MemoryRent


def held_table(findings: CapacityFindings, rent: MemoryRent) -> TableView:
    """What each memory holds, per byte and per dollar."""
    return TableView(
        title="Associations retrieved at 99 %, per byte of state and per dollar",
        summary=(
            "The largest measured number of pairs of which 99 % are retrieved; in brackets what the accuracy's 95 % "
            "interval leaves possible. Bytes are those of one head: a state in float32, a KV cache in bfloat16. A "
            "dollar buys the memory for an hour."
        ),
        columns=("memory", "d", "associations", "interval", "state", "per KiB of state", "per dollar-hour", "basis"),
        right=frozenset({1, 2, 3, 4, 5, 6}),
        rows=tuple(_held_row(each, rent) for each in findings.held),
        notes=(
            (f"No dollars: {rent.reason}.",) if rent.usd_per_gib_hour is None else ()
        ) + ("At least: 99 % were retrieved of the most pairs that were written; a KV cache grows with each pair.",),
    )  # fmt: skip


def _held_row(held: HeldAssociations, rent: MemoryRent) -> tuple[str, ...]:
    per_dollar = rent.associations_per_usd_hour(held.associations, held.state_bytes)
    none = held.associations is None
    return (
        memory_name(held.state),
        str(held.head_dim),
        f"{units.UNKNOWN} (fewer than measured)" if none else count(held),
        "" if none or held.is_bound else f"[{held.low or 0:,}, {held.high:,}]",
        units.binary_bytes(held.state_bytes),
        per_kib(held),
        units.UNKNOWN if per_dollar is None else units.si(per_dollar),
        "measured",
    )


def law_table(laws: Sequence[InterferenceLaw]) -> TableView:
    """Fitted exponents and factors."""
    return TableView(
        title="The law O(1/sqrt(n))",
        summary=(
            f"Signal over interference as factor · n^exponent, fitted from {LAW_FROM} associations on; n counts what "
            "interferes: the other pairs, and in a vector once the pair's own key, whose spectrum is not flat. Theory: "
            "exponent −0.5, factor sqrt(d) for a matrix and 1 for a vector."
        ),
        columns=("memory", "d", "exponent", "factor", "sizes"),
        right=frozenset({1, 4}),
        rows=tuple(
            (
                memory_name(law.state),
                str(law.head_dim),
                fitted(law.signal.exponent),
                fitted(law.signal.factor),
                str(law.signal.places),
            )
            for law in laws
        ),
        notes=_accuracy_note(laws),
    )


def _accuracy_note(laws: Sequence[InterferenceLaw]) -> tuple[str, ...]:
    """That accuracy follows no power of n, with what a line through it would say; empty without one."""
    lines = tuple(
        f"{fitted(law.accuracy.exponent)} for the {memory_name(law.state)} at d = {law.head_dim}"
        for law in laws
        if law.accuracy is not None
    )
    if not lines:
        return ()
    return (
        "Accuracy itself is no power of n: it stays near 1 while the signal stands out, then falls faster. A line "
        f"through its logarithms has an exponent that depends on the sizes chosen, here {listed(lines)}.",
    )


def published_table(findings: CapacityFindings) -> TableView:
    """Published accuracies beside those measured."""
    return TableView(
        title="Published points",
        summary="Accuracies of the published repository's test beside those measured here.",
        columns=("memory", "d", "associations", "published", "measured", "verdict"),
        right=frozenset({1, 2, 3}),
        rows=tuple(
            (
                memory_name(point.state),
                str(point.head_dim),
                str(point.associations),
                f"{percent(point.published)} %",
                f"{percent(point.accuracy)} % [{percent(point.low)}, {percent(point.high)}]",
                "agrees" if point.agrees else "does not agree",
            )
            for point in findings.published
        ),
        notes=(),
    )


def accuracy_tables(findings: CapacityFindings) -> list[TableView]:
    """Accuracies at the sizes that every memory was measured at, one table a number of channels."""
    tables = []
    for head_dim in dict.fromkeys(row.head_dim for row in findings.rows):
        rows = [row for row in findings.rows if row.head_dim == head_dim]
        states = tuple(dict.fromkeys(row.state for row in rows))
        found = {(row.state, row.associations): row for row in rows}
        sizes = [n for n in sorted({row.associations for row in rows}) if all((s, n) in found for s in states)]
        tables.append(
            TableView(
                title=f"Associations retrieved at d = {head_dim}",
                summary="Percent retrieved, 95 % interval over seeds, at the sizes of all; the CSV has every size.",
                columns=("associations", *(memory_name(state) for state in states)),
                right=frozenset(),
                rows=tuple(
                    (
                        str(n),
                        *(
                            f"{percent(found[s, n].accuracy)} [{percent(found[s, n].low)}, {percent(found[s, n].high)}]"
                            for s in states
                        ),
                    )
                    for n in sizes
                ),
                notes=(),
            )
        )
    return tables
