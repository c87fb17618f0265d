"""What an author says of a layer with ``pamprof.layer``: kept wherever the factory goes, and heard where it counts."""

import functools
from dataclasses import replace
from importlib.metadata import EntryPoint

import cloudpickle
import pytest
import torch
from torch import nn

import pamprof
from pamprof.errors import PamprofError, UnsupportedError, UsageError
from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.any_layer.registration import know_factories
from pamprof.measure.flops.target.count import count
from pamprof.measure.flops.target.request import CountedPhase, CountRequest
from pamprof.records import Dtype, LayerRole, Phase, Scope
from pamprof.workloads import registry
from pamprof.workloads.base import layer_facts, phases_of
from pamprof.workloads.layers.foreign.declared import LayerDeclaration, declaration_of, declared_factory
from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.matching.match import match
from pamprof.workloads.registry import definition, register
from tests.measure.any_layer import given

CPU = torch.device("cpu")
WIDTH = 48


@pytest.fixture(autouse=True)
def own_registrations(monkeypatch):
    """Layers that a test registers are forgotten after it."""
    monkeypatch.setattr(registry, "_given", {})


def layer(factory, arguments=""):
    return ForeignDefinition("given", f"tests.measure.any_layer.given:{factory}{arguments}", LocalInspector())


def spec_of(made, width=WIDTH):
    return made.resize(made.preset("tiny"), width)


def error_of(factory, phase, dtype=Dtype.FLOAT32):
    made = layer(factory)
    return made.oracle_error(spec_of(made), implementation="module", phase=phase, device=CPU, dtype=dtype, seed=0)


def test_select_picks_the_output():
    made = layer("second", "(carrier='block')")
    spec = spec_of(made)
    built = made.build(spec, implementation="module", scope=Scope.LAYER, device=CPU, seed=0)
    inputs = torch.randn(2, 5, WIDTH)
    assert torch.equal(built(inputs), inputs @ built.blocks[0].given.map.weight.T)
    compiled = torch.compile(built, backend="eager", fullgraph=True)
    assert torch.equal(compiled(inputs), built(inputs))
    sizes = {"batch_size": 3, "sequence_length": 5, "phase": Phase.TRAIN}
    assert made.flop_count(spec, scope=Scope.LAYER, **sizes).matrix_flop_count == 3 * 3 * 5 * 2 * WIDTH * WIDTH


def test_a_count_alone_goes_backward_from_the_selected_output():
    request = CountRequest(
        target="tests.measure.any_layer.given:second", is_configuration=False, batch_size=3, sequence_length=5,
        phase=CountedPhase.TRAIN, timeout_seconds=60, width=WIDTH,
    )  # fmt: skip
    assert count(request).flops.matrix_flop_count == 3 * 3 * 5 * 2 * WIDTH * WIDTH
    with pytest.raises(IndexError):  # the select of that layer asks for what a tensor does not have
        count(replace(request, target="tests.measure.any_layer.given:selects_what_is_not_there"))


def test_a_match_chooses_among_the_sizes_that_the_layer_proposes():
    register(layer("proposes", "(carrier='block')"))
    pam = definition("pam").preset("tiny")
    (arm,) = match(pam, ["given"], axis="parameters", sequence_length=16, dtype=Dtype.FLOAT32, preset="tiny")
    residuals = {
        width: abs(definition("given").parameter_count(spec_of(definition("given"), width), Scope.MODEL) - target)
        for target in [definition("pam").parameter_count(pam, Scope.MODEL)]
        for width in range(32, 1025, 32)
    }
    assert arm.spec.model_dim == min(residuals, key=residuals.__getitem__)
    assert definition("given").resize(arm.spec, arm.spec.model_dim + 8) is None


def test_a_preset_has_the_nearest_proposed_size():
    own = definition("transformer").preset("tiny").model_dim
    assert layer("proposes").preset("tiny").model_dim == min(range(32, 1025, 32), key=lambda width: abs(width - own))


def test_phases_restrict_and_what_was_not_asked_for_is_not_tried():
    made = layer("WithoutDecode")
    spec_of(made)
    assert phases_of(made) == (Phase.TRAIN, Phase.PREFILL)


def test_role_and_twin_are_facts_of_the_layer():
    made = layer("proposes")
    made.preset("tiny")
    facts = layer_facts(made)
    assert (facts.role, facts.twin_of) == (LayerRole.TWIN, "pam")


@pytest.mark.parametrize("phase", Phase)
def test_the_gate_compares_with_the_authors_oracle(phase):
    error, oracle = error_of("checked", phase)
    assert oracle == "the oracle of given"
    assert error < 1e-5


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.PREFILL])
def test_a_whole_model_has_its_output_selected_and_an_oracle_too(phase):
    error, oracle = error_of("ScoredModel", phase)
    assert oracle == "the oracle of given"
    assert error < 1e-5


def test_an_oracle_sees_what_a_comparison_with_itself_cannot():
    right, _ = error_of("StepsWrongly", Phase.PREFILL)
    wrong, _ = error_of("StepsWrongly", Phase.DECODE)
    assert right < 1e-5
    assert wrong > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [(Dtype.FLOAT32, 1e-6), (Dtype.BFLOAT16, 2e-2)])
