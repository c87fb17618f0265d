"""Arms that differ in what they keep their state in are arms of their own in every table and plot."""

from dataclasses import replace

from pamprof.analysis.comparison.names import arm_label
from pamprof.records import Dtype, Execution
from pamprof.render.arms import arm_key, assign_arms, layer_titles
from tests.synthetic import synthetic_workload


def with_state(workload, dtype):
    return replace(workload, spec=replace(workload.spec, state_dtype=dtype))


def test_a_bfloat16_state_has_a_key_a_colour_and_a_name_of_its_own():
    wide = synthetic_workload(execution=Execution.GRAPH)
    narrow = with_state(wide, Dtype.BFLOAT16)
    arms = assign_arms([narrow, wide], layer_titles(()))
    assert arm_key(wide) == "pam/planar"
    assert arm_key(narrow) == "pam/planar/bfloat16"
    assert [arm.label for arm in arms.values()] == ["PAM planar", "PAM planar (bfloat16 state)"]
    assert len({arm.role for arm in arms.values()}) == 2
    assert arms["pam/planar"].role == "plain1"
    assert arm_label(narrow) == "PAM planar (bfloat16 state) · graph"


def test_keys_of_workloads_without_a_state_dtype_are_what_they_were():
    workload = synthetic_workload()
    assert workload.key.endswith("p0")
    assert with_state(workload, Dtype.BFLOAT16).key == f"{workload.key} Sbfloat16"
    grouped = replace(workload, spec=replace(workload.spec, key_value_heads=3))
    assert grouped.key == f"{workload.key} G3"
