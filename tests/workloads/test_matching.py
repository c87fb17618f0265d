"""The size solver: every arm within 1 % on the chosen axis, or a sentence with the nearest sizes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from pamprof.errors import SpecError, UsageError
from pamprof.records import Dtype, LayerSpec, Phase, Scope
from pamprof.workloads.base import ClosedForm
from pamprof.workloads.layers.pam.definition import DEFINITION as PAM
from pamprof.workloads.layers.transformer.definition import DEFINITION as TRANSFORMER
from pamprof.workloads.matching import match as matching
from pamprof.workloads.matching.match import MatchAxis, arm_facts, forward_flop_count, match
from pamprof.workloads.matching.size_search import nearest_shapes

T = 2048


class Recurrent:
    """A layer with a d x d state per head, complex or real, described by formulas alone."""

    implementations: tuple[str, ...] = ("plain",)
    fixed_state = True

    def __init__(self, name: str, activation: str, *, complex_valued: bool) -> None:
        self.name = self.title = name
        self.activation = activation
        self.complex_valued = complex_valued
        self.reals = 2 if complex_valued else 1

    def preset(self, name):
        sizes = {"25m": (160, 4, 32, 16), "100m": (384, 6, 64, 16)} if self.complex_valued else {}
        if name not in sizes:
            raise UsageError(f"no preset {name!r}")
        width, heads, head_dim, depth = sizes[name]
        return LayerSpec(
            layer=self.name,
            model_dim=width,
            heads=heads,
            head_dim=head_dim,
            depth=depth,
            hidden_dim=3 * width,
            vocabulary_size=50_257,
            maximum_sequence_length=T,
            activation=self.activation,
            chunk_size=256,
        )

    def check(self, spec):
        if spec.activation != self.activation or spec.heads < 1:
            raise SpecError(f"{spec.activation} is not {self.activation}")

    def resize(self, spec, model_dim):
        heads = model_dim // spec.head_dim
        if heads < 1 or model_dim % spec.head_dim:
            return None
        return replace(spec, model_dim=model_dim, heads=heads, hidden_dim=3 * model_dim)

    def _linear(self, spec):
        width, inner = spec.model_dim, spec.heads * spec.head_dim
        return 4 * width * inner + 3 * width * spec.hidden_dim

    def parameter_count(self, spec, scope):
        block = self.reals * self._linear(spec)
        return (
            block if scope is Scope.LAYER else spec.depth * block + self.reals * spec.vocabulary_size * spec.model_dim
        )

    def flop_count(self, spec, *, phase, scope, batch_size, sequence_length):
        tokens = batch_size * (1 if phase is Phase.DECODE else sequence_length)
        logits = tokens if phase is Phase.TRAIN else batch_size
        block = tokens * self.reals**2 * (self._linear(spec) + 2 * spec.heads * spec.head_dim**2)
        head = logits * self.reals * spec.vocabulary_size * spec.model_dim
        count = 2 * (block if scope is Scope.LAYER else spec.depth * block + head) * (3 if phase is Phase.TRAIN else 1)
        return ClosedForm(matrix_flop_count=count, matrix_dense_flop_count=count)

    def state_byte_count(self, spec, *, scope, batch_size, context, dtype):
        blocks = 1 if scope is Scope.LAYER else spec.depth
        return 4 * self.reals * blocks * batch_size * spec.heads * spec.head_dim**2


COMPLEX = Recurrent("wave", "modswish", complex_valued=True)
REAL = Recurrent("real_wave", "swish", complex_valued=False)
LAYERS = {"pam": PAM, "wave": COMPLEX, "real_wave": REAL, "transformer": TRANSFORMER}


@pytest.fixture(autouse=True)
def layers(monkeypatch):
    monkeypatch.setattr(matching, "definition", LAYERS.__getitem__)


def run(reference, names, axis="parameters", **changes):
    options = {"sequence_length": T, "dtype": Dtype.BFLOAT16, **changes}
    return match(reference, names, axis=axis, **options)


def residual(arm, axis):
    (found,) = (each.residual for each in arm.residuals if each.axis == axis)
    return found


def test_preset_pair_is_taken_as_published_when_it_already_matches():
    reference = replace(TRANSFORMER.preset("100m"), dropout=0.1)
    wave, transformer = run(reference, ["wave", "transformer"], preset="100m")
    assert transformer.spec == reference
    assert {each.residual for each in transformer.residuals} == {0.0}
    assert wave.spec == replace(COMPLEX.preset("100m"), dropout=0.1)
    count = COMPLEX.parameter_count(wave.spec, Scope.MODEL)
    assert residual(wave, "parameters") == pytest.approx(count / 100_283_232 - 1)


@pytest.mark.parametrize("axis", [axis for axis in MatchAxis if axis is not MatchAxis.NONE])
@pytest.mark.parametrize("name", ["wave", "real_wave", "transformer"])
def test_every_axis_is_met_within_one_percent_and_the_others_are_reported(axis, name):
    reference = COMPLEX.preset("100m")
    (arm,) = run(reference, [name], axis=axis, preset="100m")
    assert abs(residual(arm, axis)) <= 0.01
    assert [each.axis for each in arm.residuals] == ["parameters", "flops", "width", "state-bytes"]
    LAYERS[name].check(arm.spec)
    if name != "wave":
        assert any(abs(each.residual) > 0.01 for each in arm.residuals)


def test_width_counts_a_complex_channel_as_two_real_scalars():
    reference = COMPLEX.preset("100m")
    transformer, twin = run(reference, ["transformer", "real_wave"], axis="width")
    assert transformer.spec.model_dim == twin.spec.model_dim == 768
    assert residual(twin, "width") == 0
    # Equal real width: half the parameters of the linear maps' count in reals, and as many multiplications.
    assert REAL._linear(twin.spec) == 4 * COMPLEX._linear(reference)


def test_real_twin_keeps_the_shape_of_an_edited_reference():
    reference = replace(COMPLEX.preset("100m"), model_dim=512, heads=16, head_dim=32, depth=5, hidden_dim=1536)
    (twin,) = run(reference, ["real_wave"], preset="100m")
    assert twin.spec.layer == "real_wave"
    assert twin.spec.activation == "swish"
    assert twin.spec.chunk_size == 256
    assert (twin.spec.depth, twin.spec.head_dim) == (5, 32)
    assert abs(residual(twin, "parameters")) <= 0.01


def test_edited_reference_is_not_paired_with_the_preset():
    reference = replace(TRANSFORMER.preset("100m"), depth=6)
    (arm,) = run(reference, ["wave"], preset="100m")
    assert arm.spec != COMPLEX.preset("100m")
    assert abs(residual(arm, "parameters")) <= 0.01


def test_shared_choices_of_the_reference_reach_every_arm():
    reference = replace(TRANSFORMER.preset("25m"), vocabulary_size=1000, maximum_sequence_length=4096, dropout=0.2)
    (arm,) = run(reference, ["wave"], preset="25m")
    assert (arm.spec.vocabulary_size, arm.spec.maximum_sequence_length, arm.spec.dropout) == (1000, 4096, 0.2)


@pytest.mark.parametrize(("preset", "pam_count"), [("25m", 26_172_224), ("1b", 948_114_480)])
def test_solver_finds_the_frozen_transformer_presets(preset, pam_count):
    shapes = nearest_shapes(
        TRANSFORMER,
        TRANSFORMER.preset(preset),
        target=pam_count,
        size=lambda spec: TRANSFORMER.parameter_count(spec, Scope.MODEL),
        tolerance=0.01,
    )
    assert shapes == (TRANSFORMER.preset(preset),)


@settings(max_examples=40, deadline=None)
@given(factor=st.floats(0.4, 2.5), preset=st.sampled_from(["5m", "25m", "100m", "1b"]))
def test_any_reasonable_parameter_count_is_met_with_a_similar_shape(factor, preset):
    start = TRANSFORMER.preset(preset)

    def size(spec):
        return TRANSFORMER.parameter_count(spec, Scope.MODEL)

    target = round(factor * size(start))
    (spec,) = nearest_shapes(TRANSFORMER, start, target=target, size=size, tolerance=0.01)
    TRANSFORMER.check(spec)
    assert abs(size(spec) / target - 1) <= 0.01
    assert 0.5 <= spec.head_dim / start.head_dim <= 1.5
    assert 3.2 <= spec.hidden_dim / spec.model_dim <= 5
    if start.head_dim % 8 == 0:
        assert spec.model_dim % 8 == 0


@pytest.mark.parametrize("model_dim", [60, 100, 300])
def test_transformer_gets_widths_and_heads_in_multiples_of_eight(model_dim):
    start = replace(PAM.preset("100m"), model_dim=model_dim, heads=2, head_dim=model_dim // 2, hidden_dim=3 * model_dim)
    (arm,) = run(start, ["transformer"])
    assert arm.spec.model_dim % 8 == 0
    assert arm.spec.head_dim % 8 == 0
    assert abs(residual(arm, "parameters")) <= 0.01


def test_width_without_a_multiple_of_eight_within_tolerance_is_still_met():
    (arm,) = run(replace(COMPLEX.preset("100m"), model_dim=50), ["transformer"], axis="width")
    assert arm.spec.model_dim in (99, 100, 101)


@settings(max_examples=40, deadline=None)
@given(target=st.integers(1, 10**10))
def test_search_returns_a_hit_or_the_nearest_on_either_side(target):
    def size(spec):
        return TRANSFORMER.state_byte_count(spec, scope=Scope.MODEL, batch_size=1, context=T, dtype=Dtype.BFLOAT16)

    shapes = nearest_shapes(TRANSFORMER, TRANSFORMER.preset("100m"), target=target, size=size, tolerance=0.01)
    if len(shapes) == 1 and abs(size(shapes[0]) / target - 1) <= 0.01:
        return
    assert 1 <= len(shapes) <= 2
    errors = [size(spec) / target - 1 for spec in shapes]
    assert all(abs(error) > 0.01 for error in errors)
    if len(errors) == 2:
        assert errors[0] < 0 < errors[1]


def test_impossible_match_names_the_nearest_sizes_and_the_remedy():
    reference = replace(COMPLEX.preset("25m"), model_dim=32, heads=1, depth=1, hidden_dim=96)
    with pytest.raises(UsageError) as caught:
        run(reference, ["transformer"], axis="state-bytes", sequence_length=16_384)
    message = str(caught.value)
    assert message.startswith("no size of layer transformer lies within 1% of 8192 state-bytes; nearest: model_dim ")
    assert message.endswith("change the reference's sizes or match on another axis")


def test_unknown_axis_and_empty_sequence_are_usage_errors():
    reference = TRANSFORMER.preset("5m")
    with pytest.raises(UsageError, match=r"no match axis 'depth'; axes are parameters, flops, width, state-bytes"):
        run(reference, ["transformer"], axis="depth")
    with pytest.raises(UsageError, match="sequence_length is 0; matching needs 1 token or more"):
        run(reference, ["transformer"], sequence_length=0)


def test_impossible_reference_is_refused_before_any_search():
    with pytest.raises(SpecError, match="head_dim 60 does not divide model_dim 672"):
        run(replace(TRANSFORMER.preset("100m"), head_dim=60), ["wave"])


def test_layer_without_presets_or_kinship_says_what_is_missing():
    with pytest.raises(
        UsageError, match="layer real_wave has none of the presets tiny, 5m, 10m, 25m, 100m, 100m-k3, 1b"
    ):
        run(TRANSFORMER.preset("100m"), ["real_wave"])


def test_forward_is_a_third_of_training_with_logits_everywhere():
    spec = TRANSFORMER.preset("100m")
    train = TRANSFORMER.flop_count(spec, phase=Phase.TRAIN, scope=Scope.MODEL, batch_size=1, sequence_length=T)
    forward = forward_flop_count(TRANSFORMER, spec, T)
    assert 3 * forward.matrix_flop_count == train.matrix_flop_count
    assert 3 * forward.matrix_dense_flop_count == train.matrix_dense_flop_count


def test_facts_of_the_paper_pair_reproduce_its_flop_table():
    chunked = PAM.preset("100m")
    full = replace(chunked, chunk_size=T)
    (pair,) = run(chunked, ["transformer"], preset="100m")
    facts = [
        arm_facts(layer, spec, sequence_length=T, dtype=Dtype.BFLOAT16)
        for layer, spec in ((PAM, full), (PAM, chunked), (TRANSFORMER, pair.spec))
    ]
    megaflops = [round(each.matrix_flop_count_per_token / 1e6, 1) for each in facts]
    assert megaflops == [528.4, 355.0, 230.6]
    assert facts[1].state_bytes == 4 * 2 * 16 * 6 * 64 * 64  # float32 planes of every block's state


@pytest.mark.parametrize("preset", ["tiny", "5m", "10m", "25m", "100m", "1b"])
def test_preset_run_compares_the_presets_themselves(preset):
    arms = run(PAM.preset(preset), ["pam", "transformer"], preset=preset)
    assert [arm.spec for arm in arms] == [PAM.preset(preset), TRANSFORMER.preset(preset)]


def test_arm_facts_of_the_paper_transformer():
    (arm,) = run(TRANSFORMER.preset("100m"), ["transformer"])
    facts = arm_facts(TRANSFORMER, arm.spec, sequence_length=T, dtype=Dtype.BFLOAT16, residuals=arm.residuals)
    assert facts.title == "transformer"
    assert facts.parameter_count == 100_283_232
    assert round(facts.matrix_flop_count_per_token / 1e6, 1) == 230.6
    assert round(facts.matrix_dense_flop_count_per_token / 1e6, 1) == 263.7
    assert facts.train_matrix_flop_count_per_token == 3 * facts.matrix_flop_count_per_token
    assert facts.decode_matrix_flop_count_per_token == 2 * (12 * 5_419_008 + 33_772_704) + 32_256 * (T + 1)
    assert facts.state_bytes == 32_256 * T
    assert facts.residuals == arm.residuals
