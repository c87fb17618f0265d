import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pamprof.records import Execution
from pamprof.records.store import RunStore
from tests.synthetic import synthetic_run, synthetic_session, synthetic_workload
from tests.synthetic_windows import process_run

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_intervals_marks_and_verdicts_reach_their_targets_on_few_series():
    ran = subprocess.run(
        [sys.executable, "benchmarks/coverage.py", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("| yes |") > 40


@pytest.mark.parametrize(("noise", "code", "missed"), [(0.002, 0, 0), (0.06, 1, 1)])
def test_recorded_windows_of_a_reference_are_resampled(tmp_path, noise, code, missed):
    """One per cent is found where windows scatter by 0.2 %, and not where they scatter by 6 %."""
    rng = Random(7)
    workload = synthetic_workload("transformer", execution=Execution.GRAPH)
    run = synthetic_run(workload, reference=workload)

    def windows(count):
        return [1 + noise * rng.gauss(0, 1) for _ in range(count)]

    with closing(RunStore(tmp_path / "runs.jsonl")) as store:
        store.append(synthetic_session())
        for number in range(3):
            store.append(process_run(run, number, paired=windows(8), reference=windows(8), alone=windows(20)))
    command = [sys.executable, "benchmarks/coverage.py", "--series", "100", "--recorded", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert "transformer, train 3 x 2048, NVIDIA H200: a true 1 % found" in ran.stdout
    assert ran.stdout.count("| NO  |") == missed
