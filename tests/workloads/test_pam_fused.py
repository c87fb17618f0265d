"""The fused block and model in Triton's interpreter: the planar ones, step for step; and where they cannot run."""

import importlib.util
import os

import pytest
import torch

from pamprof.errors import UnsupportedError
from pamprof.records import Scope
from pamprof.workloads.kernels.availability import unavailable_reason
from pamprof.workloads.layers.pam.definition import DEFINITION
from pamprof.workloads.layers.pam.implementations import arithmetic
from tests.workloads.interpreted import assert_below, measured

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture(scope="module")
def errors():
    return measured("tests.workloads.fused_block_cases")


@pytest.mark.slow
@needs_triton
class TestInTheInterpreter:
    def test_output_and_every_gradient_of_a_block_are_planar_in_float32(self, errors):
        assert_below(errors, "train", 1e-5)

    def test_a_bfloat16_block_is_no_less_exact_than_planar(self, errors):
        assert_below(errors, "train_bfloat16_ratio", 1.5)
        chosen = {case: error for case, error in errors.items() if case.startswith("train_bfloat16 ")}
        assert max(chosen["train_bfloat16 output"], chosen["train_bfloat16 input"]) <= 1e-2

    def test_a_prompt_may_end_in_a_piece_of_one_token(self, errors):
        assert_below({case: error for case, error in errors.items() if " bfloat16 " not in case}, "piece", 1e-5)
        assert_below({case: error for case, error in errors.items() if " bfloat16 " in case}, "piece", 2e-2)

    @pytest.mark.parametrize("quantity", ["prefill", "decode", "state"])
    def test_pieces_and_tokens_continue_each_others_state(self, errors, quantity):
        exact = {case: error for case, error in errors.items() if " float32 " in case}
        rounded = {case: error for case, error in errors.items() if " bfloat16 " in case}
        assert_below(exact, quantity, 1e-5)
        assert_below(rounded, quantity, 2e-2)

    def test_inference_leaves_the_parameters_what_they_were(self, errors):
        assert_below(errors, "parameters_kept", 0.0)

    def test_the_language_model_is_the_planar_one(self, errors):
        assert_below(errors, "model_gradient", 1e-5)
        assert_below(errors, "logits", 1e-5)

    def test_dropout_drops_its_share_keeps_the_scale_and_has_the_gradient_of_its_mask(self, errors):
        assert_below(errors, "dropped", 0.02)
        assert_below(errors, "dropout_scale", 1e-5)
        assert_below(errors, "dropout_off", 0.0)
        assert_below(errors, "dropout_gradient", 1e-2)

    def test_the_oracle_notices_a_wrong_kernel_in_every_form_of_a_decode_step(self):
        errors = measured("tests.workloads.fused_oracle_cases")
        assert_below(errors, "oracle", 2e-2)
        assert_below(errors, "oracle_unmoved", 1.0)  # the tolerance over the error of a step with one wrong kernel

    def test_several_states_are_those_of_planar_in_every_gradient_and_step(self):
        errors = measured("tests.workloads.fused_states_cases")
        assert_below(errors, "train", 1e-5)
        assert_below(errors, "prefill", 1e-5)
        assert_below(errors, "decode", 1e-5)
        assert_below(errors, "decode_rounded", 2e-2)

    def test_compiled_steps_trace_whole_and_compute_the_same(self):
        assert_below(measured("tests.workloads.fused_compiled_cases"), "compiled", 1e-6)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter runs the kernels on a CPU")
def test_without_a_gpu_the_implementation_is_unsupported_with_a_reason():
    with pytest.raises(UnsupportedError, match="needs a CUDA device, this is cpu; measure the planar implementation"):
        DEFINITION.build(
            DEFINITION.preset("tiny"), implementation="fused", scope=Scope.LAYER, device=torch.device("cpu"), seed=0
        )


def test_an_old_gpu_is_unsupported_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    reason = unavailable_reason(torch.device("cuda"))
    assert reason == (
        "the fused implementation needs a GPU of compute capability 8.0 or later, Tesla T4 has 7.5; "
        "measure the planar implementation"
    )


