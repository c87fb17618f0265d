"""What a comparison plans to do with records that are there, and with an effort."""

from dataclasses import replace
from pathlib import Path

import pytest

from pamprof.measure.any_layer.inspection import LocalInspector
from pamprof.measure.comparison.expected_time import expected_seconds
from pamprof.measure.comparison.request import COMPARISON, CompareRequest, _coarse_keys
from pamprof.measure.session.settings import Settings
from pamprof.records import (
    Effort,
    Energy,
    Execution,
    ExecutionStage,
    ImplementationKind,
    Monitor,
    Phase,
    Scope,
    SkipKind,
)
from pamprof.records.store import RecordFile
from pamprof.workloads import registry
from pamprof.workloads.registry import definition
from tests.synthetic import synthetic_run, synthetic_session, synthetic_skip

REQUEST = CompareRequest(
    command="", output_dir=Path(), resume=False, device="auto", preset=None, layers=(), implementations=(), dtype=None,
    settings={}, sizes={}, executions=(), phases=(Phase.DECODE,), scope=Scope.MODEL, batch_sizes={None: (1,)},
    sequence_lengths={None: (64,)}, match_axis="parameters", perplexities=(), effort=Effort.QUICK,
    time_budget_seconds=None,
)  # fmt: skip


def plan(device="cpu", earlier=None, **changes):
    return COMPARISON.plan(replace(REQUEST, **changes), device, earlier)


def records(widths, *, effort=Effort.QUICK, skips=(), reference=0):
    """Runs of a session with the half widths given, all paired with the first."""
    workloads = list(widths)
    runs = [
        synthetic_run(workload, reference=workloads[reference], device="cpu", session_id="first")
        for workload in workloads
    ]
    runs = tuple(replace(run, timing=replace(run.timing, half_width=widths[run.workload])) for run in runs)
    session = replace(synthetic_session("cpu", session_id="first"), effort=effort)
    return RecordFile(sessions=(session,), runs=runs, skips=tuple(skips), problems=())


def arm_names(workloads):
    return [f"{workload.spec.layer} {workload.implementation}" for workload in workloads]


def test_a_quick_run_becomes_a_standard_one_by_its_coarse_points_alone_the_coarsest_first():
    workloads = [workload for (workload,) in plan().groups]
    widths = dict.fromkeys(workloads[:4], 0.005) | {workloads[1]: 0.02, workloads[2]: 0.04}
    found = plan(effort=Effort.STANDARD, earlier=records(widths))
    missing = workloads[4:]
    assert [w.key for w in found.pending] == [w.key for w in (*missing, workloads[2], workloads[1])]
    assert found.done == {workloads[0].key, workloads[3].key}
    assert found.references == {workloads[0].point: workloads[0]}
    assert set(found.planned) == {workload.key for workload in workloads}


def test_a_run_taken_with_the_same_or_more_effort_is_known_however_wide():
    workloads = [workload for (workload,) in plan().groups]
    wide = dict.fromkeys(workloads, 0.5)
    for made, asked in ((Effort.QUICK, Effort.QUICK), (Effort.STANDARD, Effort.QUICK), (None, Effort.STANDARD)):
        assert plan(effort=asked, earlier=records(wide, effort=made)).pending == ()


def test_the_latest_run_of_a_workload_decides_whether_it_is_coarse():
    workload = plan().groups[0][0]
    coarse = records({workload: 0.05})
    again = synthetic_run(workload, reference=workload, device="cpu", session_id="second")
    session = replace(synthetic_session("cpu", session_id="second"), effort=Effort.STANDARD)
    both = replace(coarse, sessions=(*coarse.sessions, session), runs=(*coarse.runs, again))
    assert _coarse_keys(coarse, Effort.STANDARD, Settings(target_half_width=0.01)) == {workload.key: 0.05}
    assert _coarse_keys(both, Effort.STANDARD, Settings(target_half_width=0.01)) == {}
    assert _coarse_keys(None, Effort.STANDARD, Settings(target_half_width=0.01)) == {}


def test_an_interrupted_point_is_tried_again_and_an_unsupported_one_is_not():
    workloads = [workload for (workload,) in plan().groups]
    skips = [
        synthetic_skip(workloads[1], SkipKind.INTERRUPTED, "no result within the time budget"),
        synthetic_skip(workloads[2], SkipKind.UNSUPPORTED, "needs a GPU"),
    ]
    pending = plan(earlier=records({workloads[0]: 0.005}, skips=skips)).pending
    assert workloads[1] in pending
    assert workloads[2] not in pending


