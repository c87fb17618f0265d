"""A comparison: what ``pamprof compare`` asks for, and the session that measures it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pamprof.errors import UsageError
from pamprof.measure.any_layer.registration import register_named
from pamprof.measure.comparison.crossover_points import CrossoverPoints, brackets
from pamprof.measure.comparison.efforts import effort_rules
from pamprof.measure.comparison.expected_time import expected_seconds
from pamprof.measure.comparison.plan import plan_groups
from pamprof.measure.comparison.points import default_points, points
from pamprof.measure.comparison.repetitions import missing_repetitions
from pamprof.measure.comparison.worth import Worth, in_order, rank_by_worth
from pamprof.measure.ranks.plan import rank_plan
from pamprof.measure.session.compile_ahead import worth_compiling_ahead
from pamprof.measure.session.matched_arms import planned_arms
from pamprof.measure.session.request import MATCHED_LENGTH, MeasuringRequest
from pamprof.measure.session.run import Planner, SessionPlan
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.substitutes import stored_substitutes, with_substitute
from pamprof.records import Effort, Execution, LayerRole, Perplexity, Phase, Scope, SessionKind, SkipKind
from pamprof.workloads.base import layer_facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pamprof.measure.session.matched_arms import PlannedArm
    from pamprof.records import Dtype, Point, RankLayout, Run, UnplannedLayer, Workload
    from pamprof.records.store import RecordFile

DEFAULT_LAYERS = ("transformer", "real_pam", "pam")
# Measured besides on a GPU, where they decide what the strongest reference is; a CPU's default has to stay short.
DEFAULT_GPU_REFERENCES = ("wide_head_transformer", "llama")


_MUCH_SHORTER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest(MeasuringRequest):
    """What was asked for; None and empty mean the default of the device.

    Attributes:
        sizes: Own sizes of the PAM arm that replace the preset's, by ``LayerSpec`` field.
        executions: In order.
        phases, scope, batch_sizes, sequence_lengths: The points.
        match_axis: What the arms are matched on.
        perplexities: Quality figures to carry.
        effort: How much to measure, and how carefully.
        sources: Layers that no package registers, by name: the function that makes each (see ``LayerSpec.source``).
        time_budget_seconds: Of the whole comparison; None for that of the effort.
        repeat: Fresh processes for each point; None for as many as the effort has.
        on: What runs the groups, such as ``ray:10.0.0.1:6379``; None for this machine.
        layout: Ranks that measure every arm once more together; None for one device alone.
    """

    sizes: Mapping[str, int | float | str]
    executions: tuple[Execution, ...]
    phases: tuple[Phase, ...]
    scope: Scope
    batch_sizes: Mapping[Phase | None, tuple[int, ...]]
    sequence_lengths: Mapping[Phase | None, tuple[int, ...]]
    match_axis: str
    perplexities: tuple[Perplexity, ...]
    effort: Effort
    time_budget_seconds: float | None
    repeat: int | None = None
    layout: RankLayout | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    on: str | None = None


def _finished_keys(records: RecordFile | None) -> frozenset[str]:
    """Keys that need no second measurement."""
    if records is None:
        return frozenset()
    return frozenset(
        [run.workload.key for run in records.runs]
        + [skip.workload.key for skip in records.skips if not skip.kind.worth_another_try]
    )


def _coarse_keys(records: RecordFile | None, effort: Effort, settings: Settings) -> dict[str, float]:
    """Half widths of what an earlier session measured with less effort, and not as well as this one asks for.

    That is an interval too wide, or energy that only a longer window makes valid.
    """
    if records is None:
        return {}
    efforts = tuple(Effort)
    lower = {
        session.session_id
        for session in records.sessions
        if session.effort is not None and efforts.index(session.effort) < efforts.index(effort)
    }
    latest = {run.workload.key: run for run in records.runs}
    return {
        key: run.timing.half_width
        for key, run in latest.items()
        if run.session_id in lower
        and run.timing.half_width is not None
        and (run.timing.half_width > settings.target_half_width or _lacks_energy(run, settings.monitor_seconds))
    }


def _lacks_energy(run: Run, window_seconds: float) -> bool:
    """Whether the device's energy was read in a window too short for it, and this session takes a longer one."""
    monitor = run.monitor
    if monitor is None or monitor.energy is None or monitor.energy.valid:
        return False
    return monitor.window_seconds < _MUCH_SHORTER * window_seconds


def _references(records: RecordFile | None, visits: Sequence[Workload]) -> dict[Point, Workload]:
    """What others were paired with at each point, as far as it was measured; of several the first that is visited."""
    if records is None:
        return {}
    alone = {run.workload.key for run in records.runs if run.workload.key == run.reference.key}
    found: dict[Point, Workload] = {}
    for workload in visits:
        if workload.key in alone:
            found.setdefault(workload.point, workload)
    return found


