"""The output kernel for Hopper: that it compiles for such a GPU with the installed Triton, and as it is meant to.

What it computes is compared on a GPU only, when a configuration is selected: its language has no interpreter.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

from pamprof.workloads.kernels.core.candidates import starting_points
from pamprof.workloads.kernels.core.check import substitutes
from pamprof.workloads.kernels.core.configuration import CoreShape, choose_configuration

SHARED_BYTES_OF_A_MULTIPROCESSOR = 227 * 1024
ROOT = Path(__file__).resolve().parents[2]


def test_two_programs_fit_a_multiprocessor_and_products_stay_in_flight() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.workloads.hopper_case"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(kernels) == 3
    for kernel in kernels:
        assert 2 * kernel["shared_bytes"] <= SHARED_BYTES_OF_A_MULTIPROCESSOR
        assert kernel["products"] == 40
        # Waits of one chunk in order: how many products may still be in flight.
        assert kernel["left_in_flight"] == ([2, 1, 0, 0] if kernel["keeps"] else [4, 3, 2, 2, 0])


def test_is_chosen_for_heads_that_it_is_written_for_where_the_gpu_has_the_units() -> None:
    def chosen(head_dim: int, dtype: torch.dtype, *, hopper: bool) -> int:
        shape = CoreShape(batch_size=18, length=2048, heads=6, head_dim=head_dim, dtype=dtype)
        return choose_configuration(shape, hopper=hopper).output_hopper

    assert chosen(64, torch.bfloat16, hopper=True) == 1
    assert chosen(64, torch.bfloat16, hopper=False) == 0
    assert chosen(64, torch.float32, hopper=True) == 0
    assert chosen(72, torch.bfloat16, hopper=True) == 0


def test_the_other_kernel_stands_in_for_it_and_other_tiles_do_without() -> None:
    shape = CoreShape(batch_size=1, length=2048, heads=6, head_dim=64, dtype=torch.bfloat16)
    first, *others = substitutes(choose_configuration(shape, hopper=True))
    assert first.output_hopper == 1
    assert others
    assert not any(other.output_hopper for other in others)
    for start in starting_points(shape, 132, hopper=True)[1:]:
        assert start.output_hopper == 0, "it has one chunk and one block of value channels"
