"""Where a sweep may go, when a line ends, and what a resumed sweep leaves out."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from pamprof.errors import UsageError
from pamprof.measure.serving.arms import sweep_groups, with_state_dtypes
from pamprof.measure.serving.plan import SweepAxes, alternatives_of, candidates, is_flat, lines_of
from pamprof.measure.serving.resume import finished_keys
from pamprof.measure.session.matched_arms import PlannedArm, matched_arms
from pamprof.records import Dtype, Execution, Phase, Scope, Skip, SkipKind
from pamprof.records.store import RecordFile
from tests.synthetic import synthetic_run, synthetic_spec

AXES = SweepAxes(contexts=(128, 2048, 512), prompts=(512, 128), largest_batch=40)


class Definition:
    def __init__(self, fixed_state):
        self.fixed_state = fixed_state


def plan(layer="transformer", *, fixed_state=False, execution=Execution.GRAPH):
    arm = PlannedArm(definition=Definition(fixed_state), spec=synthetic_spec(layer), facts=None)
    return candidates(arm, AXES, implementation="sdpa", execution=execution, dtype=Dtype.BFLOAT16)


def places(workloads, phase=Phase.DECODE):
    return [(each.sequence_length, each.batch_size) for each in workloads if each.phase is phase]


def test_a_cache_is_swept_at_every_context_in_powers_of_two():
    found = plan()
    assert places(found, Phase.PREFILL) == [(128, 1), (512, 1)]
    assert places(found) == [(context, batch) for context in (128, 512, 2048) for batch in (1, 2, 4, 8, 16, 32)]
    assert {each.scope for each in found} == {Scope.MODEL}


@pytest.mark.parametrize("execution", [Execution.COMPILED, Execution.COMPILED_GRAPH])
def test_what_is_compiled_for_each_batch_rises_by_fours(execution):
    found = plan(execution=execution)
    assert [batch for context, batch in places(found) if context == 512] == [1, 4, 16]


def groups(*, cuda, implementations=(), execution=None, layers=("transformer", "llama", "pam")):
    arms = matched_arms(
        preset="tiny", sizes={}, layers=layers, match_axis="parameters", sequence_length=2048, dtype=Dtype.BFLOAT16
    )
    return sweep_groups(
        arms, AXES, implementations=implementations, execution=execution, dtype=Dtype.BFLOAT16, cuda=cuda
    )


def ways(found):
    """Of each group's layer the implementations in the order in which they are tried, with their execution."""
    return {
        group[0].spec.layer: [(each[0].implementation, str(each[0].execution)) for each in alternatives_of(group)]
        for group in found
    }


def test_on_a_gpu_every_arm_is_swept_in_its_fastest_execution():
    assert ways(groups(cuda=True)) == {
        "transformer": [("sdpa", "compiled-graph")],
        "llama": [("sdpa", "compiled-graph")],
        "pam": [("fused", "graph"), ("planar", "compiled-graph")],
    }
    for group in groups(cuda=True):
        for each in alternatives_of(group):
            assert len({workload.execution for workload in each}) == 1


def test_on_a_cpu_every_arm_is_swept_eagerly():
    assert ways(groups(cuda=False)) == {
        "transformer": [("sdpa", "eager")],
        "llama": [("sdpa", "eager")],
        "pam": [("planar", "eager")],
    }


def test_what_was_asked_for_is_swept_each_in_a_group_of_its_own():
    found = groups(cuda=True, implementations=("planar", "fused"), execution=Execution.GRAPH, layers=("pam",))
    assert sorted((group[0].implementation, str(group[0].execution)) for group in found) == [
        ("fused", "graph"),
        ("planar", "graph"),
    ]
    assert all(len(alternatives_of(group)) == 1 for group in found)
    with pytest.raises(UsageError, match="no layer has an implementation 'fast'; there are"):
        groups(cuda=True, implementations=("fast",))


def test_every_state_dtype_is_an_arm_with_its_own_bytes():
    (pam,) = matched_arms(
        preset="tiny", sizes={}, layers=("pam",), match_axis="parameters", sequence_length=2048, dtype=Dtype.BFLOAT16
    )
    wide, narrow = with_state_dtypes(pam, (Dtype.FLOAT32, Dtype.BFLOAT16, Dtype.FLOAT32), context=2048)
    assert (wide.spec.state_dtype, narrow.spec.state_dtype) == (None, Dtype.BFLOAT16)
    assert wide.facts.state_bytes == 2 * narrow.facts.state_bytes


