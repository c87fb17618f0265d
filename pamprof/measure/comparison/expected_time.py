"""How long a point takes, before anything was measured: rough, and corrected by ``Pace`` from the first point on.

The constants are from runs of the 100M pair on an H200 and of the tiny pair on two CPU cores (November 2026): seconds
that a point spends besides its samples, and FLOP/s that its steps reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.records import Dtype, Execution, ImplementationKind, Phase
from pamprof.statistics.stationarity import FEWEST_VALUES
from pamprof.workloads.closed_forms import checked_claim, parameter_count

if TYPE_CHECKING:
    from pamprof.measure.session.settings import Settings, WindowSettings
    from pamprof.records import Workload
    from pamprof.workloads.base import LayerDefinition

_CAPPED_SETTLE_FACTOR = 1.6  # clocks at the power limit scatter, and a change of theirs is told from that the later

_COMPILED = (Execution.COMPILED, Execution.COMPILED_GRAPH)
_STEPS_BESIDE_SAMPLES = 12  # count, memory, before and after a change of execution, capture, warm-up
_FEWEST_SAMPLE_SECONDS = 0.6

# Seconds of compiling plain real code of one phase, cold; complex code takes about twice, published code five times.
_COMPILE_SECONDS = {Phase.TRAIN: 15.0, Phase.PREFILL: 8.0, Phase.DECODE: 2.5}
_AHEAD_FACTOR = 0.25
_COMPLEX_FACTOR = 1.8
_PUBLISHED_FACTOR = 4.5
_KERNEL_CHECK_SECONDS = {Phase.TRAIN: 14.0, Phase.PREFILL: 8.0, Phase.DECODE: 18.0}

_CUDA_FIXED_SECONDS = 1.5
_CUDA_FLOPS_PER_SECOND = {Dtype.BFLOAT16: 2.5e14, Dtype.FLOAT32: 3e13}
_CUDA_PUBLISHED_FACTOR = {True: 2.5, False: 14.0}  # of the time, replayed or compiled, and operator by operator
_CUDA_LEAST_STEP_SECONDS = {Phase.TRAIN: 8e-3, Phase.PREFILL: 3e-3, Phase.DECODE: 6e-4}
_CUDA_LEAST_EAGER_SECONDS = {Phase.TRAIN: 8e-2, Phase.PREFILL: 3e-2, Phase.DECODE: 2e-2}

# One step operator by operator, watched, and what reading its profile takes.
_PROFILED_STEPS = 2
_PROFILED_SECONDS = {"cuda": 0.3, "cpu": 0.1}

_REFUSAL_SECONDS = 0.05  # kernels need a GPU

_CPU_FIXED_SECONDS = 0.35
_CPU_FLOPS_PER_SECOND = 2e10


def expected_seconds(
    workload: Workload,
    definition: LayerDefinition,
    *,
    kind: ImplementationKind,
    settings: Settings,
    device_kind: str,
    compiled_ahead: bool,
    checked_before: bool,
) -> float:
    """Seconds for one point in all.

    Args:
        workload: The point and the arm.
        definition: Of its layer, which knows its FLOPs.
        kind: Where its code comes from.
        settings: Sampling rules.
        device_kind: ``cpu`` or ``cuda``.
        compiled_ahead: Whether other processes compile for it before.
        checked_before: Whether its worker has compared its kernels with the oracle at another point.
    """
    flops = _flops(workload, definition)
    cuda = device_kind == "cuda"
    if not cuda and kind is ImplementationKind.KERNELS:
        return _REFUSAL_SECONDS
    if cuda:
        step = _cuda_step_seconds(workload, flops, kind)
        build = _build_seconds(workload, kind, complex_valued=definition.complex_valued, checked_before=checked_before)
        fixed = _CUDA_FIXED_SECONDS + build * (_AHEAD_FACTOR if compiled_ahead else 1.0)
    else:
        step, fixed = flops / _CPU_FLOPS_PER_SECOND, _CPU_FIXED_SECONDS
        if workload.execution in _COMPILED:
            fixed += _build_seconds(
                workload, kind, complex_valued=definition.complex_valued, checked_before=checked_before
            )
    if settings.windows is None:
        pairs = 2 * step * settings.minimum_samples
        sampling = max(pairs, min(settings.time_limit_seconds, _FEWEST_SAMPLE_SECONDS + pairs))
    else:
        sampling = _windows_seconds(settings.windows, capped=cuda and workload.phase is not Phase.DECODE)
    window = max(settings.monitor_seconds, step) if settings.monitor_seconds else 0.0
    if settings.kernels:
        fixed += _PROFILED_STEPS * step + _PROFILED_SECONDS[device_kind]
    return fixed + _STEPS_BESIDE_SAMPLES * step + sampling + window


def _flops(workload: Workload, definition: LayerDefinition) -> int:
    """By the layer's formula; two for each parameter and token, thrice in training, where that gives none."""
    claimed = None
    if workload.spec.source is None:
        claimed = checked_claim(
            lambda: (
                definition.flop_count(
                    workload.spec,
                    phase=workload.phase,
                    scope=workload.scope,
                    batch_size=workload.batch_size,
                    sequence_length=workload.sequence_length,
                ).matrix_flop_count
            )
        )
    if isinstance(claimed, int):
        return claimed
    passes = 3 if workload.phase is Phase.TRAIN else 1
    return 2 * passes * workload.tokens_per_step * parameter_count(definition, workload.spec, workload.scope)


def _windows_seconds(windows: WindowSettings, *, capped: bool) -> float:
    """Settling and dwelling in turn with the reference, and both again alone."""
    settle = _CAPPED_SETTLE_FACTOR * windows.capped_settle_seconds if capped else windows.settle_seconds
    dwell = windows.capped_dwell_seconds if capped else windows.dwell_seconds
    trial = FEWEST_VALUES * windows.window_seconds / 2  # of each arm, before it can be judged
    return max(settle, 2 * trial) + max(settle, trial) + 3 * max(dwell, windows.fewest_windows * windows.window_seconds)


def _cuda_step_seconds(workload: Workload, flops: int, kind: ImplementationKind) -> float:
    eager = workload.execution is Execution.EAGER
    busy = flops / _CUDA_FLOPS_PER_SECOND[workload.dtype]
    if kind is ImplementationKind.PUBLISHED:
        busy *= _CUDA_PUBLISHED_FACTOR[not eager]
    return max(busy, (_CUDA_LEAST_EAGER_SECONDS if eager else _CUDA_LEAST_STEP_SECONDS)[workload.phase])


def _build_seconds(
    workload: Workload, kind: ImplementationKind, *, complex_valued: bool, checked_before: bool
) -> float:
    """Compiling, or compiling and checking kernels."""
    if kind is ImplementationKind.KERNELS:
        return 0.0 if checked_before else _KERNEL_CHECK_SECONDS[workload.phase]
    if workload.execution not in _COMPILED:
        return 0.0
    published = kind is ImplementationKind.PUBLISHED
    return _COMPILE_SECONDS[workload.phase] * (
        _PUBLISHED_FACTOR if published else _COMPLEX_FACTOR if complex_valued else 1.0
    )
