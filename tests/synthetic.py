"""Realistic records without a measurement: what a comparison on an H200, or on two CPU cores, would have written.

Magnitudes follow published and measured figures for the 100M pair; samples carry autocorrelated noise, so that the
statistics meet what they will meet in reality. Everything is deterministic in ``seed`` and needs the standard
library alone.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from math import exp
from typing import TYPE_CHECKING, Literal

from pamprof.devices.names import find_device
from pamprof.records import (
    ArmFacts,
    Ceilings,
    Collective,
    Communication,
    DeviceLink,
    Dtype,
    Energy,
    Environment,
    Execution,
    FlopCount,
    Gate,
    ImplementationFacts,
    LayerFacts,
    LayerRole,
    LayerSpec,
    Memory,
    Monitor,
    Parallel,
    Perplexity,
    Phase,
    Point,
    PredictedLoad,
    Price,
    PriceQuote,
    RankAgreement,
    RankedRun,
    RankFacts,
    RankLayout,
    Run,
    Scope,
    Series,
    ServeCheck,
    ServerPolicy,
    Session,
    Skip,
    SkipKind,
    StopReason,
    Timing,
    Topology,
    TrainingProfile,
    Unknown,
    Workload,
)
from pamprof.records.older import completed_session
from pamprof.records.store import RecordFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DeviceKind = Literal["cuda", "cpu"]
STARTED_AT = "2026-11-22T12:00:00+00:00"
SESSION_ID = "5e55104a"
CHUNK = 256

_SPECS = {
    ("transformer", "100m"): LayerSpec(
        layer="transformer", model_dim=672, heads=12, head_dim=56, depth=12, hidden_dim=2688, vocabulary_size=50257,
        maximum_sequence_length=16384, activation="gelu",
    ),
    ("real_pam", "100m"): LayerSpec(
        layer="real_pam", model_dim=576, heads=9, head_dim=64, depth=16, hidden_dim=1728, vocabulary_size=50257,
        maximum_sequence_length=16384, activation="swish", chunk_size=CHUNK,
    ),
    ("pam", "100m"): LayerSpec(
        layer="pam", model_dim=384, heads=6, head_dim=64, depth=16, hidden_dim=1152, vocabulary_size=50257,
        maximum_sequence_length=16384, activation="modswish", chunk_size=CHUNK,
    ),
    ("transformer", "tiny"): LayerSpec(
        layer="transformer", model_dim=88, heads=2, head_dim=44, depth=4, hidden_dim=352, vocabulary_size=4096,
        maximum_sequence_length=2048, activation="gelu",
    ),
    ("real_pam", "tiny"): LayerSpec(
        layer="real_pam", model_dim=80, heads=4, head_dim=20, depth=6, hidden_dim=240, vocabulary_size=4096,
        maximum_sequence_length=2048, activation="swish", chunk_size=CHUNK,
    ),
    ("pam", "tiny"): LayerSpec(
        layer="pam", model_dim=48, heads=3, head_dim=16, depth=6, hidden_dim=144, vocabulary_size=4096,
        maximum_sequence_length=2048, activation="modswish", chunk_size=CHUNK,
    ),
}  # fmt: skip

TITLES = {"transformer": "transformer", "real_pam": "real twin", "pam": "PAM"}

_CUDA_POINTS = (
    (Phase.TRAIN, 3, 2048),
    (Phase.TRAIN, 18, 2048),
    (Phase.PREFILL, 1, 2048),
    (Phase.PREFILL, 1, 16384),
    (Phase.DECODE, 1, 2048),
    (Phase.DECODE, 1, 16384),
    (Phase.DECODE, 64, 2048),
    (Phase.DECODE, 64, 16384),
)
_CPU_POINTS = (
    (Phase.TRAIN, 2, 512),
    (Phase.PREFILL, 1, 512),
    (Phase.PREFILL, 1, 1024),
    (Phase.DECODE, 1, 512),
    (Phase.DECODE, 1, 1024),
)

# Seconds per step in the order of _CUDA_POINTS.
_CUDA_SECONDS: dict[tuple[str, str, Execution], tuple[float, ...]] = {
    ("transformer", "sdpa", Execution.EAGER): (0.0300, 0.1230, 6.2e-3, 18.5e-3, 2.6e-3, 2.6e-3, 3.1e-3, 10.5e-3),
    ("transformer", "sdpa", Execution.COMPILED): (0.0205, 0.0857, 2.8e-3, 18.3e-3, 1.6e-3, 1.7e-3, 2.1e-3, 10.2e-3),
    ("transformer", "sdpa", Execution.GRAPH): (0.0166, 0.0800, 1.38e-3, 18.0e-3, 497e-6, 744e-6, 1.79e-3, 10.0e-3),
    ("real_pam", "planar", Execution.EAGER): (0.0620, 0.1500, 11e-3, 30e-3, 6.0e-3, 6.0e-3, 6.1e-3, 6.1e-3),
    ("real_pam", "planar", Execution.COMPILED): (0.0300, 0.0980, 4.5e-3, 17e-3, 3.0e-3, 3.0e-3, 3.1e-3, 3.1e-3),
    ("real_pam", "planar", Execution.GRAPH): (0.0195, 0.0860, 1.9e-3, 11.8e-3, 550e-6, 550e-6, 750e-6, 750e-6),
    ("pam", "published", Execution.EAGER): (1.1400, 1.1400, 177e-3, 1.127, 31.9e-3, 31.9e-3, 33.3e-3, 33.3e-3),
    ("pam", "published", Execution.COMPILED): (0.1200, 0.2880, 52e-3, 300e-3, 12e-3, 12e-3, 12.5e-3, 12.5e-3),
    ("pam", "published", Execution.GRAPH): (0.1500, 0.4200, 31e-3, 242e-3, 4.2e-3, 4.2e-3, 4.6e-3, 4.6e-3),
    ("pam", "planar", Execution.EAGER): (0.1600, 0.2500, 24e-3, 45e-3, 12.5e-3, 12.5e-3, 12.8e-3, 12.8e-3),
    ("pam", "planar", Execution.COMPILED): (0.0480, 0.1400, 10e-3, 28e-3, 6.0e-3, 6.0e-3, 6.2e-3, 6.2e-3),
    ("pam", "planar", Execution.GRAPH): (0.0330, 0.1300, 3.5e-3, 18.2e-3, 650e-6, 650e-6, 1.40e-3, 1.40e-3),
    ("pam", "gauss", Execution.EAGER): (0.1800, 0.2700, 27e-3, 48e-3, 13.9e-3, 13.9e-3, 14.1e-3, 14.1e-3),
    ("pam", "gauss", Execution.COMPILED): (0.0500, 0.1370, 10.8e-3, 27e-3, 6.6e-3, 6.6e-3, 6.8e-3, 6.8e-3),
    ("pam", "gauss", Execution.GRAPH): (0.0345, 0.1260, 3.7e-3, 17.9e-3, 690e-6, 690e-6, 1.47e-3, 1.47e-3),
}  # fmt: skip
_CUDA_FLOAT32_FACTOR = 4.5  # FP32 without TF32, GEMM-bound prefill
_CUDA_COMPLEX_SECONDS = {Execution.EAGER: 41e-3, Execution.COMPILED: 33e-3, Execution.GRAPH: 17e-3}

# Seconds per step in the order of _CPU_POINTS, eager and compiled.
_CPU_SECONDS: dict[tuple[str, str, Execution], tuple[float, ...]] = {
    ("transformer", "sdpa", Execution.EAGER): (0.0420, 6.1e-3, 14.2e-3, 0.62e-3, 0.71e-3),
    ("transformer", "sdpa", Execution.COMPILED): (0.0380, 5.6e-3, 13.1e-3, 0.55e-3, 0.64e-3),
    ("real_pam", "planar", Execution.EAGER): (0.0560, 7.4e-3, 14.9e-3, 1.05e-3, 1.05e-3),
    ("real_pam", "planar", Execution.COMPILED): (0.0450, 6.0e-3, 12.1e-3, 0.80e-3, 0.80e-3),
    ("pam", "published", Execution.EAGER): (0.1480, 19.5e-3, 39.0e-3, 3.60e-3, 3.60e-3),
    ("pam", "planar", Execution.EAGER): (0.0900, 11.8e-3, 23.6e-3, 1.90e-3, 1.90e-3),
    ("pam", "planar", Execution.COMPILED): (0.0690, 9.4e-3, 18.8e-3, 1.30e-3, 1.30e-3),
    ("pam", "gauss", Execution.EAGER): (0.0960, 12.3e-3, 24.4e-3, 2.05e-3, 2.05e-3),
    ("pam", "complex", Execution.EAGER): (0.1350, 17.2e-3, 34.5e-3, 2.40e-3, 2.40e-3),
}  # fmt: skip

_DECODE_OPERATORS = {
    ("transformer", "sdpa"): 150, ("real_pam", "planar"): 980, ("pam", "published"): 2400, ("pam", "planar"): 1450,
    ("pam", "gauss"): 1690, ("pam", "complex"): 1120,
}  # fmt: skip


def synthetic_spec(layer: str = "pam", preset: str = "100m") -> LayerSpec:
    """Sizes of ``layer`` in preset ``100m`` or ``tiny``."""
    return _SPECS[layer, preset]


def synthetic_workload(
    layer: str = "pam",
    implementation: str | None = None,
    execution: Execution = Execution.EAGER,
    phase: Phase = Phase.TRAIN,
    batch_size: int = 3,
    *,
    sequence_length: int = 2048,
    dtype: Dtype = Dtype.BFLOAT16,
    scope: Scope = Scope.MODEL,
    preset: str = "100m",
) -> Workload:
    """A workload; the implementation defaults to ``sdpa`` for the transformer and ``planar`` otherwise."""
    return Workload(
        spec=synthetic_spec(layer, preset),
        implementation=implementation or ("sdpa" if layer == "transformer" else "planar"),
        execution=execution,
        phase=phase,
        scope=scope,
        batch_size=batch_size,
        sequence_length=sequence_length,
        dtype=dtype,
    )


def _memory_bytes(device_name: str | None) -> int:
    """What the board shows: all of its listed memory; of a slice and an unknown device that of an H200."""
    listed = None if device_name is None else find_device(device_name)
    return 150_754_820_096 if listed is None or listed.name == "H200" else listed.memory_gib * 2**30


def synthetic_environment(device: DeviceKind = "cuda", *, device_name: str | None = None) -> Environment:
    """An H200 machine, or a two-core CPU machine."""
    cuda = device == "cuda"
    cpu_name = "Intel(R) Xeon(R) Platinum 8481C"
    return Environment(
        device_kind=device,
        device_name=device_name or ("NVIDIA H200" if cuda else cpu_name),
        device_count=1,
        device_memory_bytes=_memory_bytes(device_name) if cuda else 8 * 2**30,
        compute_capability="9.0" if cuda else None,
        multiprocessor_count=132 if cuda else None,
        l2_cache_bytes=60 * 2**20 if cuda else None,
        power_limit_watts=700.0 if cuda else None,
        maximum_sm_clock_hertz=1.98e9 if cuda else None,
        mig_enabled=False if cuda else None,
        driver_version="580.159.03" if cuda else None,
        cuda_version="13.0" if cuda else None,
        cpu_name=cpu_name,
        cpu_core_count=16 if cuda else 2,
        cpu_thread_count=16 if cuda else 2,
        host_memory_bytes=(256 if cuda else 8) * 2**30,
        operating_system="Linux 6.1 x86_64",
        python_version="3.12.3",
        torch_version="2.11.0+cu130" if cuda else "2.13.0+cpu",
        triton_version="3.6.0" if cuda else None,
        pamprof_version="0.1.0",
        git_commit="0123456789abcdef0123456789abcdef01234567",
        tf32_allowed=False,
        float32_matmul_precision="highest",
        sdpa_backends=("flash", "efficient", "math") if cuda else ("flash", "math"),
        virtualisation="container",
    )


def synthetic_quote(device: DeviceKind = "cuda") -> PriceQuote | None:
    """An hour of an H200 at an invented provider; None on a CPU."""
    if device == "cpu":
        return None

    def price(provider: str, rate: str) -> Price:
        return Price(
            provider=provider, instance="gpu-h200-1", region="eu-north-1", purchase_option="on-demand",
            device_name="H200", device_count=1, usd_per_hour=Decimal(rate), observed_on=date(2026, 11, 2),
            observed_text="2026-11-02", source="https://example.com/prices",
        )  # fmt: skip

    return PriceQuote(
        chosen=price("example-cloud", "3.50"), low=price("cheap-cloud", "2.30"), high=price("dear-cloud", "6.31"),
        candidate_count=5,
    )  # fmt: skip


def noisy_samples(
    rng: random.Random,
    level_seconds: float,
    count: int,
    *,
    drift: Sequence[float] | None = None,
    sigma: float = 0.004,
    correlation: float = 0.6,
) -> tuple[float, ...]:
    """``count`` times around ``level_seconds`` whose log follows an AR(1) process on top of a shared ``drift``."""
    state = rng.gauss(0.0, sigma)
    samples = []
    for index in range(count):
        state = correlation * state + rng.gauss(0.0, sigma * (1 - correlation**2) ** 0.5)
        samples.append(level_seconds * exp(state + (drift[index] if drift else 0.0)))
    return tuple(samples)


def common_drift(rng: random.Random, count: int, *, sigma: float = 0.006, correlation: float = 0.85) -> list[float]:
    """The log of the machine's own slow wandering, which a pair shares."""
    state = rng.gauss(0.0, sigma)
    values = []
    for _ in range(count):
        state = correlation * state + rng.gauss(0.0, sigma * (1 - correlation**2) ** 0.5)
        values.append(state)
    return values


