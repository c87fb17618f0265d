"""Any user, home, locale, GPU list and standard output: never a traceback, the documented exit status, a sentence."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pamprof.records.codec import encode
from tests.analysis.history.test_difference import measured
from tests.faults.environments import CHEAP, DRAWING, WITH_TORCH, combinations, faults, run, runner_of_nobody
from tests.render.serving.records import sweep_records
from tests.synthetic import synthetic_records

SEED = 20261128
# Of two hundred: 4 reports, 12 commands that import torch. A report takes seven seconds, the others well below one.
MIXED = (*CHEAP * 3, *WITH_TORCH, *DRAWING)


@pytest.fixture(scope="module")
def folder():
    """Open to every user, which pytest's own folders are not."""
    path = Path(tempfile.mkdtemp(prefix="pamprof-environments-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def files(folder):
    comparison, sweep = synthetic_records("cpu"), sweep_records()
    contents = {
        "REPORT": [*comparison.sessions, *comparison.runs[:4]],
        "RUNS": measured(seed=1, sigma=0.002).runs,
        "SLOWER": measured(seed=3, slowdown=1.10).runs,
        "SWEEP": [*sweep.sessions, *sweep.runs],
    }
    found = {}
    for name, stored in contents.items():
        found[name] = folder / f"{name}.jsonl"
        found[name].write_bytes(b"".join(map(encode, stored)))
    return found


def check(cases, folder, files):
    """Run all of them, two at a time, and name every one that went wrong."""
    nobody = runner_of_nobody()

    def outcome_of(numbered):
        number, case = numbered
        return case, run(case, folder / f"{len(cases)}-{number}", files, nobody)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(outcome_of, enumerate(cases)))
    wrong = [
        f"{case}\n  {'; '.join(found)}\n  status {outcome.status}, standard error: {outcome.errors.strip()[-600:]}"
        for case, outcome in outcomes
        if (found := faults(case, outcome))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_environment_makes_a_cheap_command_fail_in_other_words(folder, files):
    check(tuple(combinations(SEED, 15, CHEAP)), folder, files)


@pytest.mark.sweep
@pytest.mark.timeout(900)  # a minute on two idle cores
def test_no_environment_makes_any_command_fail_in_other_words(folder, files):
    check(tuple(combinations(SEED + 1, 200, MIXED)), folder, files)
