from dataclasses import replace
from pathlib import Path

import pytest

from pamprof.errors import UsageError
from pamprof.measure.comparison.plan import plan_groups
from pamprof.measure.comparison.request import COMPARISON, CompareRequest
from pamprof.measure.session.matched_arms import matched_arms
from pamprof.records import Dtype, Effort, Execution, Phase, Point, Scope

EVERY = tuple(Execution)


def plan(*, dtype=Dtype.FLOAT32, implementations=(), executions=EVERY):
    arms = matched_arms(
        preset="tiny", sizes={}, layers=("pam", "real_pam", "transformer"), match_axis="parameters",
        sequence_length=2048, dtype=dtype,
    )  # fmt: skip
    point = Point(phase=Phase.TRAIN, scope=Scope.MODEL, batch_size=2, sequence_length=64, dtype=dtype)
    return plan_groups(arms, points=(point,), implementations=implementations, executions=executions)


def test_the_transformer_comes_first_and_its_replay_before_its_eager_form():
    first = plan()[0][0]
    assert (first.spec.layer, first.execution) == ("transformer", Execution.COMPILED_GRAPH)


def test_an_eager_plan_pairs_with_the_eager_transformer():
    first = plan(executions=(Execution.EAGER,))[0][0]
    assert (first.spec.layer, first.execution) == ("transformer", Execution.EAGER)


def test_every_implementation_meets_every_execution_once():
    group = plan()[0]
    arms = {(workload.spec.layer, workload.implementation, workload.execution) for workload in group}
    assert len(arms) == len(group) == (1 + 1 + 5) * len(EVERY)


def test_an_implementation_the_dtype_rules_out_is_left_out_unless_asked_for():
    assert "complex" not in {workload.implementation for workload in plan(dtype=Dtype.BFLOAT16)[0]}
    asked = plan(dtype=Dtype.BFLOAT16, implementations=("complex",))[0]
    assert "complex" in {workload.implementation for workload in asked}


def test_a_layer_without_the_named_implementations_keeps_its_own():
    group = plan(implementations=("published",), executions=(Execution.EAGER,))[0]
    assert [workload.implementation for workload in group] == ["sdpa", "published", "planar"]


def test_an_unknown_implementation_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="gauss"):
        plan(implementations=("fast",))


def comparison(device_kind, **changes):
    """The session that ``pamprof compare`` plans on a device of this kind when nothing else is asked for."""
    request = CompareRequest(
        command="", output_dir=Path(), resume=False, device="auto", preset=None, layers=(), implementations=(),
        dtype=None, settings={}, sizes={}, executions=(), phases=tuple(Phase), scope=Scope.MODEL, batch_sizes={},
        sequence_lengths={}, match_axis="parameters", perplexities=(), effort=Effort.QUICK, time_budget_seconds=None,
    )  # fmt: skip
    return COMPARISON.plan(replace(request, **changes), device_kind, None)


def test_a_gpu_measures_every_reference_by_default_and_a_cpu_the_papers_alone():
    on_gpu, on_cpu = comparison("cuda"), comparison("cpu")
    layers = [arm.spec.layer for arm in on_gpu.arms]
    assert layers == ["transformer", "wide_head_transformer", "llama", "real_pam", "pam"]
    assert [arm.spec.layer for arm in on_cpu.arms] == ["transformer", "real_pam", "pam"]
    assert on_gpu.remarks == on_cpu.remarks == ()
    visited = {}
    for (workload,) in on_gpu.groups:
        visited.setdefault(workload.point, []).append(workload.spec.layer)
    assert {visits[0] for visits in visited.values()} == {"transformer"}
    references = {"transformer", "wide_head_transformer", "llama"}
    assert all(references <= set(visits) for visits in visited.values())
    early = [workload.spec.layer for (workload,) in on_gpu.groups[:12]]
    assert set(early) == references | {"pam"}


def test_the_default_references_match_the_parameters_within_one_percent():
    for arm in comparison("cuda").arms:
        residual = next(each.residual for each in arm.facts.residuals if each.axis == "parameters")
        assert abs(residual) <= 0.01
    wide, llama = comparison("cuda").arms[1:3]
    assert (wide.spec.heads, wide.spec.head_dim) == (5, 128)
    assert (llama.spec.heads, llama.spec.key_value_heads) == (12, 3)


def test_a_default_reference_that_no_size_matches_is_left_out_with_a_sentence():
    plan = comparison("cuda", preset="25m", match_axis="width")
    layers = [arm.spec.layer for arm in plan.arms]
    assert "pam" in layers
    assert "wide_head_transformer" not in layers
    assert any(remark.startswith("wide_head_transformer is left out") for remark in plan.remarks)


def test_layers_that_were_asked_for_are_taken_as_they_are():
    assert [arm.spec.layer for arm in comparison("cuda", layers=("pam", "transformer")).arms] == ["transformer", "pam"]
    with pytest.raises(UsageError, match="no size of layer wide_head_transformer"):
        comparison("cuda", layers=("pam", "wide_head_transformer"), preset="25m", match_axis="width")
