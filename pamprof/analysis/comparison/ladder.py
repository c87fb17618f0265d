"""The ladder: what stands between the reference and the subject's best code, each factor credited to its cause.

reference (fastest execution) -> the subject's twin over real numbers (architecture) -> the same work in the subject's
arithmetic at the twin's efficiency (counted) -> published code, eager as its authors run it -> the same code in its
fastest execution (compiler and graph) -> other code in plain torch (layout) -> hand-written kernels. A subject that
declares no published code starts with its first implementation instead. Measured factors come from one additive scale
(see ``pairing.time_ratio``), so their product is the measured end ratio exactly. A step that was not measured is named
in ``missing`` and the next spans its place, and so is one that wins nothing; but the subject's best arm, which the rest
of a report is about, always has its step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.comparison.comparisons import counted_ratio
from pamprof.analysis.comparison.names import execution_label
from pamprof.analysis.comparison.pairing import fastest, time_ratio
from pamprof.analysis.comparison.results import Basis, Ladder, LadderStep, StepKind
from pamprof.records import Execution, ImplementationKind, Interval
from pamprof.statistics import Verdict, verdict
from pamprof.units import ratio, significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.analysis.comparison.names import Names
    from pamprof.analysis.comparison.roles import Roles
    from pamprof.records import Run, Skip, Workload


class _Builder:
    """Steps so far: ``standing`` is the last measured arm, ``pending`` the counted factor laid on top of it."""

    def __init__(self, baseline: Run, names: Names) -> None:
        self.baseline = baseline
        self.names = names
        self.standing = baseline
        self.pending = 1.0
        self.missing: list[str] = []
        name, execution = names.title(baseline.workload.spec.layer), execution_label(baseline.workload.execution)
        self.steps = [
            LadderStep(
                kind=StepKind.BASELINE,
                label=name,
                explanation=f"The {name} in its fastest execution measured here ({execution}).",
                factor=Interval.exact(1.0),
                cumulative=Interval.exact(1.0),
                basis=Basis.MEASURED,
                workload=baseline.workload,
            )
        ]

    @property
    def has_counted(self) -> bool:
        """Whether a counted factor lies on top of the arm that stands."""
        return self.steps[-1].kind is StepKind.ARITHMETIC

    @property
    def against(self) -> str:
        """What the next arm is held to, in words."""
        other = self.names.title(self.standing.workload.spec.layer)
        if self.has_counted:
            return f"against what its FLOPs would cost at the efficiency of the {other}"
        return f"over the {other}"

    def measured(self, kind: StepKind, label: str, explanation: str, run: Run) -> None:
        """Step onto a measured arm; a counted factor laid before is taken out of its own."""
        self.steps.append(
            LadderStep(
                kind=kind,
                label=label,
                explanation=explanation,
                factor=time_ratio(run, self.standing).interval.scaled(1 / self.pending),
                cumulative=time_ratio(run, self.baseline).interval,
                basis=Basis.MEASURED,
                workload=run.workload,
            )
        )
        self.standing, self.pending = run, 1.0

    def counted(self, label: str, explanation: str, factor: float) -> None:
        """Lay a counted factor on the arm that stands."""
        self.steps.append(
            LadderStep(
                kind=StepKind.ARITHMETIC,
                label=label,
                explanation=explanation,
                factor=Interval.exact(factor),
                cumulative=self.steps[-1].cumulative.scaled(factor),
                basis=Basis.COUNTED,
                workload=None,
            )
        )
        self.pending = factor


def build_ladder(runs: Sequence[Run], skips: Sequence[Skip], baseline: Run, roles: Roles) -> Ladder | None:
    """The ladder of one point; None where the subject or a reference was not measured there."""
    subject = roles.subject
    subjects = [run for run in runs if run.workload.spec.layer == subject]
    if subject is None or not subjects or baseline.workload.spec.layer not in roles.references:
        return None
    builder = _Builder(baseline, roles.names)
    twin = _architecture(builder, runs, skips, roles)
    _arithmetic(builder, subjects, twin, roles)
    by_kind = {kind: [run for run in subjects if roles.kind(run.workload) is kind] for kind in ImplementationKind}
    declared = {implementation.kind for implementation in roles.layers[subject].implementations}
    first = by_kind[ImplementationKind.PUBLISHED]
    if ImplementationKind.PUBLISHED not in declared:
        first = _of_implementation(subjects, _first_measured(subjects, roles))
        _first_code(builder, first, skips, StepKind.CODE, "first code")
    else:
        _first_code(builder, first, skips, StepKind.PUBLISHED, "as published")
        if not first:
            builder.missing.append(f"as published: not measured here{_skip_reason(skips, subject, roles)}")
    best = fastest(subjects)
    _execution(builder, fastest(first), best)
    _layouts(builder, [run for run in by_kind[ImplementationKind.PLAIN] if run not in first], best)
    _kernels(builder, by_kind[ImplementationKind.KERNELS], declared, skips, roles)
    return Ladder(
        point=baseline.workload.point,
        baseline=baseline.workload,
        steps=tuple(builder.steps),
        missing=tuple(builder.missing),
    )


def _architecture(builder: _Builder, runs: Sequence[Run], skips: Sequence[Skip], roles: Roles) -> Run | None:
    """The step onto the twin, whose run is returned; named as missing where a twin exists and was not measured."""
    twin = fastest(run for run in runs if run.workload.spec.layer == roles.twin)
    if twin is not None:
        builder.measured(
            StepKind.ARCHITECTURE,
            "architecture",
            f"The {builder.names.title(twin.workload.spec.layer)}, the same block over real numbers "
            f"({execution_label(twin.workload.execution)}), over the "
            f"{builder.names.title(builder.baseline.workload.spec.layer)}; each in its fastest execution.",
            twin,
        )
        return twin
    skipped = next((s for s in skips if roles.layers[s.workload.spec.layer].twin_of == roles.subject), None)
    reason = f" ({skipped.kind}: {skipped.reason})" if skipped is not None else ""
    builder.missing.append(
        f"architecture: no twin over real numbers was measured here{reason}, so the counted step holds the "
        "architecture too"
    )
    return None


def _arithmetic(builder: _Builder, subjects: Sequence[Run], twin: Run | None, roles: Roles) -> None:
    """The counted step: FLOPs of the subject over those of the arm that stands, cut into chunks alike.

    Chunk lengths belong to an implementation, so beside a twin the subject's implementation of the same name is
    counted. Without one, the published or first implementation is.
    """
    standing = builder.standing
    alike = _of_implementation(subjects, twin.workload.implementation) if twin is not None else []
    counted = (alike or _of_implementation(subjects, _first_measured(subjects, roles)))[0]
    factor = counted_ratio(counted, standing)
    if factor is None:
        builder.missing.append(f"arithmetic: {_uncounted(builder, counted, standing)}, so the next step holds it too")
        return
    other = builder.names.title(standing.workload.spec.layer)
    is_complex = twin is not None and roles.layers[counted.workload.spec.layer].complex_valued
    builder.counted(
        "complex arithmetic" if is_complex else "arithmetic",
        f"Counted matrix FLOPs of {builder.names.implementation(counted.workload)} over those of the {other}, at the "
        f"FLOP/s that the {other} reaches.",
        factor,
    )
    if twin is not None and not alike:
        builder.missing.append(
            "arithmetic: the subject was not measured in the twin's implementation, so chunk lengths may differ in the "
            "counted step"
        )


def _uncounted(builder: _Builder, *runs: Run) -> str:
    """Why the FLOPs of two arms have no ratio, in words."""
    for run in runs:
        name = builder.names.in_sentence(run.workload)
        if not run.flops.complete:
            operators = ", ".join(item.operator for item in run.flops.uncounted_operators)
            return f"the FLOPs of {name} are incomplete ({operators or 'operators without a formula'})"
    return "an arm has no matrix FLOPs"


def _first_code(builder: _Builder, first: Sequence[Run], skips: Sequence[Skip], kind: StepKind, label: str) -> None:
    """The step onto the published (or first) code, eager where that was measured."""
    eager = next((run for run in first if run.workload.execution is Execution.EAGER), None)
    run = eager or fastest(first)
    if run is None:
        return
    how = execution_label(run.workload.execution)
    if eager is None:
        skipped = [s for s in skips if _is_eager_form(s.workload, run.workload)]
        reason = f" ({skipped[0].kind}: {skipped[0].reason})" if skipped else ""
        builder.missing.append(f"{label}: not measured in eager execution{reason}; {how} stands in for it")
    against, causes = "against what its FLOPs would cost at equal efficiency", "launches"
    if not builder.has_counted:
        against, causes = builder.against, "arithmetic, launches"
    builder.measured(
        kind,
        label,
        f"{builder.names.in_sentence(run.workload)} {against}: {causes}, copies and kernels that leave the device "
        "idle.",
        run,
    )


def _execution(builder: _Builder, run: Run | None, best: Run | None) -> None:
    if run is None or run is builder.standing:
        return
    how = execution_label(run.workload.execution)
    if run is best or _is_faster(builder, run, f"{run.workload.implementation}, {how}"):
        builder.measured(
            StepKind.EXECUTION,
            "compiler and graph",
            f"{builder.names.implementation(run.workload)} in its fastest execution ({how}) over "
            f"{execution_label(builder.standing.workload.execution)}.",
            run,
        )


def _layouts(builder: _Builder, plain: Sequence[Run], best: Run | None) -> None:
    """Other code in plain torch, from the slowest to the fastest, without what the next faster cannot be told from."""
    names = dict.fromkeys(run.workload.implementation for run in plain)
    kept: list[Run] = []
    for run in sorted(
        (run for name in names if (run := _best_of(plain, name))),
        key=lambda run: time_ratio(run, builder.baseline).interval.median,
    ):
        interval = time_ratio(kept[-1], run).interval if kept else None
        if interval is None or verdict(interval) is Verdict.FASTER:
            kept.append(run)
        else:
            builder.missing.append(
                f"{run.workload.implementation}: not told from {kept[-1].workload.implementation}, which takes "
                f"{_written(interval)} of its time"
            )
    for run in reversed(kept):
        if run is best or _is_faster(builder, run, run.workload.implementation):
            _improve(builder, StepKind.LAYOUT, f"layout: {run.workload.implementation}", run)


def _kernels(
    builder: _Builder,
    kernels: Sequence[Run],
    declared: set[ImplementationKind],
    skips: Sequence[Skip],
    roles: Roles,
) -> None:
    """Last whatever they win: what is left when nothing is left to a compiler is what the ladder is climbed for."""
    run = fastest(kernels)
    if run is not None:
        _improve(builder, StepKind.KERNELS, "hand-written kernels", run)
    elif ImplementationKind.KERNELS in declared and roles.subject is not None:
        reason = _skip_reason(skips, roles.subject, roles, ImplementationKind.KERNELS)
        builder.missing.append(f"hand-written kernels: not measured here{reason}")


def _improve(builder: _Builder, kind: StepKind, label: str, run: Run) -> None:
    """A step onto other code; onto the first measured one where no other code of the subject stands below it."""
    names, before = builder.names, builder.standing.workload
    if before.spec.layer == run.workload.spec.layer:
        explanation = (
            f"{names.in_sentence(run.workload)} over {names.in_sentence(before)}, each in its fastest execution."
        )
    else:
        explanation = f"{names.in_sentence(run.workload)} {builder.against}."
    builder.measured(kind, label, explanation, run)


def _is_faster(builder: _Builder, run: Run, label: str) -> bool:
    """Whether a step is worth its place; one that is not is named with its factor."""
    if builder.standing.workload.spec.layer != run.workload.spec.layer:
        return True
    interval = time_ratio(run, builder.standing).interval
    if verdict(interval) is Verdict.FASTER:
        return True
    builder.missing.append(f"{label}: wins nothing here, {_written(interval)} of the step before it")
    return False


def _written(interval: Interval) -> str:
    return f"{ratio(interval.median)} [{significant(interval.low)}, {significant(interval.high)}]"


def _first_measured(subjects: Sequence[Run], roles: Roles) -> str:
    """The published implementation where it was measured, otherwise the first declared one that was."""
    measured = {run.workload.implementation for run in subjects}
    declared = [i for i in roles.layers[subjects[0].workload.spec.layer].implementations if i.name in measured]
    ordered = sorted(declared, key=lambda i: i.kind is not ImplementationKind.PUBLISHED)
    return ordered[0].name


def _of_implementation(runs: Sequence[Run], implementation: str) -> list[Run]:
    return [run for run in runs if run.workload.implementation == implementation]


def _best_of(runs: Sequence[Run], implementation: str) -> Run | None:
    return fastest(_of_implementation(runs, implementation))


def _is_eager_form(workload: Workload, other: Workload) -> bool:
    return (workload.spec.layer, workload.implementation, workload.execution) == (
        other.spec.layer,
        other.implementation,
        Execution.EAGER,
    )


def _skip_reason(
    skips: Sequence[Skip], layer: str, roles: Roles, kind: ImplementationKind = ImplementationKind.PUBLISHED
) -> str:
    """``": reason"`` in brackets where a skip explains an absence, else nothing."""
    for skip in skips:
        if skip.workload.spec.layer == layer and roles.kind(skip.workload) is kind:
            return f" ({skip.kind}: {skip.reason})"
    return ""
