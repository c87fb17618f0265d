"""How long the device really worked in a step: kernel time from one profiled step, outside every sample.

Wall time and CUDA events both include the gaps in which the device waits for the host; only the kernels themselves
tell launch-bound code from slow kernels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def kernel_time(step: Callable[[], object]) -> tuple[float, int] | str:
    """Seconds in which at least one kernel, copy or fill ran during one step, and how many ran.

    Returns:
        ``(seconds, kernel count)``, or the reason it could not be measured.
    """
    try:
        with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
            step()
            torch.cuda.synchronize()
        events = profiler.events() or []
    except RuntimeError as exc:
        return f"the profiler could not read the device: {exc}"
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and event.time_range.end > event.time_range.start
    )
    if not spans:
        return "the profiler saw no kernel on the device"
    return union_length(spans) * 1e-6, len(spans)


def union_length(spans: list[tuple[float, float]]) -> float:
    """Total length covered by ``spans`` (sorted by start), overlaps counted once."""
    covered = 0.0
    reach = spans[0][0]
    for start, end in spans:
        covered += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return covered
