"""Runs the cases within a time budget; whatever ends it early leaves what was measured."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.hardware.device import open_device
from pamprof.hardware.environment import read_environment
from pamprof.hardware.nvml.lookup import open_nvml
from pamprof.measure.calibration.cases import Case, cases, random_tensors
from pamprof.measure.calibration.launches import LaunchTimes, launch_times
from pamprof.measure.machine.ceilings import measure_ceilings
from pamprof.measure.machine.kernels.step import profile_operators
from pamprof.measure.session.runner import utc_now
from pamprof.records import CALIBRATION_VERSION, Calibration, Ceilings, Dtype, KernelUse, Unknown
from pamprof.workloads.execution import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device
    from pamprof.records import Environment

_SESSION = "calibration"
_SEED = 0
_CALLS = 3  # in one profile, of which the mean counts
_PROFILES = 3  # of which the median counts
_LONG_SECONDS = 0.5  # a case that takes longer is profiled once
_LEAST_BYTES = 1024  # what an operator moves at least to be the kernel that the case is about
_LARGE_BYTES = 2**28
_MEMORY_SHARE = 4  # of the device's memory one case takes at most this part
_DTYPES = {"cuda": (Dtype.BFLOAT16, Dtype.FLOAT32), "cpu": (Dtype.FLOAT32, Dtype.BFLOAT16)}


@dataclass(slots=True)
class _Found:
    """What was measured so far."""

    ceilings: list[Ceilings]
    kernels: list[KernelUse]
    left_out: list[str]
    launches: LaunchTimes | None = None
    interrupted: bool = False


def calibrate(device_name: str, *, time_budget_seconds: float) -> tuple[Calibration, bool]:
    """Measure the device's ceilings, launches and single kernels.

    Args:
        device_name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        time_budget_seconds: From the start, after which nothing more begins.

    Returns:
        The calibration, and whether the user ended it.

    Raises:
        UsageError: The budget is no time.
        DeviceError: A device that was asked for is not there.
    """
    if not time_budget_seconds > 0:
        raise UsageError(f"--time-budget {time_budget_seconds:g}s leaves no time; give 20s or more")
    started, started_at = perf_counter(), utc_now()
    device = open_device(device_name)
    environment, unknowns = read_environment(device, open_nvml(device.uuid))
    found = _Found([], [], [])
    pending = list(cases(device.kind))
    try:
        _measure(device, environment, found, pending, started + time_budget_seconds)
    except KeyboardInterrupt:
        found.interrupted = True
    reason = "interrupted" if found.interrupted else "the time budget had ended"
    found.left_out += [f"{case.name}: {reason}" for case in pending]
    launches = found.launches
    unlaunched = [
        Unknown(field=field, reason="a CPU has no graphs" if launches is not None and device.kind == "cpu" else reason)
        for field in ("launch_seconds", "graph_launch_seconds", "graph_kernel_seconds")
        if launches is None or getattr(launches, field) is None
    ]
    calibration = Calibration(
        version=CALIBRATION_VERSION,
        started_at=started_at,
        environment=environment,
        ceilings=tuple(found.ceilings),
        kernels=tuple(found.kernels),
        launch_seconds=None if launches is None else launches.launch_seconds,
        graph_launch_seconds=None if launches is None else launches.graph_launch_seconds,
        graph_kernel_seconds=None if launches is None else launches.graph_kernel_seconds,
        left_out=tuple(found.left_out),
        unknowns=(*unknowns, *unlaunched),
        time_budget_seconds=time_budget_seconds,
        seconds=perf_counter() - started,
    )
    return calibration, found.interrupted


def _measure(device: Device, environment: Environment, found: _Found, pending: list[Case], deadline: float) -> None:
    """Measure and take off ``pending`` what was measured, until the deadline."""
    first, *others = _DTYPES[device.kind]
    _try(found, f"ceilings in {first}", partial(_ceilings, device, environment, first, found))
    _try(found, "launches", partial(_launches, device, found))
    device.empty_cache()
    while pending and perf_counter() < deadline:
        case = pending[0]
        if case.byte_count > device.memory().total_bytes // _MEMORY_SHARE:
            found.left_out.append(f"{case.name}: its tensors need more than a quarter of the device's memory")
        else:
            _try(found, case.name, partial(_kernels, case, device, found))
            if case.byte_count > _LARGE_BYTES:
                device.empty_cache()
        del pending[0]
    for dtype in others:
        if perf_counter() < deadline:
            _try(found, f"ceilings in {dtype}", partial(_ceilings, device, environment, dtype, found))
        else:
            found.left_out.append(f"ceilings in {dtype}: the time budget had ended")


def _try(found: _Found, name: str, action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as exc:  # noqa: BLE001 - what a device cannot do is left out, and said
        found.left_out.append(f"{name}: {type(exc).__name__}: {first_line(exc)}")


def _ceilings(device: Device, environment: Environment, dtype: Dtype, found: _Found) -> None:
    found.ceilings.append(measure_ceilings(device, environment, session_id=_SESSION, dtype=dtype, seed=_SEED))
    device.empty_cache()


def _launches(device: Device, found: _Found) -> None:
    found.launches = launch_times(device)


def _kernels(case: Case, device: Device, found: _Found) -> None:
    """Add one call of each operator in the case that computes or moves something."""
    action = case.make(random_tensors(device.torch_device, _SEED))
    action()
    action()
    device.synchronise()
    seen: dict[tuple[str, tuple[tuple[int, ...], ...]], list[KernelUse]] = defaultdict(list)
    begun = perf_counter()
    for _ in range(_PROFILES):
        profiled = profile_operators(lambda: [action() for _ in range(_CALLS)], on_cuda=device.kind == "cuda")
        if isinstance(profiled, str):
            raise RuntimeError(profiled)
        for use in profiled.uses:
            if use.shapes and (use.matrix_flop_count or (use.byte_count or 0) >= _LEAST_BYTES):
                seen[use.operator, use.shapes].append(use)
        if perf_counter() - begun > _LONG_SECONDS:
            break
    if not seen:
        raise RuntimeError("no kernel was seen")
    found.kernels += [_one_call(uses) for uses in seen.values()]


def _one_call(uses: list[KernelUse]) -> KernelUse:
    first = uses[0]

    def each(total: int | None) -> int | None:
        return None if total is None else total // first.call_count

    return replace(
        first,
        call_count=1,
        kernel_count=first.kernel_count // first.call_count,
        matrix_flop_count=each(first.matrix_flop_count),
        elementwise_flop_count=each(first.elementwise_flop_count),
        byte_count=each(first.byte_count),
        seconds=median(use.seconds / use.call_count for use in uses),
    )
