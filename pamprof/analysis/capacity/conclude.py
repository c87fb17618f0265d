"""Accuracy with intervals, how many associations are held at 99 %, the law of interference, the published points."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from pamprof.records import AssociativeMemory, Interval, RetrievalScore
from pamprof.statistics import CONFIDENCE
from pamprof.statistics.log_estimate import student_quantile
from pamprof.statistics.power_law import PowerLaw, power_law
from pamprof.statistics.proportions import clustered_proportion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Capacity, CapacityPoint

HELD_RATIO = 0.99
LAW_FROM = 16  # associations; the law is one of many
_PUBLISHED_ACCURACY = {AssociativeMemory.PAM_K1: 1.0, AssociativeMemory.VECTOR: 0.13}  # qllm2, 64 pairs at d = 64
_PUBLISHED_PLACE = 64
_PUBLISHED_ROUNDING = 0.005
_SIGNAL_FROM = 4  # below, so few pairs disturb each other that their rounding and luck are all there is to see
_FLOAT32_BYTES, _BFLOAT16_BYTES = 4, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """The share of ``associations`` pairs that were retrieved, 0..1, with its 95 % interval over seeds."""

    state: AssociativeMemory
    head_dim: int
    associations: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """Signal over interference, lengths, with its 95 % interval over seeds."""

    state: AssociativeMemory
    head_dim: int
    associations: int
    signal: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAssociations:
    """How many pairs a memory holds.

    Attributes:
        state: Which memory.
        head_dim: Its channels.
        associations: The largest measured number of pairs of which 99 % are retrieved, as of every smaller one. None
            where not even the smallest is.
        low: The largest of these numbers at which the lower end of the accuracy's interval is 99 %; None without one.
        high: The largest number before the first at which the upper end is less than 99 %; None likewise.
        is_bound: Whether 99 % were retrieved of the most pairs measured, so that it may hold more.
        state_bytes: Of the memory with that many pairs.
    """

    state: AssociativeMemory
    head_dim: int
    associations: int | None
    low: int | None
    high: int | None
    is_bound: bool
    state_bytes: int

    @property
    def per_state_byte(self) -> float | None:
        """Associations of one byte of state."""
        return None if self.associations is None else self.associations / self.state_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class InterferenceLaw:
    """Signal over interference, by how many pairs interfere: factor · count^exponent, O(1/sqrt(n)) at -0.5.

    Attributes:
        state: Which memory.
        head_dim: Its channels.
        signal: The fitted law; by theory exponent -0.5, and factor sqrt(d) for a matrix, 1 for a vector.
        accuracy: Of a vector, the line through the accuracies themselves at the same sizes. They follow no power, so it
            depends on the sizes. None for a matrix, and where a size has no retrieval at all.
    """

    state: AssociativeMemory
    head_dim: int
    signal: PowerLaw
    accuracy: PowerLaw | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPoint:
    """A published accuracy beside the measured one; they agree where it lies in the interval, rounded as published."""

    state: AssociativeMemory
    head_dim: int
    associations: int
    published: float
    accuracy: float
    low: float
    high: float
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityFindings:
    """What a record says."""

    rows: tuple[AccuracyRow, ...]
    signals: tuple[SignalRow, ...]
    held: tuple[HeldAssociations, ...]
    laws: tuple[InterferenceLaw, ...]
    published: tuple[PublishedPoint, ...]

    def held_by(self, state: AssociativeMemory, head_dim: int) -> HeldAssociations | None:
        """How many pairs ``state`` holds; None where it was not measured."""
        return next((each for each in self.held if (each.state, each.head_dim) == (state, head_dim)), None)


def capacity_findings(record: Capacity) -> CapacityFindings:
    """Everything that follows from the counts of a record."""
    rows = tuple(_row(point) for point in record.points)
    curves: dict[tuple[AssociativeMemory, int], list[CapacityPoint]] = {}
    for point in record.points:
        curves.setdefault((point.state, point.head_dim), []).append(point)
    laws = [_law(state, head_dim, points) for (state, head_dim), points in curves.items()]
    return CapacityFindings(
        rows=rows,
        signals=tuple(
            _signal(point) for point in record.points if point.associations >= _SIGNAL_FROM and _disturbed(point)
        ),
        held=tuple(
            _held(state, head_dim, [row for row in rows if (row.state, row.head_dim) == (state, head_dim)])
            for state, head_dim in curves
        ),
        laws=tuple(law for law in laws if law is not None),
        published=tuple(_published(row) for row in rows if _is_published(row, record.score)),
    )


def seed_count(record: Capacity) -> int:
    """Seeds of every size; small sizes have more."""
    return min((len(point.correct) for point in record.points), default=0)


def state_byte_count(state: AssociativeMemory, head_dim: int, associations: int) -> int:
    """Bytes of one head's memory: float32 numbers of a state, bfloat16 numbers of a KV cache.

    A vector has d complex numbers, a matrix d² complex ones for each of its K states, a real matrix d² real ones; a KV
    cache a key and a value of d real numbers for each pair.
    """
    match state:
        case AssociativeMemory.VECTOR:
            return 2 * head_dim * _FLOAT32_BYTES
        case AssociativeMemory.PAM_K1 | AssociativeMemory.PAM_K1_FORGETTING:
            return 2 * head_dim**2 * _FLOAT32_BYTES
        case AssociativeMemory.PAM_K3 | AssociativeMemory.PAM_K3_FORGETTING:
            return 3 * 2 * head_dim**2 * _FLOAT32_BYTES
        case AssociativeMemory.REAL_MATRIX:
            return head_dim**2 * _FLOAT32_BYTES
        case AssociativeMemory.KV_CACHE:
            return 2 * head_dim * _BFLOAT16_BYTES * associations


def _row(point: CapacityPoint) -> AccuracyRow:
    found = clustered_proportion(point.correct, point.associations)
    return AccuracyRow(
        state=point.state,
        head_dim=point.head_dim,
        associations=point.associations,
        accuracy=found.median,
        low=found.low,
        high=found.high,
    )


def _disturbed(point: CapacityPoint) -> bool:
    return bool(point.interference) and all(point.interference)


def _signal(point: CapacityPoint) -> SignalRow:
    signals = [1 / distance for distance in point.interference]
    mean, count = sum(signals) / len(signals), len(signals)
    error = sqrt(sum((each - mean) ** 2 for each in signals) / (count - 1) / count) if count > 1 else 0.0
    reach = student_quantile(0.5 + CONFIDENCE / 2, count - 1) * error if count > 1 else 0.0
    return SignalRow(
        state=point.state,
        head_dim=point.head_dim,
        associations=point.associations,
        signal=Interval(low=max(mean - reach, mean / 10), median=mean, high=mean + reach, confidence=CONFIDENCE),
    )


def _held(state: AssociativeMemory, head_dim: int, rows: Sequence[AccuracyRow]) -> HeldAssociations:
    ordered = sorted(rows, key=lambda row: row.associations)

    def reached(values: Sequence[float]) -> int | None:
        found = None
        for row, value in zip(ordered, values, strict=True):
            if value < HELD_RATIO:
                break
            found = row.associations
        return found

    associations = reached([row.accuracy for row in ordered])
    sure = [row.associations for row in ordered if row.low >= HELD_RATIO]
    return HeldAssociations(
        state=state,
        head_dim=head_dim,
        associations=associations,
        low=max((n for n in sure if n <= (associations or 0)), default=None),
        high=reached([row.high for row in ordered]),
        is_bound=associations == ordered[-1].associations,
        state_bytes=state_byte_count(state, head_dim, associations or 1),
    )


def _law(state: AssociativeMemory, head_dim: int, points: Sequence[CapacityPoint]) -> InterferenceLaw | None:
    """Of what interferes: in a matrix the other pairs, in a vector the pair's own key as well, once."""
    used = [p for p in points if p.associations >= LAW_FROM and _disturbed(p)]
    if not used:
        return None
    places = [float(p.associations - (state is not AssociativeMemory.VECTOR)) for p in used]
    signal = power_law(places, [[1 / distance for distance in p.interference] for p in used])
    if signal is None:
        return None
    accuracy = None
    if state is AssociativeMemory.VECTOR:
        accuracy = power_law(places, [[n / p.associations for n in p.correct] for p in used])
    return InterferenceLaw(state=state, head_dim=head_dim, signal=signal, accuracy=accuracy)


def _is_published(row: AccuracyRow, score: RetrievalScore) -> bool:
    place = row.head_dim == row.associations == _PUBLISHED_PLACE
    return place and row.state in _PUBLISHED_ACCURACY and score is RetrievalScore.ABSOLUTE_REAL


def _published(row: AccuracyRow) -> PublishedPoint:
    published = _PUBLISHED_ACCURACY[row.state]
    return PublishedPoint(
        state=row.state,
        head_dim=row.head_dim,
        associations=row.associations,
        published=published,
        accuracy=row.accuracy,
        low=row.low,
        high=row.high,
        agrees=row.low - _PUBLISHED_ROUNDING <= published <= row.high + _PUBLISHED_ROUNDING,
    )
