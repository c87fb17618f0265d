"""Windows of fresh processes: the ratios here are derived by hand from constant windows."""

import csv
import io
import random
from dataclasses import replace
from itertools import pairwise
from math import exp, log

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.joined import JoinedRun
from pamprof.analysis.comparison.pairing import time_ratio
from pamprof.analysis.comparison.results import DoubtKind
from pamprof.records import Execution, Phase
from pamprof.records.store import RecordFile
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements_csv
from pamprof.render.formats.markdown import render_markdown
from pamprof.statistics import QuotedRatio
from tests.synthetic import synthetic_records, synthetic_run, synthetic_session, synthetic_workload
from tests.synthetic_windows import in_processes, process_run

POINT = {"phase": Phase.PREFILL, "batch_size": 1, "sequence_length": 16384}
REFERENCE = synthetic_workload("transformer", execution=Execution.GRAPH, **POINT)
PLANAR = synthetic_workload("pam", "planar", Execution.GRAPH, **POINT)
FUSED = synthetic_workload("pam", "fused", Execution.GRAPH, **POINT)
KINDS = {DoubtKind.POWER_COUPLED, DoubtKind.NOT_STATIONARY, DoubtKind.FEW_PROCESSES}


def process(workload, number, *, ratio, reference=2.0, alone=None, count=12, settled=True):
    """Constant windows: the arm takes ``ratio`` times ``reference`` in turn, ``alone`` seconds by itself."""
    return process_run(
        synthetic_run(workload, reference=REFERENCE),
        number,
        paired=(ratio * reference,) * count,
        reference=(reference,) * count,
        alone=None if alone is None else (alone,) * count,
        settled=settled,
    )


def analysed(*runs):
    return analyse(RecordFile(sessions=(synthetic_session(),), runs=runs, skips=(), problems=()))


def at(analysis, workload):
    (point,) = analysis.points
    return point.summary_of(workload), point.comparison_of(workload)


def kinds(summary):
    return {doubt.kind for doubt in summary.doubts} & KINDS


def three(ratios, alone_ratios=(None,) * 3, *, workload=FUSED, own=1.9):
    """Three processes in which the reference takes 2 s in turn and ``own`` alone."""
    return [
        process(workload, number, ratio=ratio, alone=None if alone is None else alone * own)
        for number, (ratio, alone) in enumerate(zip(ratios, alone_ratios, strict=True))
    ]


def references(own=1.9, count=3):
    return [process(REFERENCE, number, ratio=1.0, alone=own) for number in range(count)]


def test_three_processes_are_one_summary_whose_ratio_is_their_geometric_mean() -> None:
    ratios = (0.53, 0.54, 0.55)
    analysis = analysed(*references(own=2.0), *three(ratios, ratios, own=2.0))
    summary, comparison = at(analysis, FUSED)
    assert isinstance(summary.run, JoinedRun)
    assert summary.run.group_id == "process-2"
    assert summary.sample_count == 36
    assert comparison.time_ratio.median == pytest.approx(exp(sum(map(log, ratios)) / 3))
    assert comparison.time_ratio.low < 0.53
    assert comparison.processes.process_count == 3
    assert comparison.processes.quoted is QuotedRatio.PAIRED
    assert not comparison.processes.power_coupled
    # The standard deviation of ln(0.53), ln(0.54), ln(0.55).
    assert comparison.processes.spread_ratio == pytest.approx(0.01852, abs=1e-5)
    assert kinds(summary) == set()


def test_where_power_couples_the_arms_alone_is_quoted_and_times_follow_from_it() -> None:
    analysis = analysed(*references(), *three((0.538, 0.539, 0.540), (0.568, 0.569, 0.570)))
    (point,) = analysis.points
    summary, comparison = at(analysis, FUSED)
    assert comparison.time_ratio.median == pytest.approx(0.569, rel=1e-5)
    assert comparison.processes.paired.median == pytest.approx(0.539, rel=1e-5)
    assert comparison.processes.alone == comparison.time_ratio
    assert comparison.processes.power_coupled
    # The baseline alone takes 1.9 s; a step is 16384 tokens.
    assert point.baseline.step_seconds.median == pytest.approx(1.9)
    assert summary.step_seconds.median == pytest.approx(1.9 * 0.569, rel=1e-5)
    assert summary.tokens_per_second.median == pytest.approx(16384 / (1.9 * 0.569), rel=1e-5)
    (doubt,) = [doubt for doubt in summary.doubts if doubt.kind is DoubtKind.POWER_COUPLED]
    assert "0.539" in doubt.observation
    assert "0.569" in doubt.observation
    assert "alone is quoted" in doubt.observation
    assert doubt.shift_ratio == pytest.approx(0.569 / 0.539 - 1, rel=1e-4)


def test_one_process_holds_what_moves_within_it_and_says_so() -> None:
    analysis = analysed(*references(count=1), process(FUSED, 0, ratio=0.5, alone=0.95))
    summary, comparison = at(analysis, FUSED)
    assert comparison.time_ratio.median == pytest.approx(0.5)
    assert comparison.processes.process_count == 1
    assert comparison.processes.spread_ratio is None
    assert kinds(summary) == {DoubtKind.FEW_PROCESSES}
    assert next(d for d in summary.doubts if d.kind is DoubtKind.FEW_PROCESSES).shift_ratio is None


