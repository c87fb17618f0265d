"""What measured workloads take on GPUs that were not measured: time, memory, energy and ratio, each with its basis."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.evidence import margin, same_architecture, widened
from pamprof.analysis.prediction.gpu import calibrated
from pamprof.analysis.prediction.resources import MemoryFit, largest_batch, measured_power, memory_need, power_there
from pamprof.analysis.prediction.step import carried_step, measured_seconds
from pamprof.errors import PredictionError
from pamprof.records import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.prediction.evidence import LeftOutError, Margin, MeasuredDevice
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.analysis.prediction.measured import MeasuredDevices
    from pamprof.analysis.prediction.resources import MemoryNeed
    from pamprof.analysis.prediction.step import Method
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
        source: The GPU it was carried from; its own where it was measured.
        same_architecture: Whether the two have one compute capability.
        memory: Need and supply; None where no peak was measured.
        watts: Power at the measured share of the board's; None where no power was measured or none is listed.
        largest_batch: That surely fits by the same memory a sequence; None where no peak was measured.
        method: How it was carried; None where it was measured.
        carried: The extremes of carrying it; None likewise.
        margin: How far beyond them the interval reaches; None likewise.
        ratio: Step time over the reference's; None without a reference that fits.
    """

    gpu: str
    workload: Workload
    reference: Workload
    basis: Basis
    basis_words: str
    step_seconds: Interval | None
    source: str
    same_architecture: bool
    memory: MemoryNeed | None
    watts: Interval | None
    largest_batch: int | None
    method: Method | None = None
    carried: Interval | None = None
    margin: Margin | None = None
    ratio: Interval | None = None

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
    measured: MeasuredDevices, gpus: Sequence[Gpu], calibrations: Sequence[Calibration] = ()
) -> tuple[Prediction, ...]:
    """Every measured workload on each of ``gpus``: as measured where it was measured there, carried elsewhere."""
    return tuple(each for gpu in gpus for each in predictions_on(calibrated(gpu, calibrations), measured))


def predictions_on(gpu: Gpu, measured: MeasuredDevices) -> tuple[Prediction, ...]:
    """Every measured workload on ``gpu`` that it has matrix units for."""
    own = next((device for device in measured.devices if device.gpu.name == gpu.name), None)
    target = gpu if own is None else own.gpu
    found: dict[str, Prediction] = {}
    for key in measured.workloads:
        if own is not None and key in own.runs:
            found[key] = _as_measured(own.runs[key], own.gpu)
            continue
        source = _source(key, measured, target)
        run = source.runs[key]
        if target.flops_per_second(run.workload.dtype) is not None:
            found[key] = _modelled(run, source.gpu, target, measured.errors)
    referred = ((each, found.get(each.reference.key)) for each in found.values())
    return tuple(replace(each, ratio=None if other is None else ratio_of(each, other)) for each, other in referred)


def ratio_of(one: Prediction, other: Prediction) -> Interval | None:
    """Step time over another's on the same GPU; None where one of them does not fit.

    Two that are carried from one device are carried alike, so that each end has both at one extreme, and the larger
    margin is added once.
    """
    if one.step_seconds is None or other.step_seconds is None:
        return None
    if one.workload == other.workload:
        return Interval.exact(1.0)
    if one.carried is None or other.carried is None or one.margin is None or other.margin is None:
        return one.step_seconds.times(other.step_seconds.inverse())
    if one.source != other.source:
        return one.step_seconds.times(other.step_seconds.inverse())
    middle = one.carried.median / other.carried.median
    ends = one.carried.low / other.carried.low, middle, one.carried.high / other.carried.high
    carried = Interval(low=min(ends), median=middle, high=max(ends), confidence=0.0)
    return widened(carried, max(one.margin, other.margin, key=lambda margin: margin.logarithm))


def unsupported(gpu: Gpu, measured: MeasuredDevices) -> str | None:
    """Why some workloads are refused on ``gpu``: it has no matrix units for their dtype; None where none are.

    Raises:
        PredictionError: Not one is supported.
    """
    dtypes = {run.workload.dtype for device in measured.devices for run in device.runs.values()}
    lacking = sorted(dtype.value for dtype in dtypes if gpu.flops_per_second(dtype) is None)
    if not lacking:
        return None
    why = f"{gpu.name} has no listed dense peak for {' and '.join(lacking)}, so nothing supports these workloads there"
    if len(lacking) == len(dtypes):
        raise PredictionError(f"{why}; measure in another dtype, or choose another GPU")
    return why


def _source(key: str, measured: MeasuredDevices, target: Gpu) -> MeasuredDevice:
    """The device to carry a workload from: of the target's architecture, with most arms of its point, and near."""

    def rank(device: MeasuredDevice) -> tuple[bool, int, float]:
        point = device.runs[key].workload.point
        arms = sum(run.workload.point == point for run in device.runs.values())
        return not same_architecture(device.gpu, target), -arms, device.gpu.distance(target)

    return min((device for device in measured.devices if key in device.runs), key=rank)


def _as_measured(run: Run, gpu: Gpu) -> Prediction:
    watts = measured_power(run)
    return Prediction(
        gpu=gpu.name,
        workload=run.workload,
        reference=run.reference,
        basis=Basis.MEASURED,
        basis_words=f"measured on the {gpu.name}, interval of its samples",
        step_seconds=measured_seconds(run),
        source=gpu.name,
        same_architecture=True,
        memory=memory_need(run, gpu),
        watts=None if watts is None else Interval.exact(watts),
        largest_batch=largest_batch(run, gpu),
    )


def _modelled(run: Run, here: Gpu, there: Gpu, errors: Sequence[LeftOutError]) -> Prediction:
    need = memory_need(run, there)
    step = carried_step(run, here, there)
    reach = margin(step.method, here, there, errors)
    alike = same_architecture(here, there)
    architecture = (
        f"which shares its architecture ({there.device.compute_capability})"
        if alike
        else f"no measured device shares its architecture ({there.device.compute_capability})"
    )
    words = f"modelled, {step.method}, from the {here.name}, {architecture}; 90 % interval: {reach.words}"
    if need is not None and need.fit is not MemoryFit.YES:
        words = f"{need.words}; {words}"
    return Prediction(
        gpu=there.name,
        workload=run.workload,
        reference=run.reference,
        basis=Basis.MODELLED,
        basis_words=words,
        step_seconds=None if need is not None and need.fit is MemoryFit.NO else widened(step.seconds, reach),
        source=here.name,
        same_architecture=alike,
        memory=need,
        watts=power_there(run, here, there),
        largest_batch=largest_batch(run, there),
        method=step.method,
        carried=step.seconds,
        margin=reach,
    )
