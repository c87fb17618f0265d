"""From records to conclusions, point by point: the one function of the analysis that everything above calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pamprof.analysis.comparison.comparisons import (
    baseline_of,
    compare,
    own_reference_of,
    same_execution_comparisons,
)
from pamprof.analysis.comparison.crossovers import measured_crossovers, modelled_crossovers
from pamprof.analysis.comparison.doubts import (
    hand_written,
    noisy_machine,
    quick,
    ratio_half_width,
    unsteady_reference,
)
from pamprof.analysis.comparison.joined import has_windows, join_windows, processes_of, takes_precedence
from pamprof.analysis.comparison.ladder import build_ladder
from pamprof.analysis.comparison.machines import joining_layers, machine_name, machine_of, told_of, told_part
from pamprof.analysis.comparison.names import unique_labels
from pamprof.analysis.comparison.noise_floor import noise_floor
from pamprof.analysis.comparison.pairing import is_reference
from pamprof.analysis.comparison.results import PointAnalysis
from pamprof.analysis.comparison.roles import roles_of
from pamprof.analysis.comparison.roofline import roof_of
from pamprof.analysis.comparison.story import Analysis, headline_point, tell
from pamprof.analysis.comparison.summaries import summarise
from pamprof.records import Dtype, Effort, ImplementationKind, Phase
from pamprof.records.store import RecordFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pamprof.analysis.comparison.machines import MachineKey
    from pamprof.analysis.comparison.results import DecodeFloor, Doubt, Summary
    from pamprof.analysis.comparison.roles import Roles
    from pamprof.analysis.comparison.roofline import Roof
    from pamprof.records import Ceilings, LayerSpec, Point, Run, Session, Skip

_PHASES = (Phase.TRAIN, Phase.PREFILL, Phase.DECODE)
_DTYPES = (Dtype.BFLOAT16, Dtype.FLOAT32)


def analyse(records: RecordFile | Iterable[RecordFile]) -> Analysis:
    """Everything that can be concluded from one or several record files of one machine.

    A workload measured more than once counts with its latest run, as after a resumed session; one measured in windows
    by fresh processes counts with all of them joined, whatever else was measured of it. Runs of another device, driver
    or torch than the latest run's (in a fleet, than most runs'), and of other sizes of a layer than its latest run's,
    are left out with a sentence in ``problems``: what was not measured on one machine at one size is not compared
    silently. A layer that was measured in another environment alone, on the same kind of device beside the same
    reference, joins with a sentence there.
    """
    files = (records,) if isinstance(records, RecordFile) else tuple(records)
    problems = [problem for file in files for problem in file.problems]
    runs = _usable([run for file in files for run in file.runs], [s for file in files for s in file.sessions], problems)
    efforts = {s.session_id: s.effort for file in files for s in file.sessions}
    sessions = sorted(
        (session for file in files for session in file.sessions), key=lambda s: s.started_at, reverse=True
    )
    latest = sessions[0] if sessions else None
    runs_by_point: dict[Point, list[Run]] = {}
    for run in runs:
        runs_by_point.setdefault(run.workload.point, []).append(run)
    together = RecordFile(
        sessions=tuple(sessions),
        runs=tuple(run for file in files for run in file.runs),
        skips=tuple(skip for file in files for skip in file.skips),
        ranked=tuple(run for file in files for run in file.ranked),
        problems=(),
    )
    roles = roles_of(
        sessions, runs, [*(run.workload for run in together.runs), *(skip.workload for skip in together.skips)]
    )
    skips = told_part(together, joined=True).skips
    ordered = sorted(runs_by_point, key=_point_order)
    roofs = _roofs([found for file in files for found in file.ceilings], [runs_by_point[point][0] for point in ordered])
    points = tuple(
        _analyse_point(
            point,
            runs_by_point[point],
            [s for s in skips if s.workload.point == point],
            roles,
            roofs[point.dtype],
            efforts=efforts,
        )
        for point in ordered
    )
    baselines = {analysis.point: analysis.baseline.run for analysis in points}
    crossovers = (
        *measured_crossovers(
            {point: runs_by_point[point] for point in ordered}, baselines, roles.layers, roles.references
        ),
        *modelled_crossovers(sessions, _caches_first(points, roles, latest), roles.layers),
    )
    return Analysis(
        points=points,
        crossovers=crossovers,
        story=tell(points, crossovers, roles, latest, efforts=efforts),
        problems=tuple(problems),
        noise_floor=noise_floor(points),
        roofs=tuple(roofs.values()),
    )


def _caches_first(points: Sequence[PointAnalysis], roles: Roles, session: Session | None) -> tuple[str, ...]:
    """The references, first the fastest in decode at the longest context at which all of them were measured.

    Where there is no such context, it is the fastest one of the headline.
    """
    present = _references_at(points, roles)
    complete = [p for p in points if p.point.phase is Phase.DECODE and _references_at([p], roles) == present]
    longest = max(complete, key=lambda p: (p.point.sequence_length, p.point.batch_size), default=None)
    first = headline_point(points, roles, session) if longest is None else longest
    best = () if first is None else (first.baseline.workload.spec.layer,)
    return tuple(dict.fromkeys((*(layer for layer in best if layer in roles.references), *roles.references)))


def _references_at(points: Iterable[PointAnalysis], roles: Roles) -> set[str]:
    return {s.workload.spec.layer for p in points for s in p.summaries}.intersection(roles.references)


def _roofs(measured: Sequence[Ceilings], runs: Sequence[Run]) -> dict[Dtype, Roof]:
    """The roof of each dtype of ``runs``, in their order, from the latest ceilings of their machine."""
    latest = {(machine_of(found.environment), found.dtype): found for found in measured}
    roofs: dict[Dtype, Roof] = {}
    for run in runs:
        environment, dtype = run.environment, run.workload.dtype
        if dtype not in roofs:
            roofs[dtype] = roof_of(environment, dtype, latest.get((machine_of(environment), dtype)))
    return roofs


def _analyse_point(
    point: Point,
    runs: Sequence[Run],
    skips: Sequence[Skip],
    roles: Roles,
    roof: Roof,
    *,
    efforts: Mapping[str, Effort | None],
) -> PointAnalysis:
    baseline = baseline_of(runs, roles.references, roles.subject)
    own = own_reference_of(runs, roles.references, baseline)
    labels = unique_labels(tuple(run.workload for run in runs), roles.names)
    references = [run for run in runs if is_reference(run) and len(run.timing.wall_time_seconds) >= 2]
    by_group = {one.group_id: run for run in references for one in processes_of(run)}
    summaries = tuple(
        summarise(
            run,
            label,
            baseline,
            (
                *_doubts_of_reference(run, by_group.get(run.group_id)),
                *((quick(run),) if efforts.get(run.session_id) is Effort.QUICK else ()),
            ),
            roof=roof,
        )
        for run, label in zip(runs, labels, strict=True)
    )
    summaries = _with_lowest_floors(summaries)
    floor = _lowest(summary for summary in summaries if summary.workload.spec.layer in roles.references)
    summaries = _with_doubts_about_kernels(summaries, baseline, floor, roles)
    return PointAnalysis(
        point=point,
        baseline=next(summary for summary in summaries if summary.run is baseline),
        summaries=summaries,
        comparisons=tuple(compare(run, baseline) for run in runs if run is not baseline),
        ladder=build_ladder(runs, skips, baseline, roles),
        noise_half_width=max((ratio_half_width(run) for run in references), default=None),
        same_execution=same_execution_comparisons(runs, own),
        own_reference=() if own is baseline else tuple(compare(run, own) for run in runs if run is not own),
        reference_floor=floor,
    )


def _with_lowest_floors(summaries: Sequence[Summary]) -> tuple[Summary, ...]:
    """``summaries`` of one point, each with the lowest floor of its layer in its size and state dtype."""
    lowest = {s.workload.spec: _lowest(t for t in summaries if t.workload.spec == s.workload.spec) for s in summaries}
    return tuple(replace(summary, floor=lowest[summary.workload.spec]) for summary in summaries)


def _lowest(summaries: Iterable[Summary]) -> DecodeFloor | None:
    floors = (summary.floor for summary in summaries if summary.floor is not None)
    return min(floors, key=lambda floor: floor.seconds, default=None)


def _with_doubts_about_kernels(
    summaries: Sequence[Summary], baseline: Run, floor: DecodeFloor | None, roles: Roles
) -> tuple[Summary, ...]:
    """``summaries`` with the doubt about hand-written kernels in decode beside a baseline without any."""
    by_hand = ImplementationKind.KERNELS
    if baseline.workload.phase is not Phase.DECODE or roles.kind(baseline.workload) is by_hand:
        return tuple(summaries)
    reference = next(summary for summary in summaries if summary.run is baseline)
    doubt = hand_written(reference, None if floor is None else floor.seconds)
    return tuple(
        replace(summary, doubts=(*summary.doubts, doubt)) if roles.kind(summary.workload) is by_hand else summary
        for summary in summaries
    )


def _doubts_of_reference(run: Run, reference: Run | None) -> tuple[Doubt, ...]:
    """What the reference's own record of the same process says against the run."""
    if reference is None or reference.reference.key != run.reference.key:
        return ()
    found = noisy_machine(reference), unsteady_reference(run, reference)
    return tuple(doubt for doubt in found if doubt is not None)


