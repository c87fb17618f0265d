"""The head of a fleet with an engine that is played: what is kept, begun again, told apart and refused."""

from collections import deque
from dataclasses import dataclass, field, replace

import pytest

from pamprof.errors import DeviceError
from pamprof.measure.fleet.engine import News
from pamprof.measure.fleet.head import FleetRunner
from pamprof.measure.fleet.messages import (
    FleetTask,
    Machine,
    NodeMessage,
    Said,
    decode_message,
    decode_task,
    encode_message,
    encode_task,
    own_versions,
)
from pamprof.measure.fleet.node import lines_of_task
from pamprof.measure.session.further import AddedPoint
from pamprof.measure.session.groups import GroupsTask
from pamprof.measure.session.pace import Pace
from pamprof.measure.session.request import IdentifiedDevice
from pamprof.measure.session.runner import SessionOutcome
from pamprof.measure.session.settings import Settings
from pamprof.records import Ceilings, Dtype, Execution, ExecutionStage, Run, SkipKind
from pamprof.records.codec import encode
from pamprof.records.store import RunStore, read_records
from tests.measure.session.test_runner import Listener
from tests.synthetic import synthetic_run, synthetic_session, synthetic_skip, synthetic_workload

WHOLE = 99


def arm(name, length=2048):
    return replace(synthetic_workload(sequence_length=length), implementation=name)


def group(length, *names):
    return tuple(arm(name, length) for name in names)


def compiled(name, length=2048):
    return replace(arm(name, length), execution=Execution.COMPILED)


def outcomes_of(workload):
    """What a machine sends of it: a run, or of what cannot be compiled a skip and a run without the compiler."""
    if workload.implementation == "uncompilable" and workload.execution is Execution.COMPILED:
        skip = synthetic_skip(workload, SkipKind.UNSUPPORTED, "split scan is not supported")
        yield replace(skip, failed_stage=ExecutionStage.COMPILE)
        workload = replace(workload, execution=Execution.EAGER)
    yield replace(synthetic_run(), workload=workload, session_id="of the task")


@dataclass
class PlayedEngine:
    """Plays each attempt at once: on which machine, and how many workloads it sends before it is lost."""

    machines: tuple = ("H100",)
    lost_after: dict = field(default_factory=dict)  # by number of the attempt
    failure: str = ""
    refusal: str = ""
    slots: int = 1
    left_out: int = 0  # by each machine, for lack of time
    tasks: list = field(default_factory=list)
    heard: deque = field(default_factory=deque)
    running: set = field(default_factory=set)

    def free(self):
        return self.slots - len(self.running)

    def begin(self, task, *, expected_seconds):
        del expected_seconds
        number = len(self.tasks)
        self.tasks.append(decode_task(task))
        self.running.add(str(number))
        self.heard.extend(self.played(str(number), self.tasks[-1]))
        return str(number)

    def played(self, attempt, given):
        def line(text):
            return News(attempt=attempt, line=text)

        if self.refusal:
            yield line(encode_message(NodeMessage(said=Said.REFUSED, text=self.refusal)))
            return
        if self.failure:
            yield line(encode_message(NodeMessage(said=Said.FAILED, text=self.failure)))
            yield News(attempt=attempt)
            return
        device = self.machines[int(attempt) % len(self.machines)]
        machine = Machine(node=f"node-{attempt}", device_kind="cuda", device_name=device)
        yield line(encode_message(NodeMessage(said=Said.MACHINE, machine=machine)))
        environment = replace(synthetic_run().environment, device_name=device)
        if device not in given.with_ceilings:
            ceilings = Ceilings(
                session_id="of the task", started_at="2026-11-28T12:00:00+00:00", environment=environment,
                dtype=Dtype.BFLOAT16, matrix_size=8, matrix_flops_per_second=1.0,
                copy_bytes=8, copy_bytes_per_second=1.0,
            )  # fmt: skip
            yield line(encode(ceilings))
        (workloads,) = given.task.groups
        outcomes = [record for workload in workloads for record in outcomes_of(workload)]
        sent = self.lost_after.get(int(attempt), WHOLE)
        for outcome in outcomes[:sent]:
            of_run = {"reference": workloads[0], "environment": environment, "group_id": f"group-{attempt}"}
            yield line(encode(replace(outcome, **of_run) if isinstance(outcome, Run) else outcome))
        if sent >= len(outcomes):
            yield line(encode_message(NodeMessage(said=Said.ENDED, left_out=self.left_out)))
            yield News(attempt=attempt)
        else:
            yield News(attempt=attempt, fault="its node died")

    def news(self, timeout_seconds):
        del timeout_seconds
        found = [self.heard.popleft()] if self.heard else []
        for news in found:
            if not news.line:
                self.running.discard(news.attempt)
        return found

    def close(self): ...


