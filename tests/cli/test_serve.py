"""The sweep as users run it: small sizes, the real worker, curves and a price at the end."""

import json
import os
import subprocess
import sys

import pytest

import pamprof
from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.grid import measured_at
from pamprof.records import Dtype, Phase
from pamprof.records.store import merged, read_records
from pamprof.records.sweeps import split_sweeps
from tests.synthetic import synthetic_records

REPOSITORY = os.path.dirname(os.path.dirname(pamprof.__file__))
SMALL = [
    "serve-sweep", "--device", "cpu", "--layer", "llama,pam", "--context", "32,128", "--prompt", "16,32,64",
    "--largest-batch", "4", "--monitor", "0.1", "--price", "0.10", "--time-budget", "100",
]  # fmt: skip


def pamprof_command(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": REPOSITORY, "NO_COLOR": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "220"}
    return subprocess.run(
        [sys.executable, "-m", "pamprof", *arguments], capture_output=True, text=True, cwd=cwd, env=environment,
        check=False, timeout=200,
    )  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    result = pamprof_command(*SMALL, "-o", "out", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, result, read_records(folder / "out" / "runs.jsonl")


@pytest.mark.slow
def test_the_sweep_visits_prompts_contexts_and_batches_of_every_arm(swept):
    _, result, records = swept
    assert not records.problems
    curves = serving_curves(records.runs, records.skips)
    assert {curve.title for curve in curves} == {
        "Llama · eager",
        "PAM planar · eager",
        "PAM planar (bfloat16 state) · eager",
    }
    for curve in curves:
        prompts = [run.workload.sequence_length for run in curve.runs if run.workload.phase is Phase.PREFILL]
        assert prompts == [16, 32, 64]
        assert curve.title in result.stdout
        single = curve.decode_seconds(1, 32)
        own = measured_at(curve.measured_lines, 1, 32)
        assert own is not None
        if curve.fixed_state:  # of a batch at two contexts the closer known time stands for both
            other = measured_at(curve.measured_lines, 1, 128)
            assert single.interval in (own, other)
            assert (single.basis == Basis.MEASURED) == (single.interval == own)
        else:
            assert (single.basis, single.interval) == (Basis.MEASURED, own)
        assert curve.decode_seconds(1, 50).basis == Basis.INTERPOLATED


@pytest.mark.slow
def test_every_point_passed_its_gate_and_counts_what_the_formula_says(swept):
    for run in swept[2].runs:
        assert run.gate.relative_error <= run.gate.tolerance
        assert run.flops.matrix_flop_count == run.flops.closed_form_matrix_flop_count, run.workload.key
        assert run.flops.complete, run.flops.uncounted_operators


@pytest.mark.slow
def test_states_are_real_tensors_of_the_stated_dtype(swept):
    each = {}
    for run in swept[2].runs:
        if run.workload.phase is Phase.DECODE and run.workload.spec.layer == "pam":
            each.setdefault(run.workload.spec.state_dtype, set()).add(run.memory.state_bytes / run.workload.batch_size)
    (wide,), (narrow,) = each[None], each[Dtype.BFLOAT16]
    assert wide == 2 * narrow


@pytest.mark.slow
def test_the_reused_model_counts_as_the_arm_s_own_memory(swept):
    for run in swept[2].runs:
        assert run.memory.parameter_bytes >= 4 * run.parameter_count
        assert run.memory.peak_bytes >= run.memory.parameter_bytes + run.memory.state_bytes


@pytest.mark.slow
def test_only_the_points_that_say_so_were_watched(swept):
    unwatched = [run for run in swept[2].runs if run.monitor is None]
    assert unwatched
    for run in unwatched:
        assert any(unknown.field == "monitor" and "a sweep watches" in unknown.reason for unknown in run.unknowns)
    assert any(run.monitor is not None for run in swept[2].runs)


@pytest.mark.slow
def test_a_complete_sweep_is_resumed_without_measuring_again(swept):
    folder, _, records = swept
    result = pamprof_command(*SMALL, "-o", "out", "--resume", "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    again = [json.loads(line) for line in result.stdout.splitlines()]
    assert sum(line["type"] == "run" for line in again) == len(records.runs)


@pytest.mark.slow
def test_a_sweep_is_priced_and_reported_like_any_records(swept):
    folder = swept[0]
    priced = pamprof_command(
        "cost", "out", "--tokens-per-day", "1e6", "--input-tokens", "20", "--output-tokens", "20", "--price", "0.10",
        cwd=folder,
    )  # fmt: skip
    assert priced.returncode == 0, priced.stderr
    assert "PAM planar" in priced.stdout
    reported = pamprof_command("report", "out/runs.jsonl", "-o", "report", cwd=folder)
    assert reported.returncode == 0, reported.stderr
    assert "PAM planar (bfloat16 state)" in (folder / "report" / "summary.md").read_text()
    assert 'id="cost-form"' in (folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_a_sweep_writes_is_told_from_a_comparison(swept):
    comparison = synthetic_records("cpu")
    assert split_sweeps(merged((comparison, swept[2]))) == (comparison, swept[2])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--execution", "fast"], "--execution 'fast' is not known"),
        (["--context", "0"], "--context takes positive whole numbers"),
        (["--state-dtype", "int8"], "--state-dtype 'int8' is not known"),
        (["--preset", "7b"], "presets are"),
        (["--resume"], "--resume needs the records of an earlier sweep"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_leaves_nothing(tmp_path, arguments, sentence):
    result = pamprof_command("serve-sweep", "--device", "cpu", "-o", "out", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_folder_with_records_is_not_overwritten(swept):
    result = pamprof_command(*SMALL, "-o", "out", cwd=swept[0])
    assert result.returncode == 2
    assert "holds records of an earlier sweep" in result.stderr


@pytest.mark.slow
def test_a_layer_of_ones_own_is_swept_where_it_decodes(tmp_path):
    result = pamprof_command(
        "serve-sweep", "--device", "cpu", "--layer", "mine=tests.measure.any_layer.given:LinearAttention",
        "--layer", "gru=tests.measure.any_layer.given:gru", "--layer-arg", "gru.num_layers=2", "--context", "16,64",
        "--prompt", "16", "--largest-batch", "2", "--monitor", "0.1", "--time-budget", "60s", "-o", "out",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    records = read_records(tmp_path / "out" / "runs.jsonl")
    mine = [run.workload for run in records.runs if run.workload.spec.layer == "mine"]
    assert {(w.phase, w.sequence_length) for w in mine} >= {(Phase.DECODE, 16), (Phase.PREFILL, 16)}
    assert {w.spec.state_dtype for w in mine} == {None}
    of_gru = {run.workload.phase for run in records.runs if run.workload.spec.layer == "gru"}
    assert of_gru == {Phase.PREFILL}
    assert any("no state to decode with" in skip.reason for skip in records.skips)