def matrix_flops(workload: Workload) -> tuple[int, int]:
    """Causal and dense matrix FLOPs of one step by the closed forms (gate projections of the decay included)."""
    s, tokens = workload.spec, workload.tokens_per_step
    decode, length = workload.phase is Phase.DECODE, workload.sequence_length
    d, width = s.head_dim, s.model_dim
    dense_extra = 0.0
    if s.layer == "transformer":
        linear = s.depth * 12 * width * width
        mix = s.depth * width * (2 * (length + 1) if decode else (length + 1))
        dense_extra = 0.0 if decode else s.depth * width * (length - 1)
        head = s.vocabulary_size * width
    else:
        products = (3 if workload.implementation == "gauss" else 4) if s.layer == "pam" else 1
        real = 4 if s.layer == "pam" else 1
        linear = s.depth * products * (4 * width * width + 3 * s.hidden_dim * width)
        chunk = min(s.chunk_size or length, length)
        chunks = length / chunk
        block = 2 * chunk * d + d * d + d * d * (chunks - 1) / chunks
        mix = s.depth * real * s.heads * (2 * d * d if decode else block)
        head = (2 if s.layer == "pam" else 1) * s.vocabulary_size * width + real * width * width
    heads = workload.batch_size if workload.phase is Phase.PREFILL else tokens
    scale = 6 if workload.phase is Phase.TRAIN else 2
    causal = scale * ((linear + mix) * tokens + (head * heads if workload.scope is Scope.MODEL else 0))
    return round(causal), round(causal + scale * dense_extra * tokens)


