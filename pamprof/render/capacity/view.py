"""A capacity record in words, tables and pictures, for the page, the report's section and the terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.capacity.conclude import LAW_FROM, CapacityFindings, capacity_findings, seed_count
from pamprof.pricing.memory_rent import MemoryRent, memory_rent
from pamprof.pricing.rates.rate_words import USER, machine
from pamprof.records import AssociativeMemory, RetrievalScore
from pamprof.render.capacity.charts import accuracy_chart, signal_chart
from pamprof.render.capacity.looks import memory_name
from pamprof.render.formats.table_view import TableView
from pamprof.render.text import cleaned, day, device_label, listed, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.capacity.conclude import HeldAssociations, InterferenceLaw
    from pamprof.records import Capacity, Interval, PriceQuote
    from pamprof.render.charts import Chart

_SCORES = {
    RetrievalScore.ABSOLUTE_REAL: "the absolute inner product of their real coordinates",
    RetrievalScore.MODULUS: "the modulus of their complex inner product",
}
_KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityView:
    """Everything shown of a capacity record.

    Attributes:
        heading: What, in short.
        title: What, on what, when.
        price: The rate of memory and where it comes from, or why there is none.
        alerts: What must be known first.
        sentences: What was found.
        tables: Associations held, the law, the published points, then every accuracy.
        charts: The pictures.
        notes: How it was made.
        command: What reproduces it.
    """

    heading: str
    title: str
    price: str
    alerts: tuple[str, ...]
    sentences: tuple[str, ...]
    tables: tuple[TableView, ...]
    charts: tuple[Chart, ...]
    notes: tuple[str, ...]
    command: str


def latest_capacity(records: Sequence[Capacity], *, quote: PriceQuote | None = None) -> CapacityView | None:
    """The view of the latest of ``records``, which says where there are earlier ones; None without any.

    ``quote`` replaces the record's own price.
    """
    if not records:
        return None
    latest = max(records, key=lambda record: record.started_at)
    found = capacity_view(latest if quote is None else replace(latest, quote=quote, quote_unknown_reason=None))
    earlier = len(records) - 1
    told = (f"{plural(earlier, 'earlier record')} of capacity among the inputs not shown.",) if earlier else ()
    return replace(found, alerts=(*found.alerts, *told))


def capacity_view(record: Capacity) -> CapacityView:
    """The view of ``record``, free of characters that act."""
    findings = capacity_findings(record)
    rent = memory_rent(record.quote, record.quote_unknown_reason, record.environment)
    heading = "How many associations a memory holds"
    left_out = (
        (
            f"Incomplete: the time budget of {units.rough_seconds(record.time_budget_seconds)} left out "
            f"{plural(record.left_out, 'point')}; give more with --time-budget.",
        )
        if record.left_out
        else ()
    )
    return cleaned(
        CapacityView(
            heading=heading,
            title=f"{heading} · {device_label(record.environment)} · {day(record.started_at)}",
            price=_price(record, rent),
            alerts=left_out,
            sentences=tuple(_sentences(findings)),
            tables=(
                _held_table(findings, rent),
                *([_law_table(findings.laws)] if findings.laws else []),
                *([_published_table(findings)] if findings.published else []),
                *(_accuracy_tables(findings)),
            ),
            charts=(accuracy_chart(record, findings), signal_chart(record, findings)),
            notes=tuple(_notes(record)),
            command=record.command,
        )
    )


def _price(record: Capacity, rent: MemoryRent) -> str:
    if rent.usd_per_gib_hour is None or record.quote is None:
        return f"No dollars: {rent.reason}."
    price = record.quote.chosen
    whole = "device" if record.environment.device_kind == "cuda" else "machine"
    dated = f", read {price.observed_text}" if price.observed_text else ", of unknown date"
    where = "your own rate" if price.provider == USER else f"{price.provider}, {machine(price)}{dated}"
    return (
        f"Memory at {units.usd(rent.usd_per_gib_hour)} per GiB and hour: {units.usd_rate(rent.usd_per_hour)} per hour "
        f"of one {whole} ({where}), shared out over {units.significant(rent.memory_gib)} GiB."
    )


def _sentences(findings: CapacityFindings) -> list[str]:
    said = []
    if findings.published:
        points = "; ".join(
            f"{memory_name(point.state)} {_percent(point.accuracy)} % [{_percent(point.low)}, {_percent(point.high)}], "
            f"published {_percent(point.published)} %{'' if point.agrees else ', which does not agree'}"
            for point in findings.published
        )
        place = findings.published[0]
        said.append(f"{place.associations} random associations at d = {place.head_dim} are retrieved to: {points}.")
    for head_dim in dict.fromkeys(each.head_dim for each in findings.held):
        held = [each for each in findings.held if each.head_dim == head_dim and each.associations is not None]
        if held:
            words = listed(tuple(f"{_count(each)} ({memory_name(each.state)})" for each in held))
            said.append(f"With {head_dim} channels 99 % are retrieved of up to {words}.")
        said += _comparisons(findings, head_dim)
    return said


def _comparisons(findings: CapacityFindings, head_dim: int) -> list[str]:
    """What a byte holds in a matrix and in a vector, and what K states add."""
    said = []
    one, three, vector = (
        findings.held_by(state, head_dim)
        for state in (AssociativeMemory.PAM_K1, AssociativeMemory.PAM_K3, AssociativeMemory.VECTOR)
    )
    if one and vector and one.per_state_byte and vector.per_state_byte and vector.per_state_byte > one.per_state_byte:
        said.append(
            f"PAM's matrix holds more than the vector because it is {one.state_bytes // vector.state_bytes} times as "
            f"large; a KiB of it holds fewer associations, {_per_kib(one)} against {_per_kib(vector)}."
        )
    if one and three and one.associations is not None and one.associations == three.associations:
        said.append(
            "Without forgetting each of K states holds the same sum, so K = 3 retrieves what K = 1 does, from three "
            "times the bytes; what K states add is a span of decays, as the memories that forget show."
        )
    return said


def _count(held: HeldAssociations) -> str:
    return f"{'at least ' if held.is_bound else ''}{held.associations:,}"


def _per_kib(held: HeldAssociations) -> str:
    return units.UNKNOWN if held.per_state_byte is None else units.significant(held.per_state_byte * _KIB)


def _held_table(findings: CapacityFindings, rent: MemoryRent) -> TableView:
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
        f"{units.UNKNOWN} (fewer than measured)" if none else _count(held),
        "" if none or held.is_bound else f"[{held.low or 0:,}, {held.high:,}]",
        units.binary_bytes(held.state_bytes),
        _per_kib(held),
        units.UNKNOWN if per_dollar is None else units.si(per_dollar),
        "measured",
    )


def _law_table(laws: Sequence[InterferenceLaw]) -> TableView:
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
                _fitted(law.signal.exponent),
                _fitted(law.signal.factor),
                str(law.signal.places),
            )
            for law in laws
        ),
        notes=tuple(
            "Accuracy itself is no power of n: it stays near 1 while the signal stands out, then falls faster. Through "
            f"the accuracies of the {memory_name(law.state)} at d = {law.head_dim} the same line has the exponent "
            f"{_fitted(law.accuracy.exponent)}, which depends on the sizes chosen."
            for law in laws
            if law.accuracy is not None
        ),
    )


def _published_table(findings: CapacityFindings) -> TableView:
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
                f"{_percent(point.published)} %",
                f"{_percent(point.accuracy)} % [{_percent(point.low)}, {_percent(point.high)}]",
                "agrees" if point.agrees else "does not agree",
            )
            for point in findings.published
        ),
        notes=(),
    )


def _accuracy_tables(findings: CapacityFindings) -> list[TableView]:
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
                            f"{_percent(found[s, n].accuracy)} "
                            f"[{_percent(found[s, n].low)}, {_percent(found[s, n].high)}]"
                            for s in states
                        ),
                    )
                    for n in sizes
                ),
                notes=(),
            )
        )
    return tables


def _notes(record: Capacity) -> list[str]:
    seeds = seed_count(record)
    return [
        f"Random unit keys and values, complex but for a real matrix and a KV cache; each key reads, and is retrieved "
        f"where its own value comes closest among all by {_SCORES[record.score]}. {plural(seeds, 'seed')}, the first "
        f"{record.first_seed}, and more of small sizes; every memory gets the same pairs.",
        "A KV cache returns the value of the nearest key, attention in the limit of a large scale.",
        "Intervals are Wilson's for as many independent retrievals as the seeds' scatter leaves: those of one seed "
        "share a memory, and a bootstrap over seeds would have no width where all are right.",
        f"Took {units.seconds(record.seconds)}.",
    ]


def _percent(ratio: float) -> str:
    """Percent without its sign, three digits."""
    return units.significant(100 * ratio)


def _fitted(interval: Interval) -> str:
    low, median, high = (f"{value:.3f}".replace("-", "−") for value in (interval.low, interval.median, interval.high))
    return f"{median} [{low}, {high}]"
