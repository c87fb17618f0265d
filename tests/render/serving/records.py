"""Records of a sweep that an H200-like device would have written: three arms whose steps follow a roofline."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from pamprof.analysis.serving.from_records import serving_curves
from pamprof.pricing.serving.arithmetic import Demand
from pamprof.pricing.serving.defaults import default_limits
from pamprof.pricing.serving.study import Request, study
from pamprof.records import Dtype, Execution, Phase, SessionKind, Skip, SkipKind
from pamprof.records.store import RecordFile
from tests.pricing.serving.test_bill import rate
from tests.synthetic import (
    STARTED_AT,
    parameter_count,
    state_bytes,
    synthetic_run,
    synthetic_session,
    synthetic_workload,
)

if TYPE_CHECKING:
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.terms import Limits
    from pamprof.pricing.rates.hourly_rates import Rate, UnknownRate
    from pamprof.pricing.serving.study import ServingStudy
    from pamprof.records import Session, Workload

DEVICE = "NVIDIA H200"
SWEEP_ID = "5a5e50e9"
CONTEXTS = (128, 512, 2048, 8192, 32768)
ROOM_BYTES = 130e9
BANDWIDTH, PEAK, FIXED_SECONDS = 3.8e12, 4.0e14, 3e-4
ARMS = (
    ("transformer", "sdpa", None),
    ("pam", "planar", None),
    ("pam", "planar", Dtype.BFLOAT16),
    ("real_pam", "planar", None),
)


def _workload(arm: tuple[str, str, Dtype | None], phase: Phase, batch: int, length: int) -> Workload:
    layer, implementation, dtype = arm
    made = synthetic_workload(layer, implementation, Execution.GRAPH, phase, batch, sequence_length=length)
    return replace(made, spec=replace(made.spec, state_dtype=dtype))


def _kept_bytes(workload: Workload) -> float:
    full = state_bytes(workload.spec, workload.sequence_length + 1, workload.dtype)
    return full / 2 if workload.spec.state_dtype is Dtype.BFLOAT16 else full


def decode_seconds(workload: Workload) -> float:
    """Bytes over a bandwidth or FLOPs over a peak, and a fixed time."""
    moved = _kept_bytes(workload) * (1 if workload.spec.layer == "transformer" else 2)
    read = 2 * parameter_count(workload.spec) + workload.batch_size * moved
    flop = 2 * parameter_count(workload.spec) * workload.batch_size
    return max(read / BANDWIDTH, flop / PEAK) + FIXED_SECONDS


def prefill_seconds(workload: Workload) -> float:
    """FLOPs of a prompt over a rate, quadratic for attention."""
    length = workload.sequence_length
    square = 2 * workload.spec.depth * workload.spec.model_dim if workload.spec.layer == "transformer" else 0
    return (2 * parameter_count(workload.spec) * length + square * length**2) / (0.5 * PEAK) + FIXED_SECONDS


def _largest(arm: tuple[str, str, Dtype | None], context: int) -> int:
    workload = _workload(arm, Phase.DECODE, 1, context)
    return int((ROOM_BYTES - 2 * parameter_count(workload.spec)) // _kept_bytes(workload))


def _run(workload: Workload, seconds: float):
    # Nine samples around the formula, in an order that does not repeat between places.
    turn = workload.batch_size + workload.sequence_length
    samples = tuple(seconds * (1 + 4e-3 * ((5 * n + turn) % 9 - 4) / 4) for n in range(9))
    made = synthetic_run(
        workload,
        reference=workload,
        session_id=SWEEP_ID,
        wall_time_seconds=samples,
        reference_wall_time_seconds=samples,
        step_seconds=seconds,
    )
    kept = int(_kept_bytes(workload)) * workload.batch_size
    if workload.phase is not Phase.DECODE:
        return made
    peak = made.memory.parameter_bytes + kept + workload.batch_size * 110_000
    return replace(made, memory=replace(made.memory, state_bytes=kept, peak_bytes=peak))


@cache
def sweep_records() -> RecordFile:
    """Decode to the end of memory at five contexts (a fixed state at the ends), prompts at five lengths."""
    runs, skips = [], []
    for arm in ARMS:
        contexts = CONTEXTS if arm[0] == "transformer" else (CONTEXTS[0], CONTEXTS[-1])
        for context in contexts:
            largest = _largest(arm, context)
            batches = [1 << n for n in range(0, 20, 2) if 1 << n < largest]
            for batch in [*batches, largest]:
                workload = _workload(arm, Phase.DECODE, batch, context)
                runs.append(_run(workload, decode_seconds(workload)))
            refused = _workload(arm, Phase.DECODE, largest + max(1, largest // 50), context)
            skips.append(
                Skip(
                    session_id=SWEEP_ID,
                    started_at=STARTED_AT,
                    workload=refused,
                    kind=SkipKind.OUT_OF_MEMORY,
                    reason="out of memory",
                )
            )
        for length in CONTEXTS:
            workload = _workload(arm, Phase.PREFILL, 1, length)
            runs.append(_run(workload, prefill_seconds(workload)))
    return RecordFile(sessions=(sweep_session(),), runs=tuple(runs), skips=tuple(skips), problems=())


def sweep_session() -> Session:
    """The header that a sweep writes: it plans no point, trains nothing and holds no perplexity."""
    phases = (Phase.PREFILL, Phase.DECODE)
    return replace(
        synthetic_session(session_id=SWEEP_ID),
        phases=phases,
        perplexities=(),
        command="pamprof serve-sweep",
        kind=SessionKind.SWEEP,
    )


@cache
def curves() -> tuple[ServingCurve, ...]:
    """The curves of the sweep."""
    records = sweep_records()
    return serving_curves(records.runs, records.skips)


def made_study(
    *rates: Rate | UnknownRate, limits: Limits | None = None, owned=None, api=None, percentile=None, **demand
) -> ServingStudy:
    """A study of the sweep; in a steady batch unless a percentile is given."""
    asked = Demand(**{"input_tokens": 1500, "output_tokens": 300, "tokens_per_day": 1e11, "peak_factor": 3.0, **demand})
    request = Request(
        demand=asked,
        limits=limits or default_limits(),
        api_usd_per_million=api,
        owned=owned,
        percentile=percentile,
    )
    return study(curves(), request, {DEVICE: rates or (rate(3.5, low=2.3, high=6.31),)})


@cache
def thin_records() -> RecordFile:
    """Two batches at two contexts without the end of memory.

    One state's times wander and it has no prompts; another's larger batch gains nothing.
    """
    runs = []
    factors = {ARMS[2]: (1.0, 1.6, 2.2, 1.0), ARMS[3]: (1.0, 90.0, 1.0, 90.0)}
    for arm in ARMS:
        for number, (context, batch) in enumerate(((2048, 1), (2048, 64), (16384, 1), (16384, 64))):
            workload = _workload(arm, Phase.DECODE, batch, context)
            runs.append(_run(workload, decode_seconds(workload) * factors.get(arm, (1.0,) * 4)[number]))
        for length in () if arm is ARMS[2] else (512, 2048, 16384):
            workload = _workload(arm, Phase.PREFILL, 1, length)
            runs.append(_run(workload, prefill_seconds(workload)))
    return RecordFile(sessions=(sweep_session(),), runs=tuple(runs), skips=(), problems=())
