"""What measured workloads take on GPUs that were not measured: time, memory, energy and ratio, each with its basis."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.evidence import (
    PREDICTION_CONFIDENCE,
    LeftOutError,
    MeasuredDevice,
    margin,
    same_architecture,
    widened,
)
from pamprof.analysis.prediction.gpu import calibrated
from pamprof.analysis.prediction.resources import Fit, MemoryNeed, measured_watts_of, memory_need, watts_there
from pamprof.analysis.prediction.step import Method, carried_step, measured_seconds
from pamprof.errors import PredictionError
from pamprof.records import Dtype, Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pamprof.analysis.prediction.evidence import Margin
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.analysis.prediction.measured import Measured
    from pamprof.records import Calibration, Run, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One workload on one GPU.

    Attributes:
        gpu: Canonical name.
        workload: What runs.
        reference: What it is compared to.
        basis: Measured on this very GPU, or modelled.
        basis_words: Where the time comes from and what its interval rests on, one clause.
        step_seconds: None where it does not fit.
        method: How it was carried; None where it was measured.
        source: The GPU it was carried from; its own where it was measured.
        same_architecture: Whether the two have one compute capability.
        memory: Need and supply; None where no peak was measured.
        watts: Power at the measured share of the board's; None where no power was measured or none is listed.
        ratio: Step time over the reference's; None without a reference that fits.
    """

    gpu: str
    workload: Workload
    reference: Workload
    basis: Basis
    basis_words: str
    step_seconds: Interval | None
    method: Method | None
    source: str
    same_architecture: bool
    memory: MemoryNeed | None
    watts: Interval | None
    ratio: Interval | None

    @property
    def tokens_per_second(self) -> Interval | None:
        """Tokens of a step over its time."""
        return None if self.step_seconds is None else self.step_seconds.inverse().scaled(self.workload.tokens_per_step)

    @property
    def joules_per_token(self) -> Interval | None:
        """Energy of the board; the ends pair the shortest time with the least power."""
        if self.step_seconds is None or self.watts is None:
            return None
        tokens = self.workload.tokens_per_step
        return Interval(
            low=self.step_seconds.low * self.watts.low / tokens,
            median=self.step_seconds.median * self.watts.median / tokens,
            high=self.step_seconds.high * self.watts.high / tokens,
            confidence=self.step_seconds.confidence,
        )


def predict(
    measured: Measured, gpus: Sequence[Gpu], calibrations: Sequence[Calibration] = ()
) -> tuple[Prediction, ...]:
    """Every measured workload on each of ``gpus``: as measured where it was measured there, carried elsewhere."""
    return tuple(prediction for gpu in gpus for prediction in predictions_on(calibrated(gpu, calibrations), measured))


def predictions_on(gpu: Gpu, measured: Measured) -> Iterable[Prediction]:
    """Every measured workload on ``gpu``."""
    own = next((device for device in measured.devices if device.gpu.name == gpu.name), None)
    target = gpu if own is None else own.gpu
    for key in measured.workloads:
        if own is not None and key in own.runs:
            yield _as_measured(own.runs[key], own)
            continue
        nearest = min(
            (device for device in measured.devices if key in device.runs),
            key=lambda device: (not same_architecture(device.gpu, target), _distance(device.gpu, target)),
        )
        if target.flops_per_second(nearest.runs[key].workload.dtype) is not None:
            yield _carried(nearest.runs[key], nearest, target, measured.errors)


def unsupported(gpu: Gpu, measured: Measured) -> str | None:
    """Why some workloads are refused on ``gpu``: it has no matrix units for their dtype; None where all are predicted.

    Raises:
        PredictionError: Not one is supported.
    """
    dtypes = {device.runs[key].workload.dtype for device in measured.devices for key in device.runs}
    lacking = sorted(dtype.value for dtype in dtypes if gpu.flops_per_second(dtype) is None)
    if not lacking:
        return None
    why = f"{gpu.name} has no listed dense peak for {' and '.join(lacking)}, so nothing supports these workloads there"
    if len(lacking) == len(dtypes):
        raise PredictionError(f"{why}; measure in another dtype, or choose another GPU")
    return why


