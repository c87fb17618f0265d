"""Measured ceilings of the device: the fastest matrix product, and the fastest read, write and copy of memory.

Datasheet peaks hold at boost clocks that a device does not sustain; these numbers are what it reached in this session.
Memory has to turn around between reading and writing, so a decode step, which mostly reads, can exceed what a copy
reaches.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from pamprof.hardware.host import last_level_caches_bytes
from pamprof.measure.session.runner import utc_now
from pamprof.records import Ceilings, Dtype
from pamprof.workloads.kernels.availability import missing_triton

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from pamprof.hardware.device import Device
    from pamprof.records import Environment

_DTYPES = {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16}
_WARM_UPS = 2
_REPETITIONS = 7
# A machine so slow that seven repetitions take longer than this is done after three.
_FEWEST_REPETITIONS, _ENOUGH_SECONDS = 3, 0.15
# Large enough to fill the device.
_MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}
# The tensor that is read, written and copied: many times the cache (50 MB of L2 on an H100 and an H200, 126 MB on a
# B200), and on a CPU four times the last-level caches of all its cores, where that is more and no more than a GiB.
_TENSOR_BYTES = {"cpu": 128 * 2**20, "cuda": 2**31}
_CPU_CACHE_MULTIPLE, _LARGEST_CPU_BYTES = 4, 2**30
_MEMORY_SHARE = 8  # at most this part of the device's memory; the copy needs twice as much
_BLOCK_BYTES = 4 * 2**20  # the random block of which the tensor consists


@dataclass(frozen=True, slots=True, kw_only=True)
class _Best:
    """The fastest of several passes over one tensor."""

    method: str
    seconds: float


def measure_ceilings(device: Device, environment: Environment, *, session_id: str, dtype: Dtype, seed: int) -> Ceilings:
    """Time one large product in ``dtype``, and reading, writing and copying one large tensor, on random data."""
    size = _MATRIX_SIZE[device.kind]
    generator = torch.Generator(device=device.torch_device).manual_seed(seed)
    left, right = (
        torch.randn(size, size, generator=generator, device=device.torch_device).to(_DTYPES[dtype]) for _ in range(2)
    )
    product = torch.empty_like(left)
    product_seconds = _median_seconds(lambda: torch.mm(left, right, out=product), device)
    block = torch.randn(_BLOCK_BYTES // 4, generator=generator, device=device.torch_device)
    source = block.repeat(max(1, _tensor_bytes(device) // _BLOCK_BYTES))
    target = torch.empty_like(source)
    copy_seconds = _median_seconds(lambda: target.copy_(source), device)
    read = _fastest(read_passes(source), device)
    write = _fastest({"torch.fill_": lambda: target.fill_(1.5), "torch.zero_": target.zero_}, device)
    return Ceilings(
        session_id=session_id,
        started_at=utc_now(),
        environment=environment,
        dtype=dtype,
        matrix_size=size,
        matrix_flops_per_second=2 * size**3 / product_seconds,
        copy_bytes=source.nbytes,
        copy_bytes_per_second=2 * source.nbytes / copy_seconds,
        read_bytes_per_second=source.nbytes / read.seconds,
        read_method=read.method,
        write_bytes_per_second=target.nbytes / write.seconds,
        write_method=write.method,
    )


def read_passes(source: Tensor) -> dict[str, Callable[[], object]]:
    """Ways to read every byte of ``source`` [N] float32 and write next to nothing, by the name that is recorded.

    Which one is fastest depends on the device and on torch's build, so all are timed. Sums of integers and
    matrix-vector products are not among them: on a CPU torch computes those one by one or on one core.
    """
    words = source.view(torch.int32)
    passes: dict[str, Callable[[], object]] = {
        "torch.amax of int32": words.amax,
        "torch.sum of float32": source.sum,
        "torch.dot of float32": lambda: torch.dot(source, source),
    }
    if source.device.type == "cuda" and missing_triton() is None:
        from pamprof.workloads.kernels.memory_read import CONFIGURATIONS, largest_words

        for block_size, warp_count in CONFIGURATIONS:
            name = f"Triton, {block_size * 4 // 2**10} KiB a program"
            passes[name] = partial(largest_words, words, block_size=block_size, warp_count=warp_count)
    return passes


def _tensor_bytes(device: Device) -> int:
    wanted = _TENSOR_BYTES[device.kind]
    if device.kind == "cpu":
        caches = last_level_caches_bytes().value or 0
        wanted = max(wanted, min(_CPU_CACHE_MULTIPLE * caches, _LARGEST_CPU_BYTES))
    return min(wanted, device.memory().total_bytes // _MEMORY_SHARE)


def _fastest(passes: Mapping[str, Callable[[], object]], device: Device) -> _Best:
    found = []
    for method, action in passes.items():
        try:
            found.append(_Best(method=method, seconds=_median_seconds(action, device)))
        except Exception as exc:  # noqa: BLE001 - Triton may raise anything; the other passes do without it
            print(f"no ceiling from {method}: {exc}", file=sys.stderr)  # noqa: T201 - the worker's own log
    if not found:
        raise RuntimeError(f"none of {', '.join(passes)} could be timed")
    return min(found, key=lambda best: best.seconds)


def _median_seconds(action: Callable[[], object], device: Device) -> float:
    for _ in range(_WARM_UPS):
        action()
    device.synchronise()
    times: list[float] = []
    while len(times) < _REPETITIONS and (len(times) < _FEWEST_REPETITIONS or sum(times) < _ENOUGH_SECONDS):
        times.append(_seconds(action, device))
    return median(times)


def _seconds(action: Callable[[], object], device: Device) -> float:
    if device.kind == "cuda":
        action()  # while it runs the timed one is queued, so that no launch is waited for between the events
    start, timer = perf_counter(), device.start_timer()
    action()
    read_timer = device.stop_timer(timer)
    device.synchronise()
    return perf_counter() - start if read_timer is None else read_timer()
