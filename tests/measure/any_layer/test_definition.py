"""What is derived from a function that makes a module: sizes, phases, state, FLOPs, and its check."""

from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest
import torch

from pamprof.errors import PamprofError, UnsupportedError, UsageError
from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.any_layer.registration import know_factories
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads import registry
from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.layers.foreign.source import argument_value, parse_source
from pamprof.workloads.matching.match import arm_facts, match
from pamprof.workloads.registry import definition, register
from pamprof.workloads.steps import PreparedStep

CPU = torch.device("cpu")
WIDTH, HIDDEN, DEPTH, VOCABULARY = 96, 384, 2, 2048  # depth and vocabulary of the tiny transformer


@pytest.fixture(autouse=True)
def own_registrations(monkeypatch):
    """Layers that a test registers are forgotten after it."""
    monkeypatch.setattr(registry, "_given", {})


def layer(name, factory=None, arguments=""):
    source = f"tests.measure.any_layer.given:{factory or name}{arguments}"
    return ForeignDefinition(name, source, LocalInspector())


def spec_of(made, width=WIDTH):
    return replace(made.resize(made.preset("tiny"), width), hidden_dim=HIDDEN)


@pytest.mark.parametrize(
    ("factory", "arguments", "block"),
    [
        ("gru", "", 3 * (2 * WIDTH * WIDTH + 2 * WIDTH)),
        ("gru", "(num_layers=2)", 2 * 3 * (2 * WIDTH * WIDTH + 2 * WIDTH)),
        ("LinearAttention", "", 3 * WIDTH * WIDTH),
        ("DiagonalStateSpace", "(modes=4)", 2 * 2 * WIDTH * 4),  # complex: two real scalars each
    ],
)
def test_parameters_are_the_modules_and_the_carriers(factory, arguments, block):
    made = layer("given", factory, arguments)
    spec = spec_of(made)
    carrier = 2 * 2 * WIDTH + 2 * WIDTH * HIDDEN + HIDDEN + WIDTH
    assert made.parameter_count(spec, Scope.LAYER) == block + carrier
    model = DEPTH * (block + carrier) + VOCABULARY * WIDTH + 2 * WIDTH
    assert made.parameter_count(spec, Scope.MODEL) == model
    built = made.build(spec, implementation="module", scope=Scope.MODEL, device=CPU, seed=0)
    assert sum(p.numel() * (2 if p.is_complex() else 1) for p in built.parameters()) == model


def test_a_whole_block_is_repeated_as_it_is():
    made = layer("given", "linear", "(carrier='block')")
    spec = spec_of(made)
    assert made.parameter_count(spec, Scope.LAYER) == WIDTH * WIDTH
    inputs = torch.randn(2, 5, WIDTH)
    built = made.build(spec, implementation="module", scope=Scope.LAYER, device=CPU, seed=0)
    assert torch.equal(built(inputs), inputs @ built.blocks[0].given.map.weight.T)


def test_flops_are_counted_on_a_block_and_a_model_has_a_head_besides():
    made = layer("given", "LinearAttention")
    spec = spec_of(made)
    batch, time = 3, 32
    feed_forward = 2 * 2 * WIDTH * HIDDEN
    prefill = batch * time * (2 * 3 * WIDTH * WIDTH + feed_forward) + batch * 2 * (2 * time * time * WIDTH)
    sizes = {"batch_size": batch, "sequence_length": time}
    assert made.flop_count(spec, phase=Phase.PREFILL, scope=Scope.LAYER, **sizes).matrix_flop_count == prefill
    decode = batch * (2 * 3 * WIDTH * WIDTH + feed_forward + 2 * 2 * WIDTH * WIDTH)
    assert made.flop_count(spec, phase=Phase.DECODE, scope=Scope.LAYER, **sizes).matrix_flop_count == decode
    model = made.flop_count(spec, phase=Phase.DECODE, scope=Scope.MODEL, **sizes).matrix_flop_count
    assert model == DEPTH * decode + batch * 2 * WIDTH * VOCABULARY
    train = made.flop_count(spec, phase=Phase.TRAIN, scope=Scope.LAYER, **sizes).matrix_flop_count
    assert train == 3 * prefill


