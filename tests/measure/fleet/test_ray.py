"""A Ray cluster of two nodes of this machine, one of which is killed in the middle of a comparison."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pamprof.records.store import read_records

pytest.importorskip("ray")
pytestmark = pytest.mark.slow  # a cluster starts and ends in ten seconds

REPOSITORY = Path(__file__).parents[3]
SMALL = (
    "--preset", "tiny", "--phase", "decode", "--batch-size", "1", "--sequence-length", "64,128,256",
    "--layer", "transformer,pam", "--implementation", "sdpa,planar", "--monitor", "0", "--time-limit", "0.1s",
)  # fmt: skip
KEYS = 6


def run(*words):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280,
        check=False,
    )  # fmt: skip


def test_a_node_that_is_killed_costs_nothing_of_the_comparison(tmp_path):
    folder = tmp_path / "out"
    answer = run("tests.measure.fleet.two_nodes", str(folder), "--device", "cpu", *SMALL)
    assert answer.returncode == 0, answer.stdout
    records = read_records(folder / "runs.jsonl")
    planned = set(records.sessions[0].planned)
    assert len(planned) == KEYS
    assert {run.workload.key for run in records.runs} == planned
    assert not records.skips
    assert not records.problems
    assert "begin again" in answer.stdout
    # Pairs hold within a worker: whatever a run is paired with was measured in its own.
    alone = {(run.group_id, run.workload.key) for run in records.runs if run.workload.key == run.reference.key}
    assert all((run.group_id, run.reference.key) in alone for run in records.runs)
    assert len({session.fleet for session in records.sessions}) == 1
    assert records.sessions[0].command.count("--on ray ") == 1  # no address of a network


def test_a_cluster_without_a_gpu_refuses_one_in_one_sentence(tmp_path):
    answer = run("pamprof", "compare", "--on", "ray", "--device", "cuda", *SMALL, "-o", str(tmp_path / "out"))
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert line.startswith("pamprof: device cuda was asked for, and none of the 1 nodes of the Ray cluster has a GPU")
    assert not (tmp_path / "out").exists()