class OnePoint:
    """Adds a point after the first run on each kind of device."""

    visited_after = frozenset()

    def __init__(self):
        self.asked = []

    def after(self, runs):
        self.asked.append({run.environment.device_name for run in runs})
        if len(self.asked) > 1:
            return ()
        workload = arm("added", 777)
        return (
            AddedPoint(workloads=(workload,), expected_seconds={workload.key: 1.0}, monitor_seconds={}, reason="why"),
        )


def measure(tmp_path, engine, groups, *, further=None, budget=None):
    store, listener = RunStore(tmp_path / "runs.jsonl"), Listener()
    made = []

    def begin_session(machine):
        header = replace(synthetic_session(), session_id=f"session-{machine.device_name}", fleet="fleet")
        store.append(header)
        made.append(machine.device_name)
        return header

    workloads = [workload for each in groups for workload in each]
    runner = FleetRunner(
        engine=engine,
        task=GroupsTask(
            session_id="of the task",
            device="cuda",
            groups=(),
            settings=Settings(),
            expected_seconds={},
            substitutes=True,
        ),
        copies=1,
        store=store,
        reporter=listener,
        pace=Pace({w.key: 1.0 for w in workloads}, budget_seconds=budget, begun=0.0, clock=lambda: 0.0),
        begin_session=begin_session,
        further=further,
    )
    try:
        outcome = runner.run(groups)
    finally:
        store.close()
    return outcome, listener, read_records(tmp_path / "runs.jsonl"), made


def measured(records):
    return [(run.workload.implementation, run.workload.sequence_length, run.group_id) for run in records.runs]


def test_every_group_is_one_task_and_its_records_belong_to_the_session_of_their_device(tmp_path):
    engine = PlayedEngine(machines=("H100", "A100"))
    outcome, listener, records, made = measure(
        tmp_path, engine, (group(64, "a", "b"), group(128, "a"), group(256, "a"))
    )
    assert [len(task.task.groups) for task in engine.tasks] == [1, 1, 1]
    assert made == ["H100", "A100"]
    assert [run.session_id for run in records.runs] == [
        "session-H100", "session-H100", "session-A100", "session-H100",
    ]  # fmt: skip
    assert (outcome.measured, outcome.skipped, outcome.left_out, outcome.interrupted) == (4, 0, 0, False)
    assert listener.ended
    assert listener.total == 4


def test_a_lost_machine_costs_its_group_which_is_paired_anew_elsewhere(tmp_path):
    engine = PlayedEngine(lost_after={0: 2})
    outcome, listener, records, _ = measure(tmp_path, engine, (group(64, "a", "b", "c", "d"), group(128, "a")))
    assert measured(records) == [
        ("a", 64, "group-0"), ("b", 64, "group-0"),
        ("a", 64, "group-1"), ("c", 64, "group-1"), ("d", 64, "group-1"),
        ("a", 128, "group-2"),
    ]  # fmt: skip
    assert outcome.measured == 6
    assert not records.skips
    assert listener.total == 6
    assert any("lost on node-0: 2 of 4 points begin again (its node died)" in line for line in listener.lines)


def test_a_group_that_was_lost_three_times_is_skipped_and_may_be_tried_again(tmp_path):
    engine = PlayedEngine(lost_after={1: 1, 2: 0, 3: 1})
    outcome, _, records, _ = measure(tmp_path, engine, (group(128, "a"), group(64, "a", "b")))
    assert (outcome.measured, outcome.skipped) == (3, 1)
    (skip,) = records.skips
    assert (skip.workload.implementation, skip.kind, skip.session_id) == ("b", SkipKind.INTERRUPTED, "session-H100")
    assert skip.kind.worth_another_try
    assert "lost 3 times" in skip.reason


def test_a_machine_lost_between_a_failed_compilation_and_what_takes_its_place_costs_neither(tmp_path):
    engine = PlayedEngine(lost_after={0: 2})
    points = ((compiled("a"), compiled("uncompilable")),) * 2
    outcome, listener, records, _ = measure(tmp_path, engine, points)
    eager = replace(compiled("uncompilable"), execution=Execution.EAGER)
    assert [run.workload for run in records.runs] == [compiled("a"), compiled("a"), eager, compiled("a"), eager]
    assert [skip.workload for skip in records.skips] == [compiled("uncompilable")]  # no copy waits for it again
    assert any("lost on node-0: 1 of 2 points begin again (its node died)" in line for line in listener.lines)
    assert listener.total == outcome.measured + outcome.skipped == 6
    assert engine.tasks[1].task.expected_seconds[eager.key] == 1.0