def parameter_count(spec: LayerSpec) -> int:
    """Real scalars of the model, to the percent."""
    if spec.layer == "transformer":
        return spec.depth * 12 * spec.model_dim**2 + (spec.vocabulary_size + 2048) * spec.model_dim
    planes = 2 if spec.layer == "pam" else 1
    block = 4 * spec.model_dim**2 + 3 * spec.hidden_dim * spec.model_dim
    return planes * (spec.depth * block + spec.vocabulary_size * spec.model_dim)


def state_bytes(spec: LayerSpec, context: int, dtype: Dtype) -> int:
    """State or KV cache of one sequence: the state in float32, the cache in the dtype."""
    if spec.layer == "transformer":
        return 2 * spec.depth * spec.model_dim * context * (2 if dtype is Dtype.BFLOAT16 else 4)
    return spec.depth * spec.heads * spec.head_dim**2 * 4 * (2 if spec.layer == "pam" else 1)


def _memory(workload: Workload, device: DeviceKind) -> Memory:
    spec, parameters = workload.spec, parameter_count(workload.spec)
    train = workload.phase is Phase.TRAIN
    item = 4 if train or workload.dtype is Dtype.FLOAT32 else 2
    per_token = {"transformer": 850, "real_pam": 1150}.get(
        spec.layer, 1650 if workload.implementation != "published" else 1700
    )
    saved = int(workload.tokens_per_step * per_token * spec.model_dim * spec.depth / 6.144) if train else 0
    held = 0 if train else workload.batch_size * state_bytes(spec, workload.sequence_length + 1, workload.dtype)
    inputs = workload.tokens_per_step * 8 * (2 if train else 1)
    transient = workload.tokens_per_step * spec.model_dim * 64 + (
        2 * workload.tokens_per_step * spec.vocabulary_size * 2 if train else 0
    )
    parts = parameters * item * (4 if train else 1) + saved + held + inputs
    cuda = device == "cuda"
    return Memory(
        peak_bytes=parts + transient,
        parameter_bytes=parameters * item,
        gradient_bytes=parameters * 4 if train else 0,
        optimizer_bytes=parameters * 8 if train else 0,
        saved_activation_bytes=saved if train else None,
        state_bytes=held,
        state_kind=None if train else ("kv-cache" if spec.layer == "transformer" else "state"),
        input_bytes=inputs,
        reserved_bytes=int((parts + transient) * 1.08) if cuda else None,
        device_used_bytes=int((parts + transient) * 1.08) + 700 * 2**20 if cuda else None,
        process_peak_bytes=None if cuda else parts + transient + 350 * 2**20,
    )


