"""The transformer baseline: sizes, formulas, cache, padding, precision, and its oracle."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pamprof.errors import SpecError, UsageError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.layers.pam.definition import DEFINITION as PAM
from pamprof.workloads.layers.transformer import block as transformer_block
from pamprof.workloads.layers.transformer.definition import DEFINITION
from pamprof.workloads.matching.match import match
from pamprof.workloads.registry import definition

CPU = torch.device("cpu")
SPEC = LayerSpec(
    layer="transformer",
    model_dim=24,
    heads=3,
    head_dim=8,
    depth=2,
    hidden_dim=96,
    vocabulary_size=101,
    maximum_sequence_length=48,
    activation="gelu",
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


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("tiny", 322_352),
        ("5m", 4_979_304),
        ("10m", 10_022_112),
        ("25m", 26_026_752),
        ("100m", 100_283_232),
        ("1b", 950_889_024),
    ],
)
def test_preset_has_its_parameter_count_to_the_unit(preset, count):
    spec = DEFINITION.preset(preset)
    DEFINITION.check(spec)
    assert DEFINITION.parameter_count(spec, Scope.MODEL) == count
    model = build(spec=spec, device=torch.device("meta"))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_parameter_count_of_a_block_equals_the_built_block():
    count = sum(parameter.numel() for parameter in build(Scope.LAYER).parameters())
    assert DEFINITION.parameter_count(SPEC, Scope.LAYER) == count


@pytest.mark.parametrize("preset", ["tiny", "5m", "10m", "25m", "100m", "1b"])
def test_preset_matches_pam_within_one_percent(preset):
    count = DEFINITION.parameter_count(DEFINITION.preset(preset), Scope.MODEL)
    assert abs(count / PAM.parameter_count(PAM.preset(preset), Scope.MODEL) - 1) < 0.01


@pytest.mark.parametrize("preset", ["tiny", "25m", "1b"])
def test_presets_that_are_ours_have_the_depth_of_pam(preset):
    assert DEFINITION.preset(preset).depth == PAM.preset(preset).depth
    assert DEFINITION.preset(preset).vocabulary_size == PAM.preset(preset).vocabulary_size


def test_forward_flops_per_token_are_those_of_the_paper_pair():
    form = DEFINITION.flop_count(
        DEFINITION.preset("100m"), phase=Phase.TRAIN, scope=Scope.MODEL, batch_size=3, sequence_length=2048
    )
    # linear 12 x 12 x 672^2, attention 12 x 672 x 2049 causal or 12 x 2 x 672 x 2048 dense, head 50257 x 672
    assert form.matrix_flop_count == 3 * 2 * 3 * 2048 * (12 * (5_419_008 + 1_376_928) + 33_772_704)
    assert form.matrix_dense_flop_count == 3 * 2 * 3 * 2048 * (12 * (5_419_008 + 2_752_512) + 33_772_704)
    assert round(form.matrix_flop_count / (3 * 3 * 2048) / 1e6, 1) == 230.6
    assert round(form.matrix_dense_flop_count / (3 * 3 * 2048) / 1e6, 1) == 263.7


def test_decode_flops_grow_by_the_attention_to_one_past_token():
    def decode(context):
        return DEFINITION.flop_count(
            DEFINITION.preset("100m"), phase=Phase.DECODE, scope=Scope.MODEL, batch_size=1, sequence_length=context
        ).matrix_flop_count

    assert decode(2049) - decode(2048) == 4 * 12 * 672  # 0.0323 MFLOP
    assert round(decode(0) / 1e6) == 198
    assert decode(0) == 2 * (12 * 5_419_008 + 33_772_704) + 4 * 12 * 672


def step(model, phase, scope, batch, length):
    """One eager step of ``phase`` as a callable, with everything it needs made before."""
    inputs = ids(length, batch) if scope is Scope.MODEL else torch.randn(batch, length, SPEC.model_dim)
    if phase is Phase.TRAIN:
        targets = ids(length, batch, seed=1) if scope is Scope.MODEL else torch.randn_like(inputs)
        return lambda: model.loss(inputs, targets).backward()
    model.prepare_inference(Dtype.FLOAT32)
    state = model.new_state(batch, length + 1)
    if phase is Phase.PREFILL:
        return lambda: model.prefill(inputs, state)
    state.randomise(torch.Generator().manual_seed(0))
    one = inputs[:, 0] if scope is Scope.MODEL else inputs[:, :1]
    return lambda: model.decode(one, state, length)


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("phase", list(Phase))
def test_closed_form_equals_the_products_that_run(phase, scope):
    # Written out as plain products, attention is counted dense, forward and backward, by an independent counter.
    run = step(build(scope), phase, scope, batch=3, length=11)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    form = DEFINITION.implementation_flop_count(
        SPEC, implementation="sdpa", phase=phase, scope=scope, batch_size=3, sequence_length=11
    )
    assert counter.get_total_flops() == form.matrix_dense_flop_count


def test_causal_form_counts_the_pairs_a_mask_lets_through():
    def form(length):
        return DEFINITION.flop_count(SPEC, phase=Phase.PREFILL, scope=Scope.LAYER, batch_size=2, sequence_length=length)

    seen = int(torch.ones(11, 11).tril().sum())
    saved = form(11).matrix_dense_flop_count - form(11).matrix_flop_count
    assert saved == 2 * 2 * 2 * SPEC.model_dim * (11 * 11 - seen)
    assert form(1).matrix_flop_count == form(1).matrix_dense_flop_count


def test_padding_is_in_the_executed_count_and_not_in_the_architecture():
    point = {"phase": Phase.TRAIN, "scope": Scope.MODEL, "batch_size": 1, "sequence_length": 4}
    executed = DEFINITION.implementation_flop_count(SPEC, implementation="sdpa", **point).matrix_flop_count
    assert executed - DEFINITION.flop_count(SPEC, **point).matrix_flop_count == 6 * 4 * SPEC.model_dim * (128 - 101)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
def test_block_agrees_with_the_naive_float64_block(phase, dtype, tolerance):
    error, _ = DEFINITION.oracle_error(SPEC, implementation="sdpa", phase=phase, device=CPU, dtype=dtype, seed=5)
    assert 0 < error < tolerance


@pytest.mark.parametrize("phase", list(Phase))
def test_oracle_refuses_a_wrong_attention(phase, monkeypatch):
    original = functional.scaled_dot_product_attention

    def wrong_scale(*arguments, **options):
        return original(*arguments, **options, scale=0.4)  # instead of 1/sqrt(8) = 0.354

    monkeypatch.setattr(transformer_block.functional, "scaled_dot_product_attention", wrong_scale)
    error, _ = DEFINITION.oracle_error(
        SPEC, implementation="sdpa", phase=phase, device=CPU, dtype=Dtype.BFLOAT16, seed=5
    )
    assert error > 2e-2


def test_oracle_refuses_attention_to_the_future(monkeypatch):
    original = functional.scaled_dot_product_attention

    def dense(*arguments, is_causal, **options):
        return original(*arguments, **options)

    monkeypatch.setattr(transformer_block.functional, "scaled_dot_product_attention", dense)
    error, _ = DEFINITION.oracle_error(
        SPEC, implementation="sdpa", phase=Phase.TRAIN, device=CPU, dtype=Dtype.BFLOAT16, seed=5
    )
    assert error > 0.1


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 39), max_size=4, unique=True))
def test_prefill_in_pieces_equals_prefill_at_once(cuts):
    model, prompt = inference_model(), ids(40)
    whole, pieces = model.new_state(2, 44), model.new_state(2, 44)
    expected = model.prefill(prompt, whole)
    edges = [0, *sorted(cuts), 40]
    for start, end in itertools.pairwise(edges):
        found = model.prefill(prompt[:, start:end], pieces, start)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pieces.blocks[1], whole.blocks[1], rtol=1e-4, atol=1e-5)


def test_decode_after_prefill_equals_the_full_forward():
    model, tokens = inference_model(), ids(20)
    full = model(tokens)
    state = model.new_state(2, 20)
    torch.testing.assert_close(model.prefill(tokens[:, :15], state), full[:, 14], rtol=1e-4, atol=1e-5)
    for position in range(15, 20):
        found = model.decode(tokens[:, position], state, position)
        assert found.shape == (2, SPEC.vocabulary_size)
        torch.testing.assert_close(found, full[:, position], rtol=1e-4, atol=1e-5)


def test_block_decode_after_prefill_equals_the_full_block():
    layer = inference_model(Scope.LAYER)
    hidden = torch.randn(2, 9, SPEC.model_dim)
    state = layer.new_state(2, 9)
    layer.prefill(hidden[:, :8], state)
    torch.testing.assert_close(layer.decode(hidden[:, 8:], state, 8), layer(hidden)[:, 8:], rtol=1e-4, atol=1e-5)


def test_decode_writes_one_position_in_place():
    model = inference_model()
    state = model.new_state(2, 12)
    state.randomise(torch.Generator().manual_seed(0))
    before = [tensor.clone() for tensor in state.blocks]
    addresses = [tensor.data_ptr() for tensor in state.blocks]
    model.decode(ids(1)[:, 0], state, 7)
    for tensor, old, address in zip(state.blocks, before, addresses, strict=True):
        assert tensor.data_ptr() == address
        changed = (tensor != old).any(-1).any(0).any(0).any(0)
        assert changed.nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("scope", list(Scope))
def test_cache_holds_the_bytes_of_the_formula(scope, dtype):
    state = inference_model(scope, dtype).new_state(3, 17)
    formula = DEFINITION.state_byte_count(SPEC, scope=scope, batch_size=3, context=17, dtype=dtype)
    assert state.byte_count() == formula
    assert state.kind == "kv-cache"


def test_published_cache_is_32256_bytes_per_token():
    spec = DEFINITION.preset("100m")
    size = DEFINITION.state_byte_count(spec, scope=Scope.MODEL, batch_size=1, context=1, dtype=Dtype.BFLOAT16)
    assert size == 32_256


def test_randomised_cache_holds_no_zeros_and_repeats_with_the_seed():
    first, second = inference_model().new_state(1, 8), inference_model().new_state(1, 8)
    first.randomise(torch.Generator().manual_seed(1))
    second.randomise(torch.Generator().manual_seed(1))
    assert all((tensor != 0).all() for tensor in first.blocks)
    assert torch.equal(first.blocks[1], second.blocks[1])


@pytest.mark.parametrize("vocabulary_size", [101, 128])
def test_loss_is_the_cross_entropy_over_the_true_vocabulary(vocabulary_size):
    spec = replace(SPEC, vocabulary_size=vocabulary_size)
    model = build(spec=spec)
    inputs, targets = ids(10), ids(10, seed=1)
    logits = model(inputs)
    assert logits.shape == (2, 10, vocabulary_size)
    expected = functional.cross_entropy(logits.double().flatten(0, 1), targets.flatten())
    loss = model.loss(inputs, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    expected_gradients = torch.autograd.grad(expected, list(model.parameters()))
    for gradient, other in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-7)


def test_training_under_autocast_keeps_float32_residual_loss_and_gradients():
    model = build()
    residual = []
    model.blocks[0].register_forward_hook(lambda *event: residual.append(event[2].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model.loss(ids(10), ids(10, seed=1))
    loss.backward()
    assert residual == [torch.float32]
    assert loss.dtype == torch.float32
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters()
    )
    assert loss.item() == pytest.approx(build().loss(ids(10), ids(10, seed=1)).item(), rel=1e-2)


def test_inference_keeps_embedding_and_head_in_one_storage():
    model = inference_model(dtype=Dtype.BFLOAT16)
    assert all(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in model.parameters()}
    padding = (128 - 101) * SPEC.model_dim
    assert sum(storages.values()) == 2 * (DEFINITION.parameter_count(SPEC, Scope.MODEL) + padding)


def test_same_seed_builds_the_same_model_and_another_seed_another():
    one, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(one.token_embedding, same.token_embedding)
    assert not torch.equal(one.token_embedding, other.token_embedding)


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    build()
    assert torch.equal(torch.rand(1), expected)


def test_dropout_acts_in_training_only():
    model = build(spec=replace(SPEC, dropout=0.5))
    inputs = ids(10)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))
    torch.testing.assert_close(model(inputs), build().eval()(inputs))


def test_longer_position_table_runs_longer_sequences():
    longer = replace(SPEC, maximum_sequence_length=80)
    assert build(spec=longer)(ids(80)).shape == (2, 80, SPEC.vocabulary_size)
    added = DEFINITION.parameter_count(longer, Scope.MODEL) - DEFINITION.parameter_count(SPEC, Scope.MODEL)
    assert added == 32 * SPEC.model_dim


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_dim": 384, "head_dim": 60}, "head_dim 60 does not divide model_dim 384; try 64"),
        ({"heads": 5}, "5 heads of 8 do not make model_dim 24; take 3 heads"),
        ({"depth": 0}, "transformer depth is 0; it must be 1 or more"),
        ({"activation": "modswish"}, "transformer activation is 'modswish'; it must be 'gelu'"),
        ({"chunk_size": 64}, "transformer chunk_size is 64; attention has no chunks, leave it out"),
        ({"dropout": 1.0}, "transformer dropout is 1; it must be at least 0 and below 1"),
    ],
)
def test_impossible_sizes_are_refused_with_a_remedy(change, message):
    with pytest.raises(SpecError) as caught:
        DEFINITION.check(replace(SPEC, **change))
    assert str(caught.value) == message


def test_unknown_preset_and_implementation_name_the_known():
    with pytest.raises(
        UsageError, match="no preset '7m' of layer transformer; presets are tiny, 5m, 10m, 25m, 100m, 100m-k3, 1b"
    ):
        DEFINITION.preset("7m")
    with pytest.raises(UsageError, match="no implementation 'flash' of layer transformer; there is sdpa"):
        DEFINITION.build(SPEC, implementation="flash", scope=Scope.MODEL, device=CPU, seed=0)


@given(model_dim=st.integers(0, 3000))
def test_resized_spec_is_possible_and_keeps_depth_ratio_and_nearly_the_head(model_dim):
    base = DEFINITION.preset("100m")
    resized = DEFINITION.resize(base, model_dim)
    if resized is None:
        return
    DEFINITION.check(resized)
    assert (resized.model_dim, resized.hidden_dim, resized.depth) == (model_dim, 4 * model_dim, base.depth)
    assert resized.head_dim % 8 == 0
    assert 37 < resized.head_dim <= 84
    if model_dim % base.head_dim == 0:
        assert resized.head_dim == base.head_dim


def test_width_without_a_similar_head_cannot_be_resized_to():
    assert DEFINITION.resize(DEFINITION.preset("100m"), 673) is None
    assert DEFINITION.resize(DEFINITION.preset("100m"), 0) is None


def test_wide_heads_have_128_channels_or_the_whole_width():
    wide = definition("wide_head_transformer")
    for name, heads, head_dim in (("tiny", 1, 72), ("25m", 2, 128), ("100m", 5, 128), ("1b", 14, 128)):
        spec = wide.preset(name)
        assert (spec.heads, spec.head_dim, spec.heads * spec.head_dim) == (heads, head_dim, spec.model_dim)
    spec = wide.preset("100m")
    resized = wide.resize(spec, 768)
    assert (resized.heads, resized.head_dim, resized.hidden_dim) == (6, 128, round(768 * 2752 / 640))
    assert (wide.resize(spec, 96).heads, wide.resize(spec, 96).head_dim) == (1, 96)
    assert wide.resize(spec, 200) is None


@pytest.mark.parametrize("model_dim", [128, 256, 512, 1024])
def test_wide_heads_match_own_sizes_of_pam(model_dim):
    preset = definition("pam").preset("100m")
    own = replace(preset, model_dim=model_dim, heads=model_dim // 64, hidden_dim=3 * model_dim)
    (arm,) = match(own, ("wide_head_transformer",), axis="parameters", sequence_length=2048, dtype=Dtype.BFLOAT16)
    assert arm.spec.head_dim == 128
