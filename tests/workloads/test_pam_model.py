"""The language model: implementations, pieces, decode, checkpoints, dropout, precision."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings, strategies as st

from pamprof.errors import SpecError, UnsupportedError
from pamprof.records import Dtype, LayerSpec
from pamprof.workloads.layers.pam.complex.block import PamLayer
from pamprof.workloads.layers.pam.model import PamLanguageModel

IMPLEMENTATIONS = ["published", "planar", "gauss", "complex"]
SPEC = LayerSpec(
    layer="pam",
    model_dim=12,
    heads=2,
    head_dim=4,
    depth=2,
    hidden_dim=20,
    vocabulary_size=101,
    maximum_sequence_length=64,
    activation="modswish",
    chunk_size=32,
)
IDS = torch.randint(0, 101, (2, 140), generator=torch.Generator().manual_seed(0))
TARGETS = IDS.roll(-1, 1)


def exciting_state_dict() -> dict[str, torch.Tensor]:
    """Parameters far from their initial values, so that nothing hides behind a small scale."""
    generator = torch.Generator().manual_seed(1)
    names = PamLanguageModel(SPEC).state_dict()
    return {
        key: 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64) + ("scale" in key)
        for key, value in sorted(names.items())
    }


STATE_DICT = exciting_state_dict()


def model_of(implementation: str, dtype: torch.dtype = torch.float64) -> PamLanguageModel:
    weights = {key: value.to(dtype) for key, value in STATE_DICT.items()}
    return PamLanguageModel.from_qllm2_state_dict(weights, implementation=implementation)


@pytest.fixture(scope="module")
def reference() -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, loss and gradients of the complex implementation in float64."""
    model = model_of("complex")
    loss = model.loss(IDS, TARGETS)
    loss.backward()
    return model(IDS).detach(), loss.detach(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[:3])
def test_logits_loss_and_every_gradient_agree_across_implementations(implementation: str, reference: tuple) -> None:
    logits, expected_loss, gradients = reference
    model = model_of(implementation)
    torch.testing.assert_close(model(IDS), logits, rtol=1e-10, atol=1e-10)
    loss = model.loss(IDS, TARGETS)
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected_loss, rtol=1e-10, atol=1e-10)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-8, atol=1e-10, msg=lambda t, n=name: n + t)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 139), max_size=3, unique=True), steps=st.integers(0, 5))
def test_pieces_then_decode_equal_the_whole(implementation: str, reference: tuple, cuts: list[int], steps: int) -> None:
    logits = reference[0]
    model = model_of(implementation).eval()
    state = model.new_state(2, 140)
    for tensor in state.tensors:
        tensor.fill_(7.0)  # position 0 begins a sequence, whatever was held before
    end = 140 - steps
    borders = [0, *sorted(cut for cut in cuts if cut < end), end]
    with torch.no_grad():
        for start, stop in pairwise(borders):
            found = model.prefill(IDS[:, start:stop], state, start)
            torch.testing.assert_close(found, logits[:, stop - 1], rtol=1e-9, atol=1e-9)
        for position in range(end, 140):
            found = model.decode(IDS[:, position], state, position)
            torch.testing.assert_close(found, logits[:, position], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_prepared_inference_keeps_results_parameters_and_addresses(implementation: str) -> None:
    model = model_of(implementation, torch.float32).eval()
    with torch.no_grad():
        expected = model(IDS)
    model.prepare_inference(Dtype.FLOAT32)
    for name, value in model.state_dict().items():
        assert torch.equal(value, STATE_DICT[name].float())
    state = model.new_state(2, 140)
    addresses = [tensor.data_ptr() for tensor in state.tensors]
    with torch.no_grad():
        torch.testing.assert_close(model.prefill(IDS[:, :-1], state), expected[:, -2], rtol=2e-4, atol=2e-4)
        torch.testing.assert_close(model.decode(IDS[:, -1], state, 139), expected[:, -1], rtol=2e-4, atol=2e-4)
    assert [tensor.data_ptr() for tensor in state.tensors] == addresses


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS[:3])
def test_bfloat16_policy_keeps_master_weights_and_memory_in_float32(implementation: str, reference: tuple) -> None:
    model = model_of(implementation, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(IDS, TARGETS)
    loss.backward()
    assert abs(float(loss.detach()) / float(reference[1]) - 1) < 2e-2
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    model.prepare_inference(Dtype.BFLOAT16)
    state = model.new_state(2, 140)
    with torch.no_grad():
        logits = model.prefill(IDS, state)
    assert logits.dtype == torch.bfloat16
    assert model.blocks[0].pam.qkv_proj.weight_real.dtype == torch.bfloat16
    assert model.blocks[0].pam.dt_bias.dtype == torch.float32
    assert all(tensor.dtype in (torch.float32, torch.complex64) for tensor in state.tensors)


def test_complex_implementation_refuses_bfloat16_in_training_and_inference() -> None:
    model = model_of("complex", torch.float32)
    with pytest.raises(UnsupportedError, match="float32"), torch.autocast("cpu", dtype=torch.bfloat16):
        model.loss(IDS, TARGETS)
    with pytest.raises(UnsupportedError, match="float32"):
        model.prepare_inference(Dtype.BFLOAT16)


def test_padding_never_reaches_logits_or_loss() -> None:
    model = model_of("planar")
    logits = model(IDS)
    assert logits.shape == (2, 140, 101)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TARGETS.flatten())
    torch.testing.assert_close(model.loss(IDS, TARGETS), expected, rtol=1e-12, atol=0)


