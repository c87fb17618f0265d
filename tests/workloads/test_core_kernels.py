"""The memory core's kernels: in Triton's interpreter against the recurrence in float64, and their arithmetic."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pamprof
from pamprof.workloads.kernels.core_configuration import Configuration, CoreShape, choose_configuration
from pamprof.workloads.kernels.core_work import backward_work, forward_work

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

CLAIMS = Path(__file__).with_name("core_claims.py")


def names_of_claims() -> list[str]:
    """Read from the source: importing the claims would import Triton here, without its interpreter."""
    tuples = [
        node.value
        for node in ast.parse(CLAIMS.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLAIMS"
    ]
    return [ast.unparse(name) for name in tuples[0].elts]


@pytest.fixture(scope="module")
def traces() -> dict[str, str | None]:
    repository = os.path.dirname(os.path.dirname(pamprof.__file__))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(CLAIMS)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": repository},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("claim", names_of_claims())
def test_in_the_interpreter(claim: str, traces: dict[str, str | None]) -> None:
    assert traces[claim] is None, traces[claim]


def test_products_are_counted_to_the_unit() -> None:
    shape = CoreShape(batch_size=3, length=130, heads=2, head_dim=64, dtype=torch.bfloat16)
    whole = replace(choose_configuration(shape), segment_chunks=0, gradient_segment_chunks=0, value_block=64)
    rows, chunks, chunk, dim = 6, 3, 64, 64
    square, state = chunk * chunk * dim, chunk * dim * dim
    assert forward_work(shape, whole).matrix_flop_count == 8 * rows * chunks * (2 * square + 2 * state)
    # Two blocks of value channels make the scores twice.
    assert forward_work(shape, replace(whole, value_block=32)).matrix_flop_count == 8 * rows * chunks * (
        3 * square + 2 * state
    )
    # A second pass over segments, and the scan: one group of 16 segments, real products of float32.
    assert (
        forward_work(shape, replace(whole, segment_chunks=1)).matrix_flop_count
        == 8 * rows * chunks * (2 * square + 3 * state) + rows * 2 * 16 * 16 * 2 * dim * dim
    )
    plain = {"has_initial": False, "wants_initial": False, "has_final": False}
    backward = backward_work(shape, replace(whole, gradient_walks=1), **plain)
    assert backward.matrix_flop_count == 8 * rows * chunks * (5 * square + 4 * state)
    assert backward_work(shape, whole, **plain).matrix_flop_count == backward.matrix_flop_count
    single = replace(shape, length=60)
    assert backward_work(single, whole, **plain).matrix_flop_count == 8 * rows * 5 * square


@pytest.mark.parametrize(
    ("batch_size", "length", "segment_chunks"), [(18, 2048, 0), (3, 2048, 2), (1, 16384, 4), (1, 2048, 1), (64, 1, 0)]
)
def test_segments_fill_the_gpu_where_sequences_do_not(batch_size: int, length: int, segment_chunks: int) -> None:
    shape = CoreShape(batch_size=batch_size, length=length, heads=6, head_dim=64, dtype=torch.bfloat16)
    assert choose_configuration(shape).segment_chunks == segment_chunks


def test_a_configuration_survives_as_numbers() -> None:
    shape = CoreShape(batch_size=1, length=100, heads=2, head_dim=72, dtype=torch.bfloat16)
    chosen = choose_configuration(shape)
    assert Configuration.of(chosen.numbers()) == chosen
