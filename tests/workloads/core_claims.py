"""Claims about the memory core's kernels, run in Triton's interpreter by ``test_core_kernels``.

Triton decides at its import whether it interprets, so all claims share one process of their own, which prints the trace
of every claim that does not hold, by name.
"""

import json
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from pamprof.errors import SpecError
from pamprof.measure.flops.counter import count_flops
from pamprof.workloads.kernels.core import check as core_check, interface as core
from pamprof.workloads.kernels.core.configuration import Configuration, CoreShape, choose_configuration
from pamprof.workloads.kernels.core.inputs import CoreInputs
from pamprof.workloads.kernels.core.selection import select_configuration
from pamprof.workloads.kernels.core.work import backward_work, forward_work
from pamprof.workloads.layers.pam.recurrence import recurrent_pam

CPU = torch.device("cpu")
SMALL = Configuration(
    chunk=16,
    value_block=16,
    segment_chunks=0,
    output_warps=4,
    output_stages=1,
    state_warps=4,
    state_stages=1,
    gradient_segment_chunks=0,
    gradient_walks=0,
    gradient_warps=4,
    gradient_stages=1,
    output_hopper=0,
)
LIMITS = {torch.float32: 2e-6, torch.bfloat16: 3e-3, torch.float16: 5e-4}
Tensors = tuple[torch.Tensor, ...]


def given(length: int, head_dim: int, dtype: torch.dtype = torch.float32, heads: int = 2) -> Tensors:
    generator = torch.Generator().manual_seed(length)
    qkv = torch.randn(1, length, 2, 3, heads, head_dim, generator=generator).to(dtype)
    log_decay = -0.3 * torch.rand(1, heads, length, generator=generator) ** 2
    state = torch.randn(1, heads, head_dim, 2 * head_dim, generator=generator)
    gradients = (
        torch.randn(qkv[:, :, :, 0].shape, generator=generator).to(dtype),
        torch.randn(state.shape, generator=generator),
    )
    return qkv, log_decay, state, *gradients


def exact(leaves: list[torch.Tensor], seeds: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, Tensors]:
    leaves = [x.detach().double().requires_grad_(True) for x in leaves]
    q, k, v = (torch.complex(*part.unbind(2)).transpose(1, 2) for part in leaves[0].unbind(3))
    initial = torch.complex(*leaves[2].chunk(2, -1)).mT if len(leaves) == 3 else None
    output, final = recurrent_pam(q, k, v, leaves[1].exp(), initial)
    output = torch.view_as_real(output).permute(0, 2, 4, 1, 3)
    final = torch.cat((final.mT.real, final.mT.imag), -1)
    objective = sum((x * seed.double()).sum() for x, seed in zip((output, final), seeds, strict=False))
    return output.detach(), final.detach(), torch.autograd.grad(objective, leaves)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    size = float(wanted.norm())
    return float((found.detach().double() - wanted).norm()) / (size or 1.0)


def compare(
    length: int,
    head_dim: int,
    dtype: torch.dtype = torch.float32,
    *,
    configuration: Configuration = SMALL,
    with_states: bool = True,
    heads: int = 2,
    change: Callable[[torch.Tensor], object] | None = None,
) -> Tensors:
    """Everything that goes in and comes out against the recurrence in float64; returns the gradients."""
    qkv, log_decay, state, *seeds = given(length, head_dim, dtype, heads)
    if change is not None:
        change(log_decay)
    shape = CoreShape(batch_size=1, length=length, heads=heads, head_dim=head_dim, dtype=dtype)
    select_configuration(replace(shape, differentiates=True), CPU, configuration)
    leaves = [x.requires_grad_(True) for x in (qkv, log_decay, state)[: 2 + with_states]]
    output, final = core.fused_core(
        *qkv.unbind(3),
        log_decay,
        scale=head_dim**-0.5,
        initial_state=state if with_states else None,
        want_final_state=with_states,
    )
    assert (final is not None) == with_states
    assert output.is_contiguous()
    assert output.dtype == dtype
    seeds = seeds[: 1 + with_states]
    gradients = torch.autograd.grad([output, final][: 1 + with_states], leaves, seeds)
    wanted_output, wanted_final, wanted = exact(leaves, seeds)
    errors = {"output": error(output, wanted_output), "decay": error(gradients[1], wanted[1])}
    for index, name in enumerate("qkv"):
        errors[name] = error(gradients[0][:, :, :, index], wanted[0][:, :, :, index])
    if with_states:
        errors |= {"final": error(final, wanted_final), "initial": error(gradients[2], wanted[2])}
    for name, found in errors.items():
        limit = 1e-2 if name == "decay" and dtype == torch.bfloat16 else LIMITS[dtype]
        assert found <= limit, f"{name} is off by {found:.1e} at length {length}, {dtype}, {configuration}"
    return gradients


