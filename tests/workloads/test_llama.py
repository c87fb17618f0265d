"""The Llama-style decoder: sizes, formulas, grouped cache, rotary positions, precision, and its oracle."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pamprof.errors import SpecError, UsageError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.layers.llama import block as llama_block
from pamprof.workloads.layers.llama.definition import DEFINITION
from pamprof.workloads.layers.llama.oracle import naive_block
from pamprof.workloads.layers.pam.definition import DEFINITION as PAM
from pamprof.workloads.matching.match import match

CPU = torch.device("cpu")
PRESETS = ("tiny", "5m", "10m", "25m", "100m", "1b")
SPEC = LayerSpec(
    layer="llama",
    model_dim=48,
    heads=6,
    head_dim=8,
    key_value_heads=2,
    depth=2,
    hidden_dim=96,
    vocabulary_size=101,
    maximum_sequence_length=48,
    activation="swiglu",
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(scope=Scope.MODEL, spec=SPEC, device=CPU, seed=3):
    return DEFINITION.build(spec, implementation="sdpa", scope=scope, device=device, seed=seed)


def inference_model(scope=Scope.MODEL, dtype=Dtype.FLOAT32, spec=SPEC):
    model = build(scope, spec).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)  # initial values hardly attend; these do
    model.prepare_inference(dtype)
    return model


def ids(length, batch=2, seed=0):
    return torch.randint(0, SPEC.vocabulary_size, (batch, length), generator=torch.Generator().manual_seed(seed))


def test_formula_gives_the_published_size_of_llama_3_2_1b():
    published = replace(DEFINITION.preset("1b"), hidden_dim=8_192, vocabulary_size=128_256)
    assert DEFINITION.parameter_count(published, Scope.MODEL) == 1_235_814_400


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_has_its_parameter_count_and_matches_pam_within_one_percent(preset):
    spec = DEFINITION.preset(preset)
    DEFINITION.check(spec)
    count = DEFINITION.parameter_count(spec, Scope.MODEL)
    model = build(spec=spec, device=torch.device("meta"))
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert abs(count / PAM.parameter_count(PAM.preset(preset), Scope.MODEL) - 1) < 0.01


@pytest.mark.parametrize("preset", ["tiny", "100m", "1b"])
def test_size_solver_takes_the_preset(preset):
    (arm,) = match(
        PAM.preset(preset), ["llama"], axis="parameters", sequence_length=2048, dtype=Dtype.BFLOAT16, preset=preset
    )
    assert arm.spec == replace(DEFINITION.preset(preset), vocabulary_size=PAM.preset(preset).vocabulary_size)


def test_size_solver_finds_a_shape_with_heads_of_64_for_sizes_of_ones_own():
    reference = replace(PAM.preset("100m"), model_dim=448, heads=7, hidden_dim=1344)
    (arm,) = match(reference, ["llama"], axis="parameters", sequence_length=2048, dtype=Dtype.BFLOAT16)
    assert arm.spec.head_dim == 64
    assert abs(arm.residuals[0].residual) <= 0.01


@pytest.mark.parametrize("preset", ["10m", "25m", "100m", "1b"])
def test_heads_are_64_wide_in_all_but_the_smallest_presets(preset):
    assert DEFINITION.preset(preset).head_dim == 64


def test_cache_of_the_1b_preset_is_that_of_llama_3_2_1b():
    one = DEFINITION.state_byte_count(
        DEFINITION.preset("1b"), scope=Scope.MODEL, batch_size=1, context=1, dtype=Dtype.BFLOAT16
    )
    assert one == 2 * 16 * 8 * 64 * 2  # keys and values, layers, heads, width, bytes: 32,768


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("dtype", list(Dtype))
def test_state_byte_count_is_what_new_state_allocates(scope, dtype):
    state = inference_model(scope, dtype).new_state(3, 17)
    formula = DEFINITION.state_byte_count(SPEC, scope=scope, batch_size=3, context=17, dtype=dtype)
    assert state.byte_count() == formula
    assert state.kind == "kv-cache"


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("phase", list(Phase))
def test_closed_form_equals_the_products_that_run(phase, scope):
    # Written out as plain products, attention is counted dense, forward and backward, by an independent counter.
    model = build(scope)
    inputs = ids(11, 3) if scope is Scope.MODEL else torch.randn(3, 11, SPEC.model_dim)
    if phase is Phase.TRAIN:
        targets = ids(11, 3, seed=1) if scope is Scope.MODEL else torch.randn_like(inputs)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.loss(inputs, targets).backward()
    else:
        model.prepare_inference(Dtype.FLOAT32)
        state = model.new_state(3, 12)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            if phase is Phase.PREFILL:
                model.prefill(inputs, state)
            else:
                model.decode(inputs[:, 0] if scope is Scope.MODEL else inputs[:, :1], state, 11)
    form = DEFINITION.implementation_flop_count(
        SPEC, implementation="sdpa", phase=phase, scope=scope, batch_size=3, sequence_length=11
    )
    assert counter.get_total_flops() == form.matrix_dense_flop_count


def test_grouping_saves_cache_and_no_attention_flop():
    def decode(spec, context):
        return DEFINITION.flop_count(
            spec, phase=Phase.DECODE, scope=Scope.MODEL, batch_size=1, sequence_length=context
        ).matrix_flop_count

    every_head = replace(SPEC, key_value_heads=None)
    assert decode(SPEC, 2049) - decode(SPEC, 2048) == decode(every_head, 2049) - decode(every_head, 2048)
    shape = {"scope": Scope.MODEL, "batch_size": 1, "context": 10, "dtype": Dtype.FLOAT32}
    assert DEFINITION.state_byte_count(every_head, **shape) == 3 * DEFINITION.state_byte_count(SPEC, **shape)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
@pytest.mark.parametrize("groups", [1, 2, None])
def test_block_agrees_with_the_oracle(phase, dtype, tolerance, groups):
    spec = replace(SPEC, key_value_heads=groups)
    error, name = DEFINITION.oracle_error(spec, implementation="sdpa", phase=phase, device=CPU, dtype=dtype, seed=1)
    assert 0 < error < tolerance
    assert "float64" in name


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.DECODE])
def test_gate_sees_a_wrong_frequency(monkeypatch, phase):
    monkeypatch.setattr(llama_block, "ROTARY_BASE", 10_000.0)
    error, _ = DEFINITION.oracle_error(
        SPEC, implementation="sdpa", phase=phase, device=CPU, dtype=Dtype.FLOAT32, seed=1
    )
    assert error > 1e-2


def test_oracle_agrees_with_the_formulas_of_the_papers_on_one_token():
    # One token attends to itself alone: attention is its value, whatever the rotation.
    torch.manual_seed(0)
    spec = replace(SPEC, heads=1, key_value_heads=1, head_dim=48)
    layer = build(Scope.LAYER, spec).double()
    weights = {name.removeprefix("blocks.0."): value.detach() for name, value in layer.named_parameters()}
    x = torch.randn(1, 1, 48, dtype=torch.float64)
    unit = x / (x.square().mean() + 1e-5).sqrt()
    value = unit @ weights["query_key_value.weight"][-48:].T
    middle = x + value @ weights["attention_output.weight"].T
    unit = middle / (middle.square().mean() + 1e-5).sqrt()
    gate, up = (unit @ weights["gate_up.weight"].T).chunk(2, -1)
    expected = middle + (functional.silu(gate) * up) @ weights["down.weight"].T
    torch.testing.assert_close(naive_block(weights, x, spec)[0], expected)


def test_scores_depend_on_the_distance_of_positions_alone():
    table = llama_block.rotary_table(64, 8, dtype=torch.float64, device=CPU)
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)

    def score(at, to):
        return (llama_block.rotate(query, table[:, at : at + 1]) * llama_block.rotate(key, table[:, to : to + 1])).sum()

    assert score(5, 2) == pytest.approx(float(score(60, 57)), rel=1e-12)
    assert score(5, 2) != pytest.approx(float(score(5, 3)), rel=1e-3)


@pytest.mark.parametrize("pieces", [(12,), (5, 7), (1, 4, 7), (11, 1)])
@torch.no_grad()
def test_pieces_of_a_prompt_then_decoding_equal_the_whole(pieces):
    model = build().double().eval()
    tokens = ids(15)
    whole = model(tokens)
    state = model.new_state(2, 15)
    for start, end in itertools.pairwise(itertools.accumulate(pieces, initial=0)):
        logits = model.prefill(tokens[:, start:end], state, start)
        torch.testing.assert_close(logits, whole[:, end - 1], rtol=1e-9, atol=1e-12)
    for position in range(12, 15):
        logits = model.decode(tokens[:, position], state, position)
        torch.testing.assert_close(logits, whole[:, position], rtol=1e-9, atol=1e-12)


def test_prefill_ignores_what_the_cache_held():
    model = inference_model()
    state = model.new_state(2, 9)
    expected = model.prefill(ids(9), state)
    state.randomise(torch.Generator().manual_seed(4))
    torch.testing.assert_close(model.prefill(ids(9), state), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_value_heads": 4}, "does not divide 6 heads; try 3"),
        ({"key_value_heads": 0}, "try 1"),
        ({"head_dim": 16}, "take 3 heads"),
        ({"activation": "gelu"}, "must be 'swiglu'"),
        ({"hidden_dim": 0}, "hidden_dim is 0"),
        ({"heads": 16, "key_value_heads": 4, "head_dim": 3}, "even"),
    ],
)
def test_impossible_sizes_are_refused_with_a_remedy(change, message):
    with pytest.raises(SpecError, match=message):
        DEFINITION.check(replace(SPEC, **change))


def test_unknown_preset_and_implementation_are_named():
    with pytest.raises(UsageError, match="layer llama; presets are tiny"):
        DEFINITION.preset("7b")
    with pytest.raises(UsageError, match="layer llama; there is sdpa"):
        DEFINITION.supports("planar", Dtype.FLOAT32)


@pytest.mark.parametrize(("width", "heads", "groups"), [(256, 4, 1), (768, 12, 3), (1024, 16, 4), (320, 5, 1)])
def test_resize_keeps_the_head_and_the_ratio_of_groups(width, heads, groups):
    spec = DEFINITION.resize(DEFINITION.preset("100m"), width)
    assert (spec.heads, spec.key_value_heads, spec.head_dim) == (heads, groups, 64)
    DEFINITION.check(spec)


def test_width_that_is_no_multiple_of_the_head_has_no_shape():
    assert DEFINITION.resize(DEFINITION.preset("100m"), 100) is None
    assert DEFINITION.resize(DEFINITION.preset("100m"), 0) is None


def test_dropout_acts_in_training_alone():
    spec = replace(SPEC, dropout=0.5)
    model = build(spec=spec)
    with torch.no_grad():
        assert not torch.equal(model.train()(ids(6)), model(ids(6)))
        assert torch.equal(model.eval()(ids(6)), model(ids(6)))