def _with_substitutes(
    visits: Sequence[Workload],
    records: RecordFile,
    settings: Settings,
    *,
    only_effort: Effort | None,
    like_failed: tuple[dict[str, float], ...],
) -> tuple[Workload, ...]:
    """``visits``, in the place of each whose execution failed before what a session measures then.

    Args:
        visits: In order.
        records: Earlier ones.
        settings: A compiler that did not end gets another chance where they wait longer than by default.
        only_effort: Failures of this effort count; None for those of all.
        like_failed: Seconds by key that a new workload takes over from the failed one.
    """
    counted = {session.session_id for session in records.sessions if only_effort in (None, session.effort)}
    patient = settings.point_timeout_seconds > Settings().point_timeout_seconds
    skips = [
        skip for skip in records.skips if skip.session_id in counted and not (patient and skip.kind is SkipKind.TIMEOUT)
    ]
    changed = tuple(visits)
    for failed, other in stored_substitutes(visits, records.runs, skips):
        for values in like_failed if other not in changed else ():
            if failed.key in values:
                values[other.key] = values[failed.key]
        changed = with_substitute(changed, failed, other)
    return changed


def _plan(request: CompareRequest, device_kind: str, earlier: RecordFile | None) -> SessionPlan:
    cuda = device_kind == "cuda"
    dtype, preset = request.dtype_on(cuda=cuda), request.preset_on(cuda=cuda)
    register_named(request.sources)
    arms, unplanned, remarks = _arms(request, preset=preset, dtype=dtype, cuda=cuda)
    executions = request.executions or (
        (Execution.EAGER, Execution.COMPILED, Execution.GRAPH, Execution.COMPILED_GRAPH) if cuda else (Execution.EAGER,)
    )
    groups = plan_groups(
        arms,
        points=points(
            defaults=default_points(device_kind, request.effort),
            phases=request.phases,
            scope=request.scope,
            dtype=dtype,
            batch_sizes=request.batch_sizes,
            sequence_lengths=request.sequence_lengths,
        ),
        implementations=request.implementations,
        executions=executions,
    )
    rules = effort_rules(request.effort, device_kind)
    settings = rules.settings.changed(request.settings)
    if settings.windows is not None and (given := {"time_limit_seconds", "target_half_width"} & set(request.settings)):
        options = " and ".join("--time-limit" if name.startswith("time") else "--half-width" for name in sorted(given))
        raise UsageError(f"{options} would not change a comparison of effort {request.effort}; leave it out")
    facts = {arm.definition.name: layer_facts(arm.definition) for arm in arms}
    ranked = rank_by_worth(groups, facts, sequence_length=MATCHED_LENGTH, has_kernels=cuda)
    definitions = {arm.definition.name: arm.definition for arm in arms}
    chosen_window = "monitor_seconds" in request.settings
    window_of = {
        worth: settings.monitor_seconds if chosen_window or worth in rules.watched else rules.glimpse_seconds
        for worth in Worth
    }
    windows = {workload.key: window_of[worth] for worth in Worth for workload in ranked[worth]}
    crossover_window = window_of[Worth.CROSSOVER]
    processes = request.repeat or rules.processes
    fresh_workers = processes > 1 or settings.windows is not None or request.on is not None
    compiles_ahead = cuda and rules.compiles_ahead and not fresh_workers

    def expect(workload: Workload, worth: Worth, *, compiled_ahead: bool) -> float:
        return expected_seconds(
            workload,
            definitions[workload.spec.layer],
            kind=facts[workload.spec.layer].kind_of(workload.implementation),
            settings=settings.with_window(windows.get(workload.key, crossover_window)),
            device_kind=device_kind,
            compiled_ahead=compiled_ahead,
            checked_before=worth > Worth.BEST and not fresh_workers,
        )

    expected = {
        workload.key: expect(workload, worth, compiled_ahead=compiles_ahead)
        for worth in Worth
        for workload in ranked[worth]
    }
    further = CrossoverPoints(
        brackets=brackets(groups),
        facts=facts,
        earlier=() if earlier is None else earlier.runs,
        cost=lambda workload: (expect(workload, Worth.CROSSOVER, compiled_ahead=False), crossover_window),
        visited_after=frozenset(w.key for worth in Worth if worth > Worth.CROSSOVER for w in ranked[worth]),
    )
    for added in further.after(()):
        ranked[Worth.CROSSOVER] += added.workloads
        expected.update(added.expected_seconds)
        windows.update(added.monitor_seconds)
    asked = bool(request.implementations or request.executions)
    visits = in_order(ranked, expected, worths=tuple(Worth) if asked else rules.worths)
    visited_count = len(visits)
    if earlier is not None and not asked:
        visits = _with_substitutes(
            visits,
            earlier,
            settings,
            only_effort=request.effort if fresh_workers else None,
            like_failed=(expected, windows),
        )
    if fresh_workers:
        done: frozenset[str] = frozenset()
        visited = missing_repetitions(visits, earlier, processes=processes, effort=request.effort, seed=settings.seed)
    else:
        coarse = _coarse_keys(earlier, request.effort, settings)
        refined = sorted((w for w in visits if w.key in coarse), key=lambda w: -coarse[w.key])
        visits = (*(w for w in visits if w.key not in coarse), *refined)
        done = _finished_keys(earlier) - set(coarse)
        visited = tuple((workload,) for workload in visits)
    budget = request.time_budget_seconds
    if budget is None and request.on is None:  # a queue and machines side by side make the effort's own meaningless
        budget = rules.time_budget_seconds
    shared = None
    if request.layout is not None:
        shared = rank_plan(arms, request.layout, request.phases, device=request.device, device_kind=device_kind)
        ranks = f"{request.layout.ranks} ranks share every arm by {request.layout.parallel}"
        remarks = (
            *remarks,
            f"{ranks} once one device has measured it, which takes time and dollars beyond those told here",
        )
        remarks = (*remarks, *(f"not shared by ranks: {reason}" for reason in shared.refusals.values()))
    return SessionPlan(
        arms=arms,
        groups=visited,
        done=done,
        fresh_processes=processes if fresh_workers else None,
        planned=tuple(workload.key for workload in visits),
        references=_references(earlier, visits),
        expected_seconds=expected,
        monitor_seconds=windows,
        compiled_ahead=worth_compiling_ahead(visits, facts) if compiles_ahead else (),
        effort=request.effort,
        further=further,
        substitutes=not asked,
        unplanned_count=sum(len(found) for found in ranked.values()) - visited_count,
        time_budget_seconds=budget,
        preset=None if request.sizes or request.checkpoints else preset,
        match_axis=request.match_axis,
        phases=request.phases,
        scope=request.scope,
        dtype=dtype,
        perplexities=request.perplexities
        or _published_perplexities(preset, is_changed=bool(request.sizes or request.checkpoints)),
        settings=settings,
        shared=shared,
        unplanned_layers=unplanned,
        remarks=(*remarks, *(failed.words for failed in unplanned)),
    )