def test_without_windows_alone_the_paired_ratio_is_quoted_and_times_are_those_in_turn() -> None:
    analysis = analysed(*(replace(r, timing=replace(r.timing, alone_wall_time_seconds=None)) for r in references()),
                        *three((0.5, 0.5, 0.5)))  # fmt: skip
    summary, comparison = at(analysis, FUSED)
    assert comparison.processes.alone is None
    assert comparison.time_ratio.median == pytest.approx(0.5)
    assert summary.step_seconds.median == pytest.approx(0.5 * 2.0)


def test_reference_runs_win_over_other_runs_of_the_same_workload_even_later_ones() -> None:
    later = replace(
        synthetic_run(FUSED, reference=REFERENCE, step_seconds=9.0, reference_step_seconds=1.0),
        started_at="2026-11-30T12:00:00+00:00",
    )
    quick = synthetic_run(PLANAR, reference=REFERENCE, step_seconds=3.0, reference_step_seconds=2.0, sigma=1e-4)
    analysis = analysed(*references(own=2.0), *three((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), own=2.0), later, quick)
    assert at(analysis, FUSED)[1].time_ratio.median == pytest.approx(0.5)
    # A workload that was only measured quickly stands beside them, through the reference of its own process.
    summary, comparison = at(analysis, PLANAR)
    assert comparison.time_ratio.median == pytest.approx(1.5, rel=1e-3)
    assert not comparison.paired
    assert comparison.processes is None
    assert kinds(summary) == set()


def test_two_arms_are_compared_through_the_reference_of_each_process() -> None:
    """A process in which both are slower than in the others by as much moves their ratio by nothing."""
    runs = [*references(), *three((0.4, 0.5, 0.6)), *three((0.8, 1.0, 1.2), workload=PLANAR)]
    summaries = {summary.workload: summary.run for summary in analysed(*runs).points[0].summaries}
    found = time_ratio(summaries[PLANAR], summaries[FUSED])
    assert found.interval.median == pytest.approx(2.0)
    assert found.interval.high / found.interval.low == pytest.approx(1.0, abs=1e-6)
    assert found.paired
    assert found.processes.spread_ratio == pytest.approx(0.0, abs=1e-9)


def test_ratios_multiply_where_one_arm_is_quoted_alone_and_the_other_in_turn() -> None:
    coupled = three((0.538, 0.539, 0.540), (0.568, 0.569, 0.570))
    uncoupled = three((1.1, 1.2, 1.3), (1.12, 1.19, 1.29), workload=PLANAR)
    runs = {s.workload: s.run for s in analysed(*references(), *coupled, *uncoupled).points[0].summaries}
    whole = time_ratio(runs[PLANAR], runs[FUSED])
    steps = [time_ratio(a, b).interval.median for a, b in pairwise((runs[PLANAR], runs[REFERENCE], runs[FUSED]))]
    assert whole.interval.median == pytest.approx(steps[0] * steps[1], rel=1e-12)
    assert whole.processes.quoted is None
    assert whole.processes.power_coupled


def test_two_arms_quoted_alone_have_one_ratio_without_the_error_of_a_reference_in_it() -> None:
    """The reference alone swings by 5 % from window to window; the arms alone do not."""
    swinging = (1.9 * 1.05, 1.9 / 1.05) * 6
    base = [replace(r, timing=replace(r.timing, alone_wall_time_seconds=swinging)) for r in references()]
    fused = three((0.400, 0.400, 0.400), (0.569, 0.570, 0.571))
    planar = three((0.800, 0.800, 0.800), (1.138, 1.140, 1.142), workload=PLANAR)
    analysis = analysed(*base, *fused, *planar)
    runs = {summary.workload: summary.run for summary in analysis.points[0].summaries}
    found = time_ratio(runs[PLANAR], runs[FUSED])
    # 1.138 / 0.569, 1.140 / 0.570 and 1.142 / 0.571 are all 2.
    assert found.interval.median == pytest.approx(2.0, rel=1e-9)
    assert found.interval.high == pytest.approx(found.interval.low, rel=1e-9)
    assert found.processes.quoted is QuotedRatio.ALONE
    assert found.processes.alone == found.interval
    assert found.processes.spread_ratio == pytest.approx(0.0, abs=1e-9)
    assert found.processes.paired.median == pytest.approx(2.0, rel=1e-9)