def graph_of(workload):
    return replace(workload, execution=Execution.GRAPH)


def failed(workload, kind=SkipKind.UNSUPPORTED, stage=ExecutionStage.COMPILE):
    skip = synthetic_skip(workload, kind, "the compiler failed")
    return replace(skip, session_id="first", failed_stage=None if kind is SkipKind.TIMEOUT else stage)


@pytest.mark.parametrize("kind", [SkipKind.UNSUPPORTED, SkipKind.TIMEOUT])
def test_a_session_that_goes_on_measures_what_takes_the_place_of_a_failed_compilation(kind):
    first = plan("cuda", layers=("transformer", "pam"))
    visits = [workload for (workload,) in first.groups]
    arm = next(workload for workload in visits if workload.implementation == "planar")
    assert arm.execution is Execution.COMPILED_GRAPH
    assert graph_of(arm) not in visits
    place = visits.index(arm)
    earlier = records(dict.fromkeys(visits[:place], 0.005), skips=[failed(arm, kind)])
    found = plan("cuda", layers=("transformer", "pam"), earlier=earlier)
    assert found.pending == (graph_of(arm), *visits[place + 1 :])
    assert found.planned == tuple(w.key for w in (*visits[:place], graph_of(arm), *visits[place + 1 :]))
    assert found.monitor_seconds[graph_of(arm).key] == first.monitor_seconds[arm.key]
    assert found.expected_seconds[graph_of(arm).key] == first.expected_seconds[arm.key]
    assert found.unplanned_count == first.unplanned_count
    both = replace(earlier, skips=(*earlier.skips, failed(graph_of(arm), stage=ExecutionStage.CAPTURE)))
    last = plan("cuda", layers=("transformer", "pam"), earlier=both).pending
    assert last == (replace(arm, execution=Execution.EAGER), *visits[place + 1 :])


def test_a_longer_point_timeout_gives_a_compiler_that_did_not_end_another_chance():
    visits = [workload for (workload,) in plan("cuda").groups]
    arm = next(workload for workload in visits if workload.execution is Execution.COMPILED_GRAPH)
    earlier = records({}, skips=[failed(arm, SkipKind.TIMEOUT)])
    assert arm not in plan("cuda", earlier=earlier).pending
    assert arm in plan("cuda", earlier=earlier, settings={"point_timeout_seconds": 1200.0}).pending


def test_every_process_that_is_missing_measures_what_takes_the_place_of_the_first_of_a_point():
    options = {"layers": ("transformer", "pam"), "effort": Effort.REFERENCE}
    arm, other = plan("cuda", repeat=1, **options).groups[0]
    assert arm.execution is Execution.COMPILED_GRAPH
    once = records(dict.fromkeys((graph_of(arm), other), 0.005), effort=Effort.REFERENCE, skips=[failed(arm)])
    assert plan("cuda", earlier=once, repeat=3, **options).groups == ((graph_of(arm), other),) * 2


def test_the_reference_of_a_resumed_point_is_what_was_paired_with_itself_there():
    workloads = [workload for (workload,) in plan().groups]
    found = plan(earlier=records(dict.fromkeys(workloads[:3], 0.005), reference=1))
    assert arm_names(found.references.values()) == arm_names(workloads[1:2])


def test_quick_leaves_the_rest_to_standard_on_a_gpu_and_watches_energy_of_the_best_arms_alone():
    quick, standard = plan("cuda"), plan("cuda", effort=Effort.STANDARD)
    assert set(quick.planned) < set(standard.planned)
    windows = [quick.monitor_seconds[key] for key in quick.planned]
    watched = sum(window == 2.2 for window in windows)
    assert windows == [2.2] * watched + [0.3] * (len(windows) - watched)
    # Best ways of three references and of PAM at one point.
    assert arm_names(workload for (workload,) in quick.groups[:watched]) == [
        "transformer sdpa", "pam fused", "wide_head_transformer sdpa", "llama sdpa",
    ]  # fmt: skip
    assert {standard.monitor_seconds[key] for key in standard.planned} == {2.2}
    assert (quick.time_budget_seconds, standard.time_budget_seconds) == (270.0, 5400.0)