def _arms(
    request: CompareRequest, *, preset: str, dtype: Dtype, cuda: bool
) -> tuple[tuple[PlannedArm, ...], tuple[UnplannedLayer, ...], tuple[str, ...]]:
    """The matched arms, layers that failed, and a sentence for each default reference that has no matching size."""

    def planned(*layers: str) -> tuple[tuple[PlannedArm, ...], tuple[UnplannedLayer, ...]]:
        return planned_arms(
            preset=preset,
            sizes=request.sizes,
            layers=layers,
            match_axis=request.match_axis,
            sequence_length=MATCHED_LENGTH,
            dtype=dtype,
            checkpoints=request.checkpoints,
        )

    request.check_checkpoints(request.layers or (*DEFAULT_LAYERS, *(DEFAULT_GPU_REFERENCES if cuda else ())))
    if request.layers:
        arms, unplanned = planned(*request.layers)
        if all(getattr(arm.definition, "role", LayerRole.SUBJECT) is not LayerRole.REFERENCE for arm in arms):
            arms = (*planned(*DEFAULT_LAYERS[:1])[0], *arms)
        return arms, unplanned, _lone_twins(arms)
    (first, *others), unplanned = planned(*DEFAULT_LAYERS)
    references: list[PlannedArm] = []
    remarks: list[str] = []
    for layer in DEFAULT_GPU_REFERENCES if cuda else ():
        try:
            references += planned(layer)[0]
        except UsageError as exc:
            remarks.append(f"{layer} is left out, because no size of it matches: {exc}")
    return (first, *references, *others), unplanned, tuple(remarks)


def _lone_twins(arms: Sequence[PlannedArm]) -> tuple[str, ...]:
    """A sentence for each layer from elsewhere that declares itself the twin of one that is not compared."""
    compared = {arm.definition.name for arm in arms}
    twins = {arm.definition.name: layer_facts(arm.definition).twin_of for arm in arms if arm.spec.source is not None}
    return tuple(
        f"{name} declares itself the twin of {other}, which is not compared; name it, too"
        for name, other in twins.items()
        if other is not None and other not in compared
    )


def _published_perplexities(preset: str, *, is_changed: bool) -> tuple[Perplexity, ...]:
    """The paper's own figures, for the pair the paper trained and for no other."""
    if preset != "100m" or is_changed:
        return ()
    source = "the paper's validation perplexity (arXiv:2604.05030), not measured here"
    return (
        Perplexity(layer="pam", value=30.0, source=source),
        Perplexity(layer="transformer", value=27.1, source=source),
    )


COMPARISON = Planner(kind=SessionKind.COMPARISON, worker_module="pamprof.measure.session.worker", plan=_plan)
