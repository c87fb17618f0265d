import pytest

from pamprof.errors import UsageError
from pamprof.measure.comparison.plan import plan_groups
from pamprof.measure.session.matched_arms import matched_arms
from pamprof.records import Dtype, Execution, Phase, Point, Scope

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
