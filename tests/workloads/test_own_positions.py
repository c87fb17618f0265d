"""Sequences of one decode step at positions of their own: each as if it were alone."""

import importlib.util

import pytest
import torch

from pamprof.errors import UnsupportedError
from pamprof.records import Dtype, LayerSpec, Scope
from pamprof.workloads.base import DecodesEach
from pamprof.workloads.registry import definition
from tests.workloads.interpreted import assert_below, measured

CPU = torch.device("cpu")
COMMON = {"depth": 2, "vocabulary_size": 61, "maximum_sequence_length": 24}
SPECS = {
    "pam": LayerSpec(layer="pam", model_dim=12, heads=2, head_dim=6, hidden_dim=20, activation="modswish", **COMMON),
    "real_pam": LayerSpec(
        layer="real_pam", model_dim=12, heads=2, head_dim=6, hidden_dim=20, activation="swish", **COMMON
    ),
    "vector_pam": LayerSpec(
        layer="vector_pam", model_dim=12, heads=2, head_dim=6, hidden_dim=20, activation="modswish", **COMMON
    ),
    "llama": LayerSpec(
        layer="llama",
        model_dim=16,
        heads=4,
        head_dim=4,
        key_value_heads=2,
        hidden_dim=24,
        activation="swiglu",
        **COMMON,
    ),
    "transformer": LayerSpec(
        layer="transformer", model_dim=12, heads=2, head_dim=6, hidden_dim=24, activation="gelu", **COMMON
    ),
}
LENGTHS = (5, 11, 1)


def model_of(layer, implementation=None):
    found = definition(layer)
    model = found.build(
        SPECS[layer], implementation=implementation or found.implementations[0], scope=Scope.MODEL, device=CPU, seed=2
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # initial values hardly tell positions apart
    model.prepare_inference(Dtype.FLOAT32)
    return model


def tensors(state):
    return getattr(state, "blocks", None) or state.tensors


@pytest.mark.parametrize("layer", SPECS)
@torch.no_grad()
def test_a_step_at_own_positions_is_each_sequences_own_step(layer):
    implementation = "planar" if layer == "pam" else None
    model = model_of(layer, implementation)
    assert isinstance(model, DecodesEach)
    ids = torch.randint(0, 61, (len(LENGTHS), 24), generator=torch.Generator().manual_seed(1))
    joint, alone = model.new_state(len(LENGTHS), 24), []
    axis = 1 if joint.kind == "kv-cache" else 0
    for row, length in enumerate(LENGTHS):
        own = model.new_state(1, 24)
        model.prefill(ids[row : row + 1, :length], own, 0)
        for into, one in zip(tensors(joint), tensors(own), strict=True):
            into.narrow(axis, row, 1).copy_(one)
        alone.append(own)
    for step in range(3):
        positions = torch.tensor([length + step for length in LENGTHS])
        inputs = ids[torch.arange(len(LENGTHS)), positions]
        found = model.decode_each(inputs, joint, positions)
        expected = torch.cat(
            [model.decode(inputs[row : row + 1], own, int(positions[row])) for row, own in enumerate(alone)]
        )
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
        shared = model.decode(inputs.clone(), model.new_state(len(LENGTHS), 24), 7)
        assert not torch.allclose(found, shared, rtol=1e-2)


def test_an_implementation_without_planes_is_refused():
    model = model_of("pam", "published")
    with pytest.raises(UnsupportedError, match="serve planar or fused"):
        model.decode_each(torch.zeros(2, dtype=torch.long), model.new_state(2, 24), torch.tensor([1, 2]))


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_kernels_of_a_step_take_positions_of_each_sequence():
    errors = measured("tests.workloads.own_positions_cases")
    assert_below(errors, "attention", 2e-6)
    assert_below(errors, "rounded_attention", 1e-2)  # weights are rounded, too
    assert_below(errors, "beyond", 0.0)
    assert_below(errors, "memory", 0.0)
    assert_below(errors, "fused_model", 1e-5)
