"""What a prediction knows of a GPU: its listed specification, and what was measured of its ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from statistics import median
from typing import TYPE_CHECKING

from pamprof.devices.catalogue import devices
from pamprof.devices.names import canonical_device, find_device, resolve_device
from pamprof.devices.parts import part_named, part_of
from pamprof.errors import PredictionError, PriceError
from pamprof.records import Dtype
from pamprof.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pamprof.devices.catalogue import ListedDevice
    from pamprof.records import Calibration, Ceilings, Environment

FP8 = "fp8"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRates:
    """What a device reached at best: FLOP/s of a large product in bfloat16, and bytes per second of a copy."""

    flops_per_second: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as a prediction sees it.

    Attributes:
        device: Its row of the table of devices, with peaks.
        rates: Measured ceilings; None where nobody measured them.
        calibration: What ``pamprof calibrate`` measured of it; None where there is no file.
    """

    device: ListedDevice
    rates: MeasuredRates | None = None
    calibration: Calibration | None = None

    @property
    def name(self) -> str:
        """Canonical name, such as ``L40S``."""
        return self.device.name

    @property
    def memory_bytes(self) -> int:
        """Nominal memory."""
        return self.device.memory_gib * GIB

    @property
    def bytes_per_second(self) -> float:
        """Listed bandwidth of its memory."""
        assert self.device.peaks is not None  # of every Gpu
        return self.device.peaks.bandwidth_bytes_per_second

    def flops_per_second(self, dtype: Dtype, *, tf32: bool = False) -> float | None:
        """Listed dense peak of products in ``dtype``; None where it has none or none is known."""
        assert self.device.peaks is not None
        if dtype is Dtype.BFLOAT16:
            return self.device.peaks.bfloat16_flops_per_second
        return self.device.peaks.tf32_flops_per_second if tf32 else self.device.peaks.float32_flops_per_second

    def distance(self, other: Gpu) -> float:
        """How unlike another is, in logarithms of bandwidth and bfloat16 peak."""
        mine, theirs = (gpu.flops_per_second(Dtype.BFLOAT16) for gpu in (self, other))
        peaks = 0.0 if mine is None or theirs is None else abs(log(mine / theirs))
        return peaks + abs(log(self.bytes_per_second / other.bytes_per_second))

    @property
    def vector_rate(self) -> float | None:
        """Multiprocessors times clock, cycles per second: what work on the chip scales with; None where not known."""
        count, clock = self.device.multiprocessor_count, self.device.boost_clock_hertz
        return None if count is None or clock is None else count * clock


def gpu_named(word: str, *, dtype: str | None = None) -> Gpu:
    """The GPU that a user's word stands for.

    Args:
        word: Such as ``L40S`` or ``A100-80GB-SXM``.
        dtype: Precision that is asked for beside the records' own, such as ``fp8``; None for none.

    Raises:
        PredictionError: Nothing supports a prediction: an unknown or ambiguous name, a part of a board, another vendor,
            no listed peak, or a precision that it lacks or that nothing was measured in.
    """
    part = part_named(word)
    if part is not None:
        raise PredictionError(
            f"{word} is {part.kind}, a part of a board whose caches and copy engines are shared; no part was measured, "
            "so nothing supports its times; name the whole board, or measure on the part"
        )
    device = _device(word)
    if device.reported_names and device.reported_names[0].startswith("AMD"):
        raise PredictionError(
            f"{device.name} is an AMD part: its kernels come from another compiler and other libraries than those "
            "measured, so nothing supports its times; measure on it with pamprof compare"
        )
    if device.peaks is None or device.compute_capability is None:
        raise PredictionError(
            f"no dense peak and bandwidth are listed for {device.name}, so nothing supports its times; give "
            f"them in its row of devices.csv, or choose among {_known()}"
        )
    if dtype == FP8:
        raise PredictionError(_no_fp8(device))
    return Gpu(device=device)


def _no_fp8(device: ListedDevice) -> str:
    if device.fp8_flops_per_second is None:
        return (
            f"{device.name} (compute capability {device.compute_capability}) has no listed matrix units for fp8, so no "
            "fp8 step runs there at their speed; leave --dtype out"
        )
    return (
        f"{device.name} has fp8 units, but no step was measured in fp8 on any device, so nothing supports its times; "
        "leave --dtype out"
    )


def _device(word: str) -> ListedDevice:
    try:
        name = resolve_device(word)
    except PriceError as error:
        raise PredictionError(str(error)) from error
    found = find_device(name)
    if found is None:
        what = "a processor" if canonical_device(word) == "CPU" else "no GPU that is listed"
        raise PredictionError(f"{word!r} is {what}, so nothing supports its times; choose among {_known()}")
    return found


def _known() -> str:
    return ", ".join(each.name for each in devices() if each.peaks is not None and each.compute_capability is not None)


def measured_gpu(
    environment: Environment, ceilings: Iterable[Ceilings], calibrations: Iterable[Calibration] = ()
) -> Gpu | None:
    """The GPU that runs were measured on; None for a CPU, a part of a board, and one without listed peaks."""
    if environment.device_kind != "cuda" or part_of(environment) is not None:
        return None
    device = find_device(environment.device_name)
    if device is None or device.peaks is None or device.compute_capability is None:
        return None
    found = [each for each in ceilings if find_device(each.environment.device_name) == device]
    return calibrated(Gpu(device=device, rates=_rates(found)), calibrations)


def calibrated(gpu: Gpu, calibrations: Iterable[Calibration]) -> Gpu:
    """``gpu`` with the first of ``calibrations`` that was measured on its kind, whose ceilings become its own."""
    for calibration in calibrations:
        if part_of(calibration.environment) is None and find_device(calibration.environment.device_name) == gpu.device:
            rates = _rates(calibration.ceilings) or gpu.rates
            return Gpu(device=gpu.device, rates=rates, calibration=calibration)
    return gpu


def without_measurements(gpu: Gpu) -> Gpu:
    """``gpu`` as if no session had measured on it: its listed figures, and those of its calibration."""
    return calibrated(Gpu(device=gpu.device), () if gpu.calibration is None else (gpu.calibration,))


def _rates(ceilings: Iterable[Ceilings]) -> MeasuredRates | None:
    found = [each for each in ceilings if each.dtype is Dtype.BFLOAT16]
    if not found:
        return None
    return MeasuredRates(
        flops_per_second=median(each.matrix_flops_per_second for each in found),
        bytes_per_second=median(each.copy_bytes_per_second for each in found),
    )
