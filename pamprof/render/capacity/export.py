"""A capacity record as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, fields

from pamprof.analysis.capacity.conclude import (
    AccuracyRow,
    HeldAssociations,
    InterferenceLaw,
    PublishedPoint,
    capacity_findings,
    seed_count,
)
from pamprof.pricing.memory_rent import MemoryRent, memory_rent
from pamprof.records import AssociativeMemory, Capacity, PriceQuote, RetrievalScore  # noqa: TC001 - the encoder reads them


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldExport:
    """``HeldAssociations`` with what follows from it; None is unknown, or fewer than were measured."""

    state: AssociativeMemory
    head_dim: int
    associations_at_99_percent: int | None
    low: int | None
    high: int | None
    is_bound: bool
    state_bytes: int
    associations_per_state_byte: float | None
    associations_per_usd_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySummary:
    """What follows from the rows, and how they were made."""

    started_at: str
    command: str
    device: str
    seeds: int
    first_seed: int
    score: RetrievalScore
    seconds: float
    left_out: int
    held: tuple[HeldExport, ...]
    laws: tuple[InterferenceLaw, ...]
    published: tuple[PublishedPoint, ...]
    usd_per_gib_hour: float | None
    usd_per_state_byte_hour: float | None
    memory_rent: MemoryRent
    quote: PriceQuote | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityExport:
    """What ``pamprof capacity --json`` prints."""

    rows: tuple[AccuracyRow, ...]
    summary: CapacitySummary


def capacity_export(record: Capacity) -> CapacityExport:
    """The rows of ``record`` and what follows from them."""
    findings = capacity_findings(record)
    rent = memory_rent(record.quote, record.quote_unknown_reason, record.environment)
    return CapacityExport(
        rows=findings.rows,
        summary=CapacitySummary(
            started_at=record.started_at,
            command=record.command,
            device=record.environment.device_name,
            seeds=seed_count(record),
            first_seed=record.first_seed,
            score=record.score,
            seconds=record.seconds,
            left_out=record.left_out,
            held=tuple(_held(each, rent) for each in findings.held),
            laws=findings.laws,
            published=findings.published,
            usd_per_gib_hour=rent.usd_per_gib_hour,
            usd_per_state_byte_hour=rent.usd_per_byte_hour,
            memory_rent=rent,
            quote=record.quote,
        ),
    )


def capacity_csv(record: Capacity) -> str:
    """One row a memory, number of channels and size, with the columns of ``AccuracyRow``."""
    text = io.StringIO()
    columns = [field.name for field in fields(AccuracyRow)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([getattr(row, column) for column in columns] for row in capacity_findings(record).rows)
    return text.getvalue()


def _held(held: HeldAssociations, rent: MemoryRent) -> HeldExport:
    return HeldExport(
        state=held.state,
        head_dim=held.head_dim,
        associations_at_99_percent=held.associations,
        low=held.low,
        high=held.high,
        is_bound=held.is_bound,
        state_bytes=held.state_bytes,
        associations_per_state_byte=held.per_state_byte,
        associations_per_usd_hour=rent.associations_per_usd_hour(held.associations, held.state_bytes),
    )
