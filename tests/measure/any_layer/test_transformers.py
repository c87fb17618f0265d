"""Blocks and models of ``transformers``: called as they want to be, and decoded through their static cache."""

from dataclasses import replace

import pytest
import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.flops.target.count import count
from pamprof.measure.flops.target.request import CountedPhase, CountRequest
from pamprof.measure.memory.storage_tracker import held_bytes
from pamprof.records import Dtype, Phase, Scope
from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.matching.match import arm_facts, match
from pamprof.workloads.registry import definition, register

pytest.importorskip("transformers")

CPU = torch.device("cpu")
WIDTH, DEPTH, VOCABULARY = 72, 2, 2048  # of the tiny transformer
BATCH, TIME = 2, 16
ROWS = BATCH * TIME
HEAD = 2 * BATCH * WIDTH * VOCABULARY  # of the last position
ATTENTION = 2 * 2 * BATCH * WIDTH * TIME * (TIME + 1) // 2
INNER, STATES, RANK, TAPS = 2 * WIDTH, 16, 5, 4  # of Mamba: 72 / 16 rounded up is the rank

BLOCKS = {
    "gpt2_block": 24 * ROWS * WIDTH**2 + ATTENTION,
    "llama_decoder_layer": 8 * ROWS * WIDTH**2 + 3 * 2 * ROWS * WIDTH * (8 * WIDTH // 3) + ATTENTION,
    "mamba_block": 2 * ROWS * INNER * (2 * WIDTH + RANK + 2 * STATES + RANK + STATES + WIDTH)
    + 2 * BATCH * (TIME + TAPS - 1) * INNER * TAPS,  # padded at both ends and cut
}
# Bytes in float32 of one sequence and block: fixed, and for each token.
STATE_BYTES = {
    "gpt2_block": (0, 2 * 4 * WIDTH),
    "llama_decoder_layer": (0, 2 * 4 * WIDTH),
    "mamba_block": (4 * INNER * (TAPS + STATES), 0),
    "gpt2_model": (0, DEPTH * 2 * 4 * WIDTH),
}
EVERY = [*BLOCKS, "gpt2_model"]


def layer(name, factory=None, arguments=""):
    return ForeignDefinition("given", f"examples/{name}.py:{factory or name}{arguments}", LocalInspector())


@pytest.fixture(scope="module")
def made():
    """A definition and its sizes for each example, asked about once."""
    found = {name: layer(name) for name in EVERY}
    return {name: (each, replace(each.preset("tiny"), dropout=0.0)) for name, each in found.items()}


def model_of(made, name):
    each, spec = made[name]
    return each.build(spec, implementation="module", scope=Scope.MODEL, device=CPU, seed=0).eval()


@pytest.mark.parametrize(("name", "carrier"), [*((name, "block") for name in BLOCKS), ("gpt2_model", "model")])
def test_what_it_is_tells_itself(made, name, carrier):
    each, spec = made[name]
    assert each.facts(spec).carrier == carrier
    assert each.phases == tuple(Phase)


@pytest.mark.parametrize("name", EVERY)
def test_decoding_continues_a_prompt_as_the_forward_pass_computes_it(made, name):
    model = model_of(made, name)
    ids = torch.randint(0, VOCABULARY, (2, 9))
    with torch.no_grad():
        whole = model(ids)
        state = model.new_state(2, 9)
        state.randomise(torch.Generator().manual_seed(0))  # a prompt begins at nothing
        torch.testing.assert_close(model.prefill(ids[:, :5], state), whole[:, 4], rtol=1e-4, atol=1e-4)
        for place in range(5, 9):
            step = model.decode(ids[:, place], state, place)
            torch.testing.assert_close(step, whole[:, place], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_a_step_repeated_at_its_position_neither_grows_nor_drifts_out_of_the_cache(made, name):
    model, (_, spec) = model_of(made, name), made[name]
    ids = torch.randint(0, spec.vocabulary_size, (2,))
    with torch.no_grad():
        state = model.new_state(2, 9)
        held = state.byte_count()
        for _ in range(12):  # more than there is room for
            output = model.decode(ids, state, 8)
    assert output.isfinite().all()
    assert state.byte_count() == held
    assert state.kind == ("state" if name == "mamba_block" else "kv-cache")


@pytest.mark.parametrize("name", EVERY)
def test_state_bytes_are_what_the_cache_allocates(made, name):
    each, spec = made[name]
    fixed, per_token = STATE_BYTES[name]
    depth = 1 if name == "gpt2_model" else DEPTH
    shape = {"scope": Scope.MODEL, "batch_size": 3, "context": 50}
    assert each.state_byte_count(spec, **shape, dtype=Dtype.FLOAT32) == 3 * depth * (fixed + 50 * per_token)
    assert each.fixed_state == (per_token == 0)
    halved = each.state_byte_count(spec, **shape, dtype=Dtype.BFLOAT16)
    states_in_float32 = 3 * depth * 4 * INNER * STATES if name == "mamba_block" else 0
    assert halved == 3 * depth * (fixed + 50 * per_token) // 2 + states_in_float32 // 2
    state = model_of(made, name).new_state(3, 50)
    assert state.byte_count() == 3 * depth * (fixed + 50 * per_token)
    counters = 8 * 12 * DEPTH  # of positions, in each layer of the configuration
    assert state.byte_count() <= held_bytes(state) <= state.byte_count() + counters  # as memory is told in the report


@pytest.mark.parametrize("name", BLOCKS)
def test_flops_of_a_block_are_those_derived_by_hand(made, name):
    each, spec = made[name]
    sizes = {"scope": Scope.LAYER, "batch_size": BATCH, "sequence_length": TIME}
    counted = each.flop_count(spec, phase=Phase.PREFILL, **sizes).matrix_flop_count
    angles = WIDTH * TIME if name.startswith("llama") else 0  # a product of frequencies and positions before 5.24
    assert counted in (BLOCKS[name], BLOCKS[name] + angles)


@pytest.mark.parametrize("name", ["gpt2_block", "llama_decoder_layer", "gpt2_model"])
def test_counting_alone_calls_them_the_same_way(name):
    is_model = name == "gpt2_model"
    sizes = (("depth", "2"), ("vocabulary_size", "2048"), ("maximum_sequence_length", "64")) if is_model else ()
    answer = count(
        CountRequest(
            target=f"examples/{name}.py:{name}", is_configuration=False, batch_size=BATCH, sequence_length=TIME,
            phase=CountedPhase.FORWARD, timeout_seconds=60, width=WIDTH, arguments=sizes,
        )
    )  # fmt: skip
    counted = answer.flops.matrix_flop_count
    expected = DEPTH * BLOCKS["gpt2_block"] + TIME * HEAD if is_model else BLOCKS[name]
    assert counted - expected in (0, WIDTH * TIME)  # see above


def test_decode_attends_to_the_context_and_to_itself(made):
    each, spec = made["gpt2_block"]
    sizes = {"scope": Scope.LAYER, "batch_size": BATCH, "sequence_length": TIME}
    decode = each.flop_count(spec, phase=Phase.DECODE, **sizes).matrix_flop_count
    assert decode == BATCH * (24 * WIDTH**2 + 2 * 2 * WIDTH * (TIME + 1))


def test_a_whole_model_is_counted_whole(made):
    each, spec = made["gpt2_model"]
    blocks = DEPTH * BLOCKS["gpt2_block"]
    sizes = {"scope": Scope.MODEL, "batch_size": BATCH, "sequence_length": TIME}
    assert each.flop_count(spec, phase=Phase.PREFILL, **sizes).matrix_flop_count == blocks + HEAD
    train = each.flop_count(spec, phase=Phase.TRAIN, **sizes).matrix_flop_count
    assert train == 3 * (blocks + TIME * HEAD)
    facts = arm_facts(each, spec, sequence_length=TIME, dtype=Dtype.FLOAT32)
    assert facts.matrix_flop_count_per_token == (blocks + TIME * HEAD) / BATCH / TIME
    assert facts.parameter_count == (VOCABULARY + spec.maximum_sequence_length + 2) * WIDTH + DEPTH * (
        12 * WIDTH**2 + 13 * WIDTH
    )


def test_a_whole_model_is_sized_by_its_width_and_has_no_single_block(monkeypatch):
    monkeypatch.setattr("pamprof.workloads.registry._given", {})
    each = layer("gpt2_model", arguments="(head_dim=8)")
    register(each)
    pam = definition("pam").preset("tiny")
    (arm,) = match(pam, ["given"], axis="parameters", sequence_length=16, dtype=Dtype.FLOAT32, preset="tiny")
    (residual,) = (found.residual for found in arm.residuals if found.axis == "parameters")
    assert arm.spec.depth == DEPTH
    assert abs(residual) < 0.05  # the nearest width of a multiple of 8
    for ask in (
        lambda: each.flop_count(arm.spec, phase=Phase.TRAIN, scope=Scope.LAYER, batch_size=1, sequence_length=8),
        lambda: each.build(arm.spec, implementation="module", scope=Scope.LAYER, device=CPU, seed=0),
    ):
        with pytest.raises(UnsupportedError, match="given is a whole model and has no single block; use --scope model"):
            ask()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)])
