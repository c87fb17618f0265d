"""One GPU through NVML: every reading is a value or the reason there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pynvml

from pamprof.hardware.nvml.activity import activity_between, busy_samples
from pamprof.hardware.nvml.words import THROTTLE_BITS, VIRTUALISATION_MODES, describe
from pamprof.hardware.probe import Reading, known, unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = TypeVar("Value")

_NOT_AVAILABLE = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE as an unsigned 64-bit number
_MIG_SHARED = "MIG: the board's sensor is shared by all instances and says nothing about this one"
_MIG_MEANINGLESS = "MIG: NVML reports no utilisation for an instance"


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
        except Exception as error:  # noqa: BLE001 - the binding raises its own, ctypes' and decoding errors
            return unknown(describe(error))

    def _read_board(self, call: Callable[[object], Value]) -> Reading[Value]:
        return unknown(_MIG_SHARED) if self._is_split() else self._read(call)

    def _is_split(self) -> bool:
        if self._mig is None or self._mig.value is None:
            self._mig = self.mig_enabled()
        return bool(self._mig.value)

    def name(self) -> Reading[str]:
        """Product name, such as ``NVIDIA H200``; of a MIG instance with its profile."""
        return self._read(lambda handle: pynvml.nvmlDeviceGetName(self._instance or handle))

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

    def virtualisation(self) -> Reading[str]:
        """How a hypervisor shows the GPU: ``none``, ``passthrough``, ``vgpu``, ``host vgpu`` or ``host vsga``."""
        mode = self._read(lambda handle: int(pynvml.nvmlDeviceGetVirtualizationMode(handle)))
        if mode.value is not None and mode.value not in VIRTUALISATION_MODES:
            return unknown(f"NVML gives virtualisation mode {mode.value}, which is not known")
        return mode.map(lambda number: VIRTUALISATION_MODES[number])

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
        return self._utilisation(lambda handle: busy_samples(handle, since_epoch_seconds))

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
            except Exception:
                pynvml.nvmlGpmSampleFree(current)
                raise
            previous, self._gpm_previous = self._gpm_previous, current
            if previous is None:
                return {}
            try:
                return activity_between(previous, current)
            finally:
                pynvml.nvmlGpmSampleFree(previous)

        return self._read(read)

    def forget_gpm(self) -> None:
        """Drop the sample kept from the last ``gpm_activity``, so that the next interval begins anew."""
        if self._gpm_previous is not None:
            previous, self._gpm_previous = self._gpm_previous, None
            self._read(lambda _: pynvml.nvmlGpmSampleFree(previous))
