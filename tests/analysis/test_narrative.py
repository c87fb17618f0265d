from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from pamprof.analysis import analyse, headline
from pamprof.records import Execution, Phase, Run
from pamprof.records.store import RecordFile
from tests.synthetic import synthetic_records, synthetic_run, synthetic_session, synthetic_workload

REFERENCE = synthetic_workload("transformer")
PUBLISHED = synthetic_workload("pam", "published")


def sentences_of(*runs: Run) -> tuple[str, ...]:
    return headline(analyse(RecordFile(sessions=(synthetic_session(),), runs=runs, skips=(), problems=())))


def reference_run() -> Run:
    return synthetic_run(REFERENCE, reference=REFERENCE, step_seconds=0.085)


def test_finding_names_place_ratio_interval_device_and_split() -> None:
    finding = headline(analyse(synthetic_records()))[0]
    assert finding.startswith("Training at 2k tokens, batch 18: PAM as published (eager) costs 14.")
    assert "× [14." in finding
    assert "the transformer (graph) per token on this NVIDIA H200" in finding
    assert "1.54× of that is arithmetic (counted FLOPs)" in finding
    assert "cheaper at every context measured (2k to 16k tokens) at batch 64" in finding
    assert "cheaper above about 8" in finding


def test_launch_bound_published_code_is_named_by_itself() -> None:
    doubt = headline(analyse(synthetic_records()))[1]
    assert doubt.startswith("Largest doubt: PAM as published (eager), launch-bound: the GPU ran kernels for 32 %")


def test_launch_bound_is_named_even_behind_a_graver_doubt() -> None:
    records = synthetic_records()
    runs = tuple(
        replace(run, monitor=replace(run.monitor, throttle_reasons=("hw slowdown",)))
        if run.monitor is not None and run.workload.implementation == "published"
        else run
        for run in records.runs
    )
    sentences = headline(analyse(replace(records, runs=runs)))
    assert sentences[1].startswith("Largest doubt: PAM as published (eager), throttled")
    assert sentences[2].startswith("PAM as published (eager), launch-bound")


def test_best_code_has_the_last_word() -> None:
    assert headline(analyse(synthetic_records()))[-1].startswith("The fastest PAM there, gauss (graph), costs 1.57×")


def test_cpu_is_called_what_it_is() -> None:
    finding = headline(analyse(synthetic_records("cpu")))[0]
    assert "on this CPU (Intel(R) Xeon(R) Platinum 8481C, 2 threads)" in finding
    assert "dearer at every context measured (512 to 1k tokens) at batch 1" in finding


def test_open_comparison_concludes_nothing() -> None:
    sentences = sentences_of(reference_run(), synthetic_run(PUBLISHED, step_seconds=0.086, sigma=0.08))
    assert "nothing can be concluded about PAM as published (eager)" in sentences[0]
    assert "wide interval" in sentences[1]


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
    assert "which it does at the higher rate" in sentences[0]


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
