"""The memory itself: three forms, the plane core and its hand-written backward, against golden arrays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings, strategies as st

from pamprof.errors import SpecError
from pamprof.workloads.layers.pam.recurrence import (
    chunked_pam,
    decay_products,
    dual_pam,
    log_chunked_pam,
    recurrent_pam,
)
from pamprof.workloads.layers.recurrent.chunks.core import ChunkCore, core_forward, final_state
from pamprof.workloads.layers.recurrent.chunks.planes import turn
from tests.workloads.golden import golden

Form = Callable[..., tuple[torch.Tensor, torch.Tensor]]

FORMS: dict[str, Form] = {
    "recurrent": recurrent_pam,
    "dual": dual_pam,
    "chunked": chunked_pam,
    "chunked by 7": lambda *arguments: chunked_pam(*arguments, chunk_size=7),
}


def random_inputs(length: int, seed: int = 0, shape: tuple[int, int] = (2, 3), head_dim: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, *shape, length, head_dim, dtype=torch.complex128, generator=generator)
    return [q, k, v, torch.rand(*shape, length, dtype=torch.float64, generator=generator)]


def gradients(form: Form, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    leaves = [x.clone().requires_grad_(True) for x in inputs]
    output, state = form(*leaves)
    weight = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
    objective = (output.real * weight + output.imag * weight.flip(-1)).sum() + (state.real - 2 * state.imag).sum()
    return torch.autograd.grad(objective, leaves)


@pytest.mark.parametrize("name", ["core_d32_T1", "core_d32_T40_typical", "core_d32_T100_mixed"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_and_gradients_equal_the_golden_arrays(name: str, form: str) -> None:
    arrays = golden(name)
    leaves = [arrays[key].clone().requires_grad_(True) for key in ("q", "k", "v", "gamma")]
    output, state = FORMS[form](*leaves)
    objective = (arrays["dy"].conj() * output).real.sum() + (arrays["dS"].conj() * state).real.sum()
    found = (output, state, *torch.autograd.grad(objective, leaves))
    for key, value in zip(("y", "S", "gq", "gk", "gv", "ggamma"), found, strict=True):
        torch.testing.assert_close(value, arrays[key], rtol=0, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}")


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 40), chunk=st.integers(1, 50), cut=st.integers(0, 40), seed=st.integers(0, 99))
def test_any_length_any_chunk_and_any_cut_give_the_recurrence(length: int, chunk: int, cut: int, seed: int) -> None:
    inputs = random_inputs(length, seed)
    inputs[3] = torch.where(inputs[3] < 0.1, 0.0, torch.where(inputs[3] > 0.9, 1.0, inputs[3]))
    expected, expected_state = recurrent_pam(*inputs)
    output, state = chunked_pam(*inputs, chunk_size=chunk)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, expected_state, rtol=1e-12, atol=1e-12)
    if 0 < cut < length:
        first, held = chunked_pam(*(x[:, :, :cut] for x in inputs), chunk_size=chunk)
        second, held = dual_pam(*(x[:, :, cut:] for x in inputs), held)
        torch.testing.assert_close(torch.cat((first, second), 2), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(held, expected_state, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("zeros", [(3,), (3, 4), (2, 9), (0,), tuple(range(11))])
@pytest.mark.parametrize("form", ["dual", "chunked", "chunked by 7"])
def test_gradient_at_a_decay_of_exactly_zero_is_that_of_the_recurrence(form: str, zeros: tuple[int, ...]) -> None:
    inputs = random_inputs(11, seed=3)
    inputs[3][..., list(zeros)] = 0.0
    expected = gradients(recurrent_pam, inputs)
    for found, wanted in zip(gradients(FORMS[form], inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert expected[3][..., list(zeros)[-1]].abs().max() > 0 or zeros == (0,)


def test_a_decay_of_one_keeps_everything_and_never_inflates() -> None:
    q, k, v, decay = random_inputs(300)
    _, state = chunked_pam(q, k, v, torch.ones_like(decay), chunk_size=16)
    torch.testing.assert_close(state, v.mT @ k.conj(), rtol=1e-13, atol=1e-12)


def test_decay_products_multiply_what_lies_between() -> None:
    decay = torch.tensor([0.5, 0.25, 0.0, 2.0], dtype=torch.float64)
    expected = torch.tensor([[1, 0, 0, 0], [0.25, 1, 0, 0], [0, 0, 1, 0], [0, 0, 2, 1]], dtype=torch.float64)
    torch.testing.assert_close(decay_products(decay), expected)


@pytest.mark.parametrize("form", [recurrent_pam, dual_pam, chunked_pam])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: [y[:, :, :0] for y in x], "0 tokens"),
        (lambda x: [x[0], x[1][..., :2], x[2], x[3]], "k is .* must match q"),
        (lambda x: [*x[:3], x[3].float()], "decay is torch.float32"),
        (lambda x: [y.real for y in x[:3]] + [x[3]], "q is torch.float64"),
        (lambda x: [x[0][0], *x[1:]], "give queries as"),
        (lambda x: [*x, torch.zeros(2, 3, 4, 5, dtype=torch.complex128)], "initial_state is"),
    ],
)
def test_inputs_that_cannot_be_are_refused_with_a_sentence(form: Form, change: Callable, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        form(*change(random_inputs(5)))


def test_a_chunk_of_no_token_is_refused() -> None:
    with pytest.raises(SpecError, match="chunk_size is 0"):
        chunked_pam(*random_inputs(5), chunk_size=0)


@pytest.mark.parametrize("planes", [2, 1])
@pytest.mark.parametrize("chunks", [1, 3])
def test_plane_core_and_its_backward_equal_the_recurrence(planes: int, chunks: int) -> None:
    inputs = random_inputs(5 * chunks, seed=planes)
    if planes == 1:
        inputs[:3] = [torch.complex(x.real, torch.zeros_like(x.real)) for x in inputs[:3]]
    inputs[3] = inputs[3].clamp_min(0.01)
    leaves = [x.clone().requires_grad_(True) for x in (*inputs[:3], inputs[3].log())]

    def as_planes(z: torch.Tensor) -> torch.Tensor:
        return torch.cat((z.real, z.imag), -1) if planes == 2 else z.real

    def rows(z: torch.Tensor) -> torch.Tensor:
        plane = as_planes(z).unflatten(2, (chunks, 5))
        return torch.cat((plane, turn(plane)), -2) if planes == 2 else plane

    q, k, v, log_decay = leaves
    core = as_planes(q).unflatten(2, (chunks, 5)), rows(k), rows(v), log_decay.unflatten(2, (chunks, 5))
    output = ChunkCore.apply(*core, planes).flatten(2, 3)
    expected, expected_state = recurrent_pam(q, k, v, log_decay.exp())
    torch.testing.assert_close(output, as_planes(expected), rtol=1e-12, atol=1e-12)
    weight = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape)
    found = torch.autograd.grad((output * weight).sum(), leaves, retain_graph=True)
    wanted = torch.autograd.grad((as_planes(expected) * weight).sum(), leaves)
    for left, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        _, _, written, _ = core_forward(*core, planes=planes, initial_state=None)
        state = final_state(written, *core[1:], planes=planes, initial_state=None)
    real_state = torch.cat((expected_state.real.mT, expected_state.imag.mT), -1) if planes == 2 else expected_state.mT
    torch.testing.assert_close(state, real_state.real, rtol=1e-12, atol=1e-12)


def test_forms_for_a_logarithm_and_for_a_decay_agree() -> None:
    q, k, v, decay = random_inputs(70)
    held = torch.randn(2, 3, 4, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    expected = chunked_pam(q, k, v, decay, held, chunk_size=32)
    found = log_chunked_pam(q, k, v, decay.log(), held, chunk_size=32)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_plane_core_forgets_without_overflow_however_small_the_decay() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = torch.randn(3, 1, 1, 3, 4, 2, generator=generator)
    log_decay = torch.full((1, 1, 3, 4), -90.0).requires_grad_(True)
    output = ChunkCore.apply(queries.requires_grad_(True), keys, values, log_decay, 1)
    own = (queries * keys).sum(-1, keepdim=True) * values / 2**0.5
    torch.testing.assert_close(output, own)
    output.sum().backward()
    assert torch.isfinite(queries.grad).all()
    assert log_decay.grad.abs().max() < 1e-6