def test_a_module_decodes_where_it_has_a_state_and_a_step():
    with_step, without = layer("a", "LinearAttention"), layer("b", "gru")
    spec = spec_of(with_step)
    spec_of(without)
    assert with_step.phases == tuple(Phase)
    assert without.phases == (Phase.TRAIN, Phase.PREFILL)
    assert with_step.fixed_state
    assert not without.fixed_state
    state = {"context": 2048, "dtype": Dtype.FLOAT32, "batch_size": 3, "scope": Scope.MODEL}
    assert with_step.state_byte_count(spec, **state) == 3 * DEPTH * WIDTH * WIDTH * 4


def test_a_step_continues_what_forward_computes():
    made = layer("given", "LinearAttention")
    spec = spec_of(made)
    model = made.build(spec, implementation="module", scope=Scope.MODEL, device=CPU, seed=0).eval()
    ids = torch.randint(0, VOCABULARY, (2, 9))
    with torch.no_grad():
        state = model.new_state(2, 9)
        stepped = torch.stack([model.decode(ids[:, place], state, place) for place in range(9)], 1)
        torch.testing.assert_close(stepped, model(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("returns", ["tensor", "tuple", "dict"])
def test_the_output_is_the_first_tensor_of_the_inputs_shape(returns):
    made = layer("given", "linear", f"(returns={returns!r})")
    error, oracle = made.oracle_error(
        spec_of(made), implementation="module", phase=Phase.TRAIN, device=CPU, dtype=Dtype.FLOAT32, seed=0
    )
    assert error < 1e-6
    assert oracle == "itself in eager float64"


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.PREFILL])
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
def test_complex_weights_keep_their_imaginary_part(phase, dtype, tolerance):
    made = layer("given", "DiagonalStateSpace")
    spec = spec_of(made)
    assert made.complex_valued
    error, _ = made.oracle_error(spec, implementation="module", phase=phase, device=CPU, dtype=dtype, seed=0)
    assert 0 < error < tolerance


def test_a_recurrence_is_checked_in_training_mode_without_its_dropout():
    made = layer("given", "CudnnGRU", "(num_layers=2,dropout=0.5)")
    error, _ = made.oracle_error(
        spec_of(made), implementation="module", phase=Phase.TRAIN, device=CPU, dtype=Dtype.FLOAT32, seed=0
    )
    assert error < 1e-5


def test_a_match_keeps_the_depth_and_steps_over_widths_that_the_factory_refuses():
    pam = definition("pam").preset("25m")
    register(layer("attention_of_24", "LinearAttention"))
    (arm,) = match(pam, ["attention_of_24"], axis="parameters", sequence_length=64, dtype=Dtype.FLOAT32, preset="25m")
    assert arm.spec.depth == definition("transformer").preset("25m").depth
    assert arm.spec.model_dim % 24 == 0
    residual = next(found.residual for found in arm.residuals if found.axis == "parameters")
    assert abs(residual) < 0.01