def test_a_layer_that_refuses_float64_has_an_oracle_in_it(dtype, tolerance):
    error, oracle = error_of("WithoutFloat64", Phase.TRAIN, dtype)
    assert oracle == "the oracle of given"
    assert 0 < error < tolerance


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (
            "selects_too_little",
            r"layer given: the module returned \[2, 8\] for an input \[2, 8, 72\]; a layer keeps that shape",
        ),
        ("claims_decode", "layer given: it declares decode, but it has no state to decode with: neither initial_state"),
        ("no_sizes", r"layer given: its sizes are \['wide'\]; give widths, whole numbers of 1 or more"),
        ("selects_what_is_not_there", r"layer given at width 72: IndexError: .* \(tests.*given.py, line \d+\)"),
    ],
)
def test_what_does_not_hold_is_one_sentence_that_names_the_layer(factory, sentence):
    with pytest.raises(PamprofError, match=sentence) as raised:
        layer(factory).preset("tiny")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        (
            "has_no_gradient",
            "the oracle of given gives a tensor without a gradient; compute it with operators of torch",
        ),
        ("oracle_of_another_shape", r"the oracle of given gives \[2, 48\] for an input \[2, 19, 48\]"),
    ],
)
def test_an_oracle_that_cannot_be_one_is_refused(factory, sentence):
    with pytest.raises(UnsupportedError, match=sentence):
        error_of(factory, Phase.TRAIN)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("pam", {}, "pam is a layer of pamprof; give yours another name"),
        ("a b", {}, r"'a b' is no name of a layer"),
        (given.gru, {}, r"is no name of a layer; .* as in @pamprof.layer\('gru'\)"),
        ("mine", {"select": 1}, "layer mine: select=1 cannot be called"),
        ("mine", {"oracle": "x"}, "layer mine: oracle='x' cannot be called"),
        ("mine", {"sizes": "64"}, "layer mine: sizes='64' are no widths"),
        ("mine", {"sizes": [64, 0]}, r"layer mine: its sizes are \[64, 0\]"),
        ("mine", {"sizes": []}, r"layer mine: its sizes are \[\]"),
        ("mine", {"phases": "train,sleep"}, "layer mine: phases='train,sleep' are not all known; use train, prefill"),
        ("mine", {"phases": []}, r"layer mine: phases=\[\]"),
        ("mine", {"role": "hero"}, "layer mine: role='hero' is not known; use reference, twin, subject"),
        ("mine", {"role": "twin"}, "layer mine: role=.twin. and twin_of go together"),
        ("mine", {"role": "reference", "twin_of": "pam"}, "layer mine: role=.twin. and twin_of go together"),
        ("mine", {"twin_of": "mine"}, "layer mine: twin_of='mine' names no other layer"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_at_once(name, arguments, sentence):
    with pytest.raises(UsageError, match=sentence) as raised:
        pamprof.layer(name, **arguments)
    assert "\n" not in str(raised.value)


def test_a_factory_stays_what_it_is_and_has_one_name():
    def make(width):
        return nn.Linear(width, width)

    declared = pamprof.layer("once", phases="train")(make)
    assert declared is make
    assert declared_factory("once") is make
    assert pamprof.layer("once")(make) is make  # a cell of a notebook that is run again
    assert declaration_of(make).phases is None
    with pytest.raises(UsageError, match="once and twice cannot be one factory; make twice a function that calls it"):
        pamprof.layer("twice")(make)
    with pytest.raises(UsageError, match="layer none: 3 is no factory"):
        pamprof.layer("none")(3)
    with pytest.raises(UsageError, match="keeps no declaration; make it a function"):
        pamprof.layer("built_in")(len)


def test_a_subclass_is_no_layer_of_its_parents_name():
    class Narrower(given.WithoutDecode):
        pass

    assert declaration_of(given.WithoutDecode).name == "without_decode"
    assert declaration_of(Narrower) == LayerDeclaration()


def test_a_function_of_a_notebook_keeps_what_was_declared():
    @pamprof.layer("of_a_cell", select=lambda returned: returned[0], phases=["train"])
    def of_a_cell(width):
        return nn.GRU(width, width)

    partial = pamprof.layer("of_a_partial", twin_of="pam")(functools.partial(nn.GRU, batch_first=True))
    for factory in (of_a_cell, partial):
        kept, there = declaration_of(factory), declaration_of(cloudpickle.loads(cloudpickle.dumps(factory)))
        assert (there.name, there.phases, there.twin_of) == (kept.name, kept.phases, kept.twin_of)
    there = declaration_of(cloudpickle.loads(cloudpickle.dumps(of_a_cell)))
    assert there.select((1, 2)) == 1


def test_an_entry_point_may_name_a_declared_function(monkeypatch):
    value = "tests.measure.any_layer.given:proposes"
    point = EntryPoint(name="packaged", value=value, group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda *, group: [point])
    monkeypatch.setattr("pamprof.measure.any_layer.registration._probe", LocalInspector)
    know_factories()
    found = definition("packaged")
    assert found.preset("tiny").model_dim % 32 == 0
    assert layer_facts(found).twin_of == "pam"
