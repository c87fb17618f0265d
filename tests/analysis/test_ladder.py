from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.results import Basis, Ladder, StepKind
from pamprof.records import Execution, Phase
from tests.synthetic import synthetic_records, with_fused

if TYPE_CHECKING:
    from pamprof.records import Run
    from pamprof.records.store import RecordFile


def ladder_of(records: RecordFile, phase: Phase, batch_size: int) -> Ladder:
    found = next(
        p.ladder for p in analyse(records).points if (p.point.phase, p.point.batch_size) == (phase, batch_size)
    )
    assert found is not None
    return found


def without(
    records: RecordFile, layer: str, implementation: str | None = None, execution: Execution | None = None
) -> RecordFile:
    kept = tuple(
        run
        for run in records.runs
        if not (
            run.workload.spec.layer == layer
            and implementation in {None, run.workload.implementation}
            and execution in {None, run.workload.execution}
        )
    )
    return replace(records, runs=kept)


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_factors_multiply_to_the_measured_end_ratio(device: str) -> None:
    for point in analyse(synthetic_records(device)).points:  # type: ignore[arg-type]
        assert point.ladder is not None
        last = point.ladder.steps[-1]
        end = next(c for c in point.comparisons if c.subject == last.workload)
        assert prod(step.factor.median for step in point.ladder.steps) == pytest.approx(end.time_ratio.median)
        running = 1.0
        for step in point.ladder.steps:
            running *= step.factor.median
            assert step.cumulative.median == pytest.approx(running)


def test_rungs_stand_in_order() -> None:
    ladder = ladder_of(synthetic_records(), Phase.TRAIN, 18)
    assert [step.kind for step in ladder.steps] == [
        StepKind.BASELINE,
        StepKind.ARCHITECTURE,
        StepKind.ARITHMETIC,
        StepKind.PUBLISHED,
        StepKind.EXECUTION,
        StepKind.LAYOUT,
        StepKind.LAYOUT,
    ]
    assert [step.label for step in ladder.steps[3:]] == [
        "as published",
        "compiler and graph",
        "layout: planar",
        "layout: gauss",
    ]
    assert ladder.missing == ("hand-written kernels: not measured here",)


def test_hand_written_kernels_are_the_last_rung_at_every_point() -> None:
    records = with_fused(synthetic_records())
    for point in analyse(records).points:
        assert point.ladder is not None
        last, before = point.ladder.steps[-1], point.ladder.steps[-2]
        assert last.label == "hand-written kernels"
        assert last.workload is not None
        assert last.workload.implementation == "fused"
        assert last.cumulative.median == pytest.approx(before.cumulative.median * last.factor.median)
        assert "kernels" not in " ".join(point.ladder.missing)
        end = next(c for c in point.comparisons if c.subject == last.workload)
        assert prod(step.factor.median for step in point.ladder.steps) == pytest.approx(end.time_ratio.median)


def test_kernels_that_win_nothing_keep_their_rung() -> None:
    ladder = ladder_of(with_fused(synthetic_records(), 2.0), Phase.TRAIN, 18)
    assert ladder.steps[-1].label == "hand-written kernels"
    assert ladder.steps[-1].factor.low > 1


def test_fused_that_cannot_run_is_missing_with_its_reason() -> None:
    records = synthetic_records()
    skip = records.skips[0]
    workload = replace(skip.workload, implementation="fused")
    skipped = replace(skip, workload=workload, reason="it needs a CUDA device")
    ladder = ladder_of(replace(records, skips=(*records.skips, skipped)), workload.phase, workload.batch_size)
    assert "hand-written kernels: not measured here (unsupported: it needs a CUDA device)" in ladder.missing


def test_arithmetic_is_counted_and_everything_else_measured() -> None:
    ladder = ladder_of(synthetic_records(), Phase.TRAIN, 18)
    for step in ladder.steps:
        counted = step.kind is StepKind.ARITHMETIC
        assert (step.basis is Basis.COUNTED) == counted
        assert (step.workload is None) == counted
        assert step.explanation.endswith(".")
    arithmetic = ladder.steps[2]
    assert arithmetic.factor.low == arithmetic.factor.high == pytest.approx(1.70, abs=0.01)


def test_step_that_wins_nothing_is_named_with_its_factor() -> None:
    ladder = ladder_of(synthetic_records("cpu"), Phase.TRAIN, 2)
    assert [step.label for step in ladder.steps][-1] == "layout: planar"
    assert any(text.startswith("complex: wins nothing here, 0.9") for text in ladder.missing)


def with_equal(records: RecordFile, implementation: str, other: str, factor: float) -> RecordFile:
    """``records`` where one implementation takes ``factor`` of another's time, in the executions that the other has."""
    pam = [run for run in records.runs if run.workload.spec.layer == "pam"]
    timings = {(r.workload.point, r.workload.execution): r.timing for r in pam if r.workload.implementation == other}

    def equal(run: Run) -> Run | None:
        if (run.workload.spec.layer, run.workload.implementation) != ("pam", implementation):
            return run
        timing = timings.get((run.workload.point, run.workload.execution))
        if timing is None:
            return None
        samples = tuple(factor * seconds for seconds in timing.wall_time_seconds)
        return replace(run, timing=replace(timing, wall_time_seconds=samples))

    return replace(records, runs=tuple(kept for run in records.runs if (kept := equal(run)) is not None))


