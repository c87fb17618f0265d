from __future__ import annotations

import subprocess
import sys
import time
from math import exp, sqrt

import numpy as np
import pytest

from pamprof.errors import RecordError
from pamprof.records import Interval, StopReason
from pamprof.statistics import (
    Verdict,
    chained_ratio_interval,
    half_width,
    median_interval,
    ratio_interval,
    should_stop,
    unpaired_ratio_interval,
    verdict,
)
from pamprof.statistics.log_estimate import student_quantile


def autoregressive(rng: np.random.Generator, trials: int, count: int, correlation: float) -> np.ndarray:
    """Unit-variance AR(1) series [trials, count]."""
    noise = rng.standard_normal((trials, count))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0]
    for index in range(1, count):
        series[:, index] = correlation * series[:, index - 1] + sqrt(1 - correlation**2) * noise[:, index]
    return series


def pairs(
    seed: int, trials: int, count: int, *, ratio: float, correlation: float = 0.5, sigma: float = 0.006
) -> list[tuple[list[float], list[float]]]:
    """Samples of a subject and a reference that share a strongly wandering machine."""
    rng = np.random.default_rng(seed)
    drift = 0.02 * autoregressive(rng, trials, count, 0.95)
    own = sigma * autoregressive(rng, trials, count, correlation)
    other = sigma * autoregressive(rng, trials, count, correlation)
    subject, reference = 0.01 * ratio * np.exp(drift + own), 0.01 * np.exp(drift + other)
    return [(list(map(float, s)), list(map(float, r))) for s, r in zip(subject, reference, strict=True)]


@pytest.mark.parametrize(("count", "correlation"), [(5, 0.5), (12, 0.0), (12, 0.5), (30, 0.5), (60, 0.8)])
def test_interval_covers_the_true_ratio(count: int, correlation: float) -> None:
    trials = pairs(1, 300, count, ratio=1.54, correlation=correlation)
    covered = [interval.low <= 1.54 <= interval.high for interval in (ratio_interval(*pair) for pair in trials)]
    assert np.mean(covered) >= 0.93


def test_chained_interval_covers_the_true_ratio() -> None:
    subjects, baselines = pairs(2, 300, 24, ratio=3.0), pairs(3, 300, 24, ratio=0.5)
    intervals = [chained_ratio_interval(*s, *b) for s, b in zip(subjects, baselines, strict=True)]
    assert np.mean([interval.low <= 6.0 <= interval.high for interval in intervals]) >= 0.93


def stopped(subject: list[float], reference: list[float], target: float = 0.01) -> Interval:
    for count in range(1, len(subject) + 1):
        if should_stop(
            subject[:count], reference[:count], target_half_width=target, minimum_samples=10, maximum_samples=120
        ):
            return ratio_interval(subject[:count], reference[:count])
    raise AssertionError("the rule never stopped")


def test_a_against_a_is_seldom_called_different_under_the_stopping_rule() -> None:
    verdicts = [verdict(stopped(*pair)) for pair in pairs(4, 300, 120, ratio=1.0, sigma=0.01)]
    false = [found in {Verdict.FASTER, Verdict.SLOWER} for found in verdicts]
    assert np.mean(false) <= 0.05


def test_a_against_a_is_called_equivalent_once_the_interval_is_narrower_than_the_band() -> None:
    verdicts = [verdict(stopped(*pair, target=0.005)) for pair in pairs(4, 100, 120, ratio=1.0)]
    assert verdicts.count(Verdict.EQUIVALENT) >= 0.9 * len(verdicts)


def test_three_percent_slowdown_is_found_under_the_stopping_rule() -> None:
    intervals = [stopped(*pair) for pair in pairs(5, 200, 120, ratio=1.03, sigma=0.01)]
    assert np.mean([verdict(interval) is Verdict.SLOWER for interval in intervals]) >= 0.9
    assert np.mean([interval.low <= 1.03 <= interval.high for interval in intervals]) >= 0.92


def test_pairing_cancels_the_drift_both_share() -> None:
    subject, reference = pairs(6, 1, 40, ratio=2.0)[0]
    assert half_width(ratio_interval(subject, reference)) < 0.5 * half_width(
        unpaired_ratio_interval(subject, reference)
    )


def test_few_samples_give_wide_intervals() -> None:
    widths = {
        count: np.median([half_width(ratio_interval(*pair)) for pair in pairs(7, 50, count, ratio=1.0)])
        for count in (3, 10, 40)
    }
    assert widths[3] > 1.6 * widths[10] > 1.6 * 1.5 * widths[40]


def test_single_sample_claims_no_confidence_and_no_verdict() -> None:
    interval = ratio_interval([2.0], [1.0])
    assert (interval.median, interval.confidence) == (2.0, 0.0)
    assert verdict(interval) is Verdict.INCONCLUSIVE
    assert chained_ratio_interval([2.0], [1.0], [1.0, 1.1], [1.0, 1.0]).confidence == 0.0


