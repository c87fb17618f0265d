"""The rule that ends sampling.

Sampling that stops on a narrow interval tends to stop where a short correlated series looks steadier than it is.
Precision therefore ends it only once the samples are worth twelve independent ones. ``benchmarks/coverage.py`` measures
coverage, false alarms and slowdowns found, with this rule applied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import StopReason
from pamprof.statistics.intervals import CONFIDENCE, half_width
from pamprof.statistics.ratios import paired_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGET_HALF_WIDTH = 0.01
_FEWEST_EFFECTIVE_SAMPLES = 12


def should_stop(
    subject: Sequence[float],
    reference: Sequence[float],
    *,
    target_half_width: float = TARGET_HALF_WIDTH,
    minimum_samples: int = 10,
    maximum_samples: int = 200,
) -> StopReason | None:
    """Whether to stop sampling, to be asked after every pair; None to go on.

    The interval is evaluated at ``minimum_samples`` and then each time the count has grown by a tenth, which keeps the
    evaluation cheap. Precision counts only once the samples are worth twelve independent ones (20 samples or so),
    because among many evaluations of a short correlated series one is narrow by chance.
    """
    count = len(subject)
    if count >= maximum_samples:
        return StopReason.SAMPLE_COUNT
    if count < max(2, minimum_samples) or (count - minimum_samples) % max(1, count // 10):
        return None
    found = paired_estimate(subject, reference)
    narrow = half_width(found.interval(CONFIDENCE)) <= target_half_width
    return StopReason.PRECISION if narrow and found.effective_samples >= _FEWEST_EFFECTIVE_SAMPLES else None
