"""The only file that speaks to NVML: a device found by UUID, every reading a value or the reason there is none.

Units are converted at this border: joules, watts, hertz, bytes, ratios 0..1. Function and field names follow the
NVML API reference, https://docs.nvidia.com/deploy/nvml-api/ (read November 2026).
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, TypeVar

import pynvml

from pamprof.hardware.nvml_words import ERROR_SENTENCES, THROTTLE_BITS
from pamprof.hardware.probe import Reading, known, unknown
from pamprof.hardware.visible import visible_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Value = TypeVar("Value")
Key = TypeVar("Key")

_SAMPLE_FIELDS = {
    pynvml.NVML_VALUE_TYPE_DOUBLE: "dVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_INT: "siVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_SHORT: "usVal",
}

_NOT_AVAILABLE = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE as an unsigned 64-bit number
_MIG_SHARED = "MIG: the board's sensor is shared by all instances and says nothing about this one"
_MIG_MEANINGLESS = "MIG: NVML reports no utilisation for an instance"

# Signal names of the GPM metrics (Hopper and later), with their NVML_GPM_METRIC_* numbers.
GPM_SIGNALS: dict[str, int] = {
    "sm_activity_ratio": pynvml.NVML_GPM_METRIC_SM_UTIL,
    "sm_occupancy_ratio": pynvml.NVML_GPM_METRIC_SM_OCCUPANCY,
    "tensor_activity_ratio": pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL,
    "dram_bandwidth_ratio": pynvml.NVML_GPM_METRIC_DRAM_BW_UTIL,
    "fp32_activity_ratio": pynvml.NVML_GPM_METRIC_FP32_UTIL,
}


def describe(error: pynvml.NVMLError) -> str:
    """The sentence for an NVML error; one we have none for is named by its number and NVML's own words."""
    return ERROR_SENTENCES.get(error.value) or f"NVML error {error.value}: {error}"


