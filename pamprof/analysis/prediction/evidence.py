"""How far predictions reach: left-out errors where there are enough, published errors of such predictors elsewhere.

Left-out errors are conformal (Romano et al. 2019, conformalized quantile regression): a measured device is predicted
from another as if it had not been measured, and the score is how far the truth lies, in logarithms, beyond the extremes
of what was carried. At 90 % nine workloads are the fewest from which an interval follows.

Published errors stand in where those are missing, and stay the least where no measured device shares the architecture:
checks by third parties came out worse than papers say of themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import exp, log
from typing import TYPE_CHECKING

from pamprof.analysis.prediction.gpu import without_measurements
from pamprof.analysis.prediction.step import Method, carried_step, measured_seconds
from pamprof.records import Interval
from pamprof.statistics import conformal_quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.records import Run

PREDICTION_CONFIDENCE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedError:
    """What predictors of this kind were found to be off by, a ratio, and who says so."""

    ratio: float
    source: str


# Errors of step and kernel times as published, read November 2026.
PLAIN_ROOFLINE = PublishedError(ratio=0.22, source="a plain roofline as KernelSight-LM measured it")
KERNELS_WITHOUT_TARGET = PublishedError(ratio=0.121, source="KernelSight-LM a kernel, without data of the target")
CALIBRATED_STEP = PublishedError(ratio=0.118, source="Habitat, from a GPU one owns")
CALIBRATED_KERNELS = PublishedError(ratio=0.085, source="PipeWeave from end to end")
OTHER_ARCHITECTURE = PublishedError(ratio=0.5, source="NeuSight in bfloat16 as others measured it")
# The same eager steps on two hosts: reports/2026-11-22-nvidia-h200 and reports/2026-11-28-nvidia-h100-quick.
OTHER_HOST = PublishedError(ratio=0.5, source="the committed eager steps, 1.5 to 1.6 times apart between two hosts")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevice:
    """A GPU and what was measured on it: the latest run of each workload, by its key."""

    gpu: Gpu
    runs: Mapping[str, Run]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutError:
    """A measured step beside its prediction from another device, whose ends are the extremes of carrying it.

    Attributes:
        key: Of the workload.
        method: How it was carried.
        same_architecture: Whether both devices have one.
        measured: Seconds.
        carried: Seconds.
    """

    key: str
    method: Method
    same_architecture: bool
    measured: float
    carried: Interval

    @property
    def score(self) -> float:
        """How far the measured time lies beyond the extremes, as a logarithm; negative inside them."""
        return max(log(self.carried.low / self.measured), log(self.measured / self.carried.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How far beyond the extremes an interval reaches, as a logarithm, and by what right."""

    logarithm: float
    words: str


def left_out_errors(devices: Sequence[MeasuredDevice]) -> tuple[LeftOutError, ...]:
    """Every workload that two devices measured, one of them predicted from the other.

    The two directions of a pair mirror each other, so each counts once, with the worse of its scores; both count where
    they were carried in different ways, because one device's record has kernels and the other's has none.
    """
    found: list[LeftOutError] = []
    for one, other in combinations(devices, 2):
        for key, run in one.runs.items():
            if key in other.runs:
                both = (_error(key, run, one, other), _error(key, other.runs[key], other, one))
                alike = both[0].method is both[1].method
                found += (max(both, key=lambda error: error.score),) if alike else both
    return tuple(found)


def _error(key: str, run: Run, here: MeasuredDevice, there: MeasuredDevice) -> LeftOutError:
    step = carried_step(run, here.gpu, without_measurements(there.gpu))
    return LeftOutError(
        key=key,
        method=step.method,
        same_architecture=same_architecture(here.gpu, there.gpu),
        measured=measured_seconds(there.runs[key]).median,
        carried=step.seconds,
    )


def same_architecture(one: Gpu, other: Gpu) -> bool:
    """Whether two GPUs have one compute capability."""
    return one.device.compute_capability == other.device.compute_capability


def margin(method: Method, here: Gpu, there: Gpu, errors: Sequence[LeftOutError]) -> Margin:
    """How far beyond the extremes the interval of a step carried by ``method`` from ``here`` to ``there`` reaches."""
    alike = same_architecture(here, there)
    published = _published(method, here, there)
    scores = [error.score for error in errors if error.method is method and error.same_architecture is alike]
    quantile = conformal_quantile(scores, PREDICTION_CONFIDENCE)
    least = log_margin(published.ratio)
    if quantile is not None and alike:
        return Margin(logarithm=max(0.0, quantile), words=f"{_left_out(len(scores))}")
    if quantile is not None and quantile > least:
        return Margin(logarithm=quantile, words=f"{_left_out(len(scores))}, none of them on this architecture")
    reach = f"published errors of {published.ratio:.1%}".replace("%", " %").replace(".0 ", " ")
    return Margin(logarithm=least, words=f"{reach} ({published.source}); {_too_few(len(scores))}")


def _published(method: Method, here: Gpu, there: Gpu) -> PublishedError:
    """By what is known of the target: the ratio of its calibrated kernels, its ceilings, or its sheet alone."""
    alike, by_kernel = same_architecture(here, there), method is Method.KERNELS
    if method is Method.HOST:
        return OTHER_HOST
    if there.calibration is not None and here.calibration is not None and by_kernel:
        return CALIBRATED_KERNELS if alike else KERNELS_WITHOUT_TARGET
    if there.calibration is not None and here.rates is not None and not (alike and by_kernel):
        return CALIBRATED_STEP if alike else PLAIN_ROOFLINE
    if not alike:
        return OTHER_ARCHITECTURE
    return KERNELS_WITHOUT_TARGET if by_kernel else PLAIN_ROOFLINE


def _too_few(count: int) -> str:
    return f"{count} left-out errors are too few" if count else "the records have no error of such a step left out"


def _left_out(count: int) -> str:
    return f"the errors of {count} steps that one measured device left out and another predicted"


def log_margin(ratio: float) -> float:
    """The logarithm by which a time may be shorter than its prediction that is off by ``ratio``; as much longer."""
    return -log(1 - ratio)


def widened(carried: Interval, by: Margin) -> Interval:
    """``carried`` with ends so much farther out, at the confidence of every prediction."""
    return Interval(
        low=carried.low * exp(-by.logarithm),
        median=carried.median,
        high=carried.high * exp(by.logarithm),
        confidence=PREDICTION_CONFIDENCE,
    )