@pytest.mark.parametrize("factor", [0.999, 1.001])
@pytest.mark.parametrize("other", ["gauss", "published"])
def test_the_ladder_ends_at_the_best_arm_that_cannot_be_told_from_another(other: str, factor: float) -> None:
    records = with_equal(synthetic_records(), "planar", other, factor)
    if other == "published":
        records = without(without(records, "pam", "gauss"), "pam", "complex")
    point = next(p for p in analyse(records).points if (p.point.phase, p.point.batch_size) == (Phase.TRAIN, 3))
    assert point.ladder is not None
    subjects = [c for c in point.comparisons if c.subject.spec.layer == "pam"]
    best = min(subjects, key=lambda c: c.time_ratio.median)
    assert point.ladder.steps[-1].workload == best.subject
    assert point.ladder.steps[-1].cumulative == best.time_ratio
    slower = other if factor < 1 else "planar"
    if other == "gauss":
        untold = f"{slower}: not told from {best.subject.implementation}"
        assert any(text.startswith(untold) for text in point.ladder.missing)


def test_without_the_twin_the_counted_step_holds_the_architecture_too() -> None:
    records = without(synthetic_records(), "real_pam")
    ladder = ladder_of(records, Phase.TRAIN, 18)
    assert [step.kind for step in ladder.steps[:3]] == [StepKind.BASELINE, StepKind.ARITHMETIC, StepKind.PUBLISHED]
    assert ladder.steps[1].factor.median == pytest.approx(1.54, abs=0.005)
    assert ladder.missing[0].startswith("architecture: no twin over real numbers was measured here")


def test_without_published_the_first_implementation_spans_its_place() -> None:
    ladder = ladder_of(without(synthetic_records(), "pam", "published"), Phase.TRAIN, 18)
    assert StepKind.PUBLISHED not in [step.kind for step in ladder.steps]
    assert ladder.steps[3].label == "layout: planar"
    assert "efficiency of the real twin" in ladder.steps[3].explanation
    assert any(text.startswith("as published: not measured here") for text in ladder.missing)


def test_published_without_eager_lets_another_execution_stand_in() -> None:
    records = without(synthetic_records(), "pam", "published", Execution.EAGER)
    ladder = ladder_of(records, Phase.TRAIN, 18)
    published = next(step for step in ladder.steps if step.kind is StepKind.PUBLISHED)
    assert published.workload is not None
    assert published.workload.execution is Execution.COMPILED
    assert any("compiled stands in" in text for text in ladder.missing)


def test_absence_is_explained_by_the_skip_that_caused_it() -> None:
    records = synthetic_records()
    skip = records.skips[0]
    missing = replace(skip, workload=replace(skip.workload, execution=Execution.EAGER), reason="the gate said no")
    thinned = replace(without(records, "pam", "published"), skips=(missing,))
    ladder = ladder_of(thinned, Phase.TRAIN, 3)
    assert any("the gate said no" in text for text in ladder.missing)


def test_no_ladder_without_anything_beside_the_reference() -> None:
    alone = without(without(synthetic_records(), "pam"), "real_pam")
    assert all(point.ladder is None for point in analyse(alone).points)


def test_a_twin_measured_without_its_original_is_the_subject_of_a_ladder_of_its_own() -> None:
    ladder = ladder_of(without(synthetic_records(), "pam"), Phase.TRAIN, 18)
    assert [step.kind for step in ladder.steps][:3] == [StepKind.BASELINE, StepKind.ARITHMETIC, StepKind.CODE]


def test_the_counted_step_compares_equal_chunk_lengths() -> None:
    records = synthetic_records()
    runs = tuple(
        replace(run, flops=replace(run.flops, matrix_flop_count=2 * run.flops.matrix_flop_count))
        if run.workload.implementation == "published"
        else run
        for run in records.runs
    )
    ladder = ladder_of(replace(records, runs=runs), Phase.TRAIN, 18)
    before = ladder_of(records, Phase.TRAIN, 18)
    assert ladder.steps[2].factor == before.steps[2].factor  # the twin's implementation is counted, not the published


def test_incomplete_count_takes_the_counted_step_off_the_ladder() -> None:
    records = synthetic_records()
    runs = tuple(
        replace(run, flops=replace(run.flops, complete=False)) if run.workload.implementation == "planar" else run
        for run in records.runs
    )
    ladder = ladder_of(replace(records, runs=runs), Phase.TRAIN, 18)
    assert all(step.kind is not StepKind.ARITHMETIC for step in ladder.steps)
    assert any(text.startswith("arithmetic: the FLOPs of PAM planar") for text in ladder.missing), ladder.missing
    assert "over the real twin: arithmetic, launches" in ladder.steps[2].explanation, ladder.steps[2].explanation
    whole = ladder_of(records, Phase.TRAIN, 18)
    assert ladder.steps[-1].cumulative == whole.steps[-1].cumulative
