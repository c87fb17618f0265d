from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.comparisons import compare
from pamprof.analysis.comparison.pairing import fastest, time_ratio
from pamprof.analysis.comparison.results import Verdict
from pamprof.records import Dtype, Execution, OperatorCount, Phase, Run, Session, Workload
from pamprof.records.store import RecordFile
from pamprof.statistics import chained_ratio_interval, ratio_interval
from tests.synthetic import synthetic_records, synthetic_run, synthetic_session, synthetic_workload


def records_of(*runs: Run) -> RecordFile:
    return recorded(synthetic_session(), *runs)


def recorded(session: Session, *runs: Run) -> RecordFile:
    return RecordFile(sessions=(session,), runs=runs, skips=(), problems=())


TRANSFORMER = synthetic_workload("transformer")
PLANAR = synthetic_workload("pam", "planar")


def reference_run(**changes: object) -> Run:
    run = synthetic_run(TRANSFORMER, step_seconds=0.085, reference=TRANSFORMER)
    return replace(run, **changes)  # type: ignore[arg-type]


def test_points_come_in_the_order_train_prefill_decode() -> None:
    records = synthetic_records()
    shuffled = replace(records, runs=tuple(reversed(records.runs)))
    points = [analysis.point for analysis in analyse(shuffled).points]
    assert [point.phase for point in points] == [Phase.TRAIN] * 2 + [Phase.PREFILL] * 3 + [Phase.DECODE] * 4
    assert [point.batch_size for point in points[:2]] == [3, 18]
    assert points[4].dtype is Dtype.FLOAT32


def test_baseline_is_the_fastest_execution_of_the_transformer() -> None:
    for point in analyse(synthetic_records()).points:
        assert point.baseline.workload.spec.layer == "transformer"
        assert point.baseline.workload.execution is Execution.GRAPH
        assert len(point.comparisons) == len(point.summaries) - 1


def test_latest_run_of_a_repeated_workload_counts() -> None:
    old = synthetic_run(PLANAR, step_seconds=0.2)
    new = replace(synthetic_run(PLANAR, step_seconds=0.1), started_at="2026-11-22T13:00:00+00:00")
    for runs in ((reference_run(), old, new), (reference_run(), new, old)):
        (point,) = analyse(records_of(*runs)).points
        (comparison,) = point.comparisons
        assert comparison.time_ratio.median == pytest.approx(0.1 / 0.085, rel=0.02)


def test_reference_as_baseline_is_compared_by_its_own_pairs() -> None:
    subject, reference = synthetic_run(PLANAR), reference_run()
    expected = ratio_interval(subject.timing.wall_time_seconds, subject.timing.reference_wall_time_seconds)
    assert time_ratio(subject, reference).interval == expected
    backward = time_ratio(reference, subject).interval
    assert backward.median == pytest.approx(1 / expected.median)


def test_two_arms_are_compared_through_their_common_reference() -> None:
    twin = synthetic_run(synthetic_workload("real_pam"), step_seconds=0.09)
    subject = synthetic_run(PLANAR, step_seconds=0.18)
    found = time_ratio(subject, twin)
    assert found.paired
    assert found.interval == chained_ratio_interval(
        subject.timing.wall_time_seconds,
        subject.timing.reference_wall_time_seconds,
        twin.timing.wall_time_seconds,
        twin.timing.reference_wall_time_seconds,
    )
    assert found.interval.low < 2.0 < found.interval.high


def test_another_worker_is_marked_as_not_paired() -> None:
    subject = replace(synthetic_run(PLANAR), group_id="group-1")
    assert not time_ratio(subject, reference_run()).paired
    stranger = replace(subject, reference=synthetic_workload("real_pam"))
    assert not time_ratio(stranger, reference_run()).paired


def test_cost_ratio_is_flop_ratio_times_efficiency_ratio() -> None:
    for point in analyse(synthetic_records()).points:
        for comparison in point.comparisons:
            product = comparison.flop_ratio * comparison.efficiency_ratio.median
            assert product == pytest.approx(comparison.time_ratio.median)