def test_a_fixed_state_is_swept_once_and_witnessed_at_the_last_context():
    found = places(plan(fixed_state=True))
    assert [batch for context, batch in found if context == 128] == [1, 2, 4, 8, 16, 32]
    assert [batch for context, batch in found if context == 2048] == [1, 16]
    assert {context for context, _ in found} == {128, 2048}


def test_both_ends_of_the_range_come_before_what_lies_between():
    assert list(lines_of(plan())) == [128, 2048, 512]
    assert lines_of([]) == {}


def test_axes_without_a_context_are_refused():
    with pytest.raises(UsageError, match="at least one context"):
        SweepAxes(contexts=(), prompts=(1,), largest_batch=8)


@pytest.mark.parametrize(
    ("rates", "flat"),
    [
        ({}, False),
        ({1: 100.0}, False),
        ({1: 100.0, 2: 101.0}, False),  # one doubling tells nothing
        ({1: 100.0, 4: 102.9}, True),
        ({1: 100.0, 4: 103.1}, False),
        ({1: 100.0, 2: 120.0, 4: 102.0}, True),
        ({1: 100.0, 4: 200.0, 16: 150.0}, True),
        ({1: 100.0, 2: 150.0, 4: 151.0, 8: 152.0}, True),
    ],
)
def test_a_line_is_flat_when_two_doublings_gain_less_than_three_percent(rates, flat):
    assert is_flat(rates) is flat


@given(st.floats(1.04, 4.0), st.integers(2, 8))
def test_steady_growth_is_never_flat(growth, powers):
    assert not is_flat({4**power: growth**power for power in range(powers)})


def record(workload, seconds):
    run = synthetic_run(replace(workload), reference=workload)
    samples = (seconds,) * 5
    return replace(run, timing=replace(run.timing, wall_time_seconds=samples, reference_wall_time_seconds=samples))


def records(runs=(), skips=()):
    return RecordFile(sessions=(), runs=tuple(runs), skips=tuple(skips), problems=())


def skip(workload, kind):
    return Skip(session_id="s", started_at="2026-11-22T12:00:00+00:00", workload=workload, kind=kind, reason="because")


def test_nothing_is_finished_before_the_first_sweep():
    assert finished_keys(None, [plan()], finds_memory_end=True) == frozenset()


def test_a_line_whose_memory_ended_is_not_raised_again_but_still_filled_in():
    group = plan()
    line = {each.batch_size: each for each in group if each.sequence_length == 512 and each.phase is Phase.DECODE}
    measured = [record(line[batch], 1e-3) for batch in (1, 4, 16)]
    ended = skip(replace(line[16], batch_size=23), SkipKind.OUT_OF_MEMORY)
    done = finished_keys(records(measured, [ended]), [group], finds_memory_end=True)
    assert {batch for batch, each in line.items() if each.key in done} == {1, 4, 16, 32}
    assert not any(each.key in done for each in group if each.sequence_length == 2048)


def test_a_line_measured_at_memory_s_end_is_not_raised_again():
    group = plan()
    line = {each.batch_size: each for each in group if each.sequence_length == 512 and each.phase is Phase.DECODE}
    measured = [record(each, 1e-3) for each in (line[1], line[4], replace(line[4], batch_size=7))]
    done = finished_keys(records(measured), [group], finds_memory_end=True)
    assert {batch for batch, each in line.items() if each.key in done} == {1, 4, 8, 16, 32}
    assert not any(each.key in done for each in group if each.sequence_length == 2048)


@pytest.mark.parametrize("finds_memory_end", [True, False])
def test_a_flat_line_is_finished_only_where_memory_is_not_sought(finds_memory_end):
    group = plan()
    line = {each.batch_size: each for each in group if each.sequence_length == 512 and each.phase is Phase.DECODE}
    measured = [record(line[batch], batch * 1e-3) for batch in (1, 4)]
    done = finished_keys(records(measured), [group], finds_memory_end=finds_memory_end)
    assert (line[32].key in done) is not finds_memory_end


@pytest.mark.parametrize(
    ("kind", "finished"),
    [
        (SkipKind.OUT_OF_MEMORY, True),
        (SkipKind.UNSUPPORTED, True),
        (SkipKind.CRASHED, False),
        (SkipKind.TIMEOUT, False),
    ],
)
def test_a_skip_is_tried_again_where_another_try_may_help(kind, finished):
    group = plan()
    done = finished_keys(records(skips=[skip(group[0], kind)]), [group], finds_memory_end=True)
    assert (group[0].key in done) is finished
