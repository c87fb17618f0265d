"""The comparison itself: match, plan, measure; what ``pamprof compare`` calls before anything is reported."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pamprof.measure.comparison.plan import Plan, build_plan
from pamprof.measure.comparison.points import points
from pamprof.measure.session.matched_arms import matched_arms
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.request import MATCHED_LENGTH, MeasuringRequest, identify_device, keeping
from pamprof.measure.session.runner import Reporter, SessionOutcome, SessionRunner, utc_now
from pamprof.measure.session.settings import Settings, default_settings
from pamprof.records import Execution, Perplexity, Phase, Scope, Session, SessionKind, SkipKind
from pamprof.records.store import RunStore
from pamprof.workloads.base import layer_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pamprof.measure.session.request import PriceLookup
    from pamprof.records.store import RecordFile

# Skips that a second attempt may well turn into a run.
_WORTH_ANOTHER_TRY = (SkipKind.TIMEOUT, SkipKind.CRASHED, SkipKind.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest(MeasuringRequest):
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        sizes: Own sizes of the PAM arm that replace the preset's, by ``LayerSpec`` field.
        executions: In order.
        phases, scope, batch_sizes, sequence_lengths: The points.
        match_axis: What the arms are matched on.
        perplexities: Quality figures to carry.
    """

    sizes: Mapping[str, int | float | str]
    executions: tuple[Execution, ...]
    phases: tuple[Phase, ...]
    scope: Scope
    batch_sizes: Mapping[Phase | None, tuple[int, ...]]
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]]
    match_axis: str
    perplexities: tuple[Perplexity, ...]


def compare(request: CompareRequest, *, reporter: Reporter, price: PriceLookup) -> SessionOutcome:
    """Measure what was asked for; every outcome is in ``output_dir/runs.jsonl`` when this returns.

    Args:
        request: What to compare.
        reporter: Who hears of progress.
        price: Finds the price of the measured device, to be kept with the records.

    Raises:
        UsageError: The request is wrong, or the folder holds records and ``resume`` was not asked for.
        OutputError: The folder cannot be written.
        DeviceError: A GPU was asked for and is not there.
    """
    done = _finished_keys(request.earlier_records("comparison"))
    fresh = not request.path.exists()
    store = RunStore(request.path)
    worker = WorkerProcess()  # imports torch while this process plans
    with keeping(store, worker, fresh=fresh):
        kind, ordinal, name = identify_device(request.device)
        settings = _settings(kind, request.settings)
        session_id = uuid.uuid4().hex[:12]
        plan, header = _plan(request, kind)
        quote, unknown_reason = price(kind, name)
        store.append(replace(header, session_id=session_id, quote=quote, quote_unknown_reason=unknown_reason))
        runner = SessionRunner(
            session_id=session_id,
            device="cpu" if kind == "cpu" else f"cuda:{ordinal}",
            settings=settings,
            store=store,
            reporter=reporter,
            first_worker=worker,
        )
        return runner.run(plan.groups, done)


def _finished_keys(records: RecordFile | None) -> frozenset[str]:
    """Keys that need no second measurement."""
    if records is None:
        return frozenset()
    return frozenset(
        [run.workload.key for run in records.runs]
        + [skip.workload.key for skip in records.skips if skip.kind not in _WORTH_ANOTHER_TRY]
    )


def _settings(kind: str, changes: Mapping[str, int | float | bool]) -> Settings:
    return replace(default_settings(kind), **changes)  # type: ignore[arg-type]  # checked by Settings itself


def _plan(request: CompareRequest, kind: str) -> tuple[Plan, Session]:
    cuda = kind == "cuda"
    dtype, preset = request.dtype_on(cuda=cuda), request.preset_on(cuda=cuda)
    arms = matched_arms(
        preset=preset,
        sizes=request.sizes,
        layers=request.layers,
        match_axis=request.match_axis,
        sequence_length=MATCHED_LENGTH,
        dtype=dtype,
    )
    executions = request.executions or (
        (Execution.EAGER, Execution.COMPILED, Execution.GRAPH, Execution.COMPILED_GRAPH) if cuda else (Execution.EAGER,)
    )
    plan = build_plan(
        arms,
        points=points(
            device_kind=kind,
            phases=request.phases,
            scope=request.scope,
            dtype=dtype,
            batch_sizes=request.batch_sizes,
            sequence_lengths=request.sequence_lengths,
        ),
        implementations=request.implementations,
        executions=executions,
    )
    header = Session(
        session_id="",
        started_at=utc_now(),
        command=request.command,
        preset=None if request.sizes else preset,
        match_axis=request.match_axis,
        arms=tuple(arm.facts for arm in arms),
        sequence_length=MATCHED_LENGTH,
        planned=tuple(workload.key for workload in plan.workloads),
        reference_layer=arms[0].definition.name,
        phases=request.phases,
        scope=request.scope,
        dtype=dtype,
        perplexities=request.perplexities or _published_perplexities(preset, request.sizes),
        quote=None,
        quote_unknown_reason=None,
        kind=SessionKind.COMPARISON,
        layers=tuple({arm.definition.name: layer_facts(arm.definition) for arm in arms}.values()),
    )
    return plan, header


def _published_perplexities(preset: str, sizes: Mapping[str, int | float | str]) -> tuple[Perplexity, ...]:
    """The paper's own figures, for the pair the paper trained and for no other."""
    if preset != "100m" or sizes:
        return ()
    source = "the paper's validation perplexity (arXiv:2604.05030), not measured here"
    return (
        Perplexity(layer="pam", value=30.0, source=source),
        Perplexity(layer="transformer", value=27.1, source=source),
    )
