"""How long kernels ran in a step: kernel time of one profiled step, taken outside every sample.

Wall time and CUDA events both include the gaps in which the device waits for the host; only the kernels themselves
tell launch-bound code from slow kernels.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMED_KERNELS = 3
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProfile:
    """What ran on the device in one step.

    Attributes:
        busy_seconds: Time in which at least one kernel, copy or fill ran.
        kernel_count: How many ran.
        largest: The kernels that took most of their summed time: name and share, 0..1.
    """

    busy_seconds: float
    kernel_count: int
    largest: tuple[tuple[str, float], ...]


def profile_kernels(step: Callable[[], object]) -> KernelProfile | str:
    """Profile one step on the current CUDA device; the reason as a sentence where that cannot be done."""
    try:
        with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiler:
            step()
            torch.cuda.synchronize()
        return kernels_of(profiler)
    except RuntimeError as exc:
        return f"the profiler could not read the device: {exc}"


def kernels_of(profiler: profile) -> KernelProfile | str:
    """What ran on the device while ``profiler`` was on; the reason where it saw nothing there."""
    spans = [
        (event.time_range.start, event.time_range.end, event.name)
        for event in profiler.events() or []
        if event.device_type == DeviceType.CUDA
        and event.time_range.end > event.time_range.start
        # The device's share of a named range of the host spans several kernels and the gaps between them.
        and not getattr(event, "is_user_annotation", False)
    ]
    if not spans:
        return "the profiler saw no kernel on the device"
    times: Counter[str] = Counter()
    for start, end, name in spans:
        times[short_name(name)] += end - start
    total = sum(times.values())
    return KernelProfile(
        busy_seconds=union_length(sorted((start, end) for start, end, _ in spans)) * 1e-6,
        kernel_count=len(spans),
        largest=tuple((name, time / total) for name, time in times.most_common(_NAMED_KERNELS)),
    )


def short_name(kernel: str) -> str:
    """A kernel's name without return type, template arguments and parameters."""
    bare = re.sub(r"^(void|std::\w+)\s+", "", kernel).split("<")[0].split("(")[0]
    return bare.replace("at::native::", "")[:_LONGEST_NAME] or kernel[:_LONGEST_NAME]


def union_length(spans: list[tuple[float, float]]) -> float:
    """Total length covered by ``spans`` (sorted by start), overlaps counted once."""
    covered = 0.0
    reach = spans[0][0]
    for start, end in spans:
        covered += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return covered
