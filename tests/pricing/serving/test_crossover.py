from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

from pamprof.errors import SpecError
from pamprof.pricing.serving.crossover import (
    DecodeRoof,
    ServingPoint,
    batch_that_fits,
    break_even_tokens_per_day,
    fixed_state_bytes,
    kv_bytes_per_token,
    memory_crossover_tokens,
    monthly_bill_usd,
    peak_tokens_per_second,
    replicas,
    serving_point,
    traffic_crossover_tokens,
)

GIB = 2**30

# The 100M models: parameters stay in float32, the state in float32, the cache in bfloat16.
PAM_WEIGHT_BYTES = 100_395_968 * 4
TRANSFORMER_WEIGHT_BYTES = 100_283_232 * 4
PAM_STATE_BYTES = fixed_state_bytes(layer_count=16, head_count=6, head_dim=64, bytes_per_real=4)
KAPPA_MHA = kv_bytes_per_token(layer_count=12, kv_head_count=12, head_dim=56, bytes_per_element=2)
KAPPA_MHA_FP8 = kv_bytes_per_token(layer_count=12, kv_head_count=12, head_dim=56, bytes_per_element=1)
KAPPA_GQA_FP8 = kv_bytes_per_token(layer_count=16, kv_head_count=8, head_dim=64, bytes_per_element=1)
PAM_1B_STATE_BYTES = fixed_state_bytes(layer_count=24, head_count=16, head_dim=72, bytes_per_real=4)


def test_the_100m_sizes_are_reproduced() -> None:
    assert KAPPA_MHA == 32_256
    assert PAM_STATE_BYTES == 3_145_728
    assert fixed_state_bytes(layer_count=16, head_count=6, head_dim=64, bytes_per_real=2) == 1_572_864
    three = fixed_state_bytes(layer_count=16, head_count=6, head_dim=64, bytes_per_real=4, states_per_head=3)
    assert three == 9_437_184
    assert PAM_1B_STATE_BYTES == 15_925_248


