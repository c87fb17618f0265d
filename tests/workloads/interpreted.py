"""Runs a module in Triton's interpreter: in a new process, for it is chosen before Triton is imported."""

import json
import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version

import pytest

import pamprof


def output_of(module: str) -> str:
    """What ``python -m module`` prints in the interpreter; skips the test where the interpreter itself is at fault."""
    if _refuses_loops():
        pytest.skip(
            f"the interpreter of Triton {version('triton')} converts arrays of one element to a loop's bounds, "
            f"which NumPy {version('numpy')} refuses; install Triton 3.7 or NumPy 2.4"
        )
    result = _run(module)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


def measured(module: str) -> dict[str, float]:
    """What ``python -m module`` prints as JSON: the error of every case by name."""
    errors: dict[str, float] = json.loads(output_of(module))
    return errors


def assert_below(errors: dict[str, float], name: str, tolerance: float) -> None:
    """Every case whose name begins with ``name`` has an error of at most ``tolerance``; there is at least one."""
    chosen = {case: error for case, error in errors.items() if case.split()[0] == name}
    assert chosen, f"no case {name}; there is {', '.join(sorted({case.split()[0] for case in errors}))}"
    assert not {case: error for case, error in chosen.items() if not error <= tolerance}


@cache
def _refuses_loops() -> bool:
    """Whether the installed interpreter fails at any loop up to an argument, as before Triton 3.7 with NumPy 2.5."""
    return (
        "only 0-dimensional arrays can be converted to Python scalars"
        in _run("tests.workloads.interpreter_probe").stderr
    )


def _run(module: str) -> subprocess.CompletedProcess[str]:
    repository = os.path.dirname(os.path.dirname(pamprof.__file__))
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.workloads.in_interpreter", module],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": repository, "OMP_NUM_THREADS": "1"},
    )