def test_a_checkpoint_survives_the_round_trip_and_gives_its_sizes() -> None:
    model = model_of("planar")
    assert (model.spec.depth, model.spec.heads, model.spec.head_dim, model.spec.hidden_dim) == (2, 2, 4, 20)
    assert model.state_dict().keys() == STATE_DICT.keys()
    without_slope = {key: value for key, value in STATE_DICT.items() if not key.endswith("act.beta")}
    assert PamLanguageModel.from_qllm2_state_dict(without_slope).spec.activation == "modrelu"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d.pop("blocks.1.pam.dt_bias"), "missing blocks.1.pam.dt_bias"),
        (lambda d: d.pop("blocks.0.pam.dt_bias"), "no 'blocks.0.pam.dt_bias'"),
        (lambda d: d.update({"pam.rev_scale": torch.zeros(1)}), "unexpected pam.rev_scale"),
        (lambda d: d.update({"blocks.1.norm1.scale": torch.zeros(5)}), r"has shape \(5,\)"),
        (lambda d: d.update({"blocks.7.norm1.scale": torch.zeros(12)}), "count from 0 without gaps"),
        (lambda d: d.pop("embed.embed_real.weight"), "no 'embed.embed_real.weight'"),
        (lambda d: d.update({"blocks.0.pam.dt_bias": torch.zeros(5)}), "not 3 x 5 heads"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_key(change: object, sentence: str) -> None:
    state_dict = dict(STATE_DICT)
    change(state_dict)
    with pytest.raises(SpecError, match=sentence):
        PamLanguageModel.from_qllm2_state_dict(state_dict)


def test_layer_reads_its_part_of_a_checkpoint() -> None:
    part = {key.split("pam.", 1)[1]: value for key, value in STATE_DICT.items() if key.startswith("blocks.1.pam.")}
    layer = PamLayer.from_qllm2_state_dict(part)
    x = torch.randn(1, 9, 12, dtype=torch.complex128)
    with torch.no_grad():
        whole, state = layer(x)
        _, held = layer(x[:, :4])
        rest, held = layer(x[:, 4:], held, position=4)
    torch.testing.assert_close(rest, whole[:, 4:])
    torch.testing.assert_close(held, state)
    with pytest.raises(SpecError, match="form is 'fast'"):
        PamLayer(SPEC, form="fast")


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_dropout_changes_training_and_leaves_evaluation_alone(implementation: str) -> None:
    from dataclasses import replace

    model = PamLanguageModel(replace(SPEC, dropout=0.5), implementation=implementation)
    model.load_state_dict(STATE_DICT)
    assert not torch.equal(model(IDS[:, :9]), model(IDS[:, :9]))
    model.eval()
    plain = PamLanguageModel(SPEC, implementation=implementation)
    plain.load_state_dict(STATE_DICT)
    assert torch.equal(model(IDS[:, :9]), plain(IDS[:, :9]))


@pytest.mark.parametrize("ids", [torch.zeros(2, 0, dtype=torch.long), torch.zeros(3, dtype=torch.long)])
def test_no_token_and_no_batch_are_refused(ids: torch.Tensor) -> None:
    with pytest.raises(SpecError, match="token ids have shape"):
        model_of("planar")(ids)


def test_every_implementation_starts_from_the_same_values() -> None:
    first, *others = (PamLanguageModel(SPEC, implementation=name, seed=3).state_dict() for name in IMPLEMENTATIONS)
    for other in others:
        assert all(torch.equal(first[key], other[key]) for key in first)
    assert float(first["blocks.0.pam.dt_bias"][0]) == -4.0
    assert float(first["blocks.1.pam_scale"]) == pytest.approx(0.1)