def test_estimate_is_the_median_of_the_paired_ratios_and_scales_through_time() -> None:
    assert ratio_interval([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]).median == pytest.approx(2.0)
    samples = [0.011, 0.010, 0.013, 0.012, 0.0105]
    seconds, milliseconds = median_interval(samples), median_interval([1000 * value for value in samples])
    assert seconds.median == pytest.approx(0.011)
    assert milliseconds.low == pytest.approx(1000 * seconds.low)
    assert seconds.low < seconds.median < seconds.high


def test_ratio_and_its_inverse_mirror_each_other() -> None:
    subject, reference = pairs(8, 1, 20, ratio=1.7)[0]
    forward, backward = ratio_interval(subject, reference), ratio_interval(reference, subject).inverse()
    assert (forward.low, forward.median, forward.high) == pytest.approx((backward.low, backward.median, backward.high))


def test_identical_samples_leave_no_width() -> None:
    interval = ratio_interval([3.0] * 12, [2.0] * 12)
    assert (interval.low, interval.median, interval.high) == pytest.approx((1.5, 1.5, 1.5))


def test_intervals_do_not_depend_on_what_was_computed_before() -> None:
    code = (
        "from pamprof.statistics import ratio_interval as r;"
        "print(r([1.0, 1.1, 1.05, 0.98, 1.2, 1.0, 1.01, 1.03], [1.0] * 8))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    median_interval([1.0, 2.0, 3.0])
    here = ratio_interval([1.0, 1.1, 1.05, 0.98, 1.2, 1.0, 1.01, 1.03], [1.0] * 8)
    assert out.strip() == str(here)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.995, 1.005, Verdict.EQUIVALENT),
        (0.90, 0.95, Verdict.FASTER),
        (1.02, 1.04, Verdict.SLOWER),
        (1.005, 1.02, Verdict.INCONCLUSIVE),
        (0.8, 1.3, Verdict.INCONCLUSIVE),
    ],
)
def test_verdict_compares_the_whole_interval_with_the_band(low: float, high: float, expected: Verdict) -> None:
    assert verdict(Interval(low=low, median=sqrt(low * high), high=high, confidence=0.95)) is expected


def test_stopping_rule_says_which_rule_fired() -> None:
    quiet, loud = [1.0, 1.001] * 12, [1.0, 2.0] * 100
    assert should_stop(quiet, [1.0] * 24, minimum_samples=25) is None
    assert should_stop(quiet, [1.0] * 24, minimum_samples=10) is StopReason.PRECISION
    assert should_stop(loud[:50], [1.0] * 50, minimum_samples=10, maximum_samples=200) is None
    assert should_stop(loud, [1.0] * 200, minimum_samples=10, maximum_samples=200) is StopReason.SAMPLE_COUNT


def test_precision_is_not_believed_of_few_samples_or_of_samples_that_repeat_each_other() -> None:
    alike = [1.0] * 30 + [1.0001] * 30
    assert should_stop([1.0, 1.001] * 5, [1.0] * 10, minimum_samples=10) is None
    assert should_stop(alike, [1.0] * 60, minimum_samples=60) is None
    assert should_stop([1.0, 1.0001] * 30, [1.0] * 60, minimum_samples=60) is StopReason.PRECISION


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_interval_covers_the_true_ratio_whenever_precision_stopped_the_sampling(correlation: float) -> None:
    trials = pairs(10, 200, 120, ratio=1.54, correlation=correlation, sigma=0.012)
    intervals = [stopped(*pair, target=0.02) for pair in trials]
    assert np.mean([interval.low <= 1.54 <= interval.high for interval in intervals]) >= 0.92


def test_stopping_rule_is_cheap_enough_to_ask_after_every_sample() -> None:
    subject, reference = pairs(9, 1, 150, ratio=1.0, sigma=0.5)[0]
    should_stop(subject[:10], reference[:10])
    began = time.process_time()
    for count in range(1, 151):
        should_stop(subject[:count], reference[:count])
    assert (time.process_time() - began) / 150 < 2e-3


@pytest.mark.parametrize(
    ("subject", "reference", "message"),
    [
        ([], [], "no sample"),
        ([1.0], [1.0, 2.0], "1 samples are paired with 2"),
        ([1.0, 0.0], [1.0, 1.0], "sample 1 is 0.0"),
        ([1.0, float("nan")], [1.0, 1.0], "sample 1 is nan"),
    ],
)
def test_impossible_samples_are_refused(subject: list[float], reference: list[float], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        ratio_interval(subject, reference)


@pytest.mark.parametrize(
    ("freedom", "expected"), [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (1e6, 1.960)]
)
def test_student_quantile_matches_the_tables(freedom: float, expected: float) -> None:
    assert student_quantile(0.975, freedom) == pytest.approx(expected, rel=0.01)


def test_numpy_stays_unloaded_until_it_is_needed() -> None:
    code = "import sys, pamprof.statistics; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_interval_is_symmetric_in_the_logarithm() -> None:
    interval = median_interval([exp(x) for x in (0.1, 0.2, 0.15, 0.12, 0.3, 0.22)])
    assert interval.low * interval.high == pytest.approx(interval.median**2)
