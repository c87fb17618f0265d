"""Every layer's closed form against what the operator counter counts, for every implementation, phase and scope."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pamprof.measure.flops.counter import count_flops
from pamprof.records import Dtype, Execution, Phase, Scope, Workload
from pamprof.workloads.layers.transformer.definition import TransformerDefinition
from pamprof.workloads.registry import BUILT_IN_LAYERS, definition
from pamprof.workloads.steps import PreparedStep

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def computing(implementation: str):
    """Kernels are counted on fake tensors, where they need no GPU; everything else computes."""
    return FakeTensorMode() if implementation == "fused" else nullcontext()


def small(layer: str):
    """A spec whose prompt of 37 tokens spans several chunks, the last one incomplete."""
    spec = definition(layer).preset("tiny")
    return replace(spec, depth=2, vocabulary_size=97, chunk_size=None if spec.chunk_size is None else 8)


@pytest.mark.parametrize("length", [8, 32, 37])
@pytest.mark.parametrize("scope", Scope)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("layer", BUILT_IN_LAYERS)
def test_closed_form_equals_the_count_for_every_implementation(layer, phase, scope, length):
    assert_closed_forms_equal_the_count(small(layer), phase, scope, length)


@pytest.mark.parametrize("length", [8, 37])
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("layer", ["pam", "real_pam"])
def test_closed_form_of_several_states_equals_the_count(layer, phase, length):
    spec = replace(small(layer), state_count=3, gate_reads_parts=True)
    assert_closed_forms_equal_the_count(spec, phase, Scope.LAYER, length)


def assert_closed_forms_equal_the_count(spec, phase, scope, length):
    found = definition(spec.layer)
    for implementation in found.implementations:
        point = {"phase": phase, "scope": scope, "batch_size": 2, "sequence_length": length}
        closed = found.implementation_flop_count(spec, implementation=implementation, dtype=Dtype.FLOAT32, **point)
        workload = Workload(
            spec=spec, implementation=implementation, execution=Execution.EAGER, dtype=Dtype.FLOAT32, **point
        )
        with computing(implementation):
            step = PreparedStep(workload, found, device=CPU, seed=0)
            count = count_flops(step.eager, closed_form_matrix_flop_count=closed.matrix_flop_count)
        assert count.complete, (implementation, count.uncounted_operators)
        assert count.matrix_flop_count == closed.matrix_flop_count, implementation
        assert count.matrix_dense_flop_count == closed.matrix_dense_flop_count, implementation
        assert count.elementwise_flop_count > 0


@pytest.mark.parametrize("layer", BUILT_IN_LAYERS)
def test_bfloat16_policy_changes_no_count_but_that_of_kernels_with_chunks_of_their_own(layer):
    found, spec = definition(layer), small(layer)
    for implementation in found.implementations:
        if not found.supports(implementation, Dtype.BFLOAT16):
            continue
        for phase in Phase:
            counts = []
            for dtype in Dtype:
                workload = Workload(
                    spec=spec,
                    implementation=implementation,
                    execution=Execution.EAGER,
                    dtype=dtype,
                    phase=phase,
                    scope=Scope.LAYER,
                    batch_size=1,
                    sequence_length=16,
                )
                with computing(implementation):
                    counts.append(count_flops(PreparedStep(workload, found, device=CPU, seed=0).eager))
            closed = [
                found.implementation_flop_count(
                    spec,
                    implementation=implementation,
                    phase=phase,
                    scope=Scope.LAYER,
                    batch_size=1,
                    sequence_length=16,
                    dtype=dtype,
                )
                for dtype in Dtype
            ]
            found_counts = [count.matrix_flop_count for count in counts]
            assert found_counts == [form.matrix_flop_count for form in closed], (implementation, phase)
            assert implementation == "fused" or found_counts[0] == found_counts[1], (implementation, phase)
            assert counts[1].complete, counts[1].uncounted_operators


@contextmanager
def without_data(layer: str):
    """A device on which nothing is computed or allocated, as a laptop counts the largest models.

    Autocast has no entry for meta, which the memories ask for, so they are counted on fake CPU tensors; the
    transformers move their modules once built, which fake parameters cannot.
    """
    if isinstance(definition(layer), TransformerDefinition):
        yield META
    else:
        with FakeTensorMode():
            yield CPU


@pytest.mark.parametrize("phase", [Phase.TRAIN, Phase.PREFILL])
@pytest.mark.parametrize("layer", BUILT_IN_LAYERS)
def test_full_size_model_is_counted_without_computing(layer, phase):
    """One block and the head of the 100m preset, at the batch and length of the published training runs."""
    found = definition(layer)
    spec = replace(found.preset("100m"), depth=1)
    length, batch = 2048, 18
    for implementation in found.implementations:
        with without_data(layer) as device:
            model = found.build(spec, implementation=implementation, scope=Scope.MODEL, device=device, seed=0)
            ids = torch.zeros(batch, length, dtype=torch.int64, device=device)

            def train(model=model, ids=ids):
                model.loss(ids, ids).backward()

            @torch.no_grad()
            def prefill(model=model, ids=ids):
                model.prefill(ids, model.new_state(batch, length))

            count = count_flops(train if phase is Phase.TRAIN else prefill)
        closed = found.implementation_flop_count(
            spec,
            implementation=implementation,
            phase=phase,
            scope=Scope.MODEL,
            batch_size=batch,
            sequence_length=length,
            dtype=Dtype.FLOAT32,
        )
        assert count.complete, (implementation, count.uncounted_operators)
        assert count.matrix_flop_count == closed.matrix_flop_count, implementation
        assert count.matrix_dense_flop_count == closed.matrix_dense_flop_count, implementation


def forward_flops_per_token(layer, implementation, chunk_size=None) -> tuple[float, float]:
    """Counted causal and dense matrix FLOPs per token of the 100m preset, without the padding of the vocabulary.

    Blocks are alike, so one more of them tells what each costs.
    """
    found = definition(layer)
    spec = found.preset("100m")
    counts = []
    for depth in (1, 2):
        shallow = replace(spec, depth=depth, chunk_size=chunk_size)
        with without_data(layer) as device:
            model = found.build(shallow, implementation=implementation, scope=Scope.MODEL, device=device, seed=0)
            ids = torch.zeros(1, 2048, dtype=torch.int64, device=device)
            with torch.no_grad():
                counts.append(count_flops(lambda model=model, ids=ids: model(ids)))
    real_width = spec.model_dim * (2 if found.complex_valued else 1)
    padding = 2 * real_width * (50_304 - 50_257)

    def total(one: int, two: int) -> float:
        return (one + (spec.depth - 1) * (two - one)) / 2048 - padding

    return (
        total(*(count.matrix_flop_count for count in counts)),
        total(*(count.matrix_dense_flop_count for count in counts)),
    )


def test_transformer_of_the_paper_counts_its_table():
    """12 layers of 12·672² linear and 672·2049 causal attention multiply-adds a token, and the tied head."""
    causal, dense = forward_flops_per_token("transformer", "sdpa")
    assert causal == 2 * (12 * (5_419_008 + 1_376_928) + 33_772_704)
    assert dense == 2 * (12 * (5_419_008 + 2 * 2048 * 672) + 33_772_704)
    assert round(causal / 1e6, 1) == 230.6
    assert round(dense / 1e6, 1) == 263.7


@pytest.mark.parametrize(("chunk_size", "mix", "table"), [(256, 970_752, 355.0), (2048, 6_389_760, 528.4)])
def test_memory_of_the_paper_counts_its_table(chunk_size, mix, table):
    """16 layers of linear maps and mixing, in real multiply-adds a token, and the tied head with its projection."""
    causal, dense = forward_flops_per_token("pam", "published", chunk_size)
    assert causal == dense == 2 * (16 * (7_674_624 + mix) + 39_187_200)
    assert round(causal / 1e6, 1) == table