@pytest.mark.parametrize(
    ("state_bytes", "kappa", "memory", "traffic"),
    [
        (PAM_STATE_BYTES, KAPPA_MHA, 98, 195),
        (PAM_STATE_BYTES, KAPPA_MHA_FP8, 195, 390),
        (PAM_STATE_BYTES // 2, KAPPA_MHA, 49, 98),
        (PAM_STATE_BYTES * 3, KAPPA_MHA, 293, 585),
        (PAM_1B_STATE_BYTES, 2 * 24 * 2048 * 2, 81, 162),
        (PAM_1B_STATE_BYTES, 2 * KAPPA_GQA_FP8, 486, 972),
        (PAM_1B_STATE_BYTES, KAPPA_GQA_FP8, 972, 1944),
    ],
)
def test_the_crossover_table_is_reproduced(state_bytes: int, kappa: int, memory: int, traffic: int) -> None:
    assert round(memory_crossover_tokens(state_bytes, kappa)) == memory
    assert round(traffic_crossover_tokens(state_bytes, kappa)) == traffic


def _on_a_4090(weight_bytes: int, sequence_bytes: int, moved_bytes: int, flop_per_token: float) -> ServingPoint:
    roof = DecodeRoof(
        weight_bytes=weight_bytes,
        moved_bytes_per_sequence=moved_bytes,
        flop_per_token=flop_per_token,
        bandwidth_bytes_per_second=1008e9,
        peak_flops_per_second=165e12,
    )
    fitting = batch_that_fits(
        memory_bytes=24 * GIB, weight_bytes=weight_bytes, reserved_bytes=1.5e9, bytes_per_sequence=sequence_bytes
    )
    return serving_point(roof, fitting_batch=fitting, seconds_per_output_token=0.050)


def _pam() -> ServingPoint:
    return _on_a_4090(PAM_WEIGHT_BYTES, PAM_STATE_BYTES, 2 * PAM_STATE_BYTES, 331.1e6)


def _transformer(context: int) -> ServingPoint:
    cache = KAPPA_MHA * context
    return _on_a_4090(TRANSFORMER_WEIGHT_BYTES, cache, cache, 206e6 + 0.0323e6 * context)


@pytest.mark.parametrize(
    ("tokens_per_day", "expected"),
    [(10e6, (1, 1, 1)), (100e6, (1, 1, 2)), (1e9, (1, 3, 12))],
)
def test_the_demand_example_needs_as_many_gpus_as_published(tokens_per_day: float, expected: tuple[int, ...]) -> None:
    peak = peak_tokens_per_second(tokens_per_day, 3)
    points = (_pam(), _transformer(2048), _transformer(8192))
    assert tuple(replicas(peak, point.tokens_per_second or 0) for point in points) == expected


@pytest.mark.parametrize(("count", "usd"), [(1, 292), (2, 584), (3, 876), (12, 3504)])
def test_the_demand_examples_monthly_bills_are_exact(count: int, usd: int) -> None:
    assert monthly_bill_usd(count, Decimal("0.40")) == usd


def test_bills_are_equal_up_to_about_86_million_tokens_a_day() -> None:
    rate = _transformer(8192).tokens_per_second or 0
    limit = break_even_tokens_per_day(rate, 3)
    assert round(limit / 1e6) == 86
    assert replicas(peak_tokens_per_second(limit * 0.999, 3), rate) == 1
    assert replicas(peak_tokens_per_second(limit * 1.001, 3), rate) == 2


def test_pam_is_bound_by_the_time_per_token_and_the_transformer_by_memory() -> None:
    assert _pam().bound == "time per output token"
    assert _transformer(8192).bound == "memory"


def test_equal_traffic_at_the_crossover_and_equal_memory_at_half_of_it() -> None:
    context = traffic_crossover_tokens(PAM_STATE_BYTES, KAPPA_MHA)
    assert KAPPA_MHA * context == pytest.approx(2 * PAM_STATE_BYTES)
    assert context == 2 * memory_crossover_tokens(PAM_STATE_BYTES, KAPPA_MHA)


def test_a_step_takes_the_longer_of_traffic_and_arithmetic_plus_the_fixed_time() -> None:
    roof = DecodeRoof(
        weight_bytes=800.0,
        moved_bytes_per_sequence=80.0,
        flop_per_token=10.0,
        bandwidth_bytes_per_second=1000.0,
        peak_flops_per_second=20.0,
        fixed_seconds=0.25,
    )
    assert roof.step_floor_seconds(1) == pytest.approx(0.25 + 1.1)
    assert roof.step_floor_seconds(4) == pytest.approx(0.25 + 4.0)


@given(st.floats(0.0, 1e9), st.floats(1.0, 1e9), st.floats(1.0, 1e10), st.floats(1e-4, 10.0), st.floats(0.0, 0.01))
def test_the_largest_batch_keeps_the_time_and_one_more_does_not(
    weights: float, moved: float, flop: float, allowed: float, fixed: float
) -> None:
    roof = DecodeRoof(
        weight_bytes=weights,
        moved_bytes_per_sequence=moved,
        flop_per_token=flop,
        bandwidth_bytes_per_second=1e12,
        peak_flops_per_second=1e14,
        fixed_seconds=fixed,
    )
    batch = roof.largest_batch_within(allowed)
    assert batch >= 0
    if batch:
        assert roof.step_floor_seconds(batch) <= allowed
    # Two more, because the division may have rounded a batch that exactly fits down to the one before.
    assert roof.step_floor_seconds(batch + 2) > allowed


def test_infeasible_limits_name_what_binds() -> None:
    roof = DecodeRoof(
        weight_bytes=80.0,
        moved_bytes_per_sequence=80.0,
        flop_per_token=1.0,
        bandwidth_bytes_per_second=1000.0,
        peak_flops_per_second=1e6,
    )
    late = serving_point(roof, fitting_batch=4, seconds_per_output_token=0.1)
    full = serving_point(roof, fitting_batch=0, seconds_per_output_token=1.0)
    assert (late.tokens_per_second, full.tokens_per_second) == (None, None)
    assert late.infeasible == "infeasible: time per output token, 200 ms for one sequence against 100 ms allowed"
    assert (full.infeasible or "").startswith("infeasible: memory")


def test_a_batch_that_does_not_fit_is_zero_and_a_minimum_of_replicas_is_kept() -> None:
    assert batch_that_fits(memory_bytes=10, weight_bytes=20, reserved_bytes=0, bytes_per_sequence=1) == 0
    assert batch_that_fits(memory_bytes=10, weight_bytes=2, reserved_bytes=1, bytes_per_sequence=2) == 3
    assert replicas(0.0, 100.0) == 1
    assert replicas(10.0, 100.0, minimum=2) == 2
    assert replicas(200.0, 100.0) == 2


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(SpecError, match="kv_bytes_per_token 0"):
        memory_crossover_tokens(1, 0)
    with pytest.raises(SpecError, match="tokens_per_second_at_slo"):
        replicas(1.0, 0.0)