def _monitor(
    rng: random.Random, device: DeviceKind, *, step_seconds: float, busy: float, tensor: float, start: float
) -> Monitor:
    window = 2.4
    steps = max(1, int(window / step_seconds))
    times = tuple(start + window * (index + 0.5) / 24 for index in range(24))

    def signal(name: str, source: str, level: float, spread: float, ceiling: float | None = None) -> Series:
        values = [max(0.0, level * (1 + rng.gauss(0, spread))) for _ in times]
        if ceiling is not None:
            values = [min(ceiling, value) for value in values]
        return Series(signal=name, source=source, times_seconds=times, values=tuple(values))

    if device == "cpu":
        series = (
            signal("cpu_busy_ratio", "psutil", 0.96, 0.02, 1.0),
            signal("process_resident_bytes", "psutil", 0.6e9, 0.01),
        )
        return Monitor(
            start_seconds=start, window_seconds=window, steps=steps, series=series, energy=None, throttle_reasons=None,
            other_process_count=None,
        )  # fmt: skip
    power = 130.0 + 480.0 * tensor**0.5 * busy
    series = (
        signal("gpu_busy_ratio", "nvml utilization samples", min(1.0, 0.3 + busy), 0.02, 1.0),
        signal("power_watts", "nvml power", power, 0.01),
        signal("sm_clock_hertz", "nvml clock", 1.98e9, 0.002),
        signal("device_used_bytes", "nvml memory", 2.1e10, 0.0),
        signal("sm_activity_ratio", "nvml gpm", 0.9 * busy, 0.03, 1.0),
        signal("tensor_activity_ratio", "nvml gpm", tensor * busy, 0.03, 1.0),
    )
    return Monitor(
        start_seconds=start,
        window_seconds=window,
        steps=steps,
        series=series,
        energy=Energy(
            counter_joules=power * window * 1.01,
            integrated_joules=power * window,
            counter_updates=24,
            valid=True,
            invalid_reasons=(),
        ),
        throttle_reasons=(),
        other_process_count=0,
    )