def _usable(runs: Sequence[Run], sessions: Sequence[Session], problems: list[str]) -> list[Run]:
    """One run of each workload on the machine that is told of, in the order the workloads first appear.

    It is the latest, or where fresh processes measured windows the latest of those, which stands for all. Layers that
    were measured in another environment alone follow (``_from_elsewhere``).
    """
    if not runs:
        return []
    newest = told_of(runs, sessions)
    machines: dict[MachineKey, list[Run]] = {}
    for run in runs:
        machines.setdefault(machine_of(run.environment), []).append(run)
    here = machines.pop(machine_of(newest.environment))
    sources = [here, *_from_elsewhere(here, list(machines.values()), sessions, problems)]
    in_fleet = any(s.fleet is not None and s.session_id == newest.session_id for s in sessions)
    why = "most of the fleet's runs were" if in_fleet else "the latest run was"
    joining = {id(run) for source in sources for run in source}
    for others in machines.values():
        count = sum(id(run) not in joining for run in others)
        if count:
            problems.append(
                f"{count} run{'s' if count > 1 else ''} measured on {machine_name(others[0].environment)} "
                f"{'are' if count > 1 else 'is'} left out, because {why} on {machine_name(newest.environment)}; "
                f"{'they are' if count > 1 else 'it is'} in the table by machine"
            )
    chosen: dict[str, tuple[Run, list[Run]]] = {}
    for source in sources:
        for run in source:
            known = chosen.get(run.workload.key)
            if known is None or takes_precedence(run, known[0]):
                chosen[run.workload.key] = run, source
    one_size = _one_size_a_layer([run for run, _ in chosen.values()], problems)
    joined = [join_windows(run, chosen[run.workload.key][1], problems) if has_windows(run) else run for run in one_size]
    mixed = [commits for run in joined if len(commits := _commits(run)) > 1]
    if mixed:
        named = ", ".join(sorted({_short(commit) for commits in mixed for commit in commits}))
        problems.append(
            f"processes of several commits ({named}) are joined in {len(mixed)} workload{'s' if len(mixed) > 1 else ''}"
        )
    return joined


