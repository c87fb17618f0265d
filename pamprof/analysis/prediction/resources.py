"""Whether a workload's memory fits into a GPU, and what power it draws there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pamprof.analysis.prediction.evidence import PREDICTION_CONFIDENCE
from pamprof.records import Interval
from pamprof.units import binary_bytes

if TYPE_CHECKING:
    from pamprof.analysis.prediction.gpu import Gpu
    from pamprof.records import Run

# What a process holds besides torch's allocator where NVML did not tell: context and loaded kernels.
_CONTEXT_BYTES = 1_500_000_000
# Boards let tensors have 93.1 % (L4, L40S: 22,888 of 24,576 MiB) to 99.6 % (H100, RTX PRO 6000) of nominal memory.
_SURE_SHARE = 0.931
# Power of a step as a share of the board's: how much less, or more, it may be on another board.
_LEAST_POWER = 0.8


class MemoryFit(StrEnum):
    """Whether a workload's memory fits into a GPU."""

    YES = "fits"
    UNSURE = "may not fit"
    NO = "does not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes that a workload needs, peak and what the process holds besides, and the nominal memory of a GPU."""

    needed_bytes: int
    available_bytes: int

    @property
    def fit(self) -> MemoryFit:
        """Whether the one fits into the other."""
        if self.needed_bytes > self.available_bytes:
            return MemoryFit.NO
        return MemoryFit.YES if self.needed_bytes <= _SURE_SHARE * self.available_bytes else MemoryFit.UNSURE

    @property
    def words(self) -> str:
        """``does not fit: needs 34.8 GiB of 24 GiB``."""
        return f"{self.fit}: needs {binary_bytes(self.needed_bytes)} of {binary_bytes(self.available_bytes)}"


def memory_need(run: Run, gpu: Gpu) -> MemoryNeed | None:
    """What ``run`` needs of the memory of ``gpu``; None where no peak was measured."""
    memory = run.memory
    if memory.peak_bytes is None:
        return None
    besides = _CONTEXT_BYTES
    if memory.device_used_bytes is not None and memory.reserved_bytes is not None:
        besides = max(0, memory.device_used_bytes - memory.reserved_bytes)
    return MemoryNeed(needed_bytes=memory.peak_bytes + besides, available_bytes=gpu.memory_bytes)


def largest_batch(run: Run, gpu: Gpu) -> int | None:
    """The largest batch of ``run`` that surely fits, its peak beyond the weights taken to grow in proportion.

    None where no peak was measured; 0 where not one sequence fits.
    """
    memory, need = run.memory, memory_need(run, gpu)
    if memory.peak_bytes is None or need is None:
        return None
    constant = memory.parameter_bytes + memory.gradient_bytes + memory.optimizer_bytes
    each = max(1.0, (memory.peak_bytes - constant) / run.workload.batch_size)
    room = _SURE_SHARE * gpu.memory_bytes - (need.needed_bytes - memory.peak_bytes) - constant
    return max(0, int(room / each))


def measured_power(run: Run) -> float | None:
    """Mean power while the arm ran alone, watts; None where it was not sampled."""
    series = () if run.monitor is None else run.monitor.series
    values = next((each.values for each in series if each.signal == "power_watts" and each.values), ())
    return sum(values) / len(values) if values else None


def power_there(run: Run, here: Gpu, there: Gpu) -> Interval | None:
    """The same share of the board's power there, a fifth less where it waits more, a quarter more where it does not."""
    watts, limit = measured_power(run), run.environment.power_limit_watts or here.device.tdp_watts
    tdp = there.device.tdp_watts
    if watts is None or limit is None or tdp is None:
        return None
    share = min(1.0, watts / limit)
    return Interval(
        low=share * _LEAST_POWER * tdp,
        median=share * tdp,
        high=min(1.0, share / _LEAST_POWER) * tdp,
        confidence=PREDICTION_CONFIDENCE,
    )