def synthetic_run(
    workload: Workload | None = None,
    *,
    step_seconds: float = 0.140,
    reference: Workload | None = None,
    reference_step_seconds: float = 0.085,
    kernel_seconds: float | None = None,
    device: DeviceKind = "cuda",
    device_name: str | None = None,
    sample_count: int = 24,
    sigma: float = 0.004,
    seed: int = 0,
    session_id: str = SESSION_ID,
    group_id: str = "group-0",
    started_at: str = STARTED_AT,
    start_seconds: float = 10.0,
    operator_count: int | None = None,
    wall_time_seconds: tuple[float, ...] | None = None,
    reference_wall_time_seconds: tuple[float, ...] | None = None,
) -> Run:
    """A run whose samples scatter around ``step_seconds``; give the samples themselves to test something exact."""
    workload = workload or synthetic_workload()
    reference = reference or synthetic_workload(
        "transformer",
        phase=workload.phase,
        batch_size=workload.batch_size,
        sequence_length=workload.sequence_length,
        dtype=workload.dtype,
        scope=workload.scope,
    )
    cuda = device == "cuda"
    rng = random.Random(f"{seed} {workload.key} {group_id}")
    drift = common_drift(rng, sample_count, sigma=1.5 * sigma)
    wall = wall_time_seconds or noisy_samples(rng, step_seconds, sample_count, drift=drift, sigma=sigma)
    reference_wall = reference_wall_time_seconds or noisy_samples(
        rng, reference_step_seconds, sample_count, drift=drift, sigma=sigma
    )
    replayed = workload.execution in {Execution.GRAPH, Execution.COMPILED_GRAPH}
    kernel = kernel_seconds if kernel_seconds is not None else 0.97 * step_seconds
    busy = min(1.0, kernel / step_seconds)
    host_share = 0.04 if replayed else max(0.12, min(0.99, 1.15 - busy))
    causal, dense = matrix_flops(workload)
    if operator_count is None:
        base = _DECODE_OPERATORS.get((workload.spec.layer, workload.implementation), 1000)
        operator_count = base * {Phase.DECODE: 1, Phase.PREFILL: 2, Phase.TRAIN: 5}[workload.phase]
    unknowns = [] if cuda else [
        Unknown(field="timing.device_time_seconds", reason="the CPU has no device events"),
        Unknown(field="timing.kernel_time_seconds", reason="no device profiler on a CPU"),
        Unknown(field="timing.kernel_count", reason="no device profiler on a CPU"),
        Unknown(field="memory.reserved_bytes", reason="the CPU allocator keeps no such figure"),
        Unknown(field="memory.device_used_bytes", reason="no GPU"),
        Unknown(field="monitor.energy", reason="no energy counter is readable on this machine"),
        Unknown(field="monitor.throttle_reasons", reason="no GPU"),
        Unknown(field="monitor.other_process_count", reason="no GPU"),
    ]  # fmt: skip
    if workload.phase is not Phase.TRAIN:
        unknowns.append(Unknown(field="memory.saved_activation_bytes", reason="inference saves nothing for a backward"))
    if cuda:
        unknowns.append(Unknown(field="memory.process_peak_bytes", reason="host memory is not compared on a GPU"))
    peak = 989e12 if workload.dtype is Dtype.BFLOAT16 else 66.9e12
    return Run(
        session_id=session_id,
        group_id=group_id,
        started_at=started_at,
        workload=workload,
        reference=reference,
        environment=synthetic_environment(device, device_name=device_name),
        parameter_count=parameter_count(workload.spec),
        gate=Gate(
            relative_error=8.1e-3 if workload.dtype is Dtype.BFLOAT16 else 3e-6,
            tolerance=2e-2 if workload.dtype is Dtype.BFLOAT16 else 1e-5,
            oracle="float64 recurrence",
        ),
        timing=Timing(
            wall_time_seconds=wall,
            device_time_seconds=tuple(0.995 * value for value in wall) if cuda else None,
            host_time_seconds=tuple(host_share * value for value in wall),
            reference_wall_time_seconds=reference_wall,
            reference_device_time_seconds=tuple(0.995 * value for value in reference_wall) if cuda else None,
            steps_per_sample=max(1, round(0.02 / step_seconds)),
            reference_steps_per_sample=max(1, round(0.02 / reference_step_seconds)),
            warm_up_steps=max(3, round(0.3 / step_seconds)),
            stop_reason=StopReason.PRECISION,
            half_width=0.006,
            kernel_time_seconds=kernel if cuda else None,
            kernel_count=(operator_count if cuda else None),
            compile_seconds=0.0 if workload.execution is Execution.EAGER else 12.5,
            cold_cache=False,
        ),
        flops=FlopCount(
            matrix_flop_count=causal,
            matrix_dense_flop_count=dense,
            elementwise_flop_count=causal // 60,
            closed_form_matrix_flop_count=causal,
            operator_count=operator_count,
            uncounted_operators=(),
            complete=True,
        ),
        memory=_memory(workload, device),
        monitor=_monitor(
            rng,
            device,
            step_seconds=step_seconds,
            busy=busy,
            tensor=min(0.7, causal / step_seconds / peak),
            start=start_seconds,
        ),
        unknowns=tuple(unknowns),
        notes=("attention backend: flash",) if workload.spec.layer == "transformer" else (),
        kernel_shares=(),
    )


