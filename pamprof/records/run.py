"""What a session measures: runs with their raw samples, ceilings, and skips with their reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pamprof.records.environment import Environment
from pamprof.records.memory import Memory
from pamprof.records.monitor import Monitor
from pamprof.records.workload import Dtype, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Why a field is None. ``field`` is a dotted path inside the run, such as ``energy.counter_joules``."""

    field: str
    reason: str


class StopReason(StrEnum):
    """Which rule ended the sampling."""

    PRECISION = "precision"  # the ratio's interval is narrow enough
    SAMPLE_COUNT = "sample-count"  # enough samples, whatever the interval
    TIMEOUT = "timeout"  # the point's time was used up
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Paired samples in the order they were taken: sample i of the arm was taken next to sample i of the reference.

    All times are seconds per step; a sample times ``steps_per_sample`` steps and divides. Wall time runs from the
    first call until the device is synchronised; device time lies between two CUDA events around the same calls and so
    includes gaps in which the device waits for the host; host time is the part of wall time until the last call
    returned, before synchronising.

    Attributes:
        wall_time_seconds: Samples of the arm.
        device_time_seconds: CUDA-event samples, None on a device without events.
        host_time_seconds: Host samples.
        reference_wall_time_seconds: Samples of the reference, paired by index.
        reference_device_time_seconds: Likewise by events.
        steps_per_sample: Steps in one sample of the arm.
        reference_steps_per_sample: Steps in one sample of the reference.
        warm_up_steps: Steps of the arm run before the first sample, outside any sample.
        stop_reason: The rule that ended the sampling.
        half_width: Relative half width of the ratio's interval at the stop; None with fewer than two samples.
        kernel_time_seconds: Time in which at least one kernel ran, per step, from one profiled step outside the
            samples; None where no profiler reached the device.
        kernel_count: Device kernels in that step.
        compile_seconds: Time spent compiling or capturing before the warm-up; 0 for eager.
        cold_cache: Whether the cache was flushed before each sample.
        window_seconds: Length that a sample was to have where samples are windows of back-to-back steps, taken in the
            order reference, arm, arm, reference; None where they are single steps or short runs of them.
        alone_wall_time_seconds: Windows of the arm by itself, taken after the pairs; None where none were taken. Those
            of the reference are in its own run.
        recompilation_count: Frames that torch.compile compiled between the first sample and the last, of the arm or of
            the reference: each lies inside a timed step. None in older records.
        graph_break_count: Graph breaks among them; None likewise.
        recompiled_samples: Positions, from 0, of the arm's samples in which a frame was compiled; None likewise.
        reference_recompiled_samples: Likewise of the reference.
        grown_bytes: By how much more the arm held after the last sample than before the first: tensors reachable from
            model, optimizer and state, and on CUDA what the allocator gave out and the reference does not hold. None
            likewise.
        settled: Whether power, clocks and step time were stationary before the first sample; None where nobody looked.
    """

    wall_time_seconds: tuple[float, ...]
    device_time_seconds: tuple[float, ...] | None
    host_time_seconds: tuple[float, ...]
    reference_wall_time_seconds: tuple[float, ...]
    reference_device_time_seconds: tuple[float, ...] | None
    steps_per_sample: int
    reference_steps_per_sample: int
    warm_up_steps: int
    stop_reason: StopReason
    half_width: float | None
    kernel_time_seconds: float | None
    kernel_count: int | None
    compile_seconds: float
    cold_cache: bool
    window_seconds: float | None = None
    alone_wall_time_seconds: tuple[float, ...] | None = None
    settled: bool | None = None
    recompilation_count: int | None = None
    graph_break_count: int | None = None
    recompiled_samples: tuple[int, ...] | None = None
    reference_recompiled_samples: tuple[int, ...] | None = None
    grown_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBreaks:
    """Where torch.compile could not go on inside a region: how often, and why the first time, with file and line."""

    count: int
    first_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedClaim:
    """A figure that a layer's closed form gives and a count contradicts.

    Attributes:
        quantity: ``parameter_count``, ``matrix_flop_count`` or ``state_byte_count``.
        claimed: What the layer gave, in words where it was no number.
        counted: What was counted; None where nothing could be.
    """

    quantity: str
    claimed: str
    counted: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCount:
    """An operator the counter met and has no formula for, and how often."""

    operator: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlopCount:
    """Floating-point operations of one step. A real multiply-add is 2, a complex one 8.

    Attributes:
        matrix_flop_count: Matrix products as counted, causal attention counted as causal.
        matrix_dense_flop_count: The same with causal attention counted as dense.
        elementwise_flop_count: Pointwise and reduction work by the stated convention (real 1, complex multiply 6,
            complex add 2, complex by real 2).
        closed_form_matrix_flop_count: The layer's formula for ``matrix_flop_count``; None where it has none.
        operator_count: Operators dispatched by one eager step.
        uncounted_operators: Operators that do arithmetic the counter has no formula for.
        complete: True when ``uncounted_operators`` is empty.
        kernel_byte_count: Least bytes that the kernels of our own move, summed over those with a formula; None where no
            such kernel ran, and in older records.
        attention_operators: Fused attention operators that the eager step dispatched, which name the backend torch
            chose; empty where there were none, None in older records.
        recomputed_matrix_flop_count: Of ``matrix_flop_count``, what activation checkpoints computed a second time.
        recomputed_matrix_dense_flop_count: The same of ``matrix_dense_flop_count``.
    """

    matrix_flop_count: int
    matrix_dense_flop_count: int
    elementwise_flop_count: int
    closed_form_matrix_flop_count: int | None
    operator_count: int
    uncounted_operators: tuple[OperatorCount, ...]
    complete: bool
    kernel_byte_count: int | None = None
    attention_operators: tuple[str, ...] | None = None
    recomputed_matrix_flop_count: int = 0
    recomputed_matrix_dense_flop_count: int = 0

    @property
    def model_matrix_flop_count(self) -> int:
        """What the step has to compute: without what a checkpoint computes again to save memory."""
        return self.matrix_flop_count - self.recomputed_matrix_flop_count


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelShare:
    """A device kernel of the profiled step and its share of the step's summed kernel time, 0..1."""

    kernel: str
    share_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTrace:
    """A Chrome trace of one step, outside every sample.

    Attributes:
        file: From the folder of the records, such as ``traces/pam-planar-eager-train.json.gz``.
        byte_count: Size of the file.
    """

    file: str
    byte_count: int

    @property
    def is_beside_records(self) -> bool:
        """Whether ``file`` is what this package writes, and no other place that a record could point at."""
        return re.fullmatch(r"traces/[A-Za-z0-9_.-]+\.json\.gz", self.file) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The correctness check that precedes the timing: relative error of the block against the float64 oracle."""

    relative_error: float
    tolerance: float
    oracle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One measured workload. Immutable; statistics are recomputed from its samples, never stored.

    Attributes:
        session_id: The session it belongs to.
        group_id: The worker process it was measured in; pairs hold within a group.
        started_at: UTC, ISO 8601.
        workload: What was measured.
        reference: What it was paired with (itself for the A-against-A run of the reference).
        environment: Where.
        parameter_count: Real scalars of the model or block at the matched sizes.
        gate: Correctness, checked before timing.
        timing: Paired samples.
        flops: Counted operations per step.
        memory: Peak and parts.
        monitor: Utilisation and energy window; None where it was switched off.
        unknowns: The reason for every None above.
        notes: Facts that explain the number, such as the attention backend that ran.
        logits_width: Columns of the product that makes the logits, padding included; None without a language model's
            head, and in older records.
        kernel_configurations: How each kernel of our own that can be cut in several ways was launched, and which of
            several kernels was chosen by which times, a sentence each; None in older records.
        refused_configurations: Configurations that were tried before and refused, each with its fault; None likewise.
        position_parameter_count: Real scalars of the built model's table of learned positions, which grows with the
            length measured beyond that of ``parameter_count``; None where it names none, and in older records.
        kernel_shares: The largest kernels of the profiled step, largest first; empty where no profiler reached the
            device, None in records that wrote them into ``notes``, until they are read (see ``older``).
        elapsed_seconds: Spent on the point in all: check, count, compilation, memory, warm-up, samples, monitored
            window; None in older records.
        graph_breaks: Of a compiled arm, those met before its first sample; None for other arms, where nothing was
            compiled anew in its process, and in older records.
        refused_claims: Closed forms of the layer that do not hold; None in older records.
        trace: Of one step; None where none was asked for, another point of the arm has it, or it failed, which
            ``unknowns`` say then.
    """

    session_id: str
    group_id: str
    started_at: str
    workload: Workload
    reference: Workload
    environment: Environment
    parameter_count: int
    gate: Gate
    timing: Timing
    flops: FlopCount
    memory: Memory
    monitor: Monitor | None
    unknowns: tuple[Unknown, ...]
    notes: tuple[str, ...]
    logits_width: int | None = None
    kernel_configurations: tuple[str, ...] | None = None
    refused_configurations: tuple[str, ...] | None = None
    kernel_shares: tuple[KernelShare, ...] | None = None
    position_parameter_count: int | None = None
    elapsed_seconds: float | None = None
    graph_breaks: GraphBreaks | None = None
    refused_claims: tuple[RefusedClaim, ...] | None = None
    trace: StepTrace | None = None


