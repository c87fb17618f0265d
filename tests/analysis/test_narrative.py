from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis import analyse, headline as headline_of
from pamprof.analysis.comparison.results import DoubtKind
from pamprof.records import Execution, Phase, Run
from pamprof.records.store import RecordFile
from tests.synthetic import synthetic_records, synthetic_run, synthetic_session, synthetic_workload

if TYPE_CHECKING:
    from pamprof.analysis.comparison.story import Analysis

REFERENCE = synthetic_workload("transformer")
PUBLISHED = synthetic_workload("pam", "published")


def headline(analysis: Analysis) -> tuple[str, ...]:
    return headline_of(analysis.story)


def sentences_of(*runs: Run) -> tuple[str, ...]:
    return headline(analyse(RecordFile(sessions=(synthetic_session(),), runs=runs, skips=(), problems=())))


def reference_run() -> Run:
    return synthetic_run(REFERENCE, reference=REFERENCE, step_seconds=0.085)


def test_finding_compares_the_best_code_with_the_best_reference_then_at_equal_execution_then_eager() -> None:
    finding = headline(analyse(synthetic_records()))[0]
    assert finding.startswith(
        "Training at 2k tokens, batch 18: the best PAM code (gauss, graph) costs 1.57× [1.56, 1.59] "
    )
    assert "the transformer (graph) per token on this NVIDIA H200." in finding
    assert "PAM as published costs 3.35× [3.31, 3.39] at equal execution (compiled)" in finding
    assert "of which 1.54× is arithmetic (counted FLOPs)" in finding
    assert "eager 14.2× [14.1, 14.4] the fastest reference" in finding
    assert "always cheaper in the contexts measured (2k to 16k tokens) at batch 64" in finding
    assert "cheaper above about 8" in finding


def test_launch_bound_eager_code_is_named_although_it_does_not_move_the_headline() -> None:
    sentences = headline(analyse(synthetic_records()))
    assert sentences[1].startswith("Nothing casts doubt on these numbers")
    assert sentences[2].startswith("PAM as published (eager), launch-bound: the GPU ran kernels for 32 %")


def test_the_doubt_that_could_move_the_headline_furthest_comes_first() -> None:
    records = synthetic_records()
    best = ("gauss", Execution.GRAPH)

    def doubtful(run: Run) -> Run:
        if (run.workload.implementation, run.workload.execution) != best or run.monitor is None:
            return run
        slowed = tuple(
            replace(series, values=tuple(value * (0.9 if i % 2 else 1) for i, value in enumerate(series.values)))
            if series.signal == "sm_clock_hertz"
            else series
            for series in run.monitor.series
        )
        monitor = replace(run.monitor, throttle_reasons=("hw slowdown",), series=slowed)
        count = replace(run.flops, complete=False)
        return replace(run, monitor=monitor, flops=count)

    story = analyse(replace(records, runs=tuple(map(doubtful, records.runs)))).story
    weights = [quoted.doubt.shift_ratio for quoted in story.doubts]
    assert [quoted.doubt.kind for quoted in story.doubts] == [DoubtKind.THROTTLED, DoubtKind.UNCOUNTED_OPERATORS]
    assert weights[0] == pytest.approx(1 / 0.95 - 1, rel=0.1)
    assert weights[1] == 0


def test_a_doubt_that_nothing_bounds_comes_before_any_number() -> None:
    records = synthetic_records()
    runs = tuple(
        replace(run, monitor=replace(run.monitor, other_process_count=1)) if run.monitor is not None else run
        for run in records.runs
    )
    assert "shared device" in headline(analyse(replace(records, runs=runs)))[1]


def test_cpu_is_called_what_it_is() -> None:
    finding = headline(analyse(synthetic_records("cpu")))[0]
    assert "on this CPU (Intel(R) Xeon(R) Platinum 8481C, 2 threads)" in finding
    assert "never cheaper in the contexts measured (512 to 1k tokens) at batch 1" in finding


