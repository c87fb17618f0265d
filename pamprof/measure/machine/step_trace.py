"""A Chrome trace of one step, outside every sample, for chrome://tracing or ui.perfetto.dev."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from typing import TYPE_CHECKING

import msgspec
import torch
from torch.profiler import ProfilerActivity

from pamprof.measure.machine.kernels.profile import KernelProfile, kernels_of, profiling, short_name
from pamprof.records import StepTrace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch.profiler import profile

    from pamprof.records import Workload

TRACES = "traces"

# What the profiler tells of the machine and not of the step.
_UNWANTED = ("traceName", "host_name")


def trace_file(workload: Workload) -> str:
    """Where an arm's trace of one phase lies, from the folder of the records; its first point of that phase has one."""
    name = "-".join((workload.spec.layer, workload.implementation, workload.execution, workload.phase))
    return f"{TRACES}/{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.json.gz"


def trace_step(
    step: Callable[[], object], folder: Path, file: str, *, on_cuda: bool
) -> tuple[KernelProfile | str | None, StepTrace]:
    """Profile one step, of the host and on the current CUDA device, and write its trace.

    Args:
        step: Warm.
        folder: Of the records.
        file: In it.
        on_cuda: Whether there is a device beside the host.

    Returns:
        What ran on the device, None without one; and the file.
    """
    profiler, exported = traced(step, on_cuda=on_cuda)
    kernels = kernels_of(profiler) if on_cuda else None
    packed = gzip.compress(readable(exported), mtime=0)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(packed)
    unfinished.replace(path)
    return kernels, StepTrace(file=file, byte_count=len(packed))


def traced(step: Callable[[], object], *, on_cuda: bool) -> tuple[profile, bytes]:
    """One step under the profiler, of the host with shapes and on the current CUDA device, and its Chrome trace."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profiling(*activities, record_shapes=True) as profiler:
        step()
        if on_cuda:
            torch.cuda.synchronize()
    with tempfile.TemporaryDirectory(prefix="pamprof-trace-") as scratch:
        exported = os.path.join(scratch, "trace.json")
        profiler.export_chrome_trace(exported)
        with open(exported, "rb") as stream:
            return profiler, stream.read()


def readable(trace: bytes) -> bytes:
    """``trace`` with kernels by their short names; the whole ones, template arguments included, are among the facts."""
    document = msgspec.json.decode(trace, strict=False)
    for name in _UNWANTED:
        document.pop(name, None)
    for event in document["traceEvents"]:
        if event.get("cat") == "kernel":
            event.setdefault("args", {})["whole name"] = event["name"]
            event["name"] = short_name(event["name"])
    return msgspec.json.encode(document)
