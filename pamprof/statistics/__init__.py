"""Medians and paired ratios with intervals, the verdict on a ratio, and the rule that ends sampling."""

from __future__ import annotations

from pamprof.statistics.intervals import CONFIDENCE, half_width, median_interval
from pamprof.statistics.ratios import chained_ratio_interval, ratio_interval, unpaired_ratio_interval
from pamprof.statistics.stopping import TARGET_HALF_WIDTH, should_stop
from pamprof.statistics.verdicts import EQUIVALENCE_BAND, Verdict, verdict

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
