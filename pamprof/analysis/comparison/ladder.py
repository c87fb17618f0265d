"""The ladder: what stands between the transformer and PAM, one factor at a time.

transformer (fastest execution) -> the real twin (architecture) -> the same work in complex numbers at the twin's
efficiency (arithmetic, counted) -> as published (how the published code runs, eager) -> what other executions and
implementations win back, and at the end kernels written by hand. Measured factors come from one additive scale (see
``pairing.time_ratio``), so their product is the measured end ratio exactly. A rung that was not measured is named in
``missing`` and the next spans its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamprof.analysis.comparison.names import (
    FUSED,
    PAM,
    PLANAR,
    PUBLISHED,
    TRANSFORMER,
    TWIN,
    execution_label,
    implementation_label,
    layer_title,
)
from pamprof.analysis.comparison.pairing import fastest, time_ratio
from pamprof.analysis.comparison.results import Basis, Ladder, LadderStep, StepKind
from pamprof.records import Execution, Interval
from pamprof.statistics import Verdict, verdict
from pamprof.units import ratio, significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pamprof.records import Run, Skip


class _Builder:
    """Rungs so far: ``standing`` is the last measured arm, ``pending`` the counted factor laid on top of it."""

    def __init__(self, baseline: Run) -> None:
        self.baseline = baseline
        self.standing = baseline
        self.pending = 1.0
        self.missing: list[str] = []
        name, execution = layer_title(baseline.workload.spec.layer), execution_label(baseline.workload.execution)
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


def build_ladder(runs: Sequence[Run], skips: Sequence[Skip], baseline: Run) -> Ladder | None:
    """The ladder of one point; None where no PAM or no transformer was measured there."""
    pam = [run for run in runs if run.workload.spec.layer == PAM]
    if not pam or baseline.workload.spec.layer != TRANSFORMER:
        return None
    builder = _Builder(baseline)
    _architecture(builder, runs, skips)
    published = [run for run in pam if run.workload.implementation == PUBLISHED]
    planar = [run for run in pam if run.workload.implementation == PLANAR]
    _arithmetic(builder, (published or planar or pam)[0])
    _published(builder, published, skips)
    _improvements(builder, pam, published, skips)
    return Ladder(
        point=baseline.workload.point,
        baseline=baseline.workload,
        steps=tuple(builder.steps),
        missing=tuple(builder.missing),
    )


def _architecture(builder: _Builder, runs: Sequence[Run], skips: Sequence[Skip]) -> None:
    twin = fastest(run for run in runs if run.workload.spec.layer == TWIN)
    if twin is None:
        reason = _skip_reason(skips, TWIN)
        builder.missing.append(
            f"architecture: the real twin was not measured here{reason}, so the counted step holds the architecture too"
        )
        return
    builder.measured(
        StepKind.ARCHITECTURE,
        "architecture",
        f"The real twin, the same block over real numbers ({execution_label(twin.workload.execution)}), "
        f"over the transformer; each in its fastest execution.",
        twin,
    )


def _arithmetic(builder: _Builder, counted: Run) -> None:
    standing = builder.standing
    factor = counted.flops.matrix_flop_count / standing.flops.matrix_flop_count
    other = layer_title(standing.workload.spec.layer)
    label = "complex arithmetic" if standing.workload.spec.layer == TWIN else "arithmetic"
    builder.counted(
        label,
        f"Counted matrix FLOPs of {implementation_label(counted.workload)} over those of the {other}, at the FLOP/s "
        f"that the {other} reaches.",
        factor,
    )
    if not (counted.flops.complete and standing.flops.complete):
        builder.missing.append("arithmetic: some operators have no FLOP formula, so the counted factor is approximate")


def _published(builder: _Builder, published: Sequence[Run], skips: Sequence[Skip]) -> None:
    eager = next((run for run in published if run.workload.execution is Execution.EAGER), None)
    run = eager or fastest(published)
    if run is None:
        reason = _skip_reason(skips, PAM, PUBLISHED)
        builder.missing.append(f"as published: the published implementation was not measured here{reason}")
        return
    how = execution_label(run.workload.execution)
    if eager is None:
        reason = _skip_reason(skips, PAM, PUBLISHED, Execution.EAGER)
        builder.missing.append(f"as published: not measured in eager execution{reason}; {how} stands in for it")
    builder.measured(
        StepKind.PUBLISHED,
        "as published",
        f"The published structure ({how}) against what its FLOPs would cost at equal efficiency: launches, copies and "
        "kernels that leave the device idle.",
        run,
    )


def _improvements(builder: _Builder, pam: Sequence[Run], published: Sequence[Run], skips: Sequence[Skip]) -> None:
    best_published = fastest(published)
    if best_published is not None and best_published is not builder.standing:
        how = execution_label(best_published.workload.execution)
        if _is_better(builder, best_published, f"published, {how}"):
            builder.measured(
                StepKind.IMPROVEMENT,
                f"published, {how}",
                f"The published structure in its fastest execution ({how}) over its eager one.",
                best_published,
            )
    by_implementation: dict[str, list[Run]] = {}
    for run in pam:
        if run.workload.implementation != PUBLISHED:
            by_implementation.setdefault(run.workload.implementation, []).append(run)
    candidates = {name: best for name, runs in by_implementation.items() if (best := fastest(runs)) is not None}
    planar, fused = candidates.pop(PLANAR, None), candidates.pop(FUSED, None)
    _improve_or_say(builder, PLANAR, planar, skips)
    # From the slowest to the fastest, so that each one that is better than all before it gets its rung.
    anchor = builder.baseline
    ordered = sorted(candidates.values(), key=lambda run: -time_ratio(run, anchor).interval.median)
    for run in ordered:
        if _is_better(builder, run, run.workload.implementation):
            _improve(builder, run)
    # Last whatever it wins: what is left when nothing is left to a compiler is what the ladder is climbed for.
    _improve_or_say(builder, FUSED, fused, skips)


def _improve_or_say(builder: _Builder, name: str, run: Run | None, skips: Sequence[Skip]) -> None:
    """A rung that every ladder should have, or why it is missing."""
    if run is None:
        builder.missing.append(f"{name}: not measured here{_skip_reason(skips, PAM, name)}")
    else:
        _improve(builder, run)


def _improve(builder: _Builder, run: Run) -> None:
    """A rung for another implementation; the first measured one when nothing published stands below it."""
    how = execution_label(run.workload.execution)
    before = builder.standing.workload
    label = f"{run.workload.implementation}, {how}"
    if before.spec.layer == PAM:
        explanation = (
            f"{implementation_label(run.workload)} ({how}) over {implementation_label(before)} "
            f"({execution_label(before.execution)}), each in its fastest execution."
        )
    else:
        explanation = (
            f"{implementation_label(run.workload)} ({how}) against what its FLOPs would cost at the efficiency of the "
            f"{layer_title(before.spec.layer)}."
        )
    builder.measured(StepKind.IMPROVEMENT, label, explanation, run)


def _is_better(builder: _Builder, run: Run, label: str) -> bool:
    """Whether a rung is worth its place; one that is not is named with its factor."""
    if builder.standing.workload.spec.layer != PAM:
        return True
    interval = time_ratio(run, builder.standing).interval
    if verdict(interval) is Verdict.FASTER:
        return True
    builder.missing.append(
        f"{label}: wins nothing here, {ratio(interval.median)} "
        f"[{significant(interval.low)}, {significant(interval.high)}] of the step before it"
    )
    return False


def _skip_reason(
    skips: Sequence[Skip], layer: str, implementation: str | None = None, execution: Execution | None = None
) -> str:
    """``": reason"`` in brackets where a skip explains an absence, else nothing."""
    for skip in skips:
        workload = skip.workload
        if (
            workload.spec.layer == layer
            and implementation in {None, workload.implementation}
            and execution in {None, workload.execution}
        ):
            return f" ({skip.kind}: {skip.reason})"
    return ""