class SkipKind(StrEnum):
    """Why a point has no number."""

    OUT_OF_MEMORY = "out-of-memory"
    UNSUPPORTED = "unsupported"
    INCORRECT = "incorrect"  # the gate refused it
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    INTERRUPTED = "interrupted"

    @property
    def worth_another_try(self) -> bool:
        """Whether a second attempt may well give a number."""
        return self in (SkipKind.TIMEOUT, SkipKind.CRASHED, SkipKind.INTERRUPTED)


class ExecutionStage(StrEnum):
    """What another execution of the same step does without."""

    COMPILE = "compile"
    CAPTURE = "capture"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What the device reached at best, once per session: the roof over every measured point.

    Memory has three ceilings, because reads alone, writes alone and both together do not go equally fast. Reading,
    writing and copying pass over the same tensor, many times the last-level cache.

    Attributes:
        session_id: The session it belongs to.
        started_at: UTC, ISO 8601.
        environment: Where.
        dtype: Operands of the matrix product (accumulated as the device does).
        matrix_size: n of the n x n x n product, on random data.
        matrix_flops_per_second: Median over its repetitions.
        copy_bytes: Size of the tensor: bytes read, and again written, by one copy.
        copy_bytes_per_second: Bytes read plus bytes written over the median time.
        read_bytes_per_second: Bytes of a pass that only reads, over its median time; None in records made before it
            was measured.
        read_method: The fastest of the passes that were tried, such as ``torch.amax of int32``; None without one.
        write_bytes_per_second: Bytes of a pass that only writes, over its median time; None in such records.
        write_method: The fastest of those; None without one.
    """

    session_id: str
    started_at: str
    environment: Environment
    dtype: Dtype
    matrix_size: int
    matrix_flops_per_second: float
    copy_bytes: int
    copy_bytes_per_second: float
    read_bytes_per_second: float | None = None
    read_method: str | None = None
    write_bytes_per_second: float | None = None
    write_method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A planned workload without a number, and the reason in one sentence.

    Attributes:
        session_id: The session it belongs to.
        started_at: UTC, ISO 8601.
        workload: What was planned.
        kind: Why it has no number.
        reason: The same in a sentence.
        traceback: That of the error, shortened in its middle where it is long; None where there was none, and in older
            records.
        failed_stage: Where the compiler or the capture failed and not the step itself; None else, and in older records.
    """

    session_id: str
    started_at: str
    workload: Workload
    kind: SkipKind
    reason: str
    traceback: str | None = None
    failed_stage: ExecutionStage | None = None
