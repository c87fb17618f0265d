"""The choice of attention kernel on a CUDA device: real kernels in every phase and execution, and what a step runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.attention.choice import attention_choice
from pamprof.workloads.registry import definition
from pamprof.workloads.steps import PreparedStep

CUDA = torch.device("cuda")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

# Part of the operator's name that a step with the kernel dispatches.
OPERATORS = {
    "flash": "_scaled_dot_product_flash_attention",
    "cudnn": "_scaled_dot_product_cudnn_attention",
    "efficient": "_scaled_dot_product_efficient_attention",
    "flex": "flex_decoding_attention",
    "flash-attention-4": "flash_attention_4",
    "flash-attention-3": "flash_attention_3",
    "flash-attention-2": "flash_attention_2",
}


def workload(layer: str, phase: Phase, execution: Execution, dtype: Dtype = Dtype.BFLOAT16) -> Workload:
    return Workload(
        spec=replace(definition(layer).preset("100m"), depth=2, vocabulary_size=512),
        implementation="sdpa",
        execution=execution,
        phase=phase,
        scope=Scope.MODEL,
        batch_size=2,
        sequence_length=1024,
        dtype=dtype,
    )


@pytest.mark.parametrize("execution", list(Execution))
@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("layer", ["transformer", "wide_head_transformer", "llama"])
def test_a_step_runs_what_was_the_fastest_and_computes_what_it_should(layer, phase, execution):
    asked = workload(layer, phase, execution)
    step = PreparedStep(asked, definition(layer), device=CUDA, seed=0)
    choice = attention_choice(asked, CUDA)
    assert choice is not None
    timed = [trial.name for trial in choice.trials if trial.seconds is not None]
    assert {"flash", "cudnn"} & set(timed), choice.trials
    assert choice.name in timed
    count = count_flops(step.eager)
    assert count.complete
    if choice.name in OPERATORS:
        assert any(OPERATORS[choice.name] in name for name in count.attention_operators or ())
    error, _ = definition(layer).chosen_oracle_error(asked, CUDA, 0)
    assert error < 2e-2
    step.compile()
    step.capture()
    step.run()
    torch.cuda.synchronize()


@pytest.mark.parametrize("phase", list(Phase))
def test_float32_is_left_with_a_kernel_that_has_it(phase):
    asked = workload("llama", phase, Execution.EAGER, Dtype.FLOAT32)
    step = PreparedStep(asked, definition("llama"), device=CUDA, seed=0)
    step.run()
    choice = attention_choice(asked, CUDA)
    assert choice is not None
    assert choice.name not in {"flash", "cudnn"}
    assert definition("llama").chosen_oracle_error(asked, CUDA, 0)[0] < 1e-5