def test_open_comparison_concludes_nothing() -> None:
    sentences = sentences_of(reference_run(), synthetic_run(PUBLISHED, step_seconds=0.086, sigma=0.08))
    assert "nothing can be concluded about PAM as published (eager)" in sentences[0]
    assert "wide interval" in sentences[1]


@pytest.mark.parametrize(("factor", "side"), [(0.99, "less"), (1.01, "more")])
def test_a_difference_at_the_edge_of_the_band_is_no_open_sign(factor: float, side: str) -> None:
    sentences = sentences_of(reference_run(), synthetic_run(PUBLISHED, step_seconds=0.085 * factor, sigma=0.001))
    assert f"PAM as published (eager) costs a little {side} per token than the transformer (eager)" in sentences[0]
    assert "which leaves open whether by more than 1.0 %" in sentences[0]


def test_equal_cost_is_called_equal() -> None:
    sentences = sentences_of(reference_run(), synthetic_run(PUBLISHED, step_seconds=0.085, sigma=0.001))
    assert "costs the same per token as the transformer (eager)" in sentences[0]
    assert sentences[1].startswith("Nothing casts doubt on these numbers")


def test_cheaper_pam_is_called_cheaper() -> None:
    workload = replace(PUBLISHED, execution=Execution.GRAPH)
    sentences = sentences_of(reference_run(), synthetic_run(workload, step_seconds=0.06))
    assert "PAM as published (graph) costs only 0.70" in sentences[0]


def test_arithmetic_that_explains_more_than_the_cost_is_said_so() -> None:
    planar = synthetic_workload("pam", "planar", Execution.GRAPH)
    sentences = sentences_of(reference_run(), synthetic_run(planar, step_seconds=0.1))
    assert "which it does at the higher rate" not in sentences[0]


def test_other_worker_is_admitted() -> None:
    sentences = sentences_of(reference_run(), replace(synthetic_run(PUBLISHED), group_id="other"))
    assert "not sampled side by side" in sentences[0]


def test_lone_sample_is_no_interval() -> None:
    sentences = sentences_of(reference_run(), synthetic_run(PUBLISHED, sample_count=1))
    assert "(a single sample)" in sentences[0]
    assert "nothing can be concluded" in sentences[0]


def test_nothing_measured_is_said() -> None:
    assert sentences_of() == ("Nothing can be concluded: no point was measured to the end.",)
    assert "only the transformer was measured" in sentences_of(reference_run())[0]


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
def test_other_phases_lead_where_training_was_not_measured(phase: Phase) -> None:
    records = synthetic_records()
    kept = tuple(run for run in records.runs if run.workload.phase is phase)
    finding = headline(analyse(replace(records, runs=kept)))[0]
    assert finding.startswith({Phase.PREFILL: "Prefill of 2k tokens", Phase.DECODE: "Decode at 2k tokens"}[phase])


def test_no_sentence_shows_an_unknown_or_a_bare_python_value() -> None:
    for device in ("cuda", "cpu"):
        for sentence in headline(analyse(synthetic_records(device))):
            assert sentence.endswith(".")
            assert not any(word in sentence for word in ("None", "nan", "inf", "–", "Interval", ".."))


def test_importing_the_analysis_loads_nothing_heavy() -> None:
    code = "import sys, pamprof.analysis; sys.exit(bool({'numpy', 'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_ratio_of_an_incomplete_count_is_not_called_arithmetic() -> None:
    records = synthetic_records()
    runs = tuple(
        replace(run, flops=replace(run.flops, complete=False)) if run.workload.spec.layer == "pam" else run
        for run in records.runs
    )
    finding = headline(analyse(replace(records, runs=runs)))[0]
    assert "3.35× [3.31, 3.39] at equal execution (compiled); eager" in finding
    assert "arithmetic" not in finding