@needs_triton
def test_a_recent_gpu_is_supported(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert unavailable_reason(torch.device("cuda")) is None


@pytest.fixture
def without_triton(monkeypatch):
    monkeypatch.setattr("pamprof.workloads.kernels.availability.find_spec", lambda name: None)


def test_without_triton_the_reason_says_what_to_install(monkeypatch, without_triton):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    reason = unavailable_reason(torch.device("cuda"))
    assert reason is not None
    assert "install pamprof[kernels]" in reason
    with pytest.raises(UnsupportedError, match=r"install pamprof\[kernels\]"):
        arithmetic("fused").block(DEFINITION.preset("tiny"))


def test_a_device_that_does_not_serve_is_named_before_triton_is(monkeypatch, without_triton):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    reasons = [unavailable_reason(torch.device(kind)) for kind in ("cpu", "cuda")]
    assert reasons == [
        "the fused implementation needs a CUDA device, this is cpu; measure the planar implementation",
        "the fused implementation needs a GPU of compute capability 8.0 or later, Tesla T4 has 7.5; "
        "measure the planar implementation",
    ]


@needs_triton
@pytest.mark.parametrize(
    ("batch_size", "width", "few"),
    [
        (1, 384, True),
        (3, 384, True),
        (4, 384, False),
        (1, 1152, True),
        (2, 1152, False),
        (1, 8192, True),
        (16, 16, False),
    ],
)
def test_sequences_are_taken_one_by_one_while_their_channels_are_few(batch_size: int, width: int, few: bool) -> None:
    from pamprof.workloads.layers.pam.fused.decode import few_sequences

    assert few_sequences(batch_size, width) is few


@needs_triton
@pytest.mark.parametrize(
    ("batch_size", "width", "dtype", "some"),
    [
        (64, 384, torch.bfloat16, True),
        (64, 384, torch.float16, True),
        (64, 384, torch.float32, False),
        (256, 384, torch.bfloat16, False),
        (64, 1152, torch.bfloat16, True),
        (128, 1152, torch.bfloat16, False),
    ],
)
def test_sequences_beyond_some_tens_and_float32_are_left_to_the_library(
    batch_size: int, width: int, dtype: torch.dtype, some: bool
) -> None:
    from pamprof.workloads.layers.pam.fused.decode import some_sequences

    assert some_sequences(batch_size, width, dtype) is some


@needs_triton
@pytest.mark.parametrize(("preset", "sizes"), [("100m", {3, 16, 32, 64, 192, 193}), ("1b", {1, 16, 32, 64, 65})])
def test_the_gate_asks_about_every_form_of_a_decode_step(preset: str, sizes: set[int]) -> None:
    from pamprof.workloads.layers.pam.fused.decode import step_batch_sizes

    spec = DEFINITION.preset(preset)
    found = step_batch_sizes(spec, torch.bfloat16, torch.device("cpu"))
    assert sizes <= set(found)
    assert len(found) < 16  # forms, not batch sizes: each takes the oracle a step
    # Tiles of 32 rows, and programs of the memory that wait with their state and that do not.
    assert any(16 < size <= 32 for size in found)
    assert {size * spec.heads <= 132 for size in found if size <= max(sizes) - 1} == {True, False}


@needs_triton
@pytest.mark.parametrize("shared_memory", [101376, 166912, 232448])  # of compute capability 8.9, 8.0 and 9.0
@pytest.mark.parametrize(
    ("rows", "width", "hidden"), [(4, 384, 1152), (64, 384, 1152), (128, 384, 1152), (64, 1152, 3456)]
)
@pytest.mark.parametrize("overlapping", [False, True])
def test_products_of_some_sequences_fit_the_shared_memory_and_one_wave(
    rows: int, width: int, hidden: int, shared_memory: int, overlapping: bool
) -> None:
    from pamprof.workloads.kernels.decode.products import product_tiles

    for outputs, inputs, parts, gates in (
        (hidden, width, 0, True),
        (3 * width, width, 0, False),
        (width, hidden, 6, False),
    ):
        tiles = product_tiles(
            rows,
            outputs,
            inputs,
            parts=parts,
            gates=gates,
            overlapping=overlapping,
            element_size=2,
            shared_memory=shared_memory,
        )
        columns = (4 if gates else 2) * tiles.outputs
        assert tiles.stages >= 2
        assert 2 * tiles.stages * (2 * tiles.rows + columns) * tiles.block <= shared_memory
        assert tiles.block * tiles.steps * max(parts, 1) >= inputs
        if not parts:
            assert -(-outputs // tiles.outputs) * -(-rows // tiles.rows) <= 132