def synthetic_session(
    device: DeviceKind = "cuda",
    *,
    preset: str | None = None,
    planned: tuple[str, ...] = (),
    dtype: Dtype | None = None,
    session_id: str = SESSION_ID,
    quote: PriceQuote | None = None,
) -> Session:
    """The header of a comparison of the three arms."""
    cuda = device == "cuda"
    preset = preset or ("100m" if cuda else "tiny")
    length = 2048 if cuda else 512
    dtype = dtype or (Dtype.BFLOAT16 if cuda else Dtype.FLOAT32)
    quote = quote or synthetic_quote(device)
    arms = []
    for layer, title in TITLES.items():
        spec = synthetic_spec(layer, preset)
        step = synthetic_workload(layer, batch_size=1, sequence_length=length, preset=preset, dtype=dtype)
        arms.append(
            ArmFacts(
                title=title,
                spec=spec,
                parameter_count=parameter_count(spec),
                matrix_flop_count_per_token=matrix_flops(step)[0] / 3 / length,
                state_bytes=state_bytes(spec, length, dtype),
            )
        )
    session = Session(
        session_id=session_id,
        started_at=STARTED_AT,
        command=f"pamprof compare --preset {preset} --device {device} --dtype {dtype}",
        preset=preset,
        match_axis="parameters",
        arms=tuple(arms),
        sequence_length=length,
        planned=planned,
        reference_layer="transformer",
        phases=(Phase.TRAIN, Phase.PREFILL, Phase.DECODE),
        scope=Scope.MODEL,
        dtype=dtype,
        perplexities=(
            Perplexity(layer="pam", value=30.0, source="arXiv:2604.05030"),
            Perplexity(layer="transformer", value=27.1, source="arXiv:2604.05030"),
        )
        if cuda
        else (),
        quote=quote,
        quote_unknown_reason=None if quote else "no price is known for this CPU; give one with --price",
    )
    return completed_session(session)


def synthetic_skip(workload: Workload, kind: SkipKind, reason: str) -> Skip:
    """A planned workload without a number."""
    return Skip(session_id=SESSION_ID, started_at=STARTED_AT, workload=workload, kind=kind, reason=reason)


def _skip_of(workload: Workload, device: DeviceKind) -> Skip | None:
    if device != "cuda" or workload.implementation != "published" or workload.phase is not Phase.TRAIN:
        return None
    if workload.execution is Execution.COMPILED and workload.batch_size == 3:
        reason = (
            "torch.compile failed: InductorError: split scan is not supported; torch 2.11 with the published cumsum"
        )
        return synthetic_skip(workload, SkipKind.UNSUPPORTED, reason)
    if workload.execution is Execution.GRAPH and workload.batch_size == 18:
        reason = "out of memory: 151 GiB wanted while capturing the graph, 140 GiB on the device"
        return synthetic_skip(workload, SkipKind.OUT_OF_MEMORY, reason)
    return None


def _plan(device: DeviceKind) -> list[tuple[Workload, float]]:
    cuda = device == "cuda"
    points, table = (_CUDA_POINTS, _CUDA_SECONDS) if cuda else (_CPU_POINTS, _CPU_SECONDS)
    preset, dtype = ("100m", Dtype.BFLOAT16) if cuda else ("tiny", Dtype.FLOAT32)
    plan: list[tuple[Workload, float]] = []
    for index, (phase, batch, length) in enumerate(points):
        for (layer, implementation, execution), values in table.items():
            workload = synthetic_workload(
                layer, implementation, execution, phase, batch, sequence_length=length, dtype=dtype, preset=preset
            )
            plan.append((workload, values[index]))
    if cuda:  # complex64 exists in float32 alone, so it has a point of its own
        place = _CUDA_POINTS.index((Phase.PREFILL, 1, 2048))
        rows = [(arm, values[place] * _CUDA_FLOAT32_FACTOR) for arm, values in table.items() if arm[1] != "gauss"]
        rows += [(("pam", "complex", execution), value) for execution, value in _CUDA_COMPLEX_SECONDS.items()]
        for (layer, implementation, execution), value in rows:
            workload = synthetic_workload(layer, implementation, execution, Phase.PREFILL, 1, dtype=Dtype.FLOAT32)
            plan.append((workload, value))
    return plan


@cache
def synthetic_ceilings(records: RecordFile) -> Ceilings:
    """Ceilings like an H200's, in bfloat16, of the session and the machine of ``records``."""
    return Ceilings(
        session_id=records.sessions[0].session_id,
        started_at=records.sessions[0].started_at,
        environment=records.runs[0].environment,
        dtype=Dtype.BFLOAT16,
        matrix_size=8192,
        matrix_flops_per_second=7.9e14,
        copy_bytes=2**31,
        copy_bytes_per_second=4.2e12,
        read_bytes_per_second=4.6e12,
        read_method="Triton, 64 KiB a program",
        write_bytes_per_second=4.4e12,
        write_method="torch.fill_",
    )


