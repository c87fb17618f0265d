"""Ratios with intervals from samples, from windows and over processes; stationarity, verdicts, and when to stop."""

from __future__ import annotations

from pamprof.statistics.intervals import CONFIDENCE, half_width, median_interval
from pamprof.statistics.processes import ProcessComparison, compare_processes, repeats_to_settle
from pamprof.statistics.ratios import (
    chained_ratio_interval,
    paired_estimate,
    ratio_interval,
    unpaired_estimate,
    unpaired_ratio_interval,
)
from pamprof.statistics.stationarity import Stationarity, StationarityVerdict, stationarity
from pamprof.statistics.stopping import TARGET_HALF_WIDTH, should_stop
from pamprof.statistics.verdicts import EQUIVALENCE_BAND, Verdict, verdict
from pamprof.statistics.windows import (
    IntervalBasis,
    ProcessWindows,
    QuotedRatio,
    WindowEstimate,
    WindowRatio,
    window_estimate,
)

__all__ = [
    "CONFIDENCE",
    "EQUIVALENCE_BAND",
    "TARGET_HALF_WIDTH",
    "IntervalBasis",
    "ProcessComparison",
    "ProcessWindows",
    "QuotedRatio",
    "Stationarity",
    "StationarityVerdict",
    "Verdict",
    "WindowEstimate",
    "WindowRatio",
    "chained_ratio_interval",
    "compare_processes",
    "half_width",
    "median_interval",
    "paired_estimate",
    "ratio_interval",
    "repeats_to_settle",
    "should_stop",
    "stationarity",
    "unpaired_estimate",
    "unpaired_ratio_interval",
    "verdict",
    "window_estimate",
]
