"""The hand-written backward of every published stage against finite differences in float64."""

import pytest
import torch

from pamprof.workloads.layers.pam.published import stages


def pairs(*shape, seed=0):
    return torch.randn(*shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def parameter(width, seed):
    return torch.randn(width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_the_norm_has_the_gradient_of_what_it_computes():
    assert torch.autograd.gradcheck(stages.norm, (pairs(3, 5), parameter(5, 1)))


@pytest.mark.parametrize("swish", [True, False])
def test_the_activation_has_the_gradient_of_what_it_computes(swish):
    beta = parameter(5, 2) if swish else None
    assert torch.autograd.gradcheck(stages.activation, (pairs(3, 5), parameter(5, 1), beta))


def test_the_gate_has_the_gradient_of_what_it_computes():
    assert torch.autograd.gradcheck(stages.gate, (pairs(3, 5), pairs(3, 5, seed=1)))


def test_the_decay_matrix_has_the_gradient_of_what_it_computes():
    cumulative = -torch.rand(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    causal = torch.ones(6, 6, dtype=torch.float64).tril()
    assert torch.autograd.gradcheck(stages.decay_matrix, (cumulative.requires_grad_(), causal))


def test_a_stage_keeps_its_inputs_alone_for_backward():
    kept = []
    z, scale = pairs(3, 5), parameter(5, 1)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        stages.norm(z, scale)
    assert {tensor.data_ptr() for tensor in kept} == {z.data_ptr(), scale.data_ptr()}
