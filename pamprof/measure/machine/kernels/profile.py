"""How long kernels ran in a step: kernel time of one profiled step, taken outside every sample.

Wall time and CUDA events both include the gaps in which the device waits for the host; only the kernels themselves
tell launch-bound code from slow kernels.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch._C._autograd import DeviceType, _KinetoEvent
from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.autograd import profiler as autograd

_NAMED_KERNELS = 3
_LONGEST_NAME = 60

# Torch's words in a profile: the word in a record, and bytes an element.
PROFILED_DTYPES = {
    "c10::BFloat16": ("bfloat16", 2),
    "c10::Half": ("float16", 2),
    "float": ("float32", 4),
    "double": ("float64", 8),
    "c10::complex<float>": ("complex64", 8),
    "c10::complex<double>": ("complex128", 16),
    "long int": (None, 8),
    "long": (None, 8),
    "int": (None, 4),
    "bool": (None, 1),
}

# Calls of CUDA's runtime and driver, as ``cudaLaunchKernel`` and ``cuLaunchKernelEx``.
_LAUNCH = re.compile(r"cu(da)?[A-Z]")


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


@contextmanager
def profiling(*activities: ProfilerActivity, record_shapes: bool = False) -> Iterator[profile]:
    """Torch's profiler, whose events are read as they were recorded.

    Torch 2.11 warns of later cycles that would replace the events; there is one.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Warning: Profiler clears events")
        with profile(activities=activities, record_shapes=record_shapes) as profiler:
            yield profiler


def profile_kernels(step: Callable[[], object]) -> KernelProfile | str:
    """Profile one step on the current CUDA device; the reason as a sentence where that cannot be done."""
    try:
        with profiling(ProfilerActivity.CUDA) as profiler:
            step()
            torch.cuda.synchronize()
        return kernels_of(profiler)
    except RuntimeError as exc:
        return f"the profiler could not read the device: {exc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that ran from ``start`` to ``end``, nanoseconds on the profiler's clock.

    Attributes:
        name: Whole.
        start: Of a kernel on the device, of an operator or a mark on the host.
        end: Likewise.
        launched_at: Of a kernel, when the host launched it, or the operator that did so began; None where the profiler
            does not say.
        shapes: Of an operator's tensors, where shapes were recorded.
        dtypes: Likewise, in the profiler's words.
    """

    name: str
    start: int
    end: int
    launched_at: int | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    dtypes: tuple[str, ...] = ()


def kernels_of(profiler: profile) -> KernelProfile | str:
    """What ran on the device while ``profiler`` was on; the reason where it saw nothing there."""
    spans = device_spans(profiler)
    if not spans:
        return "the profiler saw no kernel on the device"
    times: Counter[str] = Counter()
    for span in spans:
        times[short_name(span.name)] += span.end - span.start
    total = sum(times.values())
    return KernelProfile(
        busy_seconds=union_length(sorted((span.start, span.end) for span in spans)) * 1e-9,
        kernel_count=len(spans),
        largest=tuple((name, time / total) for name, time in times.most_common(_NAMED_KERNELS)),
    )


def device_spans(profiler: profile) -> list[Span]:
    """Kernels, copies and fills.

    The device's share of a named range of the host is none: it spans several kernels and the gaps between them.
    """
    events = _events(profiler)
    launches: dict[int, int] = {}  # by the device's number for them
    operators: dict[int, int] = {}  # by the profiler's
    for event in events:
        if event.device_type() == DeviceType.CPU:
            (launches if _LAUNCH.match(event.name()) else operators)[event.correlation_id()] = event.start_ns()
    return [
        Span(
            name=event.name(),
            start=event.start_ns(),
            end=event.end_ns(),
            launched_at=launches.get(event.correlation_id(), operators.get(event.linked_correlation_id() or -1)),
        )
        for event in events
        if event.device_type() == DeviceType.CUDA
        and event.end_ns() > event.start_ns()
        and not event.is_user_annotation()
    ]


def host_spans(profiler: profile | autograd.profile) -> list[Span]:
    """Operators and marks on the host, in all threads."""
    return [
        Span(
            name=event.name(),
            start=event.start_ns(),
            end=event.end_ns(),
            shapes=tuple(tuple(shape) for shape in event.shapes()),
            dtypes=tuple(event.dtypes()),
        )
        for event in _events(profiler)
        if event.device_type() == DeviceType.CPU and not _LAUNCH.match(event.name())
    ]


def _events(profiler: profile | autograd.profile) -> list[_KinetoEvent]:
    """As recorded; ``profiler.events()`` takes 80 µs for each to make an object of it."""
    recorded = profiler.profiler if hasattr(profiler, "profiler") else profiler
    if recorded is None or recorded.kineto_results is None:
        return []
    return [event for event in recorded.kineto_results.events() if not event.is_hidden_event()]


def short_name(kernel: str) -> str:
    """A kernel's name without return type, template arguments and parameters."""
    named = kernel.replace("(anonymous namespace)::", "")
    bare = re.sub(r"^(void|std::\w+)\s+", "", named).split("<")[0].split("(")[0].strip()
    return bare.replace("at::native::", "")[:_LONGEST_NAME] or kernel[:_LONGEST_NAME]


def union_length(spans: list[tuple[float, float]]) -> float:
    """Total length covered by ``spans`` (sorted by start), overlaps counted once."""
    covered = 0.0
    reach = spans[0][0]
    for start, end in spans:
        covered += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return covered