def any_length_gives_the_recurrence_and_its_gradients() -> None:
    compare(1, 16)
    compare(1, 16, with_states=False)
    compare(5, 16)
    compare(16, 16, with_states=False)
    compare(37, 20)
    compare(37, 16, with_states=False)


def segments_in_either_direction_change_nothing() -> None:
    compare(71, 16, configuration=replace(SMALL, segment_chunks=2))
    compare(71, 16, configuration=replace(SMALL, gradient_segment_chunks=2))
    compare(40, 16, configuration=replace(SMALL, segment_chunks=1, gradient_segment_chunks=1), with_states=False)
    compare(40, 16, configuration=replace(SMALL, gradient_walks=1))
    compare(71, 16, configuration=replace(SMALL, gradient_walks=1, gradient_segment_chunks=2))


def more_segments_than_the_scan_takes_at_once_change_nothing() -> None:
    compare(275, 16, configuration=replace(SMALL, segment_chunks=1, gradient_segment_chunks=1), heads=1)


def a_decay_of_zero_forgets_exactly_and_one_keeps_exactly() -> None:
    def cut(log_decay: torch.Tensor) -> None:
        log_decay[..., [0, 20, 36]] = -torch.inf
        log_decay[:, 0, 21] = -torch.inf
        log_decay[:, 1, 30] = -300.0

    for configuration in (SMALL, replace(SMALL, segment_chunks=1, gradient_segment_chunks=1)):
        gradients = compare(37, 16, configuration=configuration, change=cut)
        assert not gradients[1][..., [0, 20, 36]].any()
    compare(37, 16, change=lambda log_decay: log_decay.zero_())
    gradients = compare(18, 16, change=lambda log_decay: log_decay.fill_(-torch.inf))
    assert not gradients[1].any()


def nothing_behind_a_zero_depends_on_what_was_before_it() -> None:
    qkv, log_decay, state, *_ = given(37, 16)
    log_decay[..., 20] = -torch.inf
    other = log_decay.clone()
    other[..., 3] = -40.0
    (output, final), (changed, changed_final) = (
        core.fused_core(*qkv.unbind(3), decay, scale=0.25, initial_state=state, want_final_state=True)
        for decay in (log_decay, other)
    )
    assert torch.equal(output[:, 20:], changed[:, 20:])
    assert torch.equal(final, changed_final)
    assert not torch.equal(output[:, 3:20], changed[:, 3:20])


def heads_of_24_64_and_72_channels_are_exact() -> None:
    for head_dim in (24, 64, 72):
        compare(19, head_dim, configuration=replace(SMALL, value_block=32), heads=1)
        compare(19, head_dim, torch.bfloat16, configuration=replace(SMALL, gradient_segment_chunks=1), heads=1)


def inputs_of_16_bits_lose_no_more_than_their_operands() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        compare(71, 16, dtype)
        shape = CoreShape(batch_size=1, length=130, heads=1, head_dim=32, dtype=dtype)
        compare(130, 32, dtype, configuration=choose_configuration(shape), with_states=False, heads=1)


def a_sequence_in_pieces_is_the_sequence_at_once() -> None:
    qkv, log_decay, state, *_ = given(45, 16)
    parts = qkv.unbind(3)
    whole, final = core.fused_core(*parts, log_decay, scale=0.25, initial_state=state, want_final_state=True)
    held, pieces = state, []
    for begin, end in ((0, 7), (7, 8), (8, 45)):
        piece, held = core.fused_core(
            *(x[:, begin:end] for x in parts),
            log_decay[..., begin:end],
            scale=0.25,
            initial_state=held,
            want_final_state=True,
        )
        pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(held, final, rtol=1e-5, atol=1e-5)


