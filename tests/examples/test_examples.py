"""Every example: what is derived of it, and its FLOPs against those derived by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.layers.foreign.definition import ForeignDefinition
from pamprof.workloads.steps import PreparedStep

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CPU = torch.device("cpu")
WIDTH, HIDDEN = 72, 328  # of the tiny transformer
BATCH, TIME = 2, 16
ROWS = BATCH * TIME
FEED_FORWARD = 2 * 2 * ROWS * WIDTH * HIDDEN  # the carrier's, around a mixer
ATTENTION = 2 * 2 * BATCH * WIDTH * TIME * (TIME + 1) // 2
MODES, EXPERTS = 32, 4

# Matrix FLOPs of a forward pass; a complex multiply-add is 8.
FORWARD = {
    "gru.py:gru": 2 * 3 * ROWS * 2 * WIDTH**2 + FEED_FORWARD,
    "lstm.py:LSTM": 2 * 4 * ROWS * 2 * WIDTH**2 + FEED_FORWARD,
    "s4d.py:S4D": 8 * WIDTH * MODES * TIME + 2 * ROWS * 2 * WIDTH**2 + FEED_FORWARD,
    "lru.py:LRU": 8 * ROWS * 2 * WIDTH**2 + FEED_FORWARD,
    "mixture_of_experts.py:mixture_of_experts": 2 * ROWS * (4 * WIDTH**2 + EXPERTS * WIDTH + 8 * WIDTH**2) + ATTENTION,
    "checkpointed_block.py:checkpointed_block": 2 * ROWS * 12 * WIDTH**2 + ATTENTION,
}
# A step over time multiplies no gradient into the zeros that it begins at; torch's fused kernel of LSTM does.
UNNEEDED = {"gru.py:gru": 2 * BATCH * 3 * WIDTH**2, "lstm.py:LSTM": 2 * BATCH * 4 * WIDTH**2}
DECODING = ("lstm.py:LSTM", "s4d.py:S4D", "lru.py:LRU")
BLOCKS = ("mixture_of_experts.py:mixture_of_experts", "checkpointed_block.py:checkpointed_block")
COMPLEX = ("s4d.py:S4D", "lru.py:LRU")


@pytest.fixture(scope="module")
def made():
    found = {}
    for name in FORWARD:
        each = ForeignDefinition("given", f"{EXAMPLES}/{name}", LocalInspector())
        found[name] = each, each.preset("tiny")
    return found


def step_of(made, name, phase, dtype=Dtype.FLOAT32, scope=Scope.LAYER):
    each, spec = made[name]
    workload = Workload(
        spec=spec,
        implementation="module",
        execution=Execution.EAGER,
        phase=phase,
        scope=scope,
        batch_size=BATCH,
        sequence_length=TIME,
        dtype=dtype,
    )
    return PreparedStep(workload, each, device=CPU, seed=0)


@pytest.mark.parametrize("name", FORWARD)
def test_what_is_derived(made, name):
    each, spec = made[name]
    assert (spec.model_dim, spec.hidden_dim) == (WIDTH, HIDDEN)
    assert each.carrier == ("block" if name in BLOCKS else "mixer")
    assert each.complex_valued == (name in COMPLEX)
    assert each.phases == (tuple(Phase) if name in DECODING else (Phase.TRAIN, Phase.PREFILL))
    assert (each.no_decode_reason is None) == (name in DECODING)


@pytest.mark.parametrize("name", FORWARD)
def test_a_training_step_is_three_times_the_forward_pass_derived_by_hand(made, name):
    step = step_of(made, name, Phase.TRAIN)
    before = [parameter.detach().clone() for parameter in step.module.parameters()]
    flops = count_flops(step.eager)
    assert flops.complete, flops.uncounted_operators
    assert flops.model_matrix_flop_count == 3 * FORWARD[name] - (UNNEEDED[name] if name == "gru.py:gru" else 0)
    # Of the checkpoint the second product is not needed again: nothing reads its output.
    again = 2 * ROWS * WIDTH * 4 * WIDTH if name.startswith("checkpointed") else 0
    assert flops.recomputed_matrix_flop_count == again
    moved = [not torch.equal(a, b) for a, b in zip(before, step.module.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("name", FORWARD)
def test_planned_flops_are_those_of_the_step(made, name):
    each, spec = made[name]
    shape = {"scope": Scope.LAYER, "batch_size": BATCH, "sequence_length": TIME}
    assert each.flop_count(spec, phase=Phase.PREFILL, **shape).matrix_flop_count == FORWARD[name]
    train = 3 * FORWARD[name] - UNNEEDED.get(name, 0)
    assert each.flop_count(spec, phase=Phase.TRAIN, **shape).matrix_flop_count == train


@pytest.mark.parametrize("name", DECODING)
def test_decoding_is_the_forward_pass_position_by_position(made, name):
    each, spec = made[name]
    model = each.build(
        replace(spec, dropout=0.0), implementation="module", scope=Scope.MODEL, device=CPU, seed=0
    ).eval()
    ids = torch.randint(0, spec.vocabulary_size, (2, 7))
    with torch.no_grad():
        state = model.new_state(2, 7)
        stepped = torch.stack([model.decode(ids[:, place], state, place) for place in range(7)], 1)
        torch.testing.assert_close(stepped, model(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FORWARD)
def test_it_passes_the_gate_in_both_dtypes(made, name):
    each, spec = made[name]
    for phase in each.phases:
        for dtype, tolerance in ((Dtype.FLOAT32, 1e-5), (Dtype.BFLOAT16, 2e-2)):
            error, _ = each.oracle_error(spec, implementation="module", phase=phase, device=CPU, dtype=dtype, seed=0)
            assert error < tolerance, (phase, dtype)


def test_complex_parameters_train_beside_the_fused_optimizer_and_the_record_says_so(made):
    step = step_of(made, "s4d.py:S4D", Phase.TRAIN, dtype=Dtype.BFLOAT16)
    assert torch.isfinite(step.run())
    assert "takes no complex ones" in step.notes[0]


def test_the_step_of_a_block_runs_compiled_where_the_block_is(made):
    step = step_of(made, "lstm.py:LSTM", Phase.DECODE)
    called = []
    block = step.model.blocks[0]
    block._compiled_call_impl = lambda *args, **kwargs: called.append(args) or block.forward(*args, **kwargs)
    step.run()
    assert len(called) == 1


def commands():
    """Of each file's docstring."""
    for path in sorted(EXAMPLES.glob("*.py")):
        yield path.name, path.read_text(encoding="utf-8").split('"""')[1].strip().splitlines()[-1]


def test_every_example_is_one_command_and_the_readme_shows_it():
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines()
    for name, command in commands():
        assert command.startswith("pamprof compare --layer transformer,"), name
        assert f"examples/{name}:" in command
        assert command in readme