def test_every_phase_passes_the_gate(made, name, dtype, tolerance):
    each, spec = made[name]
    for phase in Phase:
        if name == "mamba_block" and phase is Phase.TRAIN:
            continue  # a loop over time, in float64: seconds
        error, oracle = each.oracle_error(spec, implementation="module", phase=phase, device=CPU, dtype=dtype, seed=0)
        assert oracle == "itself in eager float64"
        assert 0 < error < tolerance


@pytest.mark.parametrize("attention", ["eager", None])
def test_a_block_alone_is_causal_whatever_its_attention(attention, monkeypatch):
    from transformers import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2Block

    def block(width):
        config = GPT2Config(hidden_size=width, num_attention_heads=2, attn_implementation=attention)
        return GPT2Block(config, layer_idx=0)

    monkeypatch.setattr("pamprof.workloads.layers.foreign.carrier.load", lambda source: block)
    each = layer("gpt2_block")
    spec = replace(each.preset("tiny"), dropout=0.0)
    one = each.build(spec, implementation="module", scope=Scope.LAYER, device=CPU, seed=0).eval()
    hidden = torch.randn(1, 6, WIDTH)
    changed = torch.cat((hidden[:, :-1], torch.randn(1, 1, WIDTH)), 1)
    with torch.no_grad():
        assert torch.equal(one(hidden)[:, :-1], one(changed)[:, :-1])
        state = one.new_state(1, 6)
        steps = [one.decode(hidden[:, place : place + 1], state, place) for place in range(6)]
        torch.testing.assert_close(torch.cat(steps, 1), one(hidden), rtol=1e-4, atol=1e-5)


def test_rotary_tables_stay_in_float32():
    each = layer("llama_decoder_layer")
    one = each.build(each.preset("tiny"), implementation="module", scope=Scope.MODEL, device=CPU, seed=0)
    one.prepare_inference(Dtype.BFLOAT16)
    assert one.blocks[0].rotary.inv_freq.dtype is torch.float32
    assert {parameter.dtype for parameter in one.parameters()} == {torch.bfloat16}


def test_a_cache_that_fails_costs_decode_alone(monkeypatch):
    import transformers

    class Refused:
        def __init__(self, config):
            raise ValueError("no such cache")

    monkeypatch.setattr(transformers, "StaticCache", Refused)
    each = layer("gpt2_block")
    spec = each.preset("tiny")
    assert each.phases == (Phase.TRAIN, Phase.PREFILL)
    assert each.no_decode_reason.startswith("its cache: ValueError: no such cache")
    with pytest.raises(UnsupportedError, match="layer given: its cache: ValueError: no such cache"):
        each.oracle_error(spec, implementation="module", phase=Phase.DECODE, device=CPU, dtype=Dtype.FLOAT32, seed=0)
