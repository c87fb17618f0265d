"""The command as users run it: small sizes, the real worker, every file of the report."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch

import pamprof
from pamprof.pricing.rates.rate_words import rate_per_hour
from pamprof.records import Effort, Scope
from pamprof.records.store import read_records
from pamprof.workloads.checkpoints.files import identity
from pamprof.workloads.registry import definition

REPOSITORY = os.path.dirname(os.path.dirname(pamprof.__file__))
SMALL = [
    "compare", "--device", "cpu", "--phase", "decode,prefill", "--batch-size", "1", "--sequence-length", "64",
    "--implementation", "published,planar", "--time-limit", "0.1", "--monitor", "0.1",
    "--time-budget", "3m",
]  # fmt: skip
WINDOWS = ("timing.window_seconds", "timing.alone_wall_time_seconds", "timing.settled")  # of other sampling
ONE_PHASE = ["decode" if word == "decode,prefill" else word for word in SMALL]


@pytest.fixture
def heeded_interrupts():
    """Tests that run in a shell's background ignore interrupts, and would hand that down to what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def command(*arguments):
    return [sys.executable, "-m", "pamprof", *arguments]


def environment():
    return {**os.environ, "PYTHONPATH": REPOSITORY, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    result = subprocess.run(
        command(*SMALL, "-o", "out"), capture_output=True, text=True, cwd=folder, env=environment(), check=False,
        timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "out", result


def test_compare_writes_every_file_of_the_report(comparison):
    folder, result = comparison
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "runs.jsonl", "summary.md", "measurements.csv"} <= names
    assert sum(name.endswith(".png") for name in names) >= 5
    assert "report.html" in result.stdout
    assert len(result.stdout.splitlines()) <= 25


def test_compare_measures_every_planned_workload(comparison):
    records = read_records(comparison[0] / "runs.jsonl")
    assert {run.workload.key for run in records.runs} == set(records.sessions[0].planned)
    assert not records.skips
    assert {run.workload.spec.layer for run in records.runs} == {"pam", "real_pam", "transformer"}


def test_the_session_s_header_holds_effort_and_budget(comparison):
    (session,) = read_records(comparison[0] / "runs.jsonl").sessions
    assert (session.effort, session.time_budget_seconds) == (Effort.QUICK, 180.0)


def test_every_run_says_how_long_its_point_took(comparison):
    for run in read_records(comparison[0] / "runs.jsonl").runs:
        assert sum(run.timing.wall_time_seconds) < run.elapsed_seconds < 180


def test_what_to_expect_is_said_first_and_the_headline_as_soon_as_there_is_one(comparison):
    lines = comparison[1].stderr.splitlines()
    assert lines[0].startswith("8 points, about ")
    assert "an hour of " in lines[0]
    assert lines[0].endswith("; effort quick, at most 3.0 min")
    assert any(line.startswith("so far, PAM against transformer: decode ") for line in lines)


def test_every_count_is_complete_and_agrees_with_its_closed_form(comparison):
    for run in read_records(comparison[0] / "runs.jsonl").runs:
        assert run.flops.complete, run.flops.uncounted_operators
        assert run.flops.matrix_flop_count == run.flops.closed_form_matrix_flop_count, run.workload.key


def test_a_cpu_run_is_priced_by_the_vcpus_it_occupied_wherever_it_is_told(comparison):
    folder, result = comparison
    records = read_records(folder / "runs.jsonl")
    (quote,) = (session.quote for session in records.sessions)
    assert quote.machine_choice is not None
    used = {run.environment.processor_use.vcpu_count for run in records.runs}
    assert used == {quote.chosen.used_vcpu_count}
    words = f"Priced at {rate_per_hour(quote.chosen)} (as on {quote.chosen.provider} {quote.chosen.instance} by vCPU"
    assert words in result.stdout
    assert words in (folder / "summary.md").read_text(encoding="utf-8")
    assert words in (folder / "report.html").read_text(encoding="utf-8")
    table = pd.read_csv(folder / "measurements.csv")
    assert set(table["ResourceType"]) == {quote.chosen.instance}
    assert set(table["priced_vcpu_count"]) == used
    expected = float(quote.chosen.usd_per_device_hour) / 3600 * 1e6 / table["tokens_per_second_median"]
    assert list(table["EffectiveCost"]) == pytest.approx(list(expected))


def test_every_missing_value_has_its_reason(comparison):
    for run in read_records(comparison[0] / "runs.jsonl").runs:
        reasons = {unknown.field for unknown in run.unknowns}
        for group in ("timing", "memory", "environment"):
            part = getattr(run, group)
            missing = {f"{group}.{name}" for name in type(part).__dataclass_fields__ if getattr(part, name) is None}
            missing -= {"memory.state_kind", *WINDOWS}
            assert missing <= reasons, missing - reasons


@pytest.fixture(scope="module")
def rebuilt(comparison, tmp_path_factory):
    """The report of the same records by a process of its own, which prints the records."""
    folder = tmp_path_factory.mktemp("rebuilt")
    result = subprocess.run(
        command("report", str(comparison[0]), "-o", str(folder), "--json"),
        check=True, env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    return folder, result


def test_the_report_is_rebuilt_byte_for_byte_from_the_records(comparison, rebuilt):
    for name in ("report.html", "summary.md", "measurements.csv"):
        assert (rebuilt[0] / name).read_bytes() == (comparison[0] / name).read_bytes(), name


def test_json_prints_the_records(comparison, rebuilt):
    kinds = [json.loads(line)["type"] for line in rebuilt[1].stdout.splitlines()]
    assert kinds[0] == "session"
    assert sorted(kinds) == sorted(
        json.loads(line)["type"] for line in (comparison[0] / "runs.jsonl").read_text().splitlines()
    )


@pytest.mark.usefixtures("heeded_interrupts")
def test_an_interrupt_still_writes_the_report_and_resume_finishes_it(tmp_path):
    process = subprocess.Popen(
        command(*ONE_PHASE, "-o", "out"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    path = tmp_path / "out" / "runs.jsonl"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (path.exists() and len(path.read_bytes().splitlines()) >= 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "out" / "report.html").exists()
    before = len(read_records(path).runs)
    result = subprocess.run(
        command(*ONE_PHASE, "-o", "out", "--resume"), cwd=tmp_path, env=environment(), capture_output=True, text=True,
        check=False, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    records = read_records(path)
    keys = [run.workload.key for run in records.runs]
    assert before < len(keys) == len(set(keys)) == len(records.sessions[0].planned)


@pytest.mark.slow
def test_a_file_of_options_measures_stored_weights_and_traces_a_step(tmp_path):
    layer = definition("transformer")
    model = layer.build(
        layer.preset("tiny"), implementation="sdpa", scope=Scope.MODEL, device=torch.device("cpu"), seed=7
    )
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "run.toml").write_text(
        "device = 'cpu'\nphase = 'decode'\nbatch-size = 1\nsequence-length = 32\nlayer = 'transformer'\n"
        "time-limit = 0.05\nmonitor = 0\ntime-budget = '3m'\ntrace = true\n"
        "[sweep.stored]\ncheckpoint = {transformer = 'weights.pt'}\n"
    )
    result = subprocess.run(
        command("compare", "--config", "run.toml", "-o", "out"), capture_output=True, text=True, cwd=tmp_path,
        env=environment(), check=False, timeout=240,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "out" / "stored"
    records = read_records(folder / "runs.jsonl")
    (run,) = records.runs
    assert run.workload.spec.checkpoint == identity(tmp_path / "weights.pt")
    assert run.trace is not None
    assert (folder / run.trace.file).stat().st_size == run.trace.byte_count
    assert f'href="{run.trace.file}"' in (folder / "report.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in (folder / "runs.jsonl").read_text(encoding="utf-8")
    assert "--checkpoint transformer=weights.pt" in records.sessions[0].command
    assert result.stdout.splitlines()[-1].startswith("stored: ")
