"""Medians and paired ratios with intervals, the verdict on a ratio, and the rule that stops sampling."""

from __future__ import annotations

from pamprof.statistics.ratios import (
    CONFIDENCE,
    EQUIVALENCE_BAND,
    TARGET_HALF_WIDTH,
    Verdict,
    chained_ratio_interval,
    half_width,
    median_interval,
    ratio_interval,
    should_stop,
    unpaired_ratio_interval,
    verdict,
)

__all__ = [
    "CONFIDENCE",
    "EQUIVALENCE_BAND",
    "TARGET_HALF_WIDTH",
    "Verdict",
    "chained_ratio_interval",
    "half_width",
    "median_interval",
    "ratio_interval",
    "should_stop",
    "unpaired_ratio_interval",
    "verdict",
]
