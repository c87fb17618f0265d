"""Ratios with intervals from samples, from windows and over processes; stationarity, verdicts, and when to stop."""

from __future__ import annotations

from pamprof.statistics.conformal import conformal_quantile
from pamprof.statistics.intervals import CONFIDENCE, half_width, median_interval
from pamprof.statistics.log_estimate import LogEstimate
from pamprof.statistics.processes import (
    FEWEST_PROCESSES,
    ProcessComparison,
    compare_processes,
    join_processes,
    repeats_to_settle,
    spread_ratio,
)
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
    FEWEST_WINDOWS,
    IntervalBasis,
    ProcessWindows,
    QuotedRatio,
    WindowEstimate,
    WindowRatio,
    mean_estimates,
    window_estimate,
)

__all__ = [
    "CONFIDENCE",
    "EQUIVALENCE_BAND",
    "FEWEST_PROCESSES",
    "FEWEST_WINDOWS",
    "TARGET_HALF_WIDTH",
    "IntervalBasis",
    "LogEstimate",
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
    "conformal_quantile",
    "half_width",
    "join_processes",
    "mean_estimates",
    "median_interval",
    "paired_estimate",
    "ratio_interval",
    "repeats_to_settle",
    "should_stop",
    "spread_ratio",
    "stationarity",
    "unpaired_estimate",
    "unpaired_ratio_interval",
    "verdict",
    "window_estimate",
]
