"""A capacity record in words, tables and pictures, for the page, the report's section and the terminal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof import units
from pamprof.analysis.capacity.conclude import capacity_findings, seed_count
from pamprof.pricing.memory_rent import memory_rent
from pamprof.pricing.rates.rate_words import USER, machine
from pamprof.records import RetrievalScore
from pamprof.render.capacity.charts import accuracy_chart, signal_chart
from pamprof.render.capacity.sentences import sentences
from pamprof.render.capacity.tables import accuracy_tables, held_table, law_table, published_table
from pamprof.render.text import cleaned, day, device_label, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.pricing.memory_rent import MemoryRent
    from pamprof.records import Capacity, PriceQuote
    from pamprof.render.charts import Chart
    from pamprof.render.formats.table_view import TableView

_SCORES = {
    RetrievalScore.ABSOLUTE_REAL: "the absolute inner product of their real coordinates",
    RetrievalScore.MODULUS: "the modulus of their complex inner product",
}


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


def latest_capacity(
    records: Sequence[Capacity], *, quote: PriceQuote | None = None, device_name: str | None = None
) -> CapacityView | None:
    """The view of the latest of ``records``, which says where there are earlier ones; None without any.

    ``quote``, the price of ``device_name``, replaces the record's own where it was measured there.
    """
    if not records:
        return None
    latest = max(records, key=lambda record: record.started_at)
    if quote is not None and latest.environment.device_name == device_name:
        latest = replace(latest, quote=quote, quote_unknown_reason=None)
    found = capacity_view(latest)
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
            sentences=tuple(sentences(findings)),
            tables=(
                held_table(findings, rent),
                *([law_table(findings.laws)] if findings.laws else []),
                *([published_table(findings)] if findings.published else []),
                *(accuracy_tables(findings)),
            ),
            charts=(accuracy_chart(record, findings), signal_chart(record, findings)),
            notes=tuple(_notes(record)),
            command=record.command,
        )
    )


def _price(record: Capacity, rent: MemoryRent) -> str:
    if rent.usd_per_gib_hour is None or rent.usd_per_byte_hour is None or record.quote is None:
        return f"No dollars: {rent.reason}."
    price = record.quote.chosen
    whole = "device" if record.environment.device_kind == "cuda" else "machine"
    dated = f", read {price.observed_text}" if price.observed_text else ", of unknown date"
    where = "your own rate" if price.provider == USER else f"{price.provider}, {machine(price)}{dated}"
    return (
        f"Memory at {units.usd(rent.usd_per_gib_hour)} per GiB and hour, "
        f"{units.usd(1e9 * rent.usd_per_byte_hour)} for a billion bytes of state: {units.usd_rate(rent.usd_per_hour)} "
        f"per hour of one {whole} ({where}), shared out over {units.significant(rent.memory_gib)} GiB."
    )


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
