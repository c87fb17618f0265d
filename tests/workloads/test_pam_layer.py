"""The PAM definition: sizes, formulas, and every implementation against the naive recurrence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pamprof.errors import SpecError, UnsupportedError, UsageError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.layers.pam.model import PamLanguageModel
from pamprof.workloads.layers.recurrent import formulas
from pamprof.workloads.registry import definition

TOLERANCE = {Dtype.FLOAT32: 1e-5, Dtype.BFLOAT16: 2e-2}
CPU = torch.device("cpu")
LENGTH = 2_048


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("dtype", list(Dtype))
@pytest.mark.parametrize("implementation", ["published", "planar", "gauss", "complex"])
@pytest.mark.parametrize("activation", ["modswish", "modrelu"])
def test_every_implementation_agrees_with_the_naive_recurrence(
    implementation: str, dtype: Dtype, phase: Phase, activation: str
) -> None:
    spec = replace(DEFINITION.preset("tiny"), activation=activation)
    arguments = {"implementation": implementation, "phase": phase, "device": CPU, "dtype": dtype, "seed": 0}
    if implementation == "complex" and dtype is Dtype.BFLOAT16:
        with pytest.raises(UnsupportedError, match="bfloat16 complex"):
            DEFINITION.oracle_error(spec, **arguments)
        return
    error, name = DEFINITION.oracle_error(spec, **arguments)
    assert error < TOLERANCE[dtype]
    assert "recurrence" in name


def test_the_oracle_notices_a_memory_that_forgets_a_hundredth_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    from pamprof.workloads.layers.pam.planar import block as pam_planar

    exact = pam_planar.log_decay_and_write
    monkeypatch.setattr(pam_planar, "log_decay_and_write", lambda *x: (exact(*x)[0] * 0.99, exact(*x)[1]))
    error, _ = DEFINITION.oracle_error(
        DEFINITION.preset("tiny"),
        implementation="planar",
        phase=Phase.PREFILL,
        device=CPU,
        dtype=Dtype.FLOAT32,
        seed=0,
    )
    assert error > 10 * TOLERANCE[Dtype.FLOAT32]


@pytest.mark.parametrize(
    ("preset", "activation", "count"),
    [
        ("100m", "modswish", 100_395_968),
        ("100m", "modrelu", 100_377_536),
        ("100m-k3", "modswish", 100_543_760),
        ("25m", "modrelu", 26_172_224),
        ("10m", "modrelu", 9_976_908),
        ("5m", "modrelu", 4_985_956),
    ],
)
def test_parameter_counts_are_the_published_ones(preset: str, activation: str, count: int) -> None:
    spec = replace(DEFINITION.preset(preset), activation=activation)
    assert DEFINITION.parameter_count(spec, Scope.MODEL) == count


@pytest.mark.parametrize("preset", ["tiny", "5m", "10m", "25m", "100m", "100m-k3", "1b"])
@pytest.mark.parametrize("implementation", ["published", "planar", "gauss", "complex"])
def test_parameter_count_is_what_a_built_model_holds(preset: str, implementation: str) -> None:
    spec = DEFINITION.preset(preset)
    for scope in Scope:
        model = DEFINITION.build(spec, implementation=implementation, scope=scope, device=torch.device("meta"), seed=0)
        held = sum(parameter.numel() for parameter in model.parameters())
        assert held == DEFINITION.parameter_count(spec, scope)


def forward_mflop_per_token(spec: LayerSpec, products: int | None = None) -> float:
    """Blocks from the prefill form, the head at every position."""
    block = formulas.loop_work(spec, LENGTH, min(spec.chunk_size or 0, LENGTH)).forward * spec.heads / LENGTH
    linear = formulas.linear_multiply_adds(spec, products)
    head = formulas.head_multiply_adds(spec, spec.vocabulary_size, products)
    return 2 * (spec.depth * (block + linear) + head) / 1e6


def test_forward_flops_reproduce_the_published_table() -> None:
    spec = DEFINITION.preset("100m")
    assert round(forward_mflop_per_token(replace(spec, chunk_size=LENGTH)), 1) == 528.4
    assert round(forward_mflop_per_token(spec), 1) == 355.0
    assert round(forward_mflop_per_token(spec, products=3), 1) == 293.4
    assert formulas.linear_multiply_adds(spec) == 7_674_624
    assert formulas.head_multiply_adds(spec, spec.vocabulary_size) == 39_187_200
    mix = formulas.loop_work(spec, LENGTH, 256).forward * spec.heads // LENGTH
    dual_mix = formulas.loop_work(spec, LENGTH, LENGTH).forward * spec.heads // LENGTH
    assert (mix, dual_mix) == (970_752, 6_389_760)
    assert round(forward_mflop_per_token(DEFINITION.preset("100m-k3")), 1) == 367.1


def test_training_costs_2_998_times_forward_and_decode_331_mflop() -> None:
    spec = DEFINITION.preset("100m")
    sizes = {"scope": Scope.MODEL, "batch_size": 18, "sequence_length": LENGTH}
    train = DEFINITION.flop_count(spec, phase=Phase.TRAIN, **sizes).matrix_flop_count / 18 / LENGTH / 1e6
    assert round(train / forward_mflop_per_token(spec), 3) == 2.998
    decode = DEFINITION.flop_count(spec, phase=Phase.DECODE, **sizes).matrix_flop_count / 18
    state = spec.depth * formulas.decode_state_flop_count(spec)
    assert round(state / 1e6, 1) == 7.1
    assert round((decode - state) / 1e6) == 324


def test_prefill_counts_the_head_once_per_sequence() -> None:
    spec = DEFINITION.preset("tiny")
    sizes = {"phase": Phase.PREFILL, "scope": Scope.MODEL, "sequence_length": 128}
    one = DEFINITION.flop_count(spec, batch_size=1, **sizes).matrix_flop_count
    layers = spec.depth * DEFINITION.flop_count(spec, batch_size=1, **{**sizes, "scope": Scope.LAYER}).matrix_flop_count
    assert one - layers == 2 * formulas.head_multiply_adds(spec, spec.vocabulary_size)
    assert DEFINITION.flop_count(spec, batch_size=5, **sizes).matrix_flop_count == 5 * one


def test_state_bytes_are_those_allocated_and_do_not_grow() -> None:
    spec = DEFINITION.preset("tiny")
    for implementation in DEFINITION.implementations:
        model = PamLanguageModel(spec, implementation=implementation)
        for context in (1, 100_000):
            bytes_of_state = model.new_state(3, context).byte_count()
            assert bytes_of_state == DEFINITION.state_byte_count(
                spec, scope=Scope.MODEL, batch_size=3, context=context, dtype=Dtype.BFLOAT16
            )


def test_resize_keeps_depth_head_dim_and_ratios() -> None:
    spec = DEFINITION.preset("100m")
    wider = DEFINITION.resize(spec, 768)
    assert wider == replace(spec, model_dim=768, heads=12, hidden_dim=2_304)
    assert DEFINITION.resize(spec, 0) is None
    assert DEFINITION.resize(spec, 8) is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"heads": 0}, "pam heads is 0"),
        ({"activation": "gelu"}, "activation is 'gelu'; it must be modswish or modrelu"),
        ({"chunk_size": 0}, "chunk_size is 0"),
        ({"dropout": 1.0}, "dropout is 1"),
        ({"state_count": 0}, "pam state_count is 0; it must be 1 or more"),
    ],
)
def test_sizes_that_cannot_be_are_refused(change: dict, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        DEFINITION.check(replace(DEFINITION.preset("tiny"), **change))


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="presets are tiny, 5m"):
        DEFINITION.preset("7b")
    with pytest.raises(UsageError, match="published, planar, gauss, complex"):
        DEFINITION.build(DEFINITION.preset("tiny"), implementation="fast", scope=Scope.LAYER, device=CPU, seed=0)


@pytest.mark.parametrize("layer", ["pam", "real_pam", "vector_pam"])
@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
def test_bfloat16_state_halves_the_bytes_and_rounds_the_memory_alone(layer: str, phase: Phase) -> None:
    found = definition(layer)
    plain = found.preset("tiny")
    kept = replace(plain, state_dtype=Dtype.BFLOAT16)
    counts = [
        found.state_byte_count(spec, scope=Scope.MODEL, batch_size=3, context=9, dtype=Dtype.FLOAT32)
        for spec in (plain, kept)
    ]
    assert counts[0] == 2 * counts[1]
    model = found.build(kept, implementation="planar", scope=Scope.MODEL, device=CPU, seed=0)
    model.prepare_inference(Dtype.FLOAT32)
    assert model.new_state(3, 9).byte_count() == counts[1]
    error, _ = found.oracle_error(kept, implementation="planar", phase=phase, device=CPU, dtype=Dtype.FLOAT32, seed=0)
    assert 1e-4 < error < 1e-2  # bfloat16 has eight bits; float32 stays below 1e-5


def test_complex_implementation_refuses_a_bfloat16_state() -> None:
    found = definition("pam")
    spec = replace(found.preset("tiny"), state_dtype=Dtype.BFLOAT16)
    model = found.build(spec, implementation="complex", scope=Scope.MODEL, device=CPU, seed=0)
    with pytest.raises(UnsupportedError, match="no bfloat16 complex"):
        model.new_state(1, 4)
