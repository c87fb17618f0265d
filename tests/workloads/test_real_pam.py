"""The real twin: sizes matched to PAM, and its block and model against a naive recurrence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pamprof.errors import SpecError, UsageError
from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.layers.pam.definition import DEFINITION as PAM
from pamprof.workloads.layers.real_pam.definition import DEFINITION
from pamprof.workloads.layers.real_pam.model import RealPamLanguageModel

CPU = torch.device("cpu")
PRESETS = ["tiny", "5m", "10m", "25m", "100m", "100m-k3", "1b"]


@pytest.mark.parametrize(("activation", "states"), [("swish", 1), ("relu", 1), ("swish", 3)])
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
def test_block_agrees_with_the_naive_recurrence(
    phase: Phase, dtype: Dtype, tolerance: float, activation: str, states: int
) -> None:
    spec = replace(DEFINITION.preset("tiny"), activation=activation, state_count=states)
    error, _ = DEFINITION.oracle_error(spec, implementation="planar", phase=phase, device=CPU, dtype=dtype, seed=0)
    assert error < tolerance


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_parameters_of_pam_within_one_percent(preset: str) -> None:
    twin, pam = DEFINITION.preset(preset), PAM.preset(preset)
    ratio = DEFINITION.parameter_count(twin, Scope.MODEL) / PAM.parameter_count(pam, Scope.MODEL)
    assert abs(ratio - 1) <= 0.01
    assert (twin.depth, twin.head_dim, twin.state_count) == (pam.depth, pam.head_dim, pam.state_count)
    DEFINITION.check(twin)


@pytest.mark.parametrize("preset", PRESETS)
def test_parameter_count_is_what_a_built_model_holds(preset: str) -> None:
    spec = DEFINITION.preset(preset)
    for scope in Scope:
        model = DEFINITION.build(spec, implementation="planar", scope=scope, device=torch.device("meta"), seed=0)
        assert sum(p.numel() for p in model.parameters()) == DEFINITION.parameter_count(spec, scope)


@pytest.mark.parametrize("states", [1, 3])
def test_pieces_then_decode_equal_the_whole(states: int) -> None:
    spec = replace(DEFINITION.preset("tiny"), state_count=states)
    model = RealPamLanguageModel(spec).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_scale"):
                parameter.fill_(1.0)
            elif name.endswith("phase_proj.weight"):
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
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


@pytest.mark.parametrize("states", [1, 3])
def test_state_bytes_are_those_allocated(states: int) -> None:
    spec = replace(DEFINITION.preset("tiny"), state_count=states)
    expected = DEFINITION.state_byte_count(spec, scope=Scope.MODEL, batch_size=3, context=9, dtype=Dtype.FLOAT32)
    assert RealPamLanguageModel(spec).new_state(3, 9).byte_count() == expected


def test_training_at_equal_width_costs_a_quarter_of_pam_in_linear_maps() -> None:
    pam = PAM.preset("100m")
    twin = replace(pam, layer="real_pam", activation="swish")
    sizes = {"phase": Phase.TRAIN, "scope": Scope.LAYER, "batch_size": 1, "sequence_length": 2_048}
    ratio = DEFINITION.flop_count(twin, **sizes).matrix_flop_count / PAM.flop_count(pam, **sizes).matrix_flop_count
    assert ratio == pytest.approx(0.25, abs=1e-3)  # the two real-valued gates keep it from being a quarter exactly


def test_an_odd_head_dim_and_an_unknown_implementation_are_refused() -> None:
    spec = DEFINITION.preset("tiny")
    with pytest.raises(SpecError, match="make it even"):
        DEFINITION.check(replace(spec, head_dim=15))
    with pytest.raises(UsageError, match="there is planar"):
        DEFINITION.build(spec, implementation="gauss", scope=Scope.MODEL, device=CPU, seed=0)
