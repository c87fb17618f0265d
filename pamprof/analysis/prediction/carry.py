"""A measured time carried from one GPU to another: ``max(bytes / bandwidth, FLOPs / peak) / efficiency + overhead``.

A time has three parts. What starting its kernels takes follows the clock. The *bound*, the least that bandwidth and
peak allow, follows those. What lies above both is why the efficiency is below 1, and a time alone does not tell its
cause: work that follows bandwidth or peak as the bound does (more bytes than the least, products that leave tiles half
empty), or work on the chip (latency, caches, plain arithmetic), which follows multiprocessors times clock. Half of it
is carried each way, and the two extremes are the ends: they lie close together between similar devices and far apart
between unlike ones. One rule serves a kernel and a whole step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pamprof.records import Dtype, Interval, KernelClass

if TYPE_CHECKING:
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.records import KernelUse

# The shortest kernels of a step on an H200, reports/2026-11-23-nvidia-h200-fused/profile/step.json: 0.93 µs a call.
KERNEL_START_SECONDS = 0.9e-6
_BFLOAT16_NAMES = ("bfloat16", "float16")
# Calibrated kernels farther from a use than this in the logarithms of FLOPs and bytes say nothing about it.
_FARTHEST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastWork:
    """What a kernel or a step does at least.

    Attributes:
        matrix_flop_count: Multiply-adds of products in ``dtype``.
        vector_flop_count: Pointwise work, in float32.
        byte_count: Least bytes moved.
        dtype: Of the products.
        kernel_count: Kernels started.
        tf32: Whether float32 products may use TF32.
        kernels_alternate: Whether some kernels wait for memory and others compute, as in a step, so that bounds add up;
            within one kernel the larger of them counts.
    """

    matrix_flop_count: float
    vector_flop_count: float
    byte_count: float
    dtype: Dtype
    kernel_count: int
    tf32: bool = False
    kernels_alternate: bool = False


def bound_seconds(work: LeastWork, gpu: Gpu, *, measured_rates: bool) -> float:
    """The least time of ``work`` by the listed figures of ``gpu``, or by its measured ceilings."""
    peak = gpu.flops_per_second(work.dtype, tf32=work.tf32)
    bandwidth = gpu.bytes_per_second
    if measured_rates and gpu.rates is not None:
        bandwidth = gpu.rates.bytes_per_second
        listed = gpu.flops_per_second(Dtype.BFLOAT16)
        if peak is not None and listed is not None:
            peak *= gpu.rates.flops_per_second / listed
    memory = work.byte_count / bandwidth
    products = 0.0 if peak is None else work.matrix_flop_count / peak
    vector_peak = gpu.flops_per_second(Dtype.FLOAT32)
    vectors = 0.0 if vector_peak is None else work.vector_flop_count / vector_peak
    return memory + products + vectors if work.kernels_alternate else max(memory, products, vectors)


def carried(seconds: float, work: LeastWork, here: Gpu, there: Gpu) -> Interval:
    """``seconds`` of ``work``, measured ``here``, on the GPU ``there``; the ends are the extremes, of no confidence."""
    both = here.rates is not None and there.rates is not None
    bound, bound_there = (bound_seconds(work, gpu, measured_rates=both) for gpu in (here, there))
    start = min(seconds, work.kernel_count * KERNEL_START_SECONDS)
    below = min(bound, seconds - start)
    above = seconds - start - below
    chip = _chip_ratio(here, there)
    by_bound = bound_there / bound if bound > 0 else _slowest_ratio(here, there, work.dtype)
    fixed = below * by_bound + start * _clock_ratio(here, there)
    return Interval(
        low=fixed + above * min(by_bound, chip),
        median=fixed + above * (by_bound + chip) / 2,
        high=fixed + above * max(by_bound, chip),
        confidence=0.0,
    )


def _chip_ratio(here: Gpu, there: Gpu) -> float:
    """How much longer work on the chip takes there; by the peaks where multiprocessors or clock are not known."""
    if here.vector_rate is not None and there.vector_rate is not None:
        return here.vector_rate / there.vector_rate
    return _peak_ratio(here, there, Dtype.BFLOAT16)


def _clock_ratio(here: Gpu, there: Gpu) -> float:
    mine, other = here.device.boost_clock_hertz, there.device.boost_clock_hertz
    return 1.0 if mine is None or other is None else mine / other


def _peak_ratio(here: Gpu, there: Gpu, dtype: Dtype) -> float:
    mine, other = here.flops_per_second(dtype), there.flops_per_second(dtype)
    return 1.0 if mine is None or other is None else mine / other


def _slowest_ratio(here: Gpu, there: Gpu, dtype: Dtype) -> float:
    return max(here.bytes_per_second / there.bytes_per_second, _peak_ratio(here, there, dtype))


def work_of_use(use: KernelUse, *, tf32: bool) -> LeastWork:
    """The work of one use, over all its calls."""
    return LeastWork(
        matrix_flop_count=use.matrix_flop_count or 0,
        vector_flop_count=use.elementwise_flop_count or 0,
        byte_count=use.byte_count or 0,
        dtype=Dtype.BFLOAT16 if use.dtype in _BFLOAT16_NAMES else Dtype.FLOAT32,
        kernel_count=use.kernel_count,
        tf32=tf32,
    )


def carried_use(use: KernelUse, here: Gpu, there: Gpu, *, tf32: bool = False) -> Interval:
    """The time of one use on the GPU ``there``.

    Where both were calibrated, the ratio of the nearest calibrated kernel of its class carries it; elsewhere the rule.
    """
    ratio = _calibrated_ratio(use, here, there)
    if ratio is None:
        return carried(use.seconds, work_of_use(use, tf32=tf32), here, there)
    return Interval(low=use.seconds * ratio, median=use.seconds * ratio, high=use.seconds * ratio, confidence=0.0)


def _calibrated_ratio(use: KernelUse, here: Gpu, there: Gpu) -> float | None:
    if here.calibration is None or there.calibration is None or use.kernel_class is KernelClass.OTHER:
        return None
    times = {_identity(each): each.seconds for each in there.calibration.kernels}
    nearest: tuple[float, float] | None = None
    for each in here.calibration.kernels:
        other = times.get(_identity(each))
        if other is None or each.kernel_class is not use.kernel_class or each.dtype != use.dtype:
            continue
        distance = _distance(use, each)
        if distance <= _FARTHEST and (nearest is None or distance < nearest[0]):
            nearest = (distance, other / each.seconds)
    return None if nearest is None else nearest[1]


def _identity(use: KernelUse) -> tuple[str, tuple[tuple[int, ...], ...], str | None]:
    return use.operator, use.shapes, use.dtype


def _distance(use: KernelUse, other: KernelUse) -> float:
    """Of one call of each, in natural logarithms of FLOPs and bytes; infinite where nothing is known of either."""
    from math import inf, log

    distances = [
        abs(log(mine / use.call_count) - log(theirs / other.call_count))
        for mine, theirs in (
            (use.byte_count, other.byte_count),
            (use.matrix_flop_count, other.matrix_flop_count),
        )
        if mine and theirs
    ]
    return max(distances, default=inf)