def _distance(one: Gpu, other: Gpu) -> float:
    """Between two GPUs, in logarithms of bandwidth and peak."""
    mine, theirs = one.flops_per_second(Dtype.BFLOAT16), other.flops_per_second(Dtype.BFLOAT16)
    peaks = 0.0 if mine is None or theirs is None else abs(log(mine / theirs))
    return peaks + abs(log(one.bytes_per_second / other.bytes_per_second))


def _as_measured(run: Run, device: MeasuredDevice) -> Prediction:
    reference = device.runs.get(run.reference.key)
    seconds = measured_seconds(run)
    ratio = None
    if reference is not None:
        ratio = seconds.times(measured_seconds(reference).inverse())
    watts = measured_watts_of(run)
    return Prediction(
        gpu=device.gpu.name,
        workload=run.workload,
        reference=run.reference,
        basis=Basis.MEASURED,
        basis_words=f"measured on the {device.gpu.name}; interval of its samples",
        step_seconds=seconds,
        method=None,
        source=device.gpu.name,
        same_architecture=True,
        memory=memory_need(run, device.gpu),
        watts=None if watts is None else Interval.exact(watts),
        ratio=ratio,
    )


def _carried(run: Run, device: MeasuredDevice, gpu: Gpu, errors: Sequence[LeftOutError]) -> Prediction:
    here = device.gpu
    need = memory_need(run, gpu)
    step = carried_step(run, here, gpu)
    reach = margin(step.method, here, gpu, errors)
    alike = same_architecture(here, gpu)
    architecture = (
        f"of the same architecture ({gpu.device.compute_capability})"
        if alike
        else f"of another architecture ({here.device.compute_capability}, not {gpu.device.compute_capability}): no "
        "measured device shares it"
    )
    does_fit = need is None or need.fit is not Fit.NO
    words = f"modelled, {step.method}, from the {here.name} {architecture}; {PREDICTION_CONFIDENCE:.0%} interval from "
    words = words.replace("%", " %") + reach.words
    if need is not None and need.fit is not Fit.YES:
        words = f"{need.words}; {words}" if does_fit else need.words
    return Prediction(
        gpu=gpu.name,
        workload=run.workload,
        reference=run.reference,
        basis=Basis.MODELLED,
        basis_words=words,
        step_seconds=widened(step.seconds, reach) if does_fit else None,
        method=step.method,
        source=here.name,
        same_architecture=alike,
        memory=need,
        watts=watts_there(run, here, gpu),
        ratio=_ratio(run, device, gpu, errors, reach) if does_fit else None,
    )


def _ratio(
    run: Run, device: MeasuredDevice, gpu: Gpu, errors: Sequence[LeftOutError], reach: Margin
) -> Interval | None:
    """Over the reference there: both are carried alike, so an end has both at one extreme; one margin is added."""
    reference = device.runs.get(run.reference.key)
    if reference is None:
        return None
    need = memory_need(reference, gpu)
    if need is not None and need.fit is Fit.NO:
        return None
    arm, other = (carried_step(each, device.gpu, gpu) for each in (run, reference))
    if run.workload.key == reference.workload.key:
        return Interval.exact(1.0)
    ratios = sorted(
        (
            arm.seconds.low / other.seconds.low,
            arm.seconds.median / other.seconds.median,
            arm.seconds.high / other.seconds.high,
        )
    )
    carried = Interval(low=ratios[0], median=arm.seconds.median / other.seconds.median, high=ratios[2], confidence=0.0)
    of_reference = margin(other.method, device.gpu, gpu, errors)
    return widened(carried, max(reach, of_reference, key=lambda each: each.logarithm))
