"""Which of NVML's devices is the GPU that CUDA means, found by UUID or by CUDA's number."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import pynvml

from pamprof.hardware.nvml.device import NvmlDevice
from pamprof.hardware.nvml.words import describe
from pamprof.hardware.visible import visible_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Key = TypeVar("Key")


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
    except Exception as error:  # noqa: BLE001 - the binding raises its own, ctypes' and decoding errors
        return NvmlDevice(None, absent_reason=describe(error))


def _by_index(index: int, environment: Mapping[str, str]) -> NvmlDevice:
    count = pynvml.nvmlDeviceGetCount()
    if index >= count:
        return NvmlDevice(None, absent_reason=f"CUDA device {index} was asked for; NVML sees {count}")
    handles = [pynvml.nvmlDeviceGetHandleByIndex(position) for position in range(count)]
    ordered_by_bus = environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not ordered_by_bus and len({_product(handle) for handle in handles}) > 1:
        reason = "the GPUs differ and CUDA numbers them by speed, NVML by bus; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        return NvmlDevice(None, absent_reason=reason)
    return NvmlDevice(handles[index])


def _product(handle: object) -> object:
    """What tells products apart: the name, or its bytes where they are no text."""
    try:
        return pynvml.nvmlDeviceGetName(handle)
    except UnicodeDecodeError as error:
        return error.object


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
        except (pynvml.NVMLError, UnicodeDecodeError):
            continue
        if handle is not None:
            return handle
    return None
