"""Jobs that submitit begins on this machine as it does on a cluster: what comes back, and what going on measures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pamprof.records.store import read_records

pytest.importorskip("submitit")
pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
SMALL = (
    "--preset", "tiny", "--phase", "decode", "--batch-size", "1", "--layer", "transformer,pam", "--device", "cpu",
    "--implementation", "sdpa,planar", "--monitor", "0", "--time-limit", "0.1s",
)  # fmt: skip


def compare(*words):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "pamprof", "compare", *words], cwd=REPOSITORY, env=environment, capture_output=True,
        text=True, timeout=280, check=False,
    )  # fmt: skip


def test_jobs_give_one_file_which_going_on_completes_with_what_is_missing(tmp_path):
    folder = tmp_path / "out"
    answer = compare("--on", "slurm:local", *SMALL, "--sequence-length", "64", "-o", str(folder))
    assert answer.returncode == 0, answer.stderr
    first = read_records(folder / "runs.jsonl")
    assert {run.workload.key for run in first.runs} == set(first.sessions[0].planned)
    assert len({run.group_id for run in first.runs}) == 1
    assert [ceilings.session_id for ceilings in first.ceilings] == [first.sessions[0].session_id]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]  # what jobs wrote while they ran
    again = compare("--on", "slurm:local", *SMALL, "--sequence-length", "64,128", "-o", str(folder), "--resume")
    assert again.returncode == 0, again.stderr
    both = read_records(folder / "runs.jsonl")
    added = both.runs[len(first.runs) :]
    assert {run.workload.sequence_length for run in added} == {128}
    assert {run.workload.key for run in both.runs} == set(both.sessions[1].planned)
    assert both.sessions[0].session_id != both.sessions[1].session_id
    assert both.sessions[0].fleet == both.sessions[1].fleet is not None