def test_a_whole_model_is_measured_as_it_is():
    made = layer("given", "SumOfThePast")
    spec = made.preset("tiny")
    width = spec.model_dim
    assert (made.carrier, made.phases, made.fixed_state) == ("model", tuple(Phase), True)
    parameters = VOCABULARY * width + DEPTH * (width**2 + width)
    assert made.parameter_count(spec, Scope.MODEL) == parameters
    model = made.build(spec, implementation="module", scope=Scope.MODEL, device=CPU, seed=0).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.blocks) == DEPTH
    ids = torch.randint(0, VOCABULARY, (2, 7))
    with torch.no_grad():
        state = model.new_state(2, 7)
        stepped = torch.stack([model.decode(ids[:, place], state, place) for place in range(7)], 1)
        torch.testing.assert_close(stepped, model(ids), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.prefill(ids, state), model(ids)[:, -1])
    sizes = {"scope": Scope.MODEL, "batch_size": 3, "sequence_length": 8}
    block, head = 2 * width**2, 2 * width * VOCABULARY
    train = made.flop_count(spec, phase=Phase.TRAIN, **sizes).matrix_flop_count
    assert train == 3 * 24 * (DEPTH * block + head)
    assert made.flop_count(spec, phase=Phase.DECODE, **sizes).matrix_flop_count == 3 * (DEPTH * block + head)
    # Its forward pass makes all logits in prefill, and the record says so.
    assert made.flop_count(spec, phase=Phase.PREFILL, **sizes).matrix_flop_count == 24 * (DEPTH * block + head)
    assert "logits of every position" in model.inference_notes[0]
    state_bytes = {"scope": Scope.MODEL, "batch_size": 3, "context": 50, "dtype": Dtype.BFLOAT16}
    assert made.state_byte_count(spec, **state_bytes) == 3 * width * 2
    for phase in Phase:
        error, _ = made.oracle_error(
            spec, implementation="module", phase=phase, device=CPU, dtype=Dtype.FLOAT32, seed=0
        )
        assert 0 < error < 1e-5


def test_a_model_of_one_size_needs_the_vocabulary_of_all_arms():
    made = layer("given", "fixed_model", "(carrier='model')")
    spec = made.preset("tiny")
    sentence = "given has 100 tokens and the other arms 2048; give --vocabulary-size 100, or let its factory take"
    with pytest.raises(UnsupportedError, match=sentence):
        made.parameter_count(spec, Scope.MODEL)
    same = replace(spec, vocabulary_size=100)
    assert made.parameter_count(same, Scope.MODEL) == 100 * 24 + 24**2 + 24
    register(made)
    pam = replace(definition("pam").preset("tiny"), vocabulary_size=100)
    (arm,) = match(pam, ["given"], axis="parameters", sequence_length=16, dtype=Dtype.FLOAT32)
    assert arm.spec.vocabulary_size == 100
    made.check(arm.spec)


def test_a_width_that_only_the_forward_pass_refuses_is_stepped_over_and_its_own_line_told():
    made = layer("given", "RefusesLater")
    spec = made.preset("tiny")
    assert spec.model_dim == 72
    assert made.resize(spec, 76) is None
    with pytest.raises(
        PamprofError, match=r"width 76: ValueError: 76 channels \(tests/measure/any_layer/given.py, line"
    ):
        made.facts(replace(spec, model_dim=76))
    assert made.resize(spec, 80).model_dim == 80


def test_without_a_match_a_layer_has_the_width_of_the_preset():
    pam = definition("pam").preset("tiny")
    register(layer("as_given", "gru"))
    (arm,) = match(pam, ["as_given"], axis="none", sequence_length=16, dtype=Dtype.FLOAT32, preset="tiny")
    assert arm.spec.model_dim == definition("transformer").preset("tiny").model_dim


def test_facts_of_a_layer_that_does_not_decode_have_no_decode_flops():
    made = layer("given", "linear")
    facts = arm_facts(made, spec_of(made), sequence_length=16, dtype=Dtype.FLOAT32)
    assert facts.decode_matrix_flop_count_per_token is None
    head = 2 * WIDTH * VOCABULARY
    block = 2 * WIDTH * WIDTH + 2 * 2 * WIDTH * HIDDEN
    assert facts.matrix_flop_count_per_token == DEPTH * block + head
    assert facts.train_matrix_flop_count_per_token == 3 * (DEPTH * block + head)


