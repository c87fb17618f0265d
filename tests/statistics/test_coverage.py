import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_intervals_marks_and_verdicts_reach_their_targets_on_few_series():
    ran = subprocess.run(
        [sys.executable, "benchmarks/coverage.py", "--quick"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("| yes |") > 40
