"""The messages of one step, from torch's profiler: how many bytes, how long, and how long nothing else ran.

NCCL's calls tell their sizes, its kernels lie on the device's time line beside all others. gloo works in threads of the
host, beside the step's own; there is its time but not what it hid behind. A replayed graph makes no calls: sizes then
come from the same step run eagerly.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.profiler import ProfilerActivity, profile

from pamprof.measure.machine.kernels.profile import union_length
from pamprof.records import Collective, Communication

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pamprof.workloads.steps import PreparedStep

Span = tuple[float, float]

# By the letters of the names that NCCL's calls and kernels, and gloo's calls, have for them.
_OPERATIONS = {
    "allreduce": "all-reduce",
    "allgather": "all-gather",
    "reducescatter": "reduce-scatter",
    "broadcast": "broadcast",
    "alltoall": "all-to-all",
}
_ITEM_BYTES = {
    "double": 8, "float": 4, "bfloat16": 2, "half": 2, "long": 8, "long int": 8, "int": 4, "byte": 1, "bool": 1,
    "c10::bfloat16": 2, "c10::half": 2, "unsigned char": 1, "c10::complex<double>": 16, "c10::complex<float>": 8,
}  # fmt: skip
_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")


def profile_communication(step: PreparedStep, *, ranks: int, on_cuda: bool) -> Communication:
    """The messages of a step, whose ranks all run it here."""
    events = _traced(step.run, on_cuda=on_cuda)
    called = events if step.run is step.eager else _traced(step.eager, on_cuda=on_cuda)
    return communication_of(events, called, ranks=ranks, on_cuda=on_cuda)


def communication_of(
    events: Iterable[dict[str, Any]], called: Iterable[dict[str, Any]], *, ranks: int, on_cuda: bool
) -> Communication:
    """Messages among a trace's events: times from ``events``, calls and sizes from ``called``."""
    counts: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for event in called:
        if (call := _call(event, ranks=ranks)) is not None:
            operation, byte_count = call
            counts[operation] += 1
            sizes[operation] += byte_count
    spans: dict[str, list[Span]] = defaultdict(list)
    others: list[Span] = []
    for event in events:
        span = event.get("ts", 0.0), event.get("ts", 0.0) + event.get("dur", 0.0)
        if on_cuda and event.get("cat") in _ON_DEVICE:
            (spans[_operation(event["name"])] if "nccl" in event["name"].lower() else others).append(span)
        elif not on_cuda and event.get("name", "").startswith("gloo:"):
            spans[_operation(event["name"])].append(span)
    every = sorted(span for found in spans.values() for span in found)
    exposed = None
    if on_cuda:
        together = sorted([*every, *others])
        exposed = (_covered(together) - _covered(sorted(others))) * 1e-6
    return Communication(
        collectives=tuple(
            Collective(
                operation=operation,
                count=counts[operation],
                bytes=sizes[operation],
                seconds=_covered(sorted(spans[operation])) * 1e-6 if spans[operation] else None,
            )
            for operation in sorted(counts, key=lambda operation: -sizes[operation])
        ),
        seconds=_covered(every) * 1e-6,
        exposed_seconds=exposed,
    )


def _traced(step: Callable[[], object], *, on_cuda: bool) -> list[dict[str, Any]]:
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        with profile(activities=activities, record_shapes=True) as profiler:
            step()
            if on_cuda:
                torch.cuda.synchronize()
        profiler.export_chrome_trace(str(path))
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    return events


def _call(event: dict[str, Any], *, ranks: int) -> tuple[str, int] | None:
    """What a call does and its bytes; None where the event is no call."""
    name, arguments = event.get("name", ""), event.get("args", {})
    if name == "record_param_comms" and "In msg nelems" in arguments:
        kind = str(arguments.get("dtype", "")).lower()
        operation = _operation(str(arguments.get("Collective name", "")))
        if operation not in _OPERATIONS.values():  # waits and barriers are told, too
            return None
        numbers = max(int(arguments["In msg nelems"]), int(arguments.get("Out msg nelems", 0)))
        return operation, numbers * _ITEM_BYTES.get(kind, 4)
    if name.startswith("gloo:"):
        operation = _operation(name)
        if operation not in _OPERATIONS.values():
            return None
        kinds = arguments.get("Input type", ())
        given = sum(
            prod(shape) * _ITEM_BYTES.get(str(kind).lower(), 4)
            for shape, kind in zip(arguments.get("Input Dims", ()), kinds, strict=False)
            if shape
        )
        return operation, given * (ranks if operation == "all-gather" else 1)
    return None


def _operation(name: str) -> str:
    letters = name.lower().replace("_", "")
    return next((operation for part, operation in _OPERATIONS.items() if part in letters), name)


def _covered(spans: Sequence[Span]) -> float:
    return union_length(list(spans)) if spans else 0.0
