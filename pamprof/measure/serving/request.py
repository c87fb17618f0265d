"""A serving sweep: what ``pamprof serve-sweep`` asks for, and the session that measures it, one group an arm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pamprof.measure.any_layer.registration import register_named
from pamprof.measure.serving.arms import sweep_groups, with_state_dtypes
from pamprof.measure.serving.plan import SweepAxes, alternatives_of
from pamprof.measure.serving.resume import finished_keys
from pamprof.measure.session.matched_arms import planned_arms
from pamprof.measure.session.request import MATCHED_LENGTH, MeasuringRequest
from pamprof.measure.session.run import Planner, SessionPlan
from pamprof.measure.session.settings import Settings
from pamprof.records import Dtype, Execution, Phase, Scope, SessionKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.records import Workload
    from pamprof.records.store import RecordFile

# From a short chat to a long document, by factors of 4. What is compiled for each takes the most part of four minutes
# an arm at 100M parameters on an H200, by the times its comparisons recorded.
CUDA_AXES = SweepAxes(
    contexts=(128, 512, 2048, 8192, 32_768),
    prompts=(128, 512, 2048, 8192, 32_768),
    largest_batch=1 << 16,
)
CPU_AXES = SweepAxes(contexts=(128, 512, 2048), prompts=(128, 512, 2048), largest_batch=256)

# Many points rather than fine ones: a curve through forty points of 2 % is known better than that at each.
_CUDA_SETTINGS = Settings(target_half_width=0.02, time_limit_seconds=1.0, maximum_samples=40)
_CPU_SETTINGS = Settings(
    target_half_width=0.03,
    minimum_samples=5,
    maximum_samples=40,
    time_limit_seconds=0.25,
    sample_seconds=0.01,
    monitor_seconds=0.3,
)
_CPU_BUDGET_SECONDS = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest(MeasuringRequest):
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        sources: Layers that no package registers, by name: the function that makes each (see ``LayerSpec.source``).
        state_dtypes: Of arms with a fixed state, each an arm of its own.
        execution: Of every arm; by default the fastest known way of each.
        contexts, prompts: Tokens.
        largest_batch: No batch beyond it is tried.
        time_budget_seconds: Of the whole sweep, after which no further point is begun.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    state_dtypes: tuple[Dtype, ...]
    execution: Execution | None
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    largest_batch: int | None
    time_budget_seconds: float | None


def _plan_sentence(group: tuple[Workload, ...]) -> str:
    """What a group will sweep: its arm, and in which implementation and execution."""
    spec = group[0].spec
    ways = " or else ".join(f"{each[0].implementation} as {each[0].execution}" for each in alternatives_of(group))
    kept = "" if spec.state_dtype is None else f" with a {spec.state_dtype} state"
    return f"{spec.layer}{kept}: {ways}"


def _plan(request: SweepRequest, device_kind: str, earlier: RecordFile | None) -> SessionPlan:
    cuda = device_kind == "cuda"
    dtype, preset = request.dtype_on(cuda=cuda), request.preset_on(cuda=cuda)
    default = CUDA_AXES if cuda else CPU_AXES
    axes = SweepAxes(
        contexts=request.contexts or default.contexts,
        prompts=request.prompts or default.prompts,
        largest_batch=request.largest_batch or default.largest_batch,
    )
    register_named(request.sources)
    request.check_checkpoints(request.layers)
    planned, unplanned = planned_arms(
        preset=preset,
        sizes={},
        layers=request.layers,
        match_axis="parameters",
        sequence_length=MATCHED_LENGTH,
        dtype=dtype,
        checkpoints=request.checkpoints,
    )
    arms = tuple(
        arm for matched in planned for arm in with_state_dtypes(matched, request.state_dtypes, context=MATCHED_LENGTH)
    )
    groups = sweep_groups(
        arms,
        axes,
        implementations=request.implementations,
        execution=request.execution,
        dtype=dtype,
        cuda=cuda,
    )
    budget = request.time_budget_seconds
    return SessionPlan(
        arms=arms,
        groups=groups,
        done=finished_keys(earlier, groups, finds_memory_end=cuda),
        preset=None if request.checkpoints else preset,
        match_axis="parameters",
        phases=(Phase.PREFILL, Phase.DECODE),
        scope=Scope.MODEL,
        dtype=dtype,
        settings=(_CUDA_SETTINGS if cuda else _CPU_SETTINGS).changed(request.settings),
        time_budget_seconds=_CPU_BUDGET_SECONDS if budget is None and not cuda else budget,
        unplanned_layers=unplanned,
        remarks=(
            *(_plan_sentence(group) for group in groups),
            *(failed.words for failed in unplanned),
        ),
    )


SWEEP = Planner(kind=SessionKind.SWEEP, worker_module="pamprof.measure.serving.worker", plan=_plan)
