"""A serving sweep: what ``pamprof serve-sweep`` measures, as a session of one group an arm."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.measure.arms import matched_arms
from pamprof.measure.compare import RECORDS_FILE, identify_device
from pamprof.measure.process import WorkerProcess
from pamprof.measure.serve_plan import SweepAxes, candidates, is_flat
from pamprof.measure.session import Reporter, SessionOutcome, SessionRunner, utc_now
from pamprof.measure.settings import Settings
from pamprof.records import Dtype, Execution, Phase, Scope, Session, SkipKind
from pamprof.records.store import RunStore, is_only_begun, read_records
from pamprof.units import seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pamprof.measure.compare import PriceLookup
    from pamprof.measure.plan import Arm
    from pamprof.records import Workload
    from pamprof.records.store import RecordFile

WORKER_MODULE = "pamprof.measure.serve_worker"

_MATCHED_LENGTH = 2048
_PREFERRED_IMPLEMENTATIONS = ("planar",)

# From a short chat to a long document, by factors of 4, and 64k as the last.
CUDA_AXES = SweepAxes(
    contexts=(128, 512, 2048, 8192, 32_768, 65_536),
    prompts=(128, 512, 2048, 8192, 32_768, 65_536),
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
class SweepRequest:
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        command: The command line that reproduces it.
        output_dir: Folder of the records.
        resume: Go on with the records that are there.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        preset: Sizes by name, those of PAM; every other arm is matched to them on parameters.
        layers: Registry names.
        implementations: Names to keep; planar PAM by default.
        state_dtypes: Of arms with a fixed state, each an arm of its own.
        execution: Eager or graph.
        dtype: Precision policy.
        contexts, prompts: Tokens.
        largest_batch: No batch beyond it is tried.
        time_budget_seconds: Of the whole sweep, after which no further point is begun.
        settings: Changes to the device's sampling rules, by ``Settings`` field.
    """

    command: str
    output_dir: Path
    resume: bool
    device: str
    preset: str | None
    layers: tuple[str, ...]
    implementations: tuple[str, ...]
    state_dtypes: tuple[Dtype, ...]
    execution: Execution | None
    dtype: Dtype | None
    contexts: tuple[int, ...]
    prompts: tuple[int, ...]
    largest_batch: int | None
    time_budget_seconds: float | None
    settings: Mapping[str, int | float | bool]


def sweep(request: SweepRequest, *, reporter: Reporter, price: PriceLookup) -> SessionOutcome:
    """Measure the serving curves asked for; every outcome is in ``output_dir/runs.jsonl`` when this returns.

    Raises:
        UsageError: The request is wrong, or the folder holds records and ``resume`` was not asked for.
        OutputError: The folder cannot be written.
        DeviceError: A GPU was asked for and is not there.
    """
    path = request.output_dir / RECORDS_FILE
    earlier = _earlier_records(path, resume=request.resume)
    fresh = not path.exists()
    store = RunStore(path)
    worker = WorkerProcess(WORKER_MODULE)  # imports torch while this process plans
    try:
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
        begun = time.perf_counter()
        outcome = runner.run(groups, finished_keys(earlier, groups, finds_memory_end=cuda))
        if budget is not None and time.perf_counter() - begun > budget:
            reporter.message(f"the time budget of {seconds(budget)} is used up; --resume measures what is missing")
        return outcome
    except BaseException:
        worker.kill()
        if fresh and path.stat().st_size == 0:
            path.unlink()
            with contextlib.suppress(OSError):  # the folder held something before
                request.output_dir.rmdir()
        raise
    finally:
        store.close()


def finished_keys(
    earlier: RecordFile | None, groups: Sequence[tuple[Workload, ...]], *, finds_memory_end: bool
) -> frozenset[str]:
    """Keys that need no second visit: measured, without room, or beyond the end of a line that has one.

    A line has an end where memory ran out or, on a device whose end of memory is not sought, where its last doublings
    gained nothing.
    """
    if earlier is None:
        return frozenset()
    done = {run.workload.key for run in earlier.runs}
    rates: dict[str, dict[int, float]] = defaultdict(dict)
    for run in earlier.runs:
        if run.workload.phase is Phase.DECODE:
            step = median(run.timing.wall_time_seconds)
            rates[_line_key(run.workload)][run.workload.batch_size] = run.workload.batch_size / step
    full = {_line_key(skip.workload) for skip in earlier.skips if skip.kind is SkipKind.OUT_OF_MEMORY}
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


def _earlier_records(path: Path, *, resume: bool) -> RecordFile | None:
    if not path.exists():
        if resume:
            raise UsageError(f"--resume needs the records of an earlier sweep, and {path} is not there")
        return None
    if is_only_begun(path):
        return None
    if not resume:
        raise UsageError(f"{path} holds earlier records; go on with --resume or choose another --output-dir")
    return read_records(path)


def _plan(request: SweepRequest, *, cuda: bool) -> tuple[tuple[tuple[Workload, ...], ...], Session]:
    dtype = request.dtype or (Dtype.BFLOAT16 if cuda else Dtype.FLOAT32)
    preset = request.preset or ("100m" if cuda else "tiny")
    execution = request.execution or (Execution.GRAPH if cuda else Execution.EAGER)
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
            sequence_length=_MATCHED_LENGTH,
            dtype=dtype,
        )
        for arm in _with_state_dtypes(matched, request.state_dtypes)
    ]
    groups = [
        candidates(arm, axes, implementation=implementation, execution=execution, dtype=dtype)
        for arm in arms
        for implementation in _implementations(arm, request.implementations)
    ]
    # Of a time budget, what the short sweeps leave is there for the long ones.
    groups.sort(key=len)
    header = Session(
        session_id="",
        started_at=utc_now(),
        command=request.command,
        preset=preset,
        match_axis="parameters",
        arms=tuple(arm.facts for arm in arms),
        sequence_length=_MATCHED_LENGTH,
        planned=(),  # a sweep decides on the way where to go
        reference_layer=arms[0].definition.name,
        phases=(Phase.PREFILL, Phase.DECODE),
        scope=Scope.MODEL,
        dtype=dtype,
        perplexities=(),
        quote=None,
        quote_unknown_reason=None,
    )
    return tuple(groups), header


def _with_state_dtypes(arm: Arm, state_dtypes: Sequence[Dtype]) -> list[Arm]:
    """The arm once for each dtype of its state; float32 is what an arm that says nothing has."""
    if not arm.definition.fixed_state:
        return [arm]
    found = []
    for dtype in dict.fromkeys(state_dtypes):
        spec = replace(arm.spec, state_dtype=None if dtype is Dtype.FLOAT32 else dtype)
        state_bytes = arm.definition.state_byte_count(
            spec, scope=Scope.MODEL, batch_size=1, context=_MATCHED_LENGTH, dtype=dtype
        )
        found.append(replace(arm, spec=spec, facts=replace(arm.facts, spec=spec, state_bytes=state_bytes)))
    return found


def _implementations(arm: Arm, wanted: Sequence[str]) -> Sequence[str]:
    """Those asked for; else the best plain one, or the layer's first."""
    offered = arm.definition.implementations
    chosen = [name for name in offered if name in (wanted or _PREFERRED_IMPLEMENTATIONS)]
    return chosen or offered[:1]
