"""Predictions checked on what was measured: one GPU left out at a time, and kernels that two GPUs ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from math import log
from statistics import median
from typing import TYPE_CHECKING

from pamprof.analysis.prediction.carry import carried_use
from pamprof.analysis.prediction.evidence import PREDICTION_CONFIDENCE, Margin, left_out_errors, widened
from pamprof.analysis.prediction.gpu import without_measurements
from pamprof.analysis.prediction.predict import predictions_on
from pamprof.analysis.prediction.step import measured_seconds
from pamprof.statistics import conformal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.prediction.evidence import MeasuredDevice
    from pamprof.analysis.prediction.measured import MeasuredDevices
    from pamprof.analysis.prediction.predict import Prediction
    from pamprof.records import Interval, KernelClass, KernelUse


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutStep:
    """A step on a GPU that was left out, predicted from the others.

    Attributes:
        prediction: As if the GPU had not been measured.
        measured: Seconds.
        measured_ratio: Over its reference; None where the reference was not measured there.
    """

    prediction: Prediction
    measured: float
    measured_ratio: float | None

    @property
    def error_ratio(self) -> float | None:
        """Predicted over measured, less 1; None where it was predicted not to fit."""
        predicted = self.prediction.step_seconds
        return None if predicted is None else predicted.median / self.measured - 1

    @property
    def is_inside(self) -> bool:
        """Whether the measured time lies in the interval."""
        predicted = self.prediction.step_seconds
        return predicted is not None and predicted.low <= self.measured <= predicted.high

    @property
    def ratio_error_ratio(self) -> float | None:
        """The same of the ratio to the reference; None without one, and of the reference itself."""
        predicted = self.prediction.ratio
        if predicted is None or self.measured_ratio is None or self.prediction.workload == self.prediction.reference:
            return None
        return predicted.median / self.measured_ratio - 1

    @property
    def is_ratio_inside(self) -> bool | None:
        """Whether the measured ratio lies in its interval; None where ``ratio_error_ratio`` is."""
        predicted = self.prediction.ratio
        if predicted is None or self.measured_ratio is None or self.ratio_error_ratio is None:
            return None
        return predicted.low <= self.measured_ratio <= predicted.high


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutKernel:
    """One use of a kernel, predicted for another GPU with the margin of the kernels of all other workloads.

    Attributes:
        workload_key: Of the step it is part of.
        kernel_class: Of the kernel.
        seconds: As predicted; without an interval where the other workloads have too few kernels.
        measured: Seconds.
        has_interval: Whether ``seconds`` is one.
    """

    workload_key: str
    kernel_class: KernelClass
    seconds: Interval
    measured: float
    has_interval: bool

    @property
    def error_ratio(self) -> float:
        """Predicted over measured, less 1."""
        return self.seconds.median / self.measured - 1

    @property
    def is_inside(self) -> bool:
        """Whether the measured time lies in the interval."""
        return self.has_interval and self.seconds.low <= self.measured <= self.seconds.high


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Everything that was left out and predicted."""

    steps: tuple[LeftOutStep, ...]
    kernels: tuple[LeftOutKernel, ...]

    @property
    def step_coverage(self) -> float | None:
        """Share of the steps inside their intervals; None without any."""
        return sum(step.is_inside for step in self.steps) / len(self.steps) if self.steps else None

    @property
    def kernel_coverage(self) -> float | None:
        """The same of kernels that have an interval."""
        judged = [kernel for kernel in self.kernels if kernel.has_interval]
        return sum(kernel.is_inside for kernel in judged) / len(judged) if judged else None


def median_error(errors: Sequence[float | None]) -> float | None:
    """Median of the known errors without their sign; None without any."""
    known = [abs(error) for error in errors if error is not None]
    return median(known) if known else None


def leave_out(measured: MeasuredDevices) -> LeftOut:
    """Each GPU predicted from all others, and each kernel that two GPUs ran in the same workload."""
    return LeftOut(
        steps=tuple(step for device in measured.devices for step in _steps(device, measured)),
        kernels=_kernels(measured.devices),
    )


def _steps(device: MeasuredDevice, measured: MeasuredDevices) -> list[LeftOutStep]:
    others = tuple(other for other in measured.devices if other is not device)
    rest = replace(measured, devices=others, errors=left_out_errors(others))
    found = []
    for prediction in predictions_on(without_measurements(device.gpu), rest):
        run = device.runs.get(prediction.workload.key)
        if run is None:
            continue
        reference = device.runs.get(prediction.reference.key)
        seconds = measured_seconds(run).median
        ratio = None if reference is None else seconds / measured_seconds(reference).median
        found.append(LeftOutStep(prediction=prediction, measured=seconds, measured_ratio=ratio))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _CarriedKernel:
    workload_key: str
    kernel_class: KernelClass
    carried: Interval
    measured: float

    @property
    def score(self) -> float:
        return max(log(self.carried.low / self.measured), log(self.measured / self.carried.high))


def _kernels(devices: Sequence[MeasuredDevice]) -> tuple[LeftOutKernel, ...]:
    carried = [each for here, there in permutations(devices, 2) for each in _carried_kernels(here, there)]
    return tuple(_with_interval(each, carried) for each in carried)


def _carried_kernels(here: MeasuredDevice, there: MeasuredDevice) -> list[_CarriedKernel]:
    found = []
    target = without_measurements(there.gpu)
    for key, run in here.runs.items():
        other = there.runs.get(key)
        if run.kernels is None or other is None or other.kernels is None:
            continue
        measured = {_identity(use): use for use in other.kernels.uses}
        for use in run.kernels.uses:
            same = measured.get(_identity(use))
            if same is None or use.seconds <= 0 or same.seconds <= 0:
                continue
            found.append(
                _CarriedKernel(
                    workload_key=key,
                    kernel_class=use.kernel_class,
                    carried=carried_use(use, here.gpu, target, tf32=run.environment.tf32_allowed),
                    measured=same.seconds,
                )
            )
    return found


def _identity(use: KernelUse) -> tuple[str, tuple[tuple[int, ...], ...], str | None, int]:
    return use.operator, use.shapes, use.dtype, use.call_count


def _with_interval(kernel: _CarriedKernel, every: Sequence[_CarriedKernel]) -> LeftOutKernel:
    """With the margin of kernels of other workloads: of its class where there are enough, else of all classes."""
    others = [each for each in every if each.workload_key != kernel.workload_key]
    of_class = [each.score for each in others if each.kernel_class is kernel.kernel_class]
    quantile = conformal_quantile(of_class, PREDICTION_CONFIDENCE)
    if quantile is None:
        quantile = conformal_quantile([each.score for each in others], PREDICTION_CONFIDENCE)
    reach = Margin(logarithm=max(0.0, quantile or 0.0), words="")
    return LeftOutKernel(
        workload_key=kernel.workload_key,
        kernel_class=kernel.kernel_class,
        seconds=widened(kernel.carried, reach),
        measured=kernel.measured,
        has_interval=quantile is not None,
    )