def synthetic_records(device: DeviceKind = "cuda", seed: int = 0) -> RecordFile:
    """A whole comparison: 133 runs and 2 skips at 9 points on an H200, 45 runs at 5 points on a CPU."""
    plan = _plan(device)
    seconds = {workload.key: value for workload, value in plan}
    session = synthetic_session(device, planned=tuple(workload.key for workload, _ in plan))
    groups: dict[Point, str] = {}
    runs: list[Run] = []
    skips: list[Skip] = []
    for index, (workload, value) in enumerate(plan):
        group = groups.setdefault(workload.point, f"{SESSION_ID}-{len(groups)}")
        skip = _skip_of(workload, device)
        if skip is not None:
            skips.append(skip)
            continue
        reference = replace(
            workload,
            spec=synthetic_spec("transformer", "100m" if device == "cuda" else "tiny"),
            implementation="sdpa",
            execution=Execution.EAGER,
        )
        fastest = min(
            seconds.get(replace(workload, execution=execution).key, value)
            for execution in (Execution.EAGER, Execution.COMPILED, Execution.GRAPH)
        )
        kernel = fastest * {Execution.EAGER: 1.25, Execution.COMPILED: 0.98, Execution.GRAPH: 0.97}[workload.execution]
        runs.append(
            synthetic_run(
                workload,
                step_seconds=value,
                reference=reference,
                reference_step_seconds=seconds[reference.key],
                kernel_seconds=min(kernel, 0.99 * value),
                device=device,
                sigma=0.004 if device == "cuda" else 0.012,
                seed=seed,
                group_id=group,
                start_seconds=5.0 + 4.0 * index,
            )
        )
    return RecordFile(sessions=(session,), runs=tuple(runs), skips=tuple(skips), problems=())


FUSED_FACTOR = 0.5


def with_fused(records: RecordFile, factor: float = FUSED_FACTOR) -> RecordFile:
    """``records`` with a ``fused`` arm beside every ``planar`` one that is not compiled, ``factor`` of its time."""
    made = []
    for run in records.runs:
        workload = run.workload
        planar = (workload.spec.layer, workload.implementation) == ("pam", "planar")
        if planar and workload.execution in (Execution.EAGER, Execution.GRAPH):
            samples = tuple(factor * sample for sample in run.timing.wall_time_seconds)
            made.append(
                replace(
                    run,
                    workload=replace(workload, implementation="fused"),
                    timing=replace(run.timing, wall_time_seconds=samples),
                    flops=replace(run.flops, kernel_byte_count=10**9, attention_operators=()),
                    logits_width=50304,
                    kernel_configurations=("core: chunk 64, value block 32",),
                    refused_configurations=("core: chunk 128: output is off by 1.0e+00",),
                )
            )
    return replace(records, runs=(*records.runs, *made))


REFERENCE_FACTORS = {
    "wide_head_transformer": {Phase.TRAIN: 0.8, Phase.PREFILL: 0.9, Phase.DECODE: 1.1},
    "llama": {Phase.TRAIN: 1.3, Phase.PREFILL: 1.2, Phase.DECODE: 0.5},
}
REFERENCE_FACTS = tuple(
    LayerFacts(
        layer=layer,
        title=title,
        role=LayerRole.REFERENCE,
        complex_valued=False,
        fixed_state=False,
        implementations=(ImplementationFacts(name="sdpa"),),
    )
    for layer, title in (("wide_head_transformer", "wide-head transformer"), ("llama", "Llama"))
)