def test_published_training_flop_ratio_is_one_and_a_half() -> None:
    point = analyse(synthetic_records()).points[1]
    published = next(c for c in point.comparisons if c.subject.implementation == "published")
    assert published.flop_ratio == pytest.approx(1.54, abs=0.005)
    assert published.verdict is Verdict.SLOWER


def test_same_execution_comparisons_pair_graph_with_graph() -> None:
    point = analyse(synthetic_records()).points[0]
    assert point.same_execution
    for comparison in point.same_execution:
        assert comparison.baseline.spec.layer == "transformer"
        assert comparison.baseline.execution is comparison.subject.execution


def test_fastest_prefers_the_first_of_equals_and_knows_an_empty_list() -> None:
    first, second = synthetic_run(PLANAR), synthetic_run(replace(PLANAR, execution=Execution.GRAPH))
    same = replace(second, timing=first.timing)
    assert fastest([first, same]) is first
    assert fastest([]) is None


def test_runs_of_another_machine_are_left_out_and_named() -> None:
    other = replace(synthetic_run(PLANAR, device_name="NVIDIA H100 PCIe"), started_at="2026-11-21T00:00:00+00:00")
    analysis = analyse(records_of(other, reference_run()))
    assert len(analysis.points) == 1
    assert len(analysis.points[0].summaries) == 1
    assert "1 run measured on NVIDIA H100 PCIe" in analysis.problems[0]


def elsewhere(workload: Workload, *, torch_version: str, step_seconds: float, reference_seconds: float) -> Run:
    """A run of an older environment on the same GPU, where the reference took ``reference_seconds``."""
    run = synthetic_run(
        workload,
        wall_time_seconds=(step_seconds,) * 8,
        reference_wall_time_seconds=(reference_seconds,) * 8,
        reference=TRANSFORMER,
    )
    environment = replace(run.environment, torch_version=torch_version, driver_version="570.1")
    return replace(run, environment=environment, started_at="2026-11-21T00:00:00+00:00", group_id=torch_version)


def test_a_layer_of_another_environment_joins_with_its_ratio_to_the_same_reference() -> None:
    rival = replace(PLANAR, spec=replace(PLANAR.spec, layer="rival"))
    arms = (rival, 0.3, "2.10.0"), (TRANSFORMER, 0.1, "2.10.0"), (PLANAR, 0.9, "2.10.0"), (rival, 0.7, "2.9.0")
    old = [
        elsewhere(workload, torch_version=version, step_seconds=seconds, reference_seconds=0.1)
        for workload, seconds, version in arms
    ]
    old[-1] = replace(old[-1], started_at="2026-11-20T00:00:00+00:00")
    here = (reference_run(), synthetic_run(PLANAR))
    session = synthetic_session()
    facts = next(facts for facts in session.layers if facts.layer == "pam")
    other = replace(session, session_id="other", layers=(replace(facts, layer="rival", title="Rival"),))
    analysis = analyse([recorded(session, *here), recorded(other, *old)])
    (point,) = analysis.points
    assert point.baseline.run is here[0]
    assert sorted(s.workload.spec.layer for s in point.summaries) == ["pam", "rival", "transformer"]
    comparison = next(c for c in point.comparisons if c.subject.spec.layer == "rival")
    assert comparison.time_ratio.median == pytest.approx(0.3 / 0.1, rel=1e-6)  # 0.1 s there, not the 0.085 s here
    joined, two, one = analysis.problems
    assert joined.startswith(
        "rival was measured on NVIDIA H200 with torch 2.10.0, driver 570.1 alone: ratios are to the"
    )
    assert two.startswith("2 runs measured on NVIDIA H200 with torch 2.10.0")
    assert one.startswith("1 run measured on NVIDIA H200 with torch 2.9.0")


def test_a_layer_of_another_environment_without_the_same_reference_is_left_out() -> None:
    rival = replace(PLANAR, spec=replace(PLANAR.spec, layer="rival"))
    alone = elsewhere(rival, torch_version="2.10.0", step_seconds=0.3, reference_seconds=0.1)
    alone = replace(alone, reference=replace(TRANSFORMER, execution=Execution.COMPILED))
    session = synthetic_session()
    facts = next(facts for facts in session.layers if facts.layer == "pam")
    session = replace(session, layers=(*session.layers, replace(facts, layer="rival")))
    analysis = analyse(recorded(session, alone, reference_run()))
    assert len(analysis.points[0].summaries) == 1
    assert len(analysis.problems) == 1


