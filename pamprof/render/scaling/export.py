"""Points that several ranks shared as a frame and as CSV: one row each, the unit at the end of a column's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.scaling.conclude import scaling_points
from pamprof.pricing.run_cost import cost_per_million_tokens
from pamprof.render.formats.csv import for_spreadsheets, guard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pandas import DataFrame

    from pamprof.analysis.scaling.conclude import ScalingPoint
    from pamprof.records import PriceQuote, RankedRun

SCALING_FILE = "scaling.csv"


def scaling_frame(
    runs: Sequence[RankedRun], *, quote: PriceQuote | None, text: Callable[[str], str] = str
) -> DataFrame:
    """One row a point; an unknown value is ``NA``. Texts that a layer gave go through ``text``."""
    import pandas as pd

    rows = [_row(point, quote, text) for point in scaling_points(runs)]
    return pd.DataFrame.from_records(rows).convert_dtypes()


def scaling_csv(runs: Sequence[RankedRun], *, quote: PriceQuote | None) -> str:
    """The frame as text; an unknown value is an empty cell."""
    frame = scaling_frame(runs, quote=quote, text=guard)
    return for_spreadsheets(str(frame.to_csv(index=False, lineterminator="\n")))


def _row(point: ScalingPoint, quote: PriceQuote | None, text: Callable[[str], str]) -> dict[str, object]:
    run, workload = point.run, point.run.workload
    layout, messages = workload.layout, run.communication
    assert layout is not None
    by_device = point.tokens_per_second.scaled(1 / point.device_count)
    peaks = [rank.peak_bytes for rank in run.ranks if rank.peak_bytes is not None]
    return {
        "started_at": text(run.started_at),
        "device_name": text(run.environment.device_name),
        "layer": text(workload.spec.layer),
        "implementation": text(workload.implementation),
        "execution": str(workload.execution),
        "phase": str(workload.phase),
        "batch_size": workload.batch_size,
        "sequence_length": workload.sequence_length,
        "dtype": str(workload.dtype),
        "parallel": str(layout.parallel),
        "ranks": layout.ranks,
        "scaling": "weak" if run.scales_weakly else "strong",
        "activations_recomputed": layout.checkpoints_activations,
        "step_median_seconds": point.step_seconds.median,
        "step_low_seconds": point.step_seconds.low,
        "step_high_seconds": point.step_seconds.high,
        "one_device_step_median_seconds": point.alone_seconds.median,
        "speed_up": point.speed_up.median,
        "speed_up_low": point.speed_up.low,
        "speed_up_high": point.speed_up.high,
        "efficiency": point.efficiency.median,
        "tokens_per_second": point.tokens_per_second.median,
        "usd_per_million_tokens": None
        if quote is None
        else cost_per_million_tokens(quote, by_device).usd_per_million_tokens.median,
        "joules_per_token": point.joules_per_token,
        "one_device_joules_per_token": point.alone_joules_per_token,
        "message_bytes": None if messages is None else messages.bytes,
        "sent_bytes": point.sent_bytes,
        "communication_seconds": None if messages is None else messages.seconds,
        "exposed_communication_seconds": None if messages is None else messages.exposed_seconds,
        "slowest_rank_ratio": point.imbalance,
        "weight_bytes_per_rank": max(rank.weight_bytes for rank in run.ranks),
        "optimizer_bytes_per_rank": max(rank.optimizer_bytes for rank in run.ranks),
        "state_bytes_per_rank": max(rank.state_bytes for rank in run.ranks),
        "peak_bytes_per_rank": max(peaks, default=None),
        "one_device_weight_bytes": run.alone_weight_bytes,
        "one_device_state_bytes": run.alone_state_bytes,
        "one_device_peak_bytes": run.alone_peak_bytes,
    }
