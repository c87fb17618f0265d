import re
from dataclasses import replace

import pytest
import torch

from pamprof.errors import UnsupportedError
from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, Execution, ExecutionStage, Phase, Scope, Workload
from pamprof.workloads.execution import ExecutionError, compile_regions, plain_regions
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep, with_room_for


def prepare(layer="transformer", implementation="sdpa", *, phase=Phase.TRAIN, scope=Scope.MODEL, **changes):
    spec = replace(definition(layer).preset("tiny"), depth=1, vocabulary_size=70, **changes.pop("spec", {}))
    workload = Workload(
        spec=spec, implementation=implementation, execution=changes.pop("execution", Execution.EAGER), phase=phase,
        scope=scope, batch_size=2, sequence_length=changes.pop("length", 24), dtype=changes.pop("dtype", Dtype.FLOAT32),
    )  # fmt: skip
    return PreparedStep(workload, definition(layer), device=torch.device("cpu"), seed=0)


ARMS = [("transformer", "sdpa"), ("real_pam", "planar"), ("vector_pam", "planar"), ("vector_pam", "fft")] + [
    ("pam", name) for name in ("published", "planar", "gauss", "complex")
]


@pytest.mark.parametrize(("layer", "implementation"), ARMS)
@pytest.mark.parametrize("scope", list(Scope))
def test_a_training_step_moves_every_parameter(layer, implementation, scope):
    step = prepare(layer, implementation, scope=scope)
    before = {name: parameter.detach().clone() for name, parameter in step.module.named_parameters()}
    step.run()
    still = [name for name, parameter in step.module.named_parameters() if torch.equal(parameter, before[name])]
    assert not still


@pytest.mark.parametrize(("layer", "implementation"), ARMS)
@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
def test_a_step_from_the_same_state_gives_the_same_output(layer, implementation, phase):
    step = prepare(layer, implementation, phase=phase)
    step.reset()
    first = step.run().clone()
    step.reset()
    assert torch.equal(step.run(), first)


@pytest.mark.parametrize("phase", [Phase.PREFILL, Phase.DECODE])
def test_every_arm_gives_the_logits_of_the_last_position_alone(phase):
    shapes = {arm: tuple(prepare(*arm, phase=phase).run().shape) for arm in ARMS}
    assert set(shapes.values()) == {(2, 70)}


def test_the_same_seed_gives_every_implementation_the_same_weights_and_loss():
    losses = [prepare("pam", name).run() for name in ("published", "planar", "gauss", "complex")]
    torch.testing.assert_close(torch.stack(losses), losses[0].expand(4), rtol=1e-5, atol=0)


@pytest.mark.parametrize("execution", [Execution.GRAPH, Execution.COMPILED_GRAPH])
def test_a_cuda_graph_on_a_cpu_is_unsupported_with_what_works_instead(execution):
    with pytest.raises(UnsupportedError, match="use eager or compiled"):
        prepare(execution=execution)


def test_an_execution_that_changes_the_result_is_refused():
    step = prepare(phase=Phase.PREFILL)

    def corrupt():
        with torch.no_grad():
            for parameter in step.module.parameters():
                parameter.add_(1.0)
        step.run = lambda: torch.zeros(2, 70)
        return step.run()

    with pytest.raises(ExecutionError, match="it is not timed") as refused:
        step._change(corrupt, ExecutionStage.CAPTURE)
    assert refused.value.stage is ExecutionStage.CAPTURE


def test_a_compiler_that_fails_is_unsupported_with_torchs_version(monkeypatch):
    step = prepare(phase=Phase.PREFILL, execution=Execution.COMPILED)
    monkeypatch.setattr("pamprof.workloads.steps.compile_regions", lambda model: 1 / 0)
    with pytest.raises(ExecutionError, match=re.escape(torch.__version__)) as failed:
        step.compile()
    assert failed.value.stage is ExecutionStage.COMPILE


def test_regions_marked_for_a_compiler_can_be_made_plain_again():
    step = prepare(phase=Phase.PREFILL)
    compiled = []
    compile_regions(step.model)
    assert all(region._compiled_call_impl is not None for region in step.model.blocks)
    plain_regions(step.model)
    for region in (*step.model.blocks, *step.model.compiled_regions()):
        region.register_forward_hook(lambda *_: compiled.append(torch.compiler.is_compiling()))
    step.run()
    assert compiled
    assert not any(compiled)


def test_a_longer_sequence_than_the_position_table_gets_room():
    spec = definition("transformer").preset("tiny")
    longer = with_room_for(spec, spec.maximum_sequence_length + 5)
    assert longer.maximum_sequence_length == spec.maximum_sequence_length + 5
    assert with_room_for(spec, 3) is spec
    step = prepare(phase=Phase.DECODE, length=spec.maximum_sequence_length + 7)
    assert step.run().isfinite().all()


class _ComplexBlock(torch.nn.Module):
    """Width 4 into 6 complex states and back, a real and a complex table: u -> Re((u B) C) + u W."""

    def __init__(self):
        super().__init__()
        self.into = torch.nn.Parameter(torch.randn(4, 6, dtype=torch.complex64))
        self.out = torch.nn.Parameter(torch.randn(6, 4, dtype=torch.complex64))
        self.skip = torch.nn.Linear(4, 4)

    def loss(self, inputs, targets):
        found = ((inputs.to(torch.complex64) @ self.into) @ self.out).real + self.skip(inputs)
        return (found - targets).square().mean()


class _ComplexDefinition:
    @staticmethod
    def build(*_, **__):
        return _ComplexBlock()

    @staticmethod
    def example_inputs(*_, batch_size, sequence_length, **__):
        return torch.randn(batch_size, sequence_length, 4)


def test_complex_parameters_train_by_lists_of_tensors_and_the_step_says_so():
    workload = replace(prepare(scope=Scope.LAYER).workload, batch_size=2, sequence_length=5)
    step = PreparedStep(workload, _ComplexDefinition(), device=torch.device("cpu"), seed=0)
    before = {name: parameter.detach().clone() for name, parameter in step.module.named_parameters()}
    step.run()
    assert all(not torch.equal(parameter, before[name]) for name, parameter in step.module.named_parameters())
    assert [group.get("fused") for group in step.optimizer.param_groups] == [True, None]
    assert step.notes == (
        "AdamW updates 2 of 4 parameter tensors by lists of tensors, because its fused kernel takes no complex ones",
    )
    count = count_flops(step.run)
    assert count.complete, count.uncounted_operators
    assert count.matrix_flop_count == 3 * 2 * 5 * (8 * (4 * 6 + 6 * 4) + 2 * 4 * 4)


def test_real_parameters_train_by_the_fused_kernel_alone():
    step = prepare()
    assert [group["fused"] for group in step.optimizer.param_groups] == [True]
    assert step.notes == ()
