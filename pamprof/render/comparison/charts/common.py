"""Lines that every picture carries: device, date, price, number of samples, confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.render.text import PHASE_NAMES, listed, point_label

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.analysis.comparison.results import PointAnalysis, Summary
    from pamprof.render.comparison.inputs import ReportInputs

MOST_PANELS = 8


def subtitle(inputs: ReportInputs) -> str:
    """``NVIDIA H200 · 22 Nov 2026 · 100m preset · bfloat16``."""
    parts = [inputs.device, inputs.date]
    if inputs.session is not None:
        if inputs.session.preset:
            parts.append(f"preset {inputs.session.preset}")
        parts.append(f"{inputs.session.scope} · {inputs.session.dtype}")
    return " · ".join(parts)


def source(inputs: ReportInputs) -> str:
    """The line that tells where a picture alone comes from."""
    environment = inputs.environment
    if environment is None:
        return "Source: pamprof."
    driver = f", driver {environment.driver_version}" if environment.driver_version else ""
    return (
        f"Source: pamprof {environment.pamprof_version}, torch {environment.torch_version}{driver}; "
        f"paired samples in runs.jsonl."
    )


def samples_and_confidence(summaries: Iterable[Summary]) -> str:
    """``n = 24; intervals at 95 %`` over what is shown."""
    shown = tuple(summaries)
    counts = sorted({s.sample_count for s in shown})
    confidences = sorted({round(100 * s.tokens_per_second.confidence) for s in shown})
    if not counts:
        return "n = 0"
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"
    return f"{n} samples an arm, {listed(tuple(f'{c} %' for c in confidences))} intervals"


def panel_title(point: PointAnalysis) -> str:
    """``Decode, batch 64 at 16k context``."""
    return f"{PHASE_NAMES[point.point.phase]}, {point_label(point.point)}"
