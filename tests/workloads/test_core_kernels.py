"""The memory core's kernels: in Triton's interpreter against the recurrence in float64, and their arithmetic."""

import ast
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.flops.counter import count_flops
from pamprof.workloads.kernels.core.configuration import (
    H200_MULTIPROCESSORS,
    Configuration,
    CoreShape,
    choose_configuration,
)
from pamprof.workloads.kernels.core.inputs import head_step
from pamprof.workloads.kernels.core.work import backward_work, forward_work

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

from pamprof.workloads.kernels.core import check as core_check, selection as core_selection, tuning as core_tuning
from pamprof.workloads.kernels.core.check import CheckResult
from tests.workloads.interpreted import output_of

CLAIMS = Path(__file__).with_name("core_claims.py")


def names_of_claims() -> list[str]:
    """Read from the source: importing the claims would import Triton here, without its interpreter."""
    tuples = [
        node.value
        for node in ast.parse(CLAIMS.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLAIMS"
    ]
    return [ast.unparse(name) for name in tuples[0].elts]


@pytest.fixture(scope="module")
def traces() -> dict[str, str | None]:
    return json.loads(output_of("tests.workloads.core_claims"))


@pytest.mark.parametrize("claim", names_of_claims())
def test_in_the_interpreter(claim: str, traces: dict[str, str | None]) -> None:
    assert traces[claim] is None, traces[claim]


def test_products_are_counted_to_the_unit() -> None:
    shape = CoreShape(batch_size=3, length=130, heads=2, head_dim=64, dtype=torch.bfloat16)
    whole = replace(choose_configuration(shape), segment_chunks=0, gradient_segment_chunks=0, value_block=64)
    rows, chunks, chunk, dim = 6, 3, 64, 64
    square, state = chunk * chunk * dim, chunk * dim * dim
    assert forward_work(shape, whole).matrix_flop_count == 8 * rows * chunks * (2 * square + 2 * state)
    # Two blocks of value channels make the scores twice.
    assert forward_work(shape, replace(whole, value_block=32)).matrix_flop_count == 8 * rows * chunks * (
        3 * square + 2 * state
    )
    # A second pass over segments, three of them; the scan over them decays and adds.
    cut = forward_work(shape, replace(whole, segment_chunks=1))
    assert cut.matrix_flop_count == 8 * rows * chunks * (2 * square + 3 * state)
    more = cut.elementwise_flop_count - forward_work(shape, whole).elementwise_flop_count
    assert more == rows * chunks * (2 * chunk * dim + chunk + 3 * dim * dim) + rows * 3 * 2 * 2 * dim * dim
    plain = {"has_initial": False, "wants_initial": False, "has_final": False}
    backward = backward_work(shape, replace(whole, gradient_walks=1), **plain)
    assert backward.matrix_flop_count == 8 * rows * chunks * (5 * square + 4 * state)
    assert backward_work(shape, whole, **plain).matrix_flop_count == backward.matrix_flop_count
    single = replace(shape, length=60)
    assert backward_work(single, whole, **plain).matrix_flop_count == 8 * rows * 5 * square


@pytest.mark.parametrize(
    ("batch_size", "length", "segment_chunks", "gradient_segment_chunks"),
    [(18, 2048, 0, 0), (9, 4096, 32, 0), (3, 2048, 5, 5), (1, 16384, 12, 12), (1, 2048, 2, 2), (64, 1, 0, 0)],
)
def test_segments_fill_the_gpu_once_where_sequences_do_not(
    batch_size: int, length: int, segment_chunks: int, gradient_segment_chunks: int
) -> None:
    shape = CoreShape(batch_size=batch_size, length=length, heads=6, head_dim=64, dtype=torch.bfloat16)
    chosen = choose_configuration(shape)
    assert chosen.segment_chunks == segment_chunks
    assert chosen.gradient_segment_chunks == gradient_segment_chunks
    programs = batch_size * 6 * (64 // chosen.value_block) * chosen.forward_segments(length)
    assert segment_chunks == 0 or programs <= 2 * H200_MULTIPROCESSORS


@pytest.mark.parametrize(("head_dim", "step"), [(64, 16), (72, 8), (20, 4), (17, 1)])
def test_the_step_of_heads_divides_their_stride(head_dim: int, step: int) -> None:
    planes = torch.empty(1, 5, 2, 3, 2, head_dim, device="meta").unbind(3)
    assert head_step(*planes) == step


def test_a_configuration_survives_as_numbers() -> None:
    shape = CoreShape(batch_size=1, length=100, heads=2, head_dim=72, dtype=torch.bfloat16)
    chosen = choose_configuration(shape)
    assert Configuration.of(chosen.numbers()) == chosen


GPU = torch.device("cuda")
SHAPE = CoreShape(batch_size=1, length=2048, heads=2, head_dim=64, dtype=torch.bfloat16, differentiates=True)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A device whose kernels are exact unless ``wrong`` says so, and take ``seconds`` by configuration."""
    device = SimpleNamespace(wrong=lambda configuration: False, seconds=lambda configuration: 1.0, current=None)
    planes = torch.empty(1, 2048, 2, 2, 64, dtype=torch.bfloat16, device="meta")

    def check(case: object) -> CheckResult:
        fault = "output is off by 3.1e-01" if device.wrong(case.configuration) else None
        return CheckResult(configuration=case.configuration, errors=(("output", 0.3 if fault else 0.001),), fault=fault)

    def launch(_: object, configuration: Configuration, *rest: object, **keywords: object) -> tuple[None, None, None]:
        device.current = configuration
        return None, None, None

    def seconds(call: Callable[[], object]) -> float:
        call()
        return device.seconds(device.current)

    monkeypatch.setattr(core_check, "_check", check)
    monkeypatch.setattr(core_check, "_exact", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    inputs = SimpleNamespace(queries=SimpleNamespace(device=GPU, dtype=torch.bfloat16, shape=planes.shape))
    inputs.sizes, inputs.initial_state, inputs.states = (1, 2048, 2, 64), None, 1
    device.inputs = inputs
    monkeypatch.setattr(core_tuning, "random_inputs", lambda *_: inputs)
    monkeypatch.setattr(core_tuning, "multiprocessors", lambda _: 132)
    monkeypatch.setattr(core_tuning, "has_hopper_kernels", lambda _: False)
    monkeypatch.setattr(core_tuning, "launch_forward", launch)
    monkeypatch.setattr(core_tuning, "launch_backward", launch)
    monkeypatch.setattr(core_tuning, "graph_seconds", seconds)
    monkeypatch.setattr(core_tuning, "_tunings", {})
    monkeypatch.setattr(core_selection, "_selected", {})
    monkeypatch.setattr(torch, "randn", lambda *_, **__: planes)
    return device


def test_a_wrong_configuration_is_replaced_by_one_that_makes_the_same_products(gpu: SimpleNamespace) -> None:
    chosen = choose_configuration(SHAPE)
    gpu.wrong = lambda configuration: configuration == chosen
    used = core_check.ensure_exact(gpu.inputs, chosen, wants_final=False, keeps=True)
    assert used != chosen
    assert forward_work(SHAPE, used) == forward_work(SHAPE, chosen)
    plain = {"has_initial": False, "wants_initial": False, "has_final": False}
    assert backward_work(SHAPE, used, **plain) == backward_work(SHAPE, chosen, **plain)


def test_where_no_configuration_is_exact_the_arm_is_unsupported(gpu: SimpleNamespace) -> None:
    gpu.wrong = lambda configuration: True
    with pytest.raises(UnsupportedError, match=r"no configuration .* a GPU .* off by 3\.1e-01.*planar"):
        core_check.ensure_exact(gpu.inputs, choose_configuration(SHAPE), wants_final=False, keeps=True)
    with pytest.raises(UnsupportedError, match=r"off by 3\.1e-01"):
        core_tuning.tune(SHAPE, GPU)


def test_the_comparison_is_no_work_of_the_step_that_needs_it(gpu: SimpleNamespace) -> None:
    compared = []

    def wrong(configuration: Configuration) -> bool:
        compared.append(torch.ones(32, 32) @ torch.ones(32, 32))
        return False

    def step() -> torch.Tensor:
        core_check.ensure_exact(gpu.inputs, choose_configuration(SHAPE), wants_final=False, keeps=True)
        return torch.ones(4, 4) @ torch.ones(4, 4)

    gpu.wrong = wrong
    assert count_flops(step).matrix_flop_count == 2 * 4 * 4 * 4
    assert len(compared) == 1


def test_nothing_is_compared_while_a_graph_is_captured(gpu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choose_configuration(SHAPE)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(UnsupportedError, match="run the step once before the capture"):
        core_check.ensure_exact(gpu.inputs, chosen, wants_final=False, keeps=True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    core_check.ensure_exact(gpu.inputs, chosen, wants_final=False, keeps=True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert core_check.ensure_exact(gpu.inputs, chosen, wants_final=False, keeps=True) == chosen


def test_tuning_selects_the_fastest_exact_configuration_and_lists_the_wrong_ones(gpu: SimpleNamespace) -> None:
    gpu.seconds = lambda configuration: configuration.value_block / 64 + configuration.gradient_warps / 8
    gpu.wrong = lambda configuration: configuration.value_block == 16
    tuning = core_tuning.tune(SHAPE, GPU)
    best = tuning.best.configuration
    assert tuning.complete
    assert (best.value_block, best.gradient_warps) == (32, 4)
    assert core_selection.configuration_for(SHAPE, GPU) == best
    assert core_selection.configuration_for(SHAPE, torch.device("meta")) == best
    refused = [trial for trial in tuning.trials if trial.fault is not None]
    assert {trial.configuration.value_block for trial in refused} == {16}
    assert all(trial.forward_seconds is None for trial in refused)
    assert core_tuning.tune(SHAPE, GPU) is tuning


def test_tuning_stops_when_its_time_is_up(gpu: SimpleNamespace) -> None:
    tuning = core_tuning.tune(SHAPE, GPU, time_limit_seconds=0.0)
    assert not tuning.complete
    assert len(tuning.trials) == 1


def test_tuning_needs_a_gpu() -> None:
    with pytest.raises(UnsupportedError, match="this is cpu"):
        core_tuning.tune(SHAPE, torch.device("cpu"))
