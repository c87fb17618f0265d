"""Vector-state memory: PAM's parameters around one vector a head, against naive convolutions token by token."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest
import torch

from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.layers.pam.definition import DEFINITION as PAM
from pamprof.workloads.layers.pam.planar import block
from pamprof.workloads.layers.recurrent.decay_gates import log_decay_and_write
from pamprof.workloads.layers.vector_pam.block import decayed_sums
from pamprof.workloads.layers.vector_pam.definition import DEFINITION
from pamprof.workloads.layers.vector_pam.oracle import convolved, correlated
from pamprof.workloads.layers.vector_pam.transforms import FastTransform, ProductTransform, fourier_matrix
from pamprof.workloads.matching.match import match

CPU = torch.device("cpu")


@pytest.mark.parametrize("activation", ["modswish", "modrelu"])
@pytest.mark.parametrize("implementation", ["planar", "fft"])
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
def test_block_agrees_with_the_naive_recurrence(
    phase: Phase, dtype: Dtype, tolerance: float, implementation: str, activation: str
) -> None:
    spec = replace(DEFINITION.preset("tiny"), activation=activation)
    error, _ = DEFINITION.oracle_error(
        spec, implementation=implementation, phase=phase, device=CPU, dtype=dtype, seed=0
    )
    assert error < tolerance


def test_the_oracle_notices_a_state_that_does_not_decay(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetless(*given):
        log_decay, write = log_decay_and_write(*given)
        return 0 * log_decay, write

    monkeypatch.setattr(block, "log_decay_and_write", forgetless)
    for phase in Phase:
        error, _ = DEFINITION.oracle_error(
            DEFINITION.preset("tiny"), implementation="planar", phase=phase, device=CPU, dtype=Dtype.FLOAT32, seed=0
        )
        assert error > 1e-2, phase


def test_binding_is_circular_convolution_and_reading_its_adjoint_by_hand() -> None:
    # d = 2: (k ⊛ v)_0 = k0 v0 + k1 v1, (k ⊛ v)_1 = k0 v1 + k1 v0; (q ⋆ s)_0 = q0* s0 + q1* s1, _1 = q0* s1 + q1* s0.
    key = torch.tensor([[[1 + 1j, 2 + 0j]]], dtype=torch.complex128)
    value = torch.tensor([[[3 + 0j, 1j]]], dtype=torch.complex128)
    bound = torch.tensor([[[3 + 5j, 5 + 1j]]]) / sqrt(2)
    torch.testing.assert_close(convolved(value, key), bound.to(torch.complex128))
    query = torch.tensor([[[1j, 1 + 0j]]], dtype=torch.complex128)
    read = torch.tensor([[[-1j * (3 + 5j) + 5 + 1j, -1j * (5 + 1j) + 3 + 5j]]]) / 2
    torch.testing.assert_close(correlated(convolved(value, key), query), read.to(torch.complex128))


@pytest.mark.parametrize("head_dim", [1, 16, 72])
def test_both_transforms_are_torch_s_unitary_one_and_undo_themselves(head_dim: int) -> None:
    planes = torch.randn(2, 3, head_dim, dtype=torch.float64)
    expected = torch.fft.fft(torch.complex(planes[0], planes[1]), norm="ortho")
    matrix = fourier_matrix(head_dim)
    for transform in (ProductTransform(), FastTransform()):
        found = transform.forward(planes, matrix)
        torch.testing.assert_close(torch.complex(found[0], found[1]), expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(transform.inverse(found, matrix), planes, rtol=1e-13, atol=1e-13)


def test_sums_of_chunks_equal_the_recurrence_also_where_the_decay_is_all_but_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    added = torch.randn(1, 2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    log_decay = -torch.rand(1, 2, 3, 4, generator=generator, dtype=torch.float64) * 3
    log_decay[0, 0, 1, 2] = -800.0  # its exponential is 0
    before = torch.randn(1, 2, 5, generator=generator, dtype=torch.float64)
    found, last = decayed_sums(added, log_decay, before)
    state, expected = before, []
    for chunk in range(3):
        for token in range(4):
            state = log_decay[:, :, chunk, token].exp()[..., None] * state + added[:, :, chunk, token]
            expected.append(state)
    torch.testing.assert_close(found.flatten(2, 3), torch.stack(expected, 2), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last, state, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), added)
    assert gradient.isfinite().all()


def test_it_has_the_parameters_of_pam_and_the_head_dim_th_part_of_its_state() -> None:
    pam = PAM.preset("100m")
    (arm,) = match(pam, ["vector_pam"], axis="parameters", sequence_length=2_048, dtype=Dtype.BFLOAT16, preset="100m")
    assert DEFINITION.parameter_count(arm.spec, Scope.MODEL) == 100_395_968
    assert (arm.spec.model_dim, arm.spec.heads, arm.spec.head_dim, arm.spec.depth) == (384, 6, 64, 16)
    sizes = {"scope": Scope.MODEL, "batch_size": 1, "context": 2_048, "dtype": Dtype.BFLOAT16}
    # 16 layers x 6 heads x 64 complex numbers of 8 bytes, beside PAM's 64 of them for each.
    assert DEFINITION.state_byte_count(arm.spec, **sizes) == 49_152
    assert PAM.state_byte_count(pam, **sizes) == 64 * 49_152


def test_a_built_model_holds_the_parameters_and_the_state_that_are_claimed() -> None:
    spec = DEFINITION.preset("tiny")
    for scope in Scope:
        model = DEFINITION.build(spec, implementation="planar", scope=scope, device=CPU, seed=0)
        assert sum(p.numel() for p in model.parameters()) == DEFINITION.parameter_count(spec, scope)
        claimed = DEFINITION.state_byte_count(spec, scope=scope, batch_size=3, context=9, dtype=Dtype.FLOAT32)
        assert model.new_state(3, 9).byte_count() == claimed


@pytest.mark.parametrize("implementation", ["planar", "fft"])
def test_pieces_then_decode_equal_the_whole(implementation: str) -> None:
    spec = DEFINITION.preset("tiny")
    model = DEFINITION.build(spec, implementation=implementation, scope=Scope.MODEL, device=CPU, seed=0).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_scale"):
                parameter.fill_(1.0)
    ids = torch.randint(0, spec.vocabulary_size, (2, 150), generator=torch.Generator().manual_seed(0))
    state = model.new_state(2, 150)
    with torch.no_grad():
        logits = model(ids)
        for start, stop in ((0, 40), (40, 140), (140, 141)):
            found = model.prefill(ids[:, start:stop], state, start)
            torch.testing.assert_close(found, logits[:, stop - 1], rtol=1e-9, atol=1e-11)
        for position in range(141, 150):
            found = model.decode(ids[:, position], state, position)
            torch.testing.assert_close(found, logits[:, position], rtol=1e-9, atol=1e-11)


def test_flops_of_a_block_in_training_by_hand() -> None:
    # tiny: D 48, H 3, d 16, h 144; T 128 in chunks of 64. Linears 4 (4·48² + 3·144·48) + 3·48·3 a token.
    spec, point = DEFINITION.preset("tiny"), {"phase": Phase.TRAIN, "scope": Scope.LAYER, "batch_size": 1}
    linear = 3 * 128 * (4 * (4 * 48 * 48 + 3 * 144 * 48) + 3 * 48 * 3)
    assert DEFINITION.flop_count(spec, sequence_length=128, **point).matrix_flop_count == 2 * (
        linear + 3 * 3 * 2 * (2 * 64 * 64 * 16)
    )
    sums = 2 * 64 * 64 + 2 * 2
    transforms = 128 * 4 * 4 * 16 * 16
    core = {"fft": 2 * sums + 3 * 2 * 16 * sums}
    core["planar"] = core["fft"] + 2 * transforms
    for implementation, work in core.items():
        found = DEFINITION.implementation_flop_count(spec, implementation=implementation, sequence_length=128, **point)
        assert found.matrix_flop_count == 2 * (linear + 3 * work)


def test_flops_of_a_decoded_token_by_hand() -> None:
    # Of 3 heads of 16 numbers each: decay 2; k v 4 products and 2 sums, and 2 sums into the state; q* s 4 and 2.
    spec, point = DEFINITION.preset("tiny"), {"phase": Phase.DECODE, "scope": Scope.LAYER, "batch_size": 5}
    linear = 2 * (4 * (4 * 48 * 48 + 3 * 144 * 48) + 3 * 48 * 3)
    found = DEFINITION.flop_count(spec, sequence_length=128, **point).matrix_flop_count
    assert found == 5 * (linear + 3 * 16 * (2 + (6 + 2) + 6))
    for implementation, transforms in (("fft", 0), ("planar", 2 * 3 * 4 * 4 * 16 * 16)):
        found = DEFINITION.implementation_flop_count(spec, implementation=implementation, sequence_length=128, **point)
        assert found.matrix_flop_count == 5 * (linear + transforms)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("implementation", ["planar", "fft"])
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
def test_block_agrees_with_the_naive_recurrence_on_the_device(
    phase: Phase, dtype: Dtype, tolerance: float, implementation: str
) -> None:
    error, _ = DEFINITION.oracle_error(
        DEFINITION.preset("25m"),
        implementation=implementation,
        phase=phase,
        device=torch.device("cuda"),
        dtype=dtype,
        seed=0,
    )
    assert error < tolerance