def test_a_ratio_has_the_processes_of_its_arms_and_not_those_of_the_reference_by_itself() -> None:
    """The reference by itself was measured in two processes, one arm in two, the other in three."""
    two, all_three = three((0.5, 0.5, 0.5), workload=PLANAR)[:2], three((0.5, 0.5, 0.5))
    runs = (*references(count=2), *two, *all_three)
    analysis = analysed(*runs)
    counts = {workload: at(analysis, workload)[1].processes.process_count for workload in (PLANAR, FUSED)}
    assert counts == {PLANAR: 2, FUSED: 3}
    joined = {summary.workload: summary.run for summary in analysis.points[0].summaries}
    assert time_ratio(joined[PLANAR], joined[FUSED]).processes.process_count == 2
    # The doubt, the table and the file count alike.
    assert [kinds(at(analysis, workload)[0]) for workload in counts] == [{DoubtKind.FEW_PROCESSES}, set()]
    records = RecordFile(sessions=(synthetic_session(),), runs=runs, skips=(), problems=())
    written = {row["key"]: row["processes"] for row in csv.DictReader(io.StringIO(measurements_csv(records, analysis)))}
    assert {workload: int(written[workload.key]) for workload in counts} == counts
    text = render_markdown(build_view(records, analysis=analysis))
    assert "reference, 2 processes" in text
    assert "reference, 3 processes" in text


def test_windows_that_rise_are_not_stationary_and_neither_is_a_process_that_had_not_settled() -> None:
    def rising(number):
        run = process(FUSED, number, ratio=1.0, count=18)
        times = tuple(2.0 * (1 + 0.003 * index) for index in range(18))
        return replace(run, timing=replace(run.timing, wall_time_seconds=times))

    base = [process(REFERENCE, number, ratio=1.0, count=18) for number in range(3)]
    assert kinds(at(analysed(*base, *map(rising, range(3))), FUSED)[0]) == {DoubtKind.NOT_STATIONARY}
    unsettled = [process(FUSED, number, ratio=1.5, settled=number > 0) for number in range(3)]
    summary, _ = at(analysed(*references(), *unsettled), FUSED)
    (doubt,) = [doubt for doubt in summary.doubts if doubt.kind is DoubtKind.NOT_STATIONARY]
    assert "1 of 3 processes" in doubt.observation
    assert "over the windows of the ratio the last third is 0 % " in doubt.observation
    assert (doubt.shift_ratio, "transient" in doubt.advice) == (0.0, False)


def test_a_reference_that_was_not_seen_steady_is_judged_by_its_windows_alone() -> None:
    """In turn with itself it has few windows; here its own rise by 2 % over the last third in one process."""
    base = [process(REFERENCE, n, ratio=1.0, count=8, alone=1.9, settled=n > 0) for n in range(3)]
    steady = [replace(r, timing=replace(r.timing, alone_wall_time_seconds=(1.9,) * 20)) for r in base]
    (doubt,) = [d for d in at(analysed(*steady), REFERENCE)[0].doubts if d.kind is DoubtKind.NOT_STATIONARY]
    assert "over the windows alone the last third is 0 % " in doubt.observation
    assert "transient" not in doubt.advice
    rising = tuple(1.9 * (1 + 0.001 * index) for index in range(20))
    moving = [*steady[:2], replace(base[2], timing=replace(base[2].timing, alone_wall_time_seconds=rising))]
    (doubt,) = [d for d in at(analysed(*moving), REFERENCE)[0].doubts if d.kind is DoubtKind.NOT_STATIONARY]
    assert doubt.shift_ratio == pytest.approx(0.0141, abs=2e-4)  # thirds of six windows, fourteen steps apart
    assert "the mean is that of a transient" in doubt.advice


def test_a_process_cut_short_is_left_out_and_named() -> None:
    analysis = analysed(*references(count=3), *three((0.5, 0.5, 0.5)), process(FUSED, 3, ratio=9.0, count=2))
    assert at(analysis, FUSED)[1].processes.process_count == 3
    assert any("1 process with fewer than 4 windows is left out" in problem for problem in analysis.problems)


def test_processes_of_several_commits_are_joined_with_a_sentence() -> None:
    first, *others = three((0.5, 0.5, 0.5))
    older = replace(first, environment=replace(first.environment, git_commit="fedcba9876543210"))
    analysis = analysed(*references(), older, *others)
    assert at(analysis, FUSED)[1].processes.process_count == 3
    assert analysis.problems == ("processes of several commits (0123456789ab, fedcba987654) are joined in 1 workload",)
    changed = replace(first, environment=replace(first.environment, git_commit="0123456789abcdef-dirty"))
    assert analysed(*references(), changed, *others).problems == (
        "processes of several commits (0123456789ab, 0123456789ab-dirty) are joined in 1 workload",
    )
    assert analysed(*references(), first, *others).problems == ()


def test_every_ratio_of_whole_records_follows_from_one_scale() -> None:
    records = in_processes(synthetic_records("cuda"), random.Random(1), coupling=0.03)
    for point in analyse(records).points:
        for comparison in point.comparisons:
            summary = point.summary_of(comparison.subject)
            quotient = summary.step_seconds.median / point.baseline.step_seconds.median
            assert quotient == pytest.approx(comparison.time_ratio.median, rel=1e-12)
            assert comparison.processes.process_count == 3
        steps = () if point.ladder is None else point.ladder.steps
        for before, step in pairwise(steps):
            product = before.cumulative.median * step.factor.median
            assert step.cumulative.median == pytest.approx(product, rel=1e-9)
