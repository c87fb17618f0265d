"""The product that is added in place: its value, its count, and that a compiler copies nothing for it."""

from __future__ import annotations

import pytest
import torch

from pamprof.measure.flops.counter import count_flops
from pamprof.workloads.kernels.block_product import add_product_


def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 5, 2, 8), torch.randn(2, 5, 2, 3, 4), torch.randn(16, 24)


def expected(total: torch.Tensor, planes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return total + (planes.flatten(2) @ weight.mT).view(total.shape)


def test_the_product_is_added_to_the_sum_itself() -> None:
    total, planes, weight = given()
    wanted = expected(total, planes, weight)
    add_product_(total, planes, weight)
    torch.testing.assert_close(total, wanted)


def test_it_counts_as_the_same_product_by_itself() -> None:
    total, planes, weight = given()
    apart = count_flops(lambda: expected(total, planes, weight))
    found = count_flops(lambda: add_product_(total, planes, weight))
    assert found.complete
    assert found.matrix_flop_count == apart.matrix_flop_count == 2 * 10 * 16 * 24
    assert found.elementwise_flop_count == apart.elementwise_flop_count == total.numel()
    assert found.kernel_byte_count == 0  # of kernels of our own


@pytest.mark.slow
def test_a_compiler_leaves_it_in_place() -> None:
    from torch._inductor.utils import run_and_get_code

    def step(total: torch.Tensor, planes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        total = 2.0 * total
        add_product_(total, planes, weight)
        return total

    total, planes, weight = given()
    result, codes = run_and_get_code(torch.compile(step), total, planes, weight)
    torch.testing.assert_close(result, expected(2.0 * total, planes, weight))
    assert len(codes) == 1
    # One buffer: what was doubled is what is added to and returned.
    assert codes[0].count("= empty_strided_cpu(") == 1
