"""Bytes that kernels of our own move: every tensor once for each kernel that touches it, on meta tensors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

pytest.importorskip("triton")

from pamprof.workloads.kernels.block_norm import norm
from pamprof.workloads.kernels.block_prepare import prepare
from pamprof.workloads.kernels.block_weights import fold_gradient
from pamprof.workloads.kernels.core import packed_backward, packed_forward
from pamprof.workloads.kernels.core_configuration import CoreShape, choose_configuration
from pamprof.workloads.kernels.core_work import backward_byte_count, forward_byte_count
from pamprof.workloads.kernels.decode_memory import memory_step
from pamprof.workloads.kernels.decode_products import gate_product, partial_products
from pamprof.workloads.kernels.decode_projection import project
from pamprof.workloads.kernels.kernel_operator import tensor_bytes


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def moved(step) -> int | None:
    return count_flops(step).kernel_byte_count


def test_nothing_is_claimed_where_no_kernel_of_our_own_ran():
    assert moved(lambda: meta(4, 4) @ meta(4, 4)) is None


def test_bytes_of_lists_and_views_are_those_they_show():
    tensor = torch.zeros(8, 6)
    assert tensor_bytes(tensor, [tensor[:, :2], None, (tensor[0],)], 3, "x") == 4 * (48 + 16 + 6)


def test_norm_reads_its_row_and_writes_it_in_the_wanted_dtype():
    planes, scale = meta(3, 5, 2, 16), meta(16)
    assert moved(lambda: norm(planes, scale, torch.bfloat16)) == 4 * 480 + 4 * 16 + 2 * 480


def test_what_is_changed_in_place_is_read_and_written():
    qkv, turn, logits = meta(2, 7, 2, 3, 4, 8), meta(7, 8), meta(2, 2, 4, 7)
    expected = 2 * 4 * qkv.numel() + 2 * 4 * 56 + 4 * logits.numel() + 4 * (2 * 4 * 7)
    assert moved(lambda: prepare(qkv, turn, turn, logits)) == expected


def test_a_decoded_token_reads_each_weight_of_a_map_once_though_its_block_matrix_holds_it_twice():
    x, weight, residual = meta(3, 1, 2, 8, dtype=torch.bfloat16), meta(24, 16, dtype=torch.bfloat16), meta(3, 1, 2, 12)
    expected = 2 * 48 + 2 * (24 * 8) + 4 * 72 + 4 * 72
    assert moved(lambda: project(x, weight, residual, None, None, None)) == expected


def test_tokens_of_many_sequences_read_each_weight_once_too_and_write_every_part_of_a_sum():
    x, weight = meta(3, 1, 2, 256, dtype=torch.bfloat16), meta(24, 512, dtype=torch.bfloat16)
    assert moved(lambda: partial_products(x, weight)) == 2 * 1536 + 2 * (24 * 256) + 2 * 4 * 72  # two parts
    bias = meta(6)
    assert moved(lambda: gate_product(x, weight, bias, bias)) == 2 * 1536 + 2 * (24 * 256) + 2 * 4 * 6 + 2 * 36


def test_a_decoded_token_reads_and_writes_the_state_in_its_own_dtype():
    def step(dtype: torch.dtype) -> int:
        qkv, logits, turn = meta(3, 1, 2, 3 * 16, dtype=torch.bfloat16), meta(2, 3, 2, 1), meta(1, 8)
        state = meta(3, 2, 8, 16, dtype=dtype)
        found = moved(lambda: memory_step(qkv, logits, turn, turn, state))
        assert found is not None
        return found

    assert step(torch.float32) - step(torch.bfloat16) == 2 * 2 * (3 * 2 * 8 * 16)


def test_a_map_folds_its_own_rows_of_a_joint_gradient_only():
    weight, total = meta(10, 6), 25
    gradient = meta(2 * total, 12, dtype=torch.bfloat16)
    found = moved(lambda: fold_gradient(gradient, weight, weight, None, 3))
    assert found == 4 * 60 * 2 + 2 * 60 * 4  # four blocks of the gradient read, two gradients written


def one_segment(length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs with so many rows that no sequence is cut."""
    return meta(256, length, 2, 3, 4, 16, dtype=torch.bfloat16), meta(256, 4, length)


@pytest.mark.parametrize("length", [40, 200])
def test_core_in_one_segment_moves_its_arguments_and_results_once(length):
    qkv, log_decay = one_segment(length)
    results: list[torch.Tensor] = []
    found = moved(lambda: results.extend(packed_forward(qkv, log_decay)))
    assert found == tensor_bytes(qkv, log_decay, results)


def test_core_backward_of_one_chunk_moves_its_arguments_and_results_once():
    qkv, log_decay = one_segment(40)
    output, kept = packed_forward(qkv, log_decay)
    results: list[torch.Tensor] = []
    found = moved(lambda: results.extend(packed_backward(qkv, log_decay, kept, output)))
    assert found == tensor_bytes(qkv, log_decay, output, results)


def test_segments_and_states_are_read_and_written_besides():
    shape = CoreShape(batch_size=1, length=4096, heads=4, head_dim=16, dtype=torch.bfloat16, differentiates=True)
    cut = choose_configuration(shape)
    assert cut.forward_segments(shape.length) > 1
    whole = replace(cut, segment_chunks=0, gradient_segment_chunks=0)
    assert forward_byte_count(shape, cut, keeps=True) > forward_byte_count(shape, whole, keeps=True)
    assert backward_byte_count(shape, cut) > backward_byte_count(shape, whole)
    state = 4 * 4 * 16 * 32  # float32, heads, d, 2 d
    plain = forward_byte_count(shape, whole, keeps=False)
    assert forward_byte_count(shape, whole, keeps=False, has_initial=True, wants_final=True) == plain + 2 * state


def test_a_fused_decode_step_moves_at_least_its_blocks_weights_and_states():
    spec = definition("pam").preset("tiny")
    workload = Workload(
        spec=spec,
        implementation="fused",
        execution=Execution.EAGER,
        phase=Phase.DECODE,
        scope=Scope.MODEL,
        batch_size=1,
        sequence_length=64,
        dtype=Dtype.BFLOAT16,
    )
    with FakeTensorMode():
        step = PreparedStep(workload, definition("pam"), device=torch.device("cpu"), seed=0)
        count = count_flops(step.eager)
    assert step.state is not None
    # Both parts of every weight once, in bfloat16.
    weights = 2 * 2 * spec.depth * (3 * spec.hidden_dim * spec.model_dim + 4 * spec.model_dim**2)
    least = weights + 2 * step.state.byte_count()
    assert count.kernel_byte_count is not None
    assert least < count.kernel_byte_count < 1.5 * least
