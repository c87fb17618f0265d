"""A comparison's session with a stand-in for its worker: what is paired with what, and what a budget leaves out."""

import os
from dataclasses import replace

import pytest

from pamprof.measure.session import pace as pace_module
from pamprof.measure.session.further import AddedPoint
from pamprof.measure.session.pace import Pace
from pamprof.measure.session.paced import PacedRunner
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.ruled_out import RuledOut
from pamprof.measure.session.settings import Settings
from pamprof.records import Execution, Skip, SkipKind
from pamprof.records.store import RunStore, read_records
from tests.measure.session.test_runner import Listener
from tests.synthetic import synthetic_workload


def arm(name, length=2048):
    return replace(synthetic_workload(sequence_length=length), implementation=name)


class Companions:
    """In the place of processes that compile."""

    made = ()

    def __init__(self, workloads, *, device, seed):
        self.process_ids = (os.getpid() + 1_000_000,)  # nobody's
        self.went_on = 0
        self.stopped = False
        self.workloads = workloads
        Companions.made = (*Companions.made, self)

    def go_on(self):
        self.went_on += 1

    def stop(self):
        self.stopped, self.process_ids = True, ()


@pytest.fixture
def companions(monkeypatch):
    monkeypatch.setattr("pamprof.measure.session.paced.CompileAhead", Companions)
    Companions.made = ()
    return Companions


def measure(
    tmp_path, visits, *, expected=(), budget=None, references=(), done=(), compiled_ahead=(), listener=None,
    further=None, processes=None, substitutes=True,
):  # fmt: skip
    """Run a session on a clock that stands still."""
    store = RunStore(tmp_path / "runs.jsonl")
    listener = listener or Listener()
    workloads = [w for visit in visits for w in (visit if isinstance(visit, tuple) else (visit,))]
    seconds = {workload.key: dict(expected).get(workload.implementation, 1.0) for workload in workloads}
    spawned = []

    def spawn():
        spawned.append(WorkerProcess("tests.measure.session.fake_worker"))
        return spawned[-1]

    runner = PacedRunner(
        session_id="s", device="cpu", settings=Settings(), store=store, reporter=listener, spawn=spawn,
        pace=Pace(seconds, budget_seconds=budget, begun=0.0, clock=lambda: 0.0),
        references={workload.point: workload for workload in references},
        monitor_seconds={},
        compiled_ahead=tuple(compiled_ahead),
        further=further,
        fresh_processes=processes,
        substitutes=substitutes,
    )  # fmt: skip
    groups = tuple(workload if isinstance(workload, tuple) else (workload,) for workload in visits)
    outcome = runner.run(groups, frozenset(w.key for w in done))
    store.close()
    return outcome, listener, read_records(tmp_path / "runs.jsonl"), len(spawned)


def pairs(records):
    return [(run.workload.implementation, run.reference.implementation) for run in records.runs]


def test_every_arm_is_paired_with_the_first_of_its_point_and_one_worker_serves_all(tmp_path):
    visits = (arm("a"), arm("x", 512), arm("b"), arm("y", 512), arm("c"))
    outcome, listener, records, workers = measure(tmp_path, visits)
    assert pairs(records) == [("a", "a"), ("x", "x"), ("b", "a"), ("y", "x"), ("c", "a")]
    assert (outcome.measured, outcome.skipped, outcome.left_out, workers) == (5, 0, 0, 1)
    assert len({run.group_id for run in records.runs}) == 1
    assert listener.total == len(listener.left) == 5
    assert listener.left[-1] == 0.0


def test_the_budget_leaves_out_what_does_not_fit_and_goes_on_with_what_does(tmp_path):
    visits = (arm("a"), arm("long"), arm("c"))
    outcome, listener, records, _ = measure(tmp_path, visits, expected={"a": 1.0, "long": 500.0}.items(), budget=60.0)
    assert pairs(records) == [("a", "a"), ("c", "a")]
    assert (outcome.measured, outcome.left_out, outcome.interrupted) == (2, 1, False)
    assert not records.skips
    assert max(listener.left) <= 60.0


def test_no_arm_is_measured_at_a_point_whose_reference_does_not_fit(tmp_path):
    visits = (arm("a"), arm("long", 512), arm("b", 512), arm("c"))
    outcome, _, records, _ = measure(tmp_path, visits, expected={"long": 500.0}.items(), budget=60.0)
    assert pairs(records) == [("a", "a"), ("c", "a")]
    assert outcome.left_out == 2


def test_the_first_number_is_taken_whatever_the_budget(tmp_path):
    outcome, _, records, _ = measure(
        tmp_path, (arm("refused"), arm("a"), arm("b")), expected=[("a", 99.0)], budget=0.001
    )
    assert pairs(records) == [("a", "a")]
    assert outcome.left_out == 1


@pytest.mark.parametrize("first", ["refused", "crashing", "killed"])
def test_a_first_arm_without_a_number_makes_the_next_the_reference(tmp_path, first):
    _, _, records, _ = measure(tmp_path, (arm(first), arm("a"), arm("b")))
    assert pairs(records) == [("a", "a"), ("b", "a")]
    assert [skip.workload.implementation for skip in records.skips] == [first]