class NvmlDevice:
    """One GPU through NVML. Made by ``open_nvml``; without a GPU every reading is unknown for the same reason."""

    def __init__(
        self, handle: object | None, *, absent_reason: str | None = None, instance: object | None = None
    ) -> None:
        self._handle = handle
        self._instance = instance  # the MIG instance's own handle, where the device is one
        self._absent_reason = absent_reason
        self._gpm_previous: object | None = None
        self._mig: Reading[bool] | None = None  # cannot change while a process uses the GPU

    @property
    def absent_reason(self) -> str | None:
        """Why there is no device behind this object; None when there is one."""
        return self._absent_reason

    def _read(self, call: Callable[[object], Value]) -> Reading[Value]:
        if self._handle is None:
            return unknown(self._absent_reason or "no NVML device")
        try:
            return known(call(self._handle))
        except pynvml.NVMLError as error:
            return unknown(describe(error))

    def _read_board(self, call: Callable[[object], Value]) -> Reading[Value]:
        return unknown(_MIG_SHARED) if self._is_split() else self._read(call)

    def _is_split(self) -> bool:
        if self._mig is None or self._mig.value is None:
            self._mig = self.mig_enabled()
        return bool(self._mig.value)

    def name(self) -> Reading[str]:
        """Product name, such as ``NVIDIA H200``."""
        return self._read(pynvml.nvmlDeviceGetName)

    def uuid(self) -> Reading[str]:
        """The physical GPU's UUID; for finding the device, never for a record."""
        return self._read(pynvml.nvmlDeviceGetUUID)

    def driver_version(self) -> Reading[str]:
        """Driver version, such as ``580.65.06``."""
        return self._read(lambda _: str(pynvml.nvmlSystemGetDriverVersion()))

    def cuda_driver_version(self) -> Reading[str]:
        """Newest CUDA version the driver serves, such as ``13.0``."""
        number = self._read(lambda _: int(pynvml.nvmlSystemGetCudaDriverVersion_v2()))
        return number.map(lambda value: f"{value // 1000}.{value % 1000 // 10}")

    def mig_enabled(self) -> Reading[bool]:
        """Whether the GPU is split into MIG instances; a GPU that does not know MIG is not split."""
        if self._instance is not None:
            return known(True)

        def mode(handle: object) -> bool:
            try:
                return bool(pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
                    return False
                raise

        return self._read(mode)

    def power_limit_watts(self) -> Reading[float]:
        """Enforced power limit of the board, watts."""
        return self._read(pynvml.nvmlDeviceGetEnforcedPowerLimit).map(lambda milliwatts: milliwatts / 1e3)

    def maximum_sm_clock_hertz(self) -> Reading[float]:
        """Highest SM clock, hertz."""
        return self._read(lambda handle: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_SM)).map(
            lambda megahertz: megahertz * 1e6
        )

    def sm_clock_hertz(self) -> Reading[float]:
        """SM clock now, hertz."""
        return self._clock(pynvml.NVML_CLOCK_SM)

    def memory_clock_hertz(self) -> Reading[float]:
        """Memory clock now, hertz."""
        return self._clock(pynvml.NVML_CLOCK_MEM)

    def _clock(self, domain: int) -> Reading[float]:
        return self._read(lambda handle: pynvml.nvmlDeviceGetClockInfo(handle, domain)).map(lambda mhz: mhz * 1e6)

    def temperature_celsius(self) -> Reading[float]:
        """GPU temperature, degrees Celsius."""
        return self._read(lambda handle: float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)))

    def instant_power_watts(self) -> Reading[float]:
        """Power of the whole board now, watts, without the driver's averaging."""

        def read(handle: object) -> float:
            field = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])[0]
            if field.nvmlReturn != pynvml.NVML_SUCCESS:
                raise pynvml.NVMLError(field.nvmlReturn)
            return float(field.value.uiVal) / 1e3

        return self._read_board(read)

    def average_power_watts(self) -> Reading[float]:
        """Power of the whole board, watts; on recent GPUs an average over the last second."""
        return self._read_board(pynvml.nvmlDeviceGetPowerUsage).map(lambda milliwatts: milliwatts / 1e3)

    def energy_counter_joules(self) -> Reading[float]:
        """Energy of the board since the driver was loaded, joules; moves about every 100 ms."""
        return self._read_board(pynvml.nvmlDeviceGetTotalEnergyConsumption).map(lambda millijoules: millijoules / 1e3)

    def throttle_reasons(self) -> Reading[tuple[str, ...]]:
        """Why the clocks are held down at this moment; empty when they are not. Cheap enough between two samples."""
        mask = self._read(pynvml.nvmlDeviceGetCurrentClocksEventReasons)
        if mask.value is None:
            mask = self._read(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons)  # drivers before 535
        return mask.map(lambda bits: tuple(name for bit, name in THROTTLE_BITS if bits & bit))

    def memory_used_bytes(self) -> Reading[int]:
        """Memory in use on the device (the instance under MIG), bytes: all processes, contexts and workspaces."""
        used = self._read(lambda handle: int(pynvml.nvmlDeviceGetMemoryInfo(self._instance or handle).used))
        return unknown("NVML reports the value as not available") if used.value == _NOT_AVAILABLE else used

    def other_process_count(self, own_process_id: int) -> Reading[int]:
        """Compute processes on the device besides ``own_process_id``, which must hold a CUDA context."""
        listed = self._read(
            lambda handle: tuple(
                int(process.pid) for process in pynvml.nvmlDeviceGetComputeRunningProcesses(self._instance or handle)
            )
        )
        if listed.value is None:
            return unknown(listed.reason or "")
        if own_process_id not in listed.value:
            return unknown(
                f"NVML lists {len(listed.value)} processes and this one is not among them (process IDs are hidden or "
                "translated in containers), so others cannot be told from it"
            )
        return known(len(listed.value) - 1)

    def busy_ratio_now(self) -> Reading[float]:
        """Share of the last 1/6 to 1 s in which at least one kernel ran, 0..1."""
        return self._utilisation(lambda handle: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100)

    def busy_ratio_samples(self, since_epoch_seconds: float) -> Reading[tuple[tuple[float, float], ...]]:
        """(epoch seconds, busy ratio) of the driver's own samples newer than the given time, in order."""

        def read(handle: object) -> tuple[tuple[float, float], ...]:
            microseconds = int(since_epoch_seconds * 1e6)
            try:
                kind, samples = pynvml.nvmlDeviceGetSamples(handle, pynvml.NVML_GPU_UTILIZATION_SAMPLES, microseconds)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_NOT_FOUND:  # NVML's way to say "nothing newer"
                    return ()
                raise
            field = _SAMPLE_FIELDS.get(kind)
            if field is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_DATA)
            pairs = ((sample.timeStamp / 1e6, float(getattr(sample.sampleValue, field)) / 100) for sample in samples)
            # The ring buffer can hold entries that were never written, or older ones than were asked for.
            return tuple(sorted((at, ratio) for at, ratio in pairs if at > since_epoch_seconds and 0 <= ratio <= 1))

        return self._utilisation(read)

    def _utilisation(self, call: Callable[[object], Value]) -> Reading[Value]:
        return unknown(_MIG_MEANINGLESS) if self._is_split() else self._read(call)

    def gpm_supported(self) -> Reading[bool]:
        """Whether the GPU has GPM activity counters (Hopper and later)."""
        if self._is_split():
            return unknown("MIG: activity counters are not read for an instance")
        return self._read(lambda handle: bool(pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice))

    def gpm_activity(self) -> Reading[Mapping[str, Reading[float]]]:
        """Mean activity ratios, 0..1, since the previous call, by signal name; empty at the first call.

        Calls must lie more than 100 ms apart: below that the driver repeats its last figures.
        """

        def read(handle: object) -> Mapping[str, Reading[float]]:
            current = pynvml.nvmlGpmSampleAlloc()
            try:
                pynvml.nvmlGpmSampleGet(handle, current)
            except pynvml.NVMLError:
                pynvml.nvmlGpmSampleFree(current)
                raise
            previous, self._gpm_previous = self._gpm_previous, current
            if previous is None:
                return {}
            try:
                return _gpm_difference(previous, current)
            finally:
                pynvml.nvmlGpmSampleFree(previous)

        return self._read(read)

    def forget_gpm(self) -> None:
        """Drop the sample kept from the last ``gpm_activity``, so that the next interval begins anew."""
        if self._gpm_previous is not None:
            previous, self._gpm_previous = self._gpm_previous, None
            self._read(lambda _: pynvml.nvmlGpmSampleFree(previous))


