"""What predictions rest on: the latest run of each workload by GPU, and errors of one predicted from another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.analysis.history.stored_runs import joined_runs
from pamprof.analysis.prediction.evidence import LeftOutError, MeasuredDevice, left_out_errors
from pamprof.analysis.prediction.gpu import FP8, measured_gpu
from pamprof.errors import PredictionError, UsageError
from pamprof.records.sweeps import split_sweeps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.records import Calibration, Ceilings, Run
    from pamprof.records.store import RecordFile


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevices:
    """What predictions rest on: devices, with sentences about the records that were sorted out."""

    devices: tuple[MeasuredDevice, ...]
    errors: tuple[LeftOutError, ...]
    left_out: tuple[str, ...]

    @property
    def workloads(self) -> tuple[str, ...]:
        """Keys of every workload, in order."""
        return tuple(dict.fromkeys(key for device in self.devices for key in device.runs))


def measured_devices(
    records: RecordFile, calibrations: Sequence[Calibration] = (), *, dtype: str | None = None
) -> MeasuredDevices:
    """Devices with the latest run of each workload of a comparison, of those in ``dtype`` where one is asked for.

    Points of sweeps, superseded runs, and runs that no time can be carried from are left out, with a sentence for each.

    Raises:
        PredictionError: Nothing is left.
        UsageError: Not one run is in ``dtype``.
    """
    left_out: list[str] = []
    compared, sweep = split_sweeps(records)
    if compared is sweep:
        raise PredictionError(
            f"all of the {len(records.runs)} runs are points of serving sweeps, which are not paired with a reference; "
            "give records of pamprof compare"
        )
    if sweep.runs:
        left_out.append(f"points of serving sweeps left out: {len(sweep.runs)}, which are not paired with a reference")
    # No record is in fp8; the GPU that it is asked for has the reason.
    asked = [run for run in compared.runs if dtype in (None, FP8, run.workload.dtype.value)]
    if compared.runs and not asked:
        known = sorted({run.workload.dtype.value for run in compared.runs})
        raise UsageError(f"the records hold no run in {dtype}; they are in {', '.join(known)}")
    devices, more = devices_of(asked, records.ceilings, calibrations)
    left_out += more
    if not devices:
        raise PredictionError(
            "; ".join([*left_out, "nothing is left to predict from; measure on a listed GPU with pamprof compare"])
        )
    return MeasuredDevices(devices=devices, errors=left_out_errors(devices), left_out=tuple(left_out))


def devices_of(
    runs: Sequence[Run], ceilings: Sequence[Ceilings], calibrations: Sequence[Calibration]
) -> tuple[tuple[MeasuredDevice, ...], list[str]]:
    """The GPUs of ``runs`` with the latest run of each workload, and a sentence for whatever is left out."""
    by_device: dict[str, list[Run]] = {}
    for run in runs:
        by_device.setdefault(run.environment.device_name, []).append(run)
    found: dict[str, tuple[Gpu, list[Run]]] = {}
    left_out: list[str] = []
    for name, of_device in by_device.items():
        whole = [run for run in of_device if measured_gpu(run.environment, ()) is not None]
        if len(whole) < len(of_device):
            left_out.append(
                f"runs on {name} left out: {len(of_device) - len(whole)}, on a CPU, a part of a board or a GPU without "
                "listed peaks, from which no time can be carried"
            )
        if whole:
            gpu = measured_gpu(whole[0].environment, ceilings, calibrations)
            assert gpu is not None  # as above
            found.setdefault(gpu.name, (gpu, []))[1].extend(whole)
    devices = []
    for gpu, of_gpu in found.values():
        kept = joined_runs(of_gpu)
        earlier = len(of_gpu) - sum(max(1, len(getattr(run, "processes", ()))) for run in kept.values())
        if earlier > 0:
            left_out.append(
                f"superseded runs on the {gpu.name} left out: {earlier}, measured again since or more carefully"
            )
        devices.append(MeasuredDevice(gpu=gpu, runs=kept))
    return tuple(devices), left_out