def test_a_worker_that_dies_on_an_arm_costs_that_arm_and_the_next_is_paired_as_before(tmp_path):
    _, _, records, workers = measure(tmp_path, (arm("a"), arm("crashing"), arm("b")))
    assert pairs(records) == [("a", "a"), ("b", "a")]
    assert [skip.kind for skip in records.skips] == [SkipKind.CRASHED]
    assert workers == 2
    assert records.runs[0].group_id != records.runs[1].group_id


def test_a_worker_that_dies_while_it_builds_the_reference_again_costs_that_arm_alone(tmp_path):
    reference = arm("dies-when-built-again")
    outcome, _, records, _ = measure(tmp_path, (reference, arm("a"), arm("x", 512)))
    assert pairs(records) == [("dies-when-built-again",) * 2, ("x", "x")]
    (skip,) = records.skips
    assert (skip.workload.implementation, skip.kind) == ("a", SkipKind.CRASHED)
    assert skip.reason.startswith("train 3 × 2k pam dies-when-built-again eager, which this is paired with, could not")
    assert outcome.skipped == 1


def test_ctrl_c_keeps_what_was_measured(tmp_path, companions):
    outcome, listener, records, _ = measure(
        tmp_path, (arm("a"), arm("b"), arm("c")), listener=Listener(interrupt_at=" b "), compiled_ahead=(arm("c"),)
    )
    assert outcome.interrupted
    assert pairs(records) == [("a", "a")]
    assert listener.ended
    assert companions.made[0].stopped


def test_a_hang_within_the_budget_is_an_interruption_that_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(pace_module, "_LEAST_GRACE_SECONDS", 0.0)
    monkeypatch.setattr(pace_module, "_GRACE_RATIO", 0.0)
    _, _, records, _ = measure(tmp_path, (arm("a"), arm("hanging"), arm("b")), budget=4.0)
    assert pairs(records) == [("a", "a"), ("b", "a")]
    (skip,) = records.skips
    assert skip.kind is SkipKind.INTERRUPTED
    assert "time budget of 4.00 s" in skip.reason
    assert "--resume" in skip.reason


def test_a_resumed_session_keeps_the_reference_of_each_point(tmp_path):
    reference = arm("a")
    _, _, records, _ = measure(tmp_path, (reference, arm("b"), arm("c")), references=(reference,), done=(reference,))
    assert pairs(records) == [("b", "a"), ("c", "a")]


def test_a_reference_to_be_refined_is_measured_once_though_an_arm_comes_before_it(tmp_path):
    reference = arm("a")
    outcome, _, records, _ = measure(tmp_path, (arm("b"), reference), references=(reference,))
    assert pairs(records) == [("a", "a"), ("b", "a")]
    assert outcome.measured == 2


def test_out_of_memory_beside_processes_that_compile_is_tried_again_without_them(tmp_path, companions):
    outcome, listener, records, _ = measure(
        tmp_path, (arm("a"), arm("large"), arm("b")), compiled_ahead=(arm("large"), arm("b"))
    )
    assert pairs(records) == [("a", "a"), ("large", "a"), ("b", "a")]
    assert not records.skips
    assert companions.made[0].stopped
    assert not any("skipped" in line for line in listener.lines)
    assert outcome.skipped == 0


def test_what_needs_as_much_as_a_workload_that_did_not_fit_is_not_tried(tmp_path):
    def large(execution, length=2048):
        return replace(arm("too-large", length), execution=execution)

    eager, graph, compiled, both = (
        large(Execution.EAGER),
        large(Execution.GRAPH),
        large(Execution.COMPILED),
        large(Execution.COMPILED_GRAPH),
    )
    longer, shorter = large(Execution.EAGER, 4096), large(Execution.EAGER, 1024)
    visits = (arm("a"), eager, graph, compiled, both, arm("a", 4096), longer, arm("a", 1024), shorter)
    _, _, records, _ = measure(tmp_path, visits)
    reasons = {skip.workload.key: skip.reason for skip in records.skips}
    words = "not tried: train 3 × 2k pam too-large eager needs no more memory, and did not fit (it does not fit)"
    assert reasons == {
        eager.key: "it does not fit",
        graph.key: words,
        both.key: "it does not fit",  # the compiled step it is captured from did fit
        longer.key: words,
        shorter.key: "it does not fit",
    }
    assert {skip.kind for skip in records.skips} == {SkipKind.OUT_OF_MEMORY}
    assert ("too-large", "a") in pairs(records)


def test_memory_that_ended_beside_a_reference_says_nothing_of_an_arm_without_one():
    ruled_out = RuledOut()
    failed = Skip(
        session_id="s", started_at="", workload=arm("x"), kind=SkipKind.OUT_OF_MEMORY, reason="it does not fit"
    )
    ruled_out.add(failed, paired=True)
    assert ruled_out.reason(arm("x", 4096), paired=False) is None
    assert ruled_out.reason(arm("x", 4096), paired=True).startswith("not tried: ")
    assert ruled_out.reason(arm("y", 4096), paired=True) is None