def test_a_training_step_runs_at_every_scope():
    made = layer("given", "LinearAttention")
    for scope in Scope:
        step = PreparedStep(
            Workload(
                spec=replace(spec_of(made), dropout=0.1),
                implementation="module",
                execution=Execution.EAGER,
                phase=Phase.TRAIN,
                scope=scope,
                batch_size=2,
                sequence_length=8,
                dtype=Dtype.BFLOAT16,
            ),
            made,
            device=CPU,
            seed=0,
        )
        before = [parameter.detach().clone() for parameter in step.module.parameters()]
        assert torch.isfinite(step.run())
        assert all(not torch.equal(a, b) for a, b in zip(before, step.module.parameters(), strict=True))


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (
            "raises",
            r"given at width 72: RuntimeError: no such thing and this is a second line "
            r"\(tests.measure.any_layer.given.py, line \d+\)",
        ),
        ("RaisesInForward", r"given at width 72: RuntimeError: .* \(tests.measure.any_layer.given.py, line \d+\)"),
        ("no_module", "returns str; it must return a torch.nn.Module"),
        ("wrong_shape", r"the module returned \[2, 8, 73\] for an input \[2, 8, 72\]; a layer keeps that shape"),
        ("NotFinite", "its output on random input is not finite"),
        ("WritesIntoItsInput(carrier='block')", "it writes into its input; return a new tensor"),
        ("GrowingState", r"the state grows or changes its shape in a step, from \[\[2, 1, 72\]\] to \[\[2, 2, 72\]\]"),
        ("missing", "has no function or class missing; check its name"),
    ],
)
def test_a_fault_is_one_sentence_with_the_layers_own_line(factory, sentence):
    made = layer("given", factory)
    with pytest.raises(UnsupportedError, match=sentence) as raised:
        made.preset("tiny")
    assert "\n" not in str(raised.value)


def test_an_entry_point_may_be_a_function(monkeypatch):
    point = EntryPoint(name="packaged", value="tests.measure.any_layer.given:gru", group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [point])
    monkeypatch.setattr("pamprof.measure.any_layer.registration._probe", LocalInspector)
    know_factories()
    found = definition("packaged")
    assert found.preset("tiny").source == "tests.measure.any_layer.given:gru"


def test_an_unknown_carrier_and_an_unknown_module_are_named():
    with pytest.raises(PamprofError, match="carrier 'tower' of layer given is not known; give mixer"):
        layer("given", "linear", "(carrier='tower')").preset("tiny")
    elsewhere = ForeignDefinition("given", "no_such_package:layer", LocalInspector())
    with pytest.raises(PamprofError, match=r"no module no_such_package; install it, or give the path of its file"):
        elsewhere.preset("tiny")


def test_a_name_of_pamprof_is_taken():
    with pytest.raises(UsageError, match="pam is a layer of pamprof; give yours another name"):
        register(layer("pam", "gru"))


@pytest.mark.parametrize(
    ("text", "place", "factory", "arguments"),
    [
        ("my.layers:gru", "my.layers", "gru", ()),
        ("dir/my_layers.py:Block.make", "dir/my_layers.py", "Block.make", ()),
        ("m:f(a=1, b='x:y(z)')", "m", "f", (("a", 1), ("b", "x:y(z)"))),
    ],
)
def test_a_source_is_read_as_it_is_written(text, place, factory, arguments):
    source = parse_source(text)
    assert (source.place, source.factory, source.arguments) == (place, factory, arguments)
    assert parse_source(source.text) == source


@pytest.mark.parametrize("text", ["my_layers.py", "m:", ":f", "m:f(1)", "m:f(a=g())", "a b:f", "m:f(a="])
def test_what_is_no_source_is_refused(text):
    with pytest.raises(UsageError, match=r"names no layer|arguments that cannot be read"):
        parse_source(text)


@pytest.mark.parametrize(
    ("text", "value"), [("2", 2), ("0.5", 0.5), ("True", True), ("none", None), ("2_990", "2_990"), ("swish", "swish")]
)
def test_an_argument_is_a_number_or_a_word(text, value):
    found = argument_value(text)
    assert (found, type(found)) == (value, type(value))
