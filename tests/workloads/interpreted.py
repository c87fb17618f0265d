"""Runs a module of cases in Triton's interpreter: in a new process, for it is chosen before Triton is imported."""

import json
import os
import subprocess
import sys

import pamprof


def measured(module: str) -> dict[str, float]:
    """What ``python -m module`` prints as JSON: the error of every case by name."""
    repository = os.path.dirname(os.path.dirname(pamprof.__file__))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": repository, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-4000:]
    errors: dict[str, float] = json.loads(result.stdout)
    return errors


def assert_below(errors: dict[str, float], name: str, tolerance: float) -> None:
    """Every case whose name begins with ``name`` has an error of at most ``tolerance``; there is at least one."""
    chosen = {case: error for case, error in errors.items() if case.split()[0] == name}
    assert chosen, f"no case {name}; there is {', '.join(sorted({case.split()[0] for case in errors}))}"
    assert not {case: error for case, error in chosen.items() if not error <= tolerance}
