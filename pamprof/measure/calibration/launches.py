"""How long the host takes from one small kernel to the next, launched by itself or within a captured graph."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from pamprof.workloads.execution import capture_graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamprof.hardware.device import Device

_KERNELS = 200
_REPETITIONS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTimes:
    """Seconds; fields as in ``Calibration``."""

    launch_seconds: float
    graph_launch_seconds: float | None
    graph_kernel_seconds: float | None


def launch_times(device: Device) -> LaunchTimes:
    """Time many small kernels one after the other, and the same in a graph where the device has graphs."""
    number = torch.zeros(1, device=device.torch_device)

    def one() -> torch.Tensor:
        return number.add_(1.0)

    def many() -> torch.Tensor:
        for _ in range(_KERNELS):
            one()
        return number

    launch = _seconds(many, device) / _KERNELS
    if device.kind != "cuda":
        return LaunchTimes(launch_seconds=launch, graph_launch_seconds=None, graph_kernel_seconds=None)
    short, long = capture_graph(one), capture_graph(many)

    def replays() -> None:
        for _ in range(_KERNELS):
            short()

    replay = _seconds(replays, device) / _KERNELS
    within = (_seconds(long, device) - _seconds(short, device)) / (_KERNELS - 1)
    return LaunchTimes(
        launch_seconds=launch, graph_launch_seconds=replay, graph_kernel_seconds=within if within > 0 else None
    )


def _seconds(action: Callable[[], object], device: Device) -> float:
    """Wall time until the device has finished, the median of several."""
    times = []
    for _ in range(_REPETITIONS + 1):
        device.synchronise()
        start = perf_counter()
        action()
        device.synchronise()
        times.append(perf_counter() - start)
    return median(times[1:])