def test_what_the_command_names_is_measured_whole_whatever_the_effort():
    asked = plan("cuda", executions=(Execution.EAGER, Execution.COMPILED), settings={"monitor_seconds": 1.0})
    groups = plan("cuda", effort=Effort.STANDARD, executions=(Execution.EAGER, Execution.COMPILED)).planned
    assert set(asked.planned) == set(groups)
    assert {asked.monitor_seconds[key] for key in asked.planned} == {1.0}


@pytest.mark.parametrize("effort", [Effort.QUICK, Effort.STANDARD])
def test_a_budget_given_replaces_that_of_the_effort_and_is_planned_with_it(effort):
    found = plan(effort=effort, time_budget_seconds=90.0)
    assert (found.time_budget_seconds, found.effort) == (90.0, effort)
    assert set(found.expected_seconds) == {workload.key for (workload,) in found.groups}
    assert all(seconds > 0 for seconds in found.expected_seconds.values())


def glimpse(*, energy_valid):
    energy = Energy(
        counter_joules=30.0, integrated_joules=30.0, counter_updates=3, valid=energy_valid,
        invalid_reasons=() if energy_valid else ("the window is short",),
    )  # fmt: skip
    return Monitor(
        start_seconds=0.0, window_seconds=0.3, steps=10, series=(), energy=energy, throttle_reasons=(),
        other_process_count=0,
    )  # fmt: skip


def test_energy_that_a_longer_window_makes_valid_is_measured_again():
    workload = plan().groups[0][0]
    narrow = records({workload: 0.001})
    (run,) = narrow.runs
    short = replace(run, monitor=glimpse(energy_valid=False))
    asked = Settings(target_half_width=0.01, monitor_seconds=2.2)
    assert _coarse_keys(narrow, Effort.STANDARD, asked) == {}
    assert _coarse_keys(replace(narrow, runs=(short,)), Effort.STANDARD, asked) == {workload.key: 0.001}
    assert _coarse_keys(replace(narrow, runs=(short,)), Effort.STANDARD, replace(asked, monitor_seconds=0.3)) == {}


@pytest.mark.parametrize(("others", "said"), [((), True), (("pam",), False)])
def test_a_twin_whose_other_is_not_compared_says_so(monkeypatch, others, said):
    monkeypatch.setattr(registry, "_given", {})
    monkeypatch.setattr("pamprof.measure.any_layer.registration._probe", LocalInspector)
    source = "tests.measure.any_layer.given:proposes"
    found = plan(phases=(Phase.PREFILL,), preset="tiny", layers=("mine", *others), sources={"mine": source})
    remark = "mine declares itself the twin of pam, which is not compared; name it, too"
    assert (remark in found.remarks) is said
    assert [arm.definition.name for arm in found.arms] == ["transformer", "mine", *others]


def test_the_plan_includes_the_profiled_step_of_the_arms_whose_kernels_are_recorded():
    settings = Settings(monitor_seconds=0.3)

    def expected(settings):
        workload = plan().groups[0][0]
        layer = definition(workload.spec.layer)
        return expected_seconds(
            workload, layer, kind=ImplementationKind.PLAIN, settings=settings, device_kind="cpu",
            compiled_ahead=False, checked_before=True,
        )  # fmt: skip

    more = expected(settings) - expected(replace(settings, kernels=False))
    assert 0.1 < more < 0.05 * 30  # of the 30 seconds of a quick comparison
    assert expected(settings) - expected(settings.with_window(0.1)) == pytest.approx(more + 0.2)


def test_a_fleet_is_handed_whole_points_without_end_and_goes_on_with_those_that_lack_something():
    lengths = {None: (64, 128)}
    whole = plan(on="ray", sequence_lengths=lengths)
    assert {workload.key for group in whole.groups for workload in group} == set(whole.planned)
    assert [len({workload.point for workload in group}) for group in whole.groups] == [1, 1]
    assert (whole.time_budget_seconds, whole.compiled_ahead) == (None, ())
    assert plan(on="ray", time_budget_seconds=60.0).time_budget_seconds == 60.0
    first, second = whole.groups
    lost = synthetic_skip(second[1], SkipKind.INTERRUPTED, "its machine was lost")
    earlier = records(dict.fromkeys((*first, second[0], *second[2:]), 0.005), skips=[replace(lost, session_id="first")])
    assert plan(on="ray", sequence_lengths=lengths, earlier=earlier).groups == ((second[0], second[1]),)
