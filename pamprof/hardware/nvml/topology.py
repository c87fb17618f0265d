"""Where the GPUs of a machine sit: NVLinks, the way over PCIe, and NUMA nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import pynvml

from pamprof.hardware.nvml.words import describe
from pamprof.records import DeviceLink, Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


Value = TypeVar("Value")

# NVML's nvmlGpuTopologyLevel_t (nvml.h, read November 2026).
_ANCESTORS = {
    0: "internal",
    10: "one switch",
    20: "several switches",
    30: "host bridge",
    40: "NUMA node",
    50: "system",
}
_NO_NODE = 2**32 - 1
_AFFINITY_WORDS = 4  # of 64 nodes each


def read_topology(uuids: Sequence[str]) -> tuple[Topology | None, str | None]:
    """How the GPUs with these UUIDs, by rank, are joined; or None with the reason."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid if "-" in uuid[:4] else f"GPU-{uuid}") for uuid in uuids]
    except Exception as error:  # noqa: BLE001 - the binding raises its own, ctypes' and decoding errors
        return None, describe(error)
    pairs = ((first, second) for first in range(len(handles)) for second in range(first + 1, len(handles)))
    links = tuple(
        DeviceLink(
            first=first,
            second=second,
            nvlink_count=_asked(_nvlinks, handles[first], handles[second]),
            common_ancestor=_asked(_ancestor, handles[first], handles[second]),
        )
        for first, second in pairs
    )
    return (
        Topology(
            links=links,
            pcie_generations=_each(handles, pynvml.nvmlDeviceGetCurrPcieLinkGeneration),
            pcie_widths=_each(handles, pynvml.nvmlDeviceGetCurrPcieLinkWidth),
            numa_nodes=tuple(_numa_node(handle) for handle in handles),
        ),
        None,
    )


def _asked(question: Callable[..., Value], *arguments: object) -> Value | None:
    try:
        return question(*arguments)
    except Exception:  # noqa: BLE001 - as above
        return None


def _each(handles: Sequence[object], call: Callable[[object], int]) -> tuple[int | None, ...]:
    return tuple(_asked(call, handle) for handle in handles)


def _ancestor(first: object, second: object) -> str | None:
    return _ANCESTORS.get(int(pynvml.nvmlDeviceGetTopologyCommonAncestor(first, second)))


def _numa_node(handle: object) -> int | None:
    node = _asked(pynvml.nvmlDeviceGetNumaNodeId, handle)
    if node is not None and node != _NO_NODE:
        return int(node)
    words = _asked(pynvml.nvmlDeviceGetMemoryAffinity, handle, _AFFINITY_WORDS, pynvml.NVML_AFFINITY_SCOPE_NODE) or ()
    nodes = [64 * place + bit for place, word in enumerate(words) for bit in range(64) if int(word) >> bit & 1]
    return nodes[0] if len(nodes) == 1 else None


def _nvlinks(handle: object, other: object) -> int:
    """Active NVLinks to the other GPU, or to switches, through which every GPU of such a machine is reached."""
    other_bus_id = _bus_id(pynvml.nvmlDeviceGetPciInfo(other))
    count = 0
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        try:
            if not pynvml.nvmlDeviceGetNvLinkState(handle, link):
                continue
            kind = pynvml.nvmlDeviceGetNvLinkRemoteDeviceType(handle, link)
        except pynvml.NVMLError:
            continue
        to_switch = kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH
        if to_switch or _bus_id(pynvml.nvmlDeviceGetNvLinkRemotePciInfo(handle, link)) == other_bus_id:
            count += 1
    return count


def _bus_id(information: Any) -> str:
    found = information.busId
    return (found.decode() if isinstance(found, bytes) else str(found)).upper()
