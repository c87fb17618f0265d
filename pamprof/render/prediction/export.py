"""Predictions as rows for JSON: one a workload and GPU, units at the end of the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.pricing.predicted_cost import PricedPrediction
    from pamprof.records import Interval

_Ends = tuple[float | None, float | None, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """One workload on one GPU; None where it does not fit or where something is not known.

    Attributes:
        gpu: Canonical name.
        layer, implementation, execution, phase, scope, batch_size, sequence_length, dtype: The workload.
        workload: All of its identity, sizes included, as one line.
        step_seconds_low, step_seconds_median, step_seconds_high: With ``confidence``.
        basis: ``measured …``, ``modelled …`` or ``does not fit …``: where the time and its interval come from.
        is_measured: Whether it was measured on this very GPU.
        source_gpu: The GPU it was carried from; the same where it was measured.
        memory: ``fits``, ``may not fit`` or ``does not fit``.
        largest_batch: That surely fits.
        ratio_low, ratio_median, ratio_high: Step time over that of ``reference``, a layer and an implementation.
    """

    gpu: str
    layer: str
    implementation: str
    execution: str
    phase: str
    scope: str
    batch_size: int
    sequence_length: int
    dtype: str
    workload: str
    step_seconds_low: float | None
    step_seconds_median: float | None
    step_seconds_high: float | None
    confidence: float | None
    basis: str
    is_measured: bool
    source_gpu: str
    same_architecture: bool
    tokens_per_second_low: float | None
    tokens_per_second_median: float | None
    tokens_per_second_high: float | None
    memory: str | None
    needed_bytes: int | None
    memory_bytes: int | None
    largest_batch: int | None
    joules_per_token_low: float | None
    joules_per_token_median: float | None
    joules_per_token_high: float | None
    watts: float | None
    usd_per_hour: float | None
    usd_per_million_tokens_low: float | None
    usd_per_million_tokens_median: float | None
    usd_per_million_tokens_high: float | None
    reference: str
    ratio_low: float | None
    ratio_median: float | None
    ratio_high: float | None


def prediction_rows(priced: Iterable[PricedPrediction]) -> tuple[PredictionRow, ...]:
    """The rows, in order."""
    return tuple(_row(each) for each in priced)


def _row(priced: PricedPrediction) -> PredictionRow:
    each, rate = priced.prediction, priced.quote
    workload, memory = each.workload, each.memory
    step, tokens = _ends(each.step_seconds), _ends(each.tokens_per_second)
    joules, dollars, ratio = _ends(each.joules_per_token), _ends(priced.usd_per_million_tokens), _ends(each.ratio)
    return PredictionRow(
        gpu=each.gpu,
        layer=workload.spec.layer,
        implementation=workload.implementation,
        execution=workload.execution.value,
        phase=workload.phase.value,
        scope=workload.scope.value,
        batch_size=workload.batch_size,
        sequence_length=workload.sequence_length,
        dtype=workload.dtype.value,
        workload=workload.key,
        step_seconds_low=step[0],
        step_seconds_median=step[1],
        step_seconds_high=step[2],
        confidence=None if each.step_seconds is None else each.step_seconds.confidence,
        basis=each.basis_words,
        is_measured=each.carried is None,
        source_gpu=each.source,
        same_architecture=each.same_architecture,
        tokens_per_second_low=tokens[0],
        tokens_per_second_median=tokens[1],
        tokens_per_second_high=tokens[2],
        memory=None if memory is None else memory.fit.value,
        needed_bytes=None if memory is None else memory.needed_bytes,
        memory_bytes=None if memory is None else memory.available_bytes,
        largest_batch=each.largest_batch,
        joules_per_token_low=joules[0],
        joules_per_token_median=joules[1],
        joules_per_token_high=joules[2],
        watts=None if each.watts is None else each.watts.median,
        usd_per_hour=None if rate is None else float(rate.chosen.usd_per_device_hour),
        usd_per_million_tokens_low=dollars[0],
        usd_per_million_tokens_median=dollars[1],
        usd_per_million_tokens_high=dollars[2],
        reference=f"{each.reference.spec.layer}/{each.reference.implementation}/{each.reference.execution}",
        ratio_low=ratio[0],
        ratio_median=ratio[1],
        ratio_high=ratio[2],
    )


def _ends(interval: Interval | None) -> _Ends:
    return (None, None, None) if interval is None else (interval.low, interval.median, interval.high)
