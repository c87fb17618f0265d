"""The block's kernels in Triton's interpreter against float64 formulas and their automatic derivatives.

Widths are no powers of two, so that every mask is met. Half of float32's cases have one token of one sequence.
"""

import importlib.util

import pytest

from tests.workloads.interpreted import assert_below, measured

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

# One rounding of the result each; products of weights that were rounded before carry a few.
ROUNDED = {"float32": 1e-6, "bfloat16": 4e-3, "float16": 5e-4}


@pytest.fixture(scope="module")
def errors():
    return measured("tests.workloads.fused_kernel_cases")


def in_dtype(errors, dtype):
    return {case: error for case, error in errors.items() if f" {dtype} " in case}


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize(
    "kernel",
    [
        "norm",
        "add_norm",
        "norm_gradient",
        "branch_gradient",
        "gate_gradient",
        "gate_unit",
        "gate_unit_gradient",
        "prepared",
        "prepared_gradient",
        "logits_gradient",
        "block",
        "loss_gradient",
        "decode_gate_unit",
        "decode_project",
        "decode_qkv",
        "decode_memory",
        "decode_product",
        "decode_gate_product",
    ],
)
def test_a_kernel_computes_its_formula_and_rounds_once(errors, kernel, dtype):
    assert_below(in_dtype(errors, dtype), kernel, ROUNDED[dtype])


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize(
    "quantity",
    [
        "add_parts",
        "add_scaled",
        "logits",
        "log_decay",
        "loss",
        "scale_gradient",
        "block_gradient",
        "block_scale_gradient",
        "decode_logits",
        "decode_parts",
        "decode_state",
    ],
)
def test_sums_decays_and_states_are_float32_whatever_the_products_are(errors, quantity, dtype):
    assert_below(in_dtype(errors, dtype), quantity, 2e-6)


def test_a_bfloat16_state_is_rounded_once_a_token(errors):
    assert_below(errors, "decode_bfloat16_state", 4e-3)


def test_a_decay_keeps_its_digits_however_near_to_one_or_zero(errors):
    assert_below(errors, "extreme_decay", 1e-6)


def test_a_decode_steps_decay_keeps_its_digits_too_and_is_rounded_once_where_little_is_lost(errors):
    assert_below(errors, "extreme_decode_decay", 1e-5)  # as exact as the exponential of 300
    assert_below(errors, "small_decode_loss", 4e-8)


def test_gradients_of_extreme_decays_are_finite(errors):
    assert_below(errors, "extreme_decay_gradient", 0.0)