def test_processes_compile_only_what_is_still_to_be_measured_and_go_on_after_each_point(tmp_path, companions):
    a, b, c = arm("a"), arm("b"), arm("c")
    measure(tmp_path, (a, b, c), compiled_ahead=(b, c), references=(a,), done=(a, b))
    (made,) = companions.made
    assert made.workloads == (c,)
    assert made.went_on == 1
    assert made.stopped


def test_a_line_that_is_no_record_is_told_and_ends_nothing(tmp_path, companions):
    _, listener, records, _ = measure(tmp_path, (arm("garbled"), arm("b")), compiled_ahead=(arm("b"),))
    assert pairs(records) == [("garbled", "garbled"), ("b", "garbled")]
    assert any("refused" in line for line in listener.lines)


class AddsOnce:
    """Asks for a point once so many runs are there."""

    def __init__(self, workloads, *, runs, visited_after=(), seconds=1.0):
        self.visited_after = frozenset(workload.key for workload in visited_after)
        self._runs = runs
        self._added = AddedPoint(
            workloads=workloads,
            expected_seconds={workload.key: seconds for workload in workloads},
            monitor_seconds={workload.key: 0.0 for workload in workloads},
            reason="they cross",
        )

    def may_add(self):
        return ""

    def after(self, runs):
        found = (self._added,) if self._added is not None and len(runs) >= self._runs else ()
        self._added = None if found else self._added
        return found


def test_a_point_that_the_first_numbers_ask_for_is_visited_before_what_is_worth_less(tmp_path):
    further = AddsOnce((arm("x", 512), arm("y", 512)), runs=2, visited_after=(arm("d"),))
    visits = (arm("a"), arm("b"), arm("c"), arm("d"))
    outcome, listener, records, _ = measure(tmp_path, visits, further=further)
    assert pairs(records) == [("a", "a"), ("b", "a"), ("c", "a"), ("x", "x"), ("y", "x"), ("d", "a")]
    assert (outcome.measured, outcome.left_out, listener.total) == (6, 0, 6)
    assert "they cross" in listener.lines


def test_an_added_point_that_the_budget_does_not_last_for_is_left_out(tmp_path):
    further = AddsOnce((arm("x", 512),), runs=1, seconds=500.0)
    outcome, _, records, _ = measure(tmp_path, (arm("a"), arm("b")), budget=60.0, further=further)
    assert pairs(records) == [("a", "a"), ("b", "a")]
    assert outcome.left_out == 1


def test_with_fresh_processes_an_added_point_is_measured_in_as_many(tmp_path):
    further = AddsOnce((arm("x", 512), arm("y", 512)), runs=2)
    point = (arm("a"), arm("b"))
    _, listener, records, _ = measure(tmp_path, (point, point), further=further, processes=2)
    assert sorted(pairs(records)) == sorted([("a", "a"), ("b", "a"), ("x", "x"), ("y", "x")] * 2)
    assert len({run.group_id for run in records.runs}) == 4
    assert listener.total == 8


CG, G, C, E = Execution.COMPILED_GRAPH, Execution.GRAPH, Execution.COMPILED, Execution.EAGER


def executed(name, execution, length=2048):
    return replace(arm(name, length), execution=execution)


def ways(records):
    return [(run.workload.implementation, run.workload.execution) for run in records.runs]


@pytest.mark.parametrize(
    ("name", "asked", "measured"),
    [
        ("uncapturable", CG, [C]), ("uncapturable", G, [E]), ("uncompilable", CG, [G]), ("uncompilable", C, [E]),
        ("endless", CG, [G]), ("endless", C, [E]), ("refused", CG, []), ("refused", G, []), ("too-large", G, []),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_compiled_or_captured_is_measured_without_that(tmp_path, name, asked, measured):
    visits = (executed("a", CG), executed(name, asked), executed("b", CG))
    outcome, listener, records, _ = measure(tmp_path, visits)
    assert ways(records) == [("a", CG), *((name, execution) for execution in measured), ("b", CG)]
    assert {run.reference.implementation for run in records.runs} == {"a"}
    assert listener.total == outcome.measured + outcome.skipped == 3 + len(measured)


def test_an_execution_that_is_planned_anyway_or_was_asked_for_is_not_put_in_the_place_of_another(tmp_path):
    visits = (executed("uncapturable", CG), executed("uncapturable", C))
    assert ways(measure(tmp_path / "planned", visits)[2]) == [("uncapturable", C)]
    assert ways(measure(tmp_path / "asked", visits[:1], substitutes=False)[2]) == []


def test_with_fresh_processes_a_substitute_takes_the_place_in_all_that_follow(tmp_path):
    point = (executed("a", CG), executed("uncapturable", CG))
    _, listener, records, _ = measure(tmp_path, (point,) * 3, processes=3)
    assert ways(records) == [("a", CG), ("uncapturable", C)] * 3
    assert len({run.group_id for run in records.runs}) == 3
    assert [skip.workload.execution for skip in records.skips] == [CG]
    assert listener.total == 7