def _from_elsewhere(
    here: Sequence[Run], others: Sequence[list[Run]], sessions: Sequence[Session], problems: list[str]
) -> list[list[Run]]:
    """Runs of layers that only another environment on the same kind of device has, the latest environment first.

    Libraries whose layers are compared cannot always be installed together. Such a run counts with its ratio to the
    reference beside it there, which must have been measured here, too; its time is that ratio times the time here.
    """
    device = (here[0].environment.device_kind, here[0].environment.device_name)
    missing = joining_layers(here, sessions)
    measured = {run.workload.key for run in here}
    found = []
    for runs in sorted(others, key=lambda runs: max(run.started_at for run in runs), reverse=True):
        environment = runs[0].environment
        if (environment.device_kind, environment.device_name) != device:
            continue
        joining = [run for run in runs if run.workload.spec.layer in missing and run.reference.key in measured]
        if not joining:
            continue
        layers = sorted({run.workload.spec.layer for run in joining})
        missing -= set(layers)
        found.append(joining)
        problems.append(
            f"{' and '.join(layers)} {'were' if len(layers) > 1 else 'was'} measured on {machine_name(environment)} "
            f"alone: ratios are to the reference measured there, times are those ratios times the reference's here, on "
            f"{machine_name(here[0].environment)}"
        )
    return found


def _commits(run: Run) -> set[str]:
    """What measured it, as far as that is known."""
    return {one.environment.git_commit for one in processes_of(run) if one.environment.git_commit is not None}


def _short(commit: str) -> str:
    name, dash, changed = commit.partition("-")
    return f"{name[:12]}{dash}{changed}"


def _one_size_a_layer(runs: list[Run], problems: list[str]) -> list[Run]:
    """Runs of the sizes each layer was last measured in: small and large models share points, but not a comparison."""
    newest: dict[str, Run] = {}
    for run in runs:
        layer = run.workload.spec.layer
        if layer not in newest or run.started_at >= newest[layer].started_at:
            newest[layer] = run
    sizes = {layer: _size(run.workload.spec) for layer, run in newest.items()}
    kept = [run for run in runs if _size(run.workload.spec) == sizes[run.workload.spec.layer]]
    if len(kept) < len(runs):
        count = len(runs) - len(kept)
        problems.append(
            f"{count} run{'s' if count > 1 else ''} of other model sizes than the latest "
            f"{'are' if count > 1 else 'is'} left out; report each size by itself"
        )
    return kept


def _size(spec: LayerSpec) -> tuple[int | str, ...]:
    return (
        spec.model_dim,
        spec.heads,
        spec.head_dim,
        spec.depth,
        spec.hidden_dim,
        spec.vocabulary_size,
        spec.activation,
    )


def _point_order(point: Point) -> tuple[int, int, int, str, int]:
    return (
        _PHASES.index(point.phase),
        _DTYPES.index(point.dtype),
        point.batch_size,
        point.scope.value,
        point.sequence_length,
    )