def the_packed_calls_are_the_same_core() -> None:
    qkv, log_decay, _, gradient, _ = given(21, 16)
    output, kept = core.packed_forward(qkv, log_decay)
    qkv_gradient, decay_gradient = core.packed_backward(qkv, log_decay, kept, gradient)
    leaves = [qkv.clone().requires_grad_(True), log_decay.clone().requires_grad_(True)]
    found, _ = core.fused_core(*leaves[0].unbind(3), leaves[1], scale=0.25)
    wanted = torch.autograd.grad(found, leaves, gradient)
    assert torch.equal(found, output)
    assert torch.equal(wanted[0], qkv_gradient)
    assert torch.equal(wanted[1], decay_gradient)
    assert qkv_gradient.is_contiguous()


def planes_that_share_no_tensor_are_packed_first() -> None:
    qkv, log_decay, *_ = given(21, 16)
    parts = qkv.unbind(3)
    apart = [x.contiguous() for x in parts]
    output, _ = core.fused_core(*parts, log_decay, scale=0.25)
    assert torch.equal(core.fused_core(*apart, log_decay, scale=0.25)[0], output)
    assert torch.equal(core.fused_core(parts[0], *apart[1:], log_decay, scale=0.25)[0], output)


def a_compiler_takes_the_core_whole() -> None:
    def objective(qkv: torch.Tensor, log_decay: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        parts = (qkv * 1.0).unbind(3)
        output, final = core.fused_core(*parts, log_decay, scale=0.25, initial_state=state, want_final_state=True)
        return output.square().sum() + final.square().sum()

    leaves = [x.requires_grad_(True) for x in given(21, 16)[:3]]
    eager = torch.autograd.grad(objective(*leaves), leaves)
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    for found, wanted in zip(torch.autograd.grad(compiled(*leaves), leaves), eager, strict=True):
        torch.testing.assert_close(found, wanted)


def fake_results_have_the_real_shapes_and_the_count_is_the_closed_form() -> None:
    shape = CoreShape(batch_size=1, length=37, heads=2, head_dim=16, dtype=torch.float32)
    for configuration in (
        SMALL,
        replace(SMALL, segment_chunks=1, gradient_segment_chunks=1),
        replace(SMALL, gradient_walks=1, gradient_segment_chunks=2),
    ):
        for device in (CPU, torch.device("meta")):
            select_configuration(replace(shape, differentiates=True), device, configuration)

        def step(device: str) -> list[object]:
            leaves = [x.to(device).requires_grad_(True) for x in given(37, 16)[:3]]
            output, final = core.fused_core(
                *leaves[0].unbind(3), leaves[1], scale=0.25, initial_state=leaves[2], want_final_state=True
            )
            gradients = torch.autograd.grad(output.sum() + final.sum(), leaves)
            return [(x.shape, x.stride(), x.dtype) for x in (output, final, *gradients)]

        assert step("cpu") == step("meta")
        count = count_flops(lambda step=step: step("meta"))
        assert count.complete, count.uncounted_operators
        forward = forward_work(shape, configuration)
        backward = backward_work(shape, configuration, has_initial=True, wants_initial=True, has_final=True)
        assert count.matrix_flop_count == forward.matrix_flop_count + backward.matrix_flop_count


def a_wrong_kernel_is_found_and_named() -> None:
    qkv, log_decay, state, *_ = given(37, 16)
    q, k, v = qkv.unbind(3)
    inputs = CoreInputs(queries=q, keys=k, values=v, log_decay=log_decay, initial_state=state, scale=0.25)
    right = core_check.check_for(inputs, SMALL, wants_final=True, keeps=True)
    assert right.fault is None
    assert {name for name, _ in right.errors} == {
        "output",
        "final state",
        "q gradient",
        "k gradient",
        "v gradient",
        "log_decay gradient",
        "initial state gradient",
    }
    launch = core_check.launch_backward

    def wrong(*arguments: object, **keywords: object) -> Tensors:
        gradient, decay_gradient, initial_gradient = launch(*arguments, **keywords)
        gradient[:, -1, 0, 1] = 0.0
        return gradient, decay_gradient * float("nan"), initial_gradient

    core_check.launch_backward = wrong
    try:
        fault = core_check.check_for(inputs, SMALL, wants_final=True, keeps=True).fault
    finally:
        core_check.launch_backward = launch
    assert re.fullmatch(r"k gradient is off by \S+, log_decay gradient is off by nan", fault), fault


def a_comparison_can_be_made_inside_an_operator_and_inside_a_backward_pass() -> None:
    qkv, log_decay, state, *_ = given(37, 16)
    q, k, v = qkv.unbind(3)
    inputs = CoreInputs(queries=q, keys=k, values=v, log_decay=log_decay, initial_state=state, scale=0.25)
    case = core_check._case(inputs, SMALL, wants_final=True, keeps=True)
    faults = []

    class Around(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            faults.append(core_check._check_apart(case).fault)
            return gradient

    Around.apply(torch.ones(1, requires_grad=True)).sum().backward()

    @torch.library.custom_op("pamprof_claims::around", mutates_args=())
    def around(x: torch.Tensor) -> torch.Tensor:
        faults.append(core_check._check_apart(case).fault)
        return x.clone()

    around(torch.ones(1))
    assert faults == [None, None]


def what_the_kernels_cannot_take_is_refused_with_a_sentence() -> None:
    qkv, log_decay, state, *_ = given(5, 16)
    q, k, v = qkv.unbind(3)
    wide = tuple(x.repeat(1, 1, 1, 1, 9) for x in (q, k, v))
    for arguments, initial_state, sentence in (
        ((q[:, :, 0], k, v, log_decay), None, "give planes"),
        ((q.double(), k, v, log_decay), None, "give bfloat16"),
        ((q, k[:, :4], v, log_decay), None, "k is torch.float32 (1, 4, 2, 2, 16); it must match q"),
        ((q, k, v, log_decay.double()), None, "log_decay is torch.float64"),
        ((q[:, :0], k[:, :0], v[:, :0], log_decay[..., :0]), None, "0 tokens"),
        ((*wide, log_decay), None, "head_dim is 144"),
        ((q, k, v, log_decay), state[..., :16], "initial_state is torch.float32 (1, 2, 16, 16)"),
    ):
        with pytest.raises(SpecError, match=re.escape(sentence)):
            core.fused_core(*arguments, scale=1.0, initial_state=initial_state)


def several_states_give_the_recurrence_and_its_gradients() -> None:
    """Outputs, states and gradients of three states, phases among them; zeros and ones are among the decays."""
    in_segments = replace(SMALL, segment_chunks=1, gradient_segment_chunks=2)
    for configuration, chunks, head_dim, dtype, with_states in (
        (SMALL, 3, 16, torch.float32, True),
        (SMALL, 1, 16, torch.float32, False),
        (in_segments, 4, 24, torch.bfloat16, True),
        (SMALL, 2, 40, torch.float32, True),  # two blocks of channels backward
    ):
        case = core_check._Case(
            configuration=configuration,
            chunks=chunks,
            heads=2,  # the first forgets its initial state at once
            head_dim=head_dim,
            dtype=dtype,
            device=CPU,
            has_initial=with_states,
            wants_final=with_states,
            keeps=True,
            states=3,
        )
        result = core_check._check(case)
        assert len(result.errors) == (8 if with_states else 6), result.errors
        wrong = {name: found for name, found in result.errors if not found <= LIMITS[dtype]}
        assert result.fault is None, result.fault
        assert not wrong, (head_dim, wrong)


CLAIMS = (
    several_states_give_the_recurrence_and_its_gradients,
    any_length_gives_the_recurrence_and_its_gradients,
    segments_in_either_direction_change_nothing,
    more_segments_than_the_scan_takes_at_once_change_nothing,
    a_decay_of_zero_forgets_exactly_and_one_keeps_exactly,
    nothing_behind_a_zero_depends_on_what_was_before_it,
    heads_of_24_64_and_72_channels_are_exact,
    inputs_of_16_bits_lose_no_more_than_their_operands,
    a_sequence_in_pieces_is_the_sequence_at_once,
    the_packed_calls_are_the_same_core,
    planes_that_share_no_tensor_are_packed_first,
    a_compiler_takes_the_core_whole,
    fake_results_have_the_real_shapes_and_the_count_is_the_closed_form,
    a_wrong_kernel_is_found_and_named,
    a_comparison_can_be_made_inside_an_operator_and_inside_a_backward_pass,
    what_the_kernels_cannot_take_is_refused_with_a_sentence,
)


def main() -> None:
    torch.set_num_threads(1)
    traces = {}
    for claim in CLAIMS:
        try:
            claim()
            traces[claim.__name__] = None
        except Exception:  # noqa: BLE001 - each claim fails for itself
            traces[claim.__name__] = traceback.format_exc()
    sys.stdout.write(json.dumps(traces))


if __name__ == "__main__":
    main()