def with_references(
    records: RecordFile, factors: Mapping[str, Mapping[Phase, float]] = REFERENCE_FACTORS
) -> RecordFile:
    """``records`` with two more references: the transformer's runs at a factor of its time for each phase.

    The Llama has a quarter of its cache, as with four query heads to one of keys and values.
    """
    made = []
    for run in records.runs:
        if run.workload.spec.layer == "transformer":
            for layer, by_phase in factors.items():
                factor = by_phase[run.workload.phase]
                share = 4 if layer == "llama" else 1
                made.append(
                    replace(
                        run,
                        workload=replace(run.workload, spec=replace(run.workload.spec, layer=layer)),
                        timing=replace(
                            run.timing, wall_time_seconds=tuple(factor * s for s in run.timing.wall_time_seconds)
                        ),
                        memory=replace(run.memory, state_bytes=run.memory.state_bytes // share),
                        kernel_configurations=(f"attention: cuDNN for {layer}",),
                        refused_configurations=("attention: FlashAttention-4: flash-attn-4 is not installed",),
                    )
                )
    sessions = []
    for session in records.sessions:
        own = next(arm for arm in session.arms if arm.spec.layer == "transformer")
        arms = tuple(
            replace(
                own,
                title=facts.title,
                spec=replace(own.spec, layer=facts.layer),
                state_bytes=own.state_bytes // (4 if facts.layer == "llama" else 1),
            )
            for facts in REFERENCE_FACTS
        )
        sessions.append(replace(session, arms=(*session.arms, *arms), layers=(*session.layers, *REFERENCE_FACTS)))
    return replace(records, sessions=tuple(sessions), runs=(*records.runs, *made))


def training_profile(records: RecordFile) -> TrainingProfile:
    """A profiled training loop of 100 tokens and half a second a step, where ``records`` were measured."""
    run, session = records.runs[0], records.sessions[0]
    return TrainingProfile(
        session_id="loop",
        started_at=run.started_at,
        environment=run.environment,
        tokens_per_step=100,
        accumulation=1,
        dtype=Dtype.FLOAT32,
        step_seconds=(0.5, 0.5, 0.5),
        untimed_steps=2,
        parameter_count=1000,
        compiled=False,
        flops=run.flops,
        memory=run.memory,
        monitor=run.monitor,
        quote=session.quote,
        quote_unknown_reason=session.quote_unknown_reason,
        unknowns=(),
    )


def ranked_run(
    *,
    seconds: float = 1.0,
    alone_seconds: float = 1.0,
    batch_size: int = 6,
    alone_batch_size: int = 3,
    message_bytes: int = 400_000_000,
    under_way: float | None = 0.001,
    exposed: float | None = 0.0005,
    device: DeviceKind = "cuda",
) -> RankedRun:
    """A training step of PAM that two ranks share by DDP, without noise."""
    run = synthetic_run(synthetic_workload(batch_size=alone_batch_size), device=device)
    layout = RankLayout(parallel=Parallel.DDP, ranks=2)
    weights = 4 * parameter_count(run.workload.spec)
    ranks = tuple(
        RankFacts(
            rank=rank,
            wall_time_seconds=(seconds,) * 8,
            weight_bytes=weights,
            optimizer_bytes=2 * weights,
            state_bytes=0,
            peak_bytes=8 * weights,
            monitor=run.monitor,
        )
        for rank in range(2)
    )
    collective = Collective(operation="all-reduce", count=9, bytes=message_bytes, seconds=under_way)
    link = DeviceLink(first=0, second=1, nvlink_count=18, common_ancestor="system")
    return RankedRun(
        session_id=SESSION_ID,
        group_id="ranks-0",
        started_at=STARTED_AT,
        workload=replace(run.workload, batch_size=batch_size, layout=layout),
        alone=run.workload,
        environment=run.environment,
        parameter_count=run.parameter_count,
        wall_time_seconds=(seconds,) * 8,
        alone_wall_time_seconds=(alone_seconds,) * 8,
        steps_per_sample=1,
        alone_steps_per_sample=1,
        stop_reason=StopReason.PRECISION,
        half_width=0.01,
        ranks=ranks,
        alone_peak_bytes=8 * weights,
        alone_weight_bytes=weights,
        alone_state_bytes=0,
        alone_monitor=run.monitor,
        communication=Communication(collectives=(collective,), seconds=under_way, exposed_seconds=exposed),
        topology=Topology(links=(link,), pcie_generations=(5, 5), pcie_widths=(16, 16), numa_nodes=(0, None)),
        agreement=RankAgreement(output_difference=1e-7, gradient_norm_difference=None, tolerance=1e-4),
        backend="nccl 2.28.9",
        unknowns=(),
        notes=(),
        elapsed_seconds=12.0,
    )


def serve_check(load: str = "half") -> ServeCheck:
    """Four requests a second apart that were served as predicted: 0.1 s to the first token, 0.3 s to the last."""
    arrivals = (0.0, 1.0, 2.0, 3.0)
    first, finish = tuple(time + 0.1 for time in arrivals), tuple(time + 0.3 for time in arrivals)
    return ServeCheck(
        session_id=SESSION_ID,
        started_at=STARTED_AT,
        command="pamprof serve-check",
        environment=synthetic_environment("cpu"),
        unknowns=(),
        title="PAM (planar)",
        workload=synthetic_workload(phase=Phase.DECODE, batch_size=2, sequence_length=64),
        load=load,
        arrivals="even",
        seed=0,
        requests_per_second=1.0,
        highest_requests_per_second=2.0,
        limit_seconds_to_first_token=0.2,
        limit_seconds_per_output_token=0.05,
        percentile=95.0,
        policy=ServerPolicy(
            largest_batch=2,
            chunk_tokens=16,
            memory_policy="recompute",
            room_bytes=1e6,
            bytes_per_sequence=1e3,
            bytes_per_token=0.0,
        ),
        steps=None,
        prediction=PredictedLoad(
            file=f"prediction-{load}.json",
            sha256="0" * 64,
            written_at=STARTED_AT,
            source="pamprof serve-sweep",
            first_seconds=first,
            finish_seconds=finish,
        ),
        measured_from=0,
        arrival_seconds=arrivals,
        input_tokens=(8,) * 4,
        output_tokens=(3,) * 4,
        first_seconds=first,
        finish_seconds=finish,
        token_count=12,
        step_count=12,
        piece_count=4,
        decode_step_count=8,
        busy_seconds=1.2,
        device_seconds=1.0,
        preemption_count=0,
        interrupted=False,
    )
