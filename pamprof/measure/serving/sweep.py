"""A serving sweep: what ``pamprof serve-sweep`` measures, as a session of one group an arm."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from pamprof.measure.serving.arms import sweep_groups, with_state_dtypes
from pamprof.measure.serving.plan import SweepAxes, alternatives_of, is_flat
from pamprof.measure.session.matched_arms import matched_arms
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.request import MATCHED_LENGTH, MeasuringRequest, identify_device, keeping
from pamprof.measure.session.runner import Reporter, SessionOutcome, SessionRunner, utc_now
from pamprof.measure.session.settings import Settings
from pamprof.records import Dtype, Execution, Phase, Scope, Session, SessionKind, SkipKind
from pamprof.records.store import RunStore
from pamprof.units import seconds
from pamprof.workloads.base import layer_facts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.measure.session.request import PriceLookup
    from pamprof.records import Workload
    from pamprof.records.store import RecordFile

WORKER_MODULE = "pamprof.measure.serving.worker"

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
        state_dtypes: Of arms with a fixed state, each an arm of its own.
        execution: Of every arm; by default the fastest known way of each.
        contexts, prompts: Tokens.
        largest_batch: No batch beyond it is tried.
        time_budget_seconds: Of the whole sweep, after which no further point is begun.
    """

    state_dtypes: tuple[Dtype, ...]
    execution: Execution | None
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    largest_batch: int | None
    time_budget_seconds: float | None


def sweep(request: SweepRequest, *, reporter: Reporter, price: PriceLookup) -> SessionOutcome:
    """Measure the serving curves asked for; every outcome is in ``output_dir/runs.jsonl`` when this returns.

    Raises:
        UsageError: The request is wrong, or the folder holds records and ``resume`` was not asked for.
        OutputError: The folder cannot be written.
        DeviceError: A GPU was asked for and is not there.
    """
    earlier = request.earlier_records("sweep")
    fresh = not request.path.exists()
    store = RunStore(request.path)
    worker = WorkerProcess(WORKER_MODULE)  # imports torch while this process plans
    with keeping(store, worker, fresh=fresh):
        kind, ordinal, name = identify_device(request.device)
        cuda = kind == "cuda"
        settings = replace(_CUDA_SETTINGS if cuda else _CPU_SETTINGS, **request.settings)  # type: ignore[arg-type]
        session_id = uuid.uuid4().hex[:12]
        groups, header = _plan(request, cuda=cuda)
        quote, unknown_reason = price(kind, name)
        store.append(replace(header, session_id=session_id, quote=quote, quote_unknown_reason=unknown_reason))
        budget = request.time_budget_seconds
        if budget is None and not cuda:
            budget = _CPU_BUDGET_SECONDS
        runner = SessionRunner(
            session_id=session_id,
            device="cpu" if kind == "cpu" else f"cuda:{ordinal}",
            settings=settings,
            store=store,
            reporter=reporter,
            first_worker=worker,
            spawn=lambda: WorkerProcess(WORKER_MODULE),
            time_budget_seconds=budget,
        )
        for group in groups:
            reporter.message(_plan_sentence(group))
        begun = time.perf_counter()
        outcome = runner.run(groups, finished_keys(earlier, groups, finds_memory_end=cuda))
        if budget is not None and time.perf_counter() - begun > budget:
            reporter.message(f"the time budget of {seconds(budget)} is used up; --resume measures what is missing")
        return outcome


def finished_keys(
    earlier: RecordFile | None, groups: Sequence[tuple[Workload, ...]], *, finds_memory_end: bool
) -> frozenset[str]:
    """Keys that need no second visit: measured, without room, or beyond the end of a line that has one.

    A line has an end where memory ran out, where a batch off the grid was measured, which is only ever the one that
    memory was predicted to end at, or, on a device whose end of memory is not sought, where its last doublings gained
    nothing.
    """
    if earlier is None:
        return frozenset()
    grid = {workload.key for group in groups for workload in group}
    done = {run.workload.key for run in earlier.runs}
    rates: dict[str, dict[int, float]] = defaultdict(dict)
    for run in earlier.runs:
        if run.workload.phase is Phase.DECODE:
            step = median(run.timing.wall_time_seconds)
            rates[_line_key(run.workload)][run.workload.batch_size] = run.workload.batch_size / step
    full = {_line_key(skip.workload) for skip in earlier.skips if skip.kind is SkipKind.OUT_OF_MEMORY}
    if finds_memory_end:
        full |= {_line_key(run.workload) for run in earlier.runs if run.workload.key not in grid}
    done |= {skip.workload.key for skip in earlier.skips if skip.kind in (SkipKind.OUT_OF_MEMORY, SkipKind.UNSUPPORTED)}
    for group in groups:
        for workload in group:
            key = _line_key(workload)
            found = rates.get(key, {})
            ended = key in full or (not finds_memory_end and is_flat(found))
            if workload.phase is Phase.DECODE and ended and workload.batch_size > max(found, default=0):
                done.add(workload.key)
    return frozenset(done)


def _line_key(workload: Workload) -> str:
    return replace(workload, batch_size=1).key


def _plan_sentence(group: tuple[Workload, ...]) -> str:
    """What a group will sweep: its arm, and in which implementation and execution."""
    spec = group[0].spec
    ways = " or else ".join(f"{each[0].implementation} as {each[0].execution}" for each in alternatives_of(group))
    kept = "" if spec.state_dtype is None else f" with a {spec.state_dtype} state"
    return f"{spec.layer}{kept}: {ways}"


def _plan(request: SweepRequest, *, cuda: bool) -> tuple[tuple[tuple[Workload, ...], ...], Session]:
    dtype, preset = request.dtype_on(cuda=cuda), request.preset_on(cuda=cuda)
    default = CUDA_AXES if cuda else CPU_AXES
    axes = SweepAxes(
        contexts=request.contexts or default.contexts,
        prompts=request.prompts or default.prompts,
        largest_batch=request.largest_batch or default.largest_batch,
    )
    arms = [
        arm
        for matched in matched_arms(
            preset=preset,
            sizes={},
            layers=request.layers,
            match_axis="parameters",
            sequence_length=MATCHED_LENGTH,
            dtype=dtype,
        )
        for arm in with_state_dtypes(matched, request.state_dtypes, context=MATCHED_LENGTH)
    ]
    groups = sweep_groups(
        arms,
        axes,
        implementations=request.implementations,
        execution=request.execution,
        dtype=dtype,
        cuda=cuda,
    )
    header = Session(
        session_id="",
        started_at=utc_now(),
        command=request.command,
        preset=preset,
        match_axis="parameters",
        arms=tuple(arm.facts for arm in arms),
        sequence_length=MATCHED_LENGTH,
        planned=(),  # a sweep decides on the way where to go
        reference_layer=arms[0].definition.name,
        phases=(Phase.PREFILL, Phase.DECODE),
        scope=Scope.MODEL,
        dtype=dtype,
        perplexities=(),
        quote=None,
        quote_unknown_reason=None,
        kind=SessionKind.SWEEP,
        layers=tuple({arm.definition.name: layer_facts(arm.definition) for arm in arms}.values()),
    )
    return groups, header
