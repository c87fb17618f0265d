import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.analysis.prediction.gpu import gpu_named
from pamprof.cli import app
from pamprof.records.calibration import calibration_bytes
from pamprof.records.codec import encode
from tests.analysis.prediction.test_carry import calibration
from tests.analysis.prediction.test_predict import H100, H200, REPORTS, records
from tests.cli.answers import one_sentence

H100_REPORT = str(REPORTS / "2026-11-28-nvidia-h100-quick")
FUSED_REPORT = str(REPORTS / "2026-11-23-nvidia-h200-fused")
SWEEP = str(REPORTS / "2026-11-23-nvidia-h200-serving" / "100m" / "pam.jsonl")


def run(*arguments):
    return CliRunner().invoke(app, [*arguments])


def write(path, file):
    path.write_bytes(b"".join(map(encode, (*file.sessions, *file.runs))))
    return str(path)


def test_json_has_one_row_a_workload_and_gpu():
    result = run("predict", FUSED_REPORT, "--gpu", "H100-SXM,L40S,H200", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    keys = [
        tuple(
            row[name]
            for name in ("gpu", "layer", "implementation", "execution", "phase", "batch_size", "sequence_length")
        )
        for row in rows
    ]
    assert len(set(keys)) == len(keys) == 3 * 22
    measured = [row for row in rows if row["gpu"] == "H200"]
    assert all(row["is_measured"] and row["basis"].startswith("measured on the H200") for row in measured)
    for row in rows:
        if row["memory"] == "does not fit":
            assert row["step_seconds_median"] is row["usd_per_million_tokens_median"] is None
            assert row["basis"].startswith("does not fit: needs ")
            continue
        low, median, high = (row[f"step_seconds_{end}"] for end in ("low", "median", "high"))
        assert 0 < low <= median <= high
        assert row["usd_per_million_tokens_median"] == pytest.approx(
            row["usd_per_hour"] / 3600 / row["tokens_per_second_median"] * 1e6
        )
    decode = [
        row for row in rows if row["gpu"] == "L40S" and row["layer"] == "transformer" and row["phase"] == "decode"
    ]
    largest = max(decode, key=lambda row: row["batch_size"] * row["sequence_length"])
    assert largest["needed_bytes"] > 34e9  # 64 caches of 16k tokens, 32 256 bytes a token, weights and context
    assert largest["memory"] == "fits"


def test_a_gpu_with_too_little_memory_is_predicted_not_to_fit_and_refused_ones_are_told():
    result = run("predict", FUSED_REPORT, "--gpu", "RTX4090,MI300X,X900", "--json")
    assert result.exit_code == 0, result.output
    rows = [row for row in json.loads(result.stdout) if (row["batch_size"], row["sequence_length"]) == (64, 16384)]
    of_transformer = [row for row in rows if row["layer"] == "transformer"]
    assert of_transformer
    assert {row["memory"] for row in of_transformer} == {"does not fit"}
    assert {row["gpu"] for row in rows} == {"RTX4090"}
    assert "MI300X refused: MI300X is an AMD part" in result.stderr
    assert "X900 refused: 'X900' is no GPU that is listed" in result.stderr


@pytest.mark.parametrize(
    ("gpu", "options", "reason"),
    [
        ("X900", (), "no GPU that is listed"),
        ("MI300X", (), "AMD part"),
        ("H100-SXM MIG 1g.10gb", (), "part of a board"),
        ("T4", (), "no listed dense peak for bfloat16"),
        ("A100-80GB-SXM", ("--dtype", "fp8"), "no listed matrix units for fp8"),
        ("B200", ("--dtype", "fp8"), "no step was measured in fp8"),
    ],
)
def test_where_no_gpu_is_left_the_reason_is_the_answer(gpu, options, reason):
    assert reason in one_sentence(run("predict", FUSED_REPORT, "--gpu", gpu, *options), 1)


def test_sweeps_in_the_list_are_left_out_with_a_sentence_and_alone_are_refused():
    result = run("predict", H100_REPORT, SWEEP, "--gpu", "H200", "--json")
    assert result.exit_code == 0, result.output
    assert "points of serving sweeps left out: 51" in result.stderr
    assert len(json.loads(result.stdout)) == 19
    assert "are points of serving sweeps" in one_sentence(run("predict", SWEEP, "--gpu", "H200"), 1)


def test_a_dtype_keeps_its_workloads_alone(tmp_path):
    file = records(H200)
    single = replace(file.runs[0], workload=replace(file.runs[0].workload, dtype="float32"))
    path = write(tmp_path / "runs.jsonl", replace(file, runs=(*file.runs, single)))
    assert len(json.loads(run("predict", path, "--gpu", "L40S", "--json").stdout)) == 10
    assert len(json.loads(run("predict", path, "--gpu", "L40S", "--dtype", "float32", "--json").stdout)) == 1
    assert "no run in float64" in one_sentence(run("predict", path, "--gpu", "L40S", "--dtype", "float64"), 2)


def test_tables_name_each_gpu_with_its_basis_and_a_page_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")  # drawing takes seconds
    monkeypatch.setattr("pamprof.render.prediction.page.draw_png", lambda chart: b"")
    result = run("predict", H100_REPORT, "--gpu", "H100-SXM,L40S", "-o", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert "Training: batch 18 × 2k tokens" in result.stdout
    page = (tmp_path / "out" / "predict.html").read_text(encoding="utf-8")
    assert "GPUs side by side, measured and predicted" in page
    assert "modelled from H100-SXM (other architecture), whole-step roofline" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
    assert {row["gpu"] for row in rows} == {"H100-SXM", "L40S"}
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "gpus-crossover.png", "gpus-decode.png", "gpus-memory.png", "gpus-prefill.png", "gpus-train.png",
    ]  # fmt: skip


def test_validate_predictions_prints_errors_and_coverage_and_fails_below_85_percent(tmp_path):
    result = run("validate", "--predictions", FUSED_REPORT, H100_REPORT)
    assert result.exit_code == 0, result.output
    assert "lie in their 90 % intervals" in result.stdout.replace("\u202f", " ")
    off = write(tmp_path / "runs.jsonl", records(H200, H100, factor=5.0))
    result = run("validate", "--predictions", off)
    assert result.exit_code == 1
    assert "fewer than 85 %" in result.stderr


def test_validate_predictions_needs_two_gpus_and_runs_need_the_option(tmp_path):
    assert "no workload was measured on two GPUs" in one_sentence(run("validate", "--predictions", H100_REPORT), 1)
    assert "RUNS go with --predictions" in one_sentence(run("validate", H100_REPORT), 2)


def test_a_calibration_file_narrows_and_a_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "l40s.json"
    path.write_bytes(calibration_bytes(calibration(gpu_named("L40S"))))
    plain, narrow = (
        json.loads(run("predict", FUSED_REPORT, "--gpu", "L40S", "--json", *options).stdout)[0]
        for options in ((), ("--calibration", str(path)))
    )
    assert narrow["step_seconds_low"] / narrow["step_seconds_median"] > (
        plain["step_seconds_low"] / plain["step_seconds_median"]
    )
    other = run("predict", FUSED_REPORT, "--gpu", "B200", "--json", "--calibration", str(path))
    assert "l40s.json not used: NVIDIA L40S is neither measured nor predicted here" in other.stderr
    path.write_text("{}", encoding="utf-8")
    assert "is no calibration" in one_sentence(
        run("predict", FUSED_REPORT, "--gpu", "L40S", "--calibration", str(path)), 1
    )