def test_another_kind_of_device_tries_for_itself_what_one_cannot_compile(tmp_path):
    point = (compiled("a"), compiled("uncompilable"))
    engine = PlayedEngine(machines=("H100", "A100", "A100"))
    _, _, records, _ = measure(tmp_path, engine, (group(64, "a"), point, point))
    assert [skip.session_id for skip in records.skips] == ["session-A100"] * 2


def test_every_kind_of_device_measures_its_ceilings_with_its_first_group_and_only_then(tmp_path):
    engine = PlayedEngine(machines=("H100", "A100"))
    _, _, records, _ = measure(tmp_path, engine, tuple(group(length, "a") for length in (1, 2, 3)))
    assert [task.with_ceilings for task in engine.tasks] == [(), ("H100",), ("H100", "A100")]
    assert [each.environment.device_name for each in records.ceilings] == ["H100", "A100"]


@pytest.mark.parametrize(("known", "asked"), [((), True), (("H100",), True), (("H100", "A100"), False)])
def test_a_machine_measures_ceilings_where_its_device_has_none(monkeypatch, known, asked):
    heard = []

    def measure_groups(task, **options):
        heard.append(task.ceilings)
        return SessionOutcome(measured=0, skipped=0, interrupted=False)

    monkeypatch.setattr("pamprof.measure.session.groups.measure_groups", measure_groups)
    monkeypatch.setattr(
        "pamprof.measure.session.request.identify_device",
        lambda asked: IdentifiedDevice(kind="cuda", ordinal=0, name="A100"),
    )
    task = GroupsTask(session_id="s", device="cuda", groups=(), settings=Settings(), expected_seconds={})
    *_, last = lines_of_task(encode_task(FleetTask(head=own_versions(), task=task, with_ceilings=known)))
    assert decode_message(last).said is Said.ENDED
    assert heard == [asked]


@pytest.mark.parametrize("side_by_side", [1, 3])
def test_a_machine_that_does_not_fit_ends_it_with_its_sentence_and_keeps_what_was_measured(tmp_path, side_by_side):
    engine = PlayedEngine(slots=side_by_side)
    begin = engine.begin

    def refuse_later(task, **options):
        engine.refusal = "node-9 has torch 2.0 and the head 2.13" if engine.tasks else ""
        return begin(task, **options)

    engine.begin = refuse_later
    with pytest.raises(DeviceError, match=r"node-9 has torch 2\.0"):
        measure(tmp_path, engine, (group(64, "a", "b"), group(128, "a")))
    assert len(read_records(tmp_path / "runs.jsonl").runs) == 2


def test_where_no_machine_can_begin_the_reason_is_said(tmp_path):
    store = tmp_path / "runs.jsonl"
    with pytest.raises(DeviceError, match="torch finds no NVIDIA GPU"):
        measure(tmp_path, PlayedEngine(failure="torch finds no NVIDIA GPU"), (group(64, "a"),))
    assert store.read_bytes() == b""


def test_points_are_added_by_what_one_kind_of_device_measured(tmp_path):
    further = OnePoint()
    outcome, listener, records, _ = measure(
        tmp_path, PlayedEngine(machines=("H100", "A100")), (group(64, "a"), group(128, "a")), further=further
    )
    assert [name for name, *_ in measured(records)] == ["a", "added", "a"]
    assert all(len(devices) == 1 for devices in further.asked)
    assert (outcome.measured, listener.total) == (3, 3)


def test_no_group_begins_after_the_budget(tmp_path):
    engine = PlayedEngine()
    outcome, *_ = measure(tmp_path, engine, (group(64, "a"),), budget=1.0)
    assert engine.tasks[0].time_budget_seconds == 1.0
    assert outcome.measured == 1
    late = PlayedEngine()
    with pytest.raises(Exception, match="holds no readable record"):
        measure(tmp_path / "late", late, (group(64, "a", "b"),), budget=0.0)
    assert not late.tasks


def test_what_the_budget_left_out_is_told_with_the_way_to_go_on(tmp_path):
    _, listener, *_ = measure(tmp_path, PlayedEngine(left_out=2), (group(64, "a"),), budget=90.0)
    told = "the time budget of 90.0 s is used up, 2 planned points are not measured; --resume measures what is missing"
    assert told in listener.lines
    whole = measure(tmp_path / "whole", PlayedEngine(), (group(64, "a"),), budget=90.0)[1]
    assert not any("time budget" in line for line in whole.lines)