def test_other_sizes_of_a_layer_are_left_out_and_named() -> None:
    small = synthetic_workload("transformer", preset="tiny")
    old = replace(synthetic_run(small, step_seconds=0.001, reference=small), started_at="2026-11-21T00:00:00+00:00")
    analysis = analyse(records_of(old, reference_run(), synthetic_run(PLANAR)))
    assert analysis.points[0].baseline.workload == TRANSFORMER
    assert len(analysis.points[0].summaries) == 2
    assert analysis.problems == ("1 run of other model sizes than the latest is left out; report each size by itself",)


def test_several_files_make_one_analysis() -> None:
    records = synthetic_records("cpu")
    half = len(records.runs) // 2
    parts = [replace(records, runs=records.runs[:half]), replace(records, runs=records.runs[half:], problems=("torn",))]
    assert analyse(parts).points == analyse(records).points
    assert analyse(parts).problems == ("torn",)


def test_no_records_make_no_conclusions() -> None:
    analysis = analyse(RecordFile(sessions=(), runs=(), skips=(), problems=()))
    assert (analysis.points, analysis.crossovers) == ((), ())


def test_point_without_transformer_takes_what_it_was_paired_with() -> None:
    twin = synthetic_workload("real_pam")
    runs = (synthetic_run(twin, reference=twin, step_seconds=0.1), synthetic_run(PLANAR, reference=twin))
    (point,) = analyse(records_of(*runs)).points
    assert point.baseline.workload.spec.layer == "real_pam"
    assert point.ladder is None


def test_run_without_flops_keeps_its_time_and_ratio_and_is_not_split() -> None:
    run = synthetic_run(PLANAR)
    analysis = analyse(records_of(reference_run(), replace(run, flops=replace(run.flops, matrix_flop_count=0))))
    (point,) = analysis.points
    summary = point.summary_of(PLANAR)
    (comparison,) = point.comparisons
    assert analysis.problems == ()
    assert (summary.flops_per_second.median, summary.model_flops_utilisation, summary.roof) == (0, None, None)
    assert summary.tokens_per_second.median > 0
    assert summary.run.memory.peak_bytes == run.memory.peak_bytes
    assert (comparison.flop_ratio, comparison.efficiency_ratio) == (None, None)
    assert comparison.time_ratio.median == pytest.approx(
        analyse(records_of(reference_run(), run)).points[0].comparisons[0].time_ratio.median
    )


@pytest.mark.parametrize("side", ["subject", "baseline"])
def test_a_ratio_is_split_only_where_both_counts_are_complete(side: str) -> None:
    subject, baseline = synthetic_run(PLANAR), reference_run()
    assert compare(subject, baseline).flop_ratio is not None
    uncounted = OperatorCount(operator="aten::_grouped_mm", count=1)
    incomplete = {
        name: replace(run, flops=replace(run.flops, complete=False, uncounted_operators=(uncounted,)))
        for name, run in (("subject", subject), ("baseline", baseline))
    }
    runs = {"subject": subject, "baseline": baseline, side: incomplete[side]}
    found = compare(runs["subject"], runs["baseline"])
    assert (found.flop_ratio, found.efficiency_ratio) == (None, None)
    assert found.time_ratio == compare(subject, baseline).time_ratio


def test_noise_floor_is_the_reference_against_itself() -> None:
    for point in analyse(synthetic_records()).points:
        assert point.noise_half_width is not None
        assert 0 < point.noise_half_width < 0.05


def test_verdict_needs_more_than_one_sample() -> None:
    subject = synthetic_run(PLANAR, sample_count=1)
    assert compare(subject, reference_run()).verdict is Verdict.INCONCLUSIVE


def test_labels_are_unique_at_each_point() -> None:
    for point in analyse(synthetic_records()).points:
        labels = [summary.label for summary in point.summaries]
        assert len(set(labels)) == len(labels)
        assert "PAM planar · compiled" in labels