def _gpm_difference(previous: object, current: object) -> Mapping[str, Reading[float]]:
    request = pynvml.c_nvmlGpmMetricsGet_t()
    request.version = pynvml.NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = len(GPM_SIGNALS)
    request.sample1, request.sample2 = previous, current
    for position, metric in enumerate(GPM_SIGNALS.values()):
        request.metrics[position].metricId = metric
    pynvml.nvmlGpmMetricsGet(request)
    return {signal: _gpm_value(request.metrics[position]) for position, signal in enumerate(GPM_SIGNALS)}


def _gpm_value(metric: pynvml.c_nvmlGpmMetric_t) -> Reading[float]:
    if metric.nvmlReturn != pynvml.NVML_SUCCESS:
        return unknown(describe(pynvml.NVMLError(metric.nvmlReturn)))
    if not math.isfinite(metric.value):
        return unknown("the driver returned no number")
    return known(float(metric.value) / 100)


def open_nvml(uuid: str | None = None, *, ordinal: int = 0, environment: Mapping[str, str] = os.environ) -> NvmlDevice:
    """The GPU that CUDA calls ``ordinal``; never raises: without one, every reading says why.

    Args:
        uuid: The UUID as CUDA reports it, with or without its ``GPU-`` or ``MIG-`` prefix. None to go by
            ``CUDA_VISIBLE_DEVICES`` alone.
        ordinal: CUDA's number of the device in this process, used where ``uuid`` is None.
        environment: Where ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER`` are read.
    """
    try:
        pynvml.nvmlInit()
        if pynvml.nvmlDeviceGetCount() == 0:
            return NvmlDevice(None, absent_reason="the NVIDIA driver reports no GPU")
        if uuid is not None:
            return _by_uuid(uuid)
        token = visible_token(ordinal, environment)
        if token.value is None:
            return NvmlDevice(None, absent_reason=token.reason)
        if not token.value.isdecimal():
            return _by_uuid(token.value)
        return _by_index(int(token.value), environment)
    except pynvml.NVMLError as error:
        return NvmlDevice(None, absent_reason=describe(error))


def _by_index(index: int, environment: Mapping[str, str]) -> NvmlDevice:
    count = pynvml.nvmlDeviceGetCount()
    if index >= count:
        return NvmlDevice(None, absent_reason=f"CUDA device {index} was asked for; NVML sees {count}")
    handles = [pynvml.nvmlDeviceGetHandleByIndex(position) for position in range(count)]
    ordered_by_bus = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not ordered_by_bus and len({pynvml.nvmlDeviceGetName(handle) for handle in handles}) > 1:
        reason = "the GPUs differ and CUDA numbers them by speed, NVML by bus; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        return NvmlDevice(None, absent_reason=reason)
    return NvmlDevice(handles[index])


def _by_uuid(uuid: str) -> NvmlDevice:
    bare = uuid.removeprefix("GPU-").removeprefix("MIG-")
    if not uuid.startswith("MIG-"):
        handle = _first_answer(pynvml.nvmlDeviceGetHandleByUUID, [f"GPU-{bare}"]) or _by_prefix(bare)
        if handle is not None:
            return NvmlDevice(handle)
    instance = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("MIG-") else f"MIG-{bare}")
    return NvmlDevice(pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance), instance=instance)


def _by_prefix(bare: str) -> object | None:
    """CUDA accepts a unique prefix of a GPU's UUID, NVML only the whole."""

    def matching(position: int) -> object | None:
        handle = pynvml.nvmlDeviceGetHandleByIndex(position)
        found = str(pynvml.nvmlDeviceGetUUID(handle)).removeprefix("GPU-").startswith(bare)
        return handle if found else None

    return _first_answer(matching, range(pynvml.nvmlDeviceGetCount()))


def _first_answer(find: Callable[[Key], object | None], keys: Iterable[Key]) -> object | None:
    """The first handle found; a GPU that is lost or forbidden must not hide another."""
    for key in keys:
        try:
            handle = find(key)
        except pynvml.NVMLError:
            continue
        if handle is not None:
            return handle
    return None
