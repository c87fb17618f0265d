import os
import resource
from dataclasses import dataclass, field, replace

import pytest

from pamprof.measure.session.output_tail import PrintedTail
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.runner import SessionRunner
from pamprof.measure.session.settings import Settings
from pamprof.records import SkipKind
from pamprof.records.store import RunStore, read_records
from tests.synthetic import synthetic_workload


@dataclass
class Listener:
    total: int = 0
    lines: list = field(default_factory=list)
    ended: bool = False
    records: list = field(default_factory=list)
    left: list = field(default_factory=list)
    interrupt_at: str | None = None

    def begin(self, total_points):
        self.total = total_points

    def points_added(self, count):
        self.total += count

    def point_started(self, label):
        if self.interrupt_at is not None and self.interrupt_at in label:
            raise KeyboardInterrupt

    def point_finished(self, label, text):
        self.lines.append(f"{label}: {text}")

    def recorded(self, record):
        self.records.append(record)

    def time_left(self, expected_seconds):
        self.left.append(expected_seconds)

    def message(self, text):
        self.lines.append(text)

    def end(self):
        self.ended = True


def group(*implementations):
    return tuple(replace(synthetic_workload(), implementation=name) for name in implementations)


def measure(tmp_path, workloads, *, listener=None, done=frozenset(), timeout=30.0):
    store = RunStore(tmp_path / "runs.jsonl")
    listener = listener or Listener()
    runner = SessionRunner(
        session_id="s",
        device="cpu",
        settings=Settings(point_timeout_seconds=timeout),
        store=store,
        reporter=listener,
        spawn=lambda: WorkerProcess("tests.measure.session.fake_worker"),
    )
    outcome = runner.run([workloads], done)
    store.close()
    return outcome, listener


def peak_memory_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def names(records):
    return [run.workload.implementation for run in records.runs]


def test_every_outcome_is_stored_in_order(tmp_path):
    outcome, listener = measure(tmp_path, group("a", "b", "c"))
    assert names(read_records(tmp_path / "runs.jsonl")) == ["a", "b", "c"]
    assert (outcome.measured, outcome.skipped, outcome.interrupted) == (3, 0, False)
    assert listener.total == 3
    assert listener.ended


def test_a_killed_worker_costs_the_point_in_progress_and_no_other(tmp_path):
    outcome, _ = measure(tmp_path, group("a", "killed", "b"))
    records = read_records(tmp_path / "runs.jsonl")
    assert names(records) == ["a", "b"]
    assert [skip.kind for skip in records.skips] == [SkipKind.OUT_OF_MEMORY]
    assert outcome.skipped == 1


def test_a_crash_is_a_skip_with_the_last_line_the_worker_printed(tmp_path):
    measure(tmp_path, group("a", "crashing", "b"))
    records = read_records(tmp_path / "runs.jsonl")
    assert names(records) == ["a", "b"]
    assert records.skips[0].kind is SkipKind.CRASHED
    assert "lost its mind" in records.skips[0].reason
    assert "exit status 7" in records.skips[0].reason


def test_a_hanging_worker_becomes_a_skip_with_the_remedy(tmp_path):
    measure(tmp_path, group("a", "hanging", "b"), timeout=3.0)
    records = read_records(tmp_path / "runs.jsonl")
    assert names(records) == ["a", "b"]
    assert records.skips[0].kind is SkipKind.TIMEOUT
    assert "--point-timeout" in records.skips[0].reason


def test_a_layer_that_prints_megabytes_disturbs_neither_records_nor_terminal(tmp_path, capfd):
    measure(tmp_path, group("a", "chatty"))
    assert names(read_records(tmp_path / "runs.jsonl")) == ["a", "chatty"]
    assert capfd.readouterr() == ("", "")


def test_megabytes_without_a_line_end_disturb_nothing_and_reach_no_disk(tmp_path, capfd, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = peak_memory_bytes()
    measure(tmp_path, group("a", "babbling", "babbling-to-death", "b"))
    records = read_records(tmp_path / "runs.jsonl")
    assert names(records) == ["a", "babbling", "b"]
    (skip,) = records.skips
    assert skip.reason.startswith("the worker ended with exit status 7 while it measured pam babbling-to-death: …x")
    assert skip.reason.endswith("x and then it was lost")
    assert len(skip.reason) < 600
    assert capfd.readouterr() == ("", "")
    assert list(temporary.iterdir()) == []
    assert peak_memory_bytes() - before < 24 << 20  # it printed 48 MiB, twice


def test_what_is_printed_between_two_lines_of_records_is_drained_at_once():
    tail = PrintedTail()
    copy = os.dup(tail.write_end)
    tail.hand_over()
    os.write(copy, b"first line\n")
    for _ in range(64):
        os.write(copy, b"y" * (1 << 16))  # a pipe holds one such piece; the rest would wait for ever
    os.write(copy, b"\nlast line\n\n")
    os.close(copy)
    assert tail.last_line() == "last line"


def test_a_child_that_keeps_the_pipe_open_does_not_keep_the_session(monkeypatch):
    monkeypatch.setattr("pamprof.measure.session.output_tail._WAIT_SECONDS", 0.05)
    tail = PrintedTail()
    copy = os.dup(tail.write_end)
    tail.hand_over()
    os.write(copy, b"still here")
    for _ in range(100):
        if tail.last_line():
            break
    assert tail.last_line() == "still here"
    os.close(copy)


def test_an_interrupt_keeps_what_was_measured(tmp_path):
    listener = Listener(interrupt_at="chatty")
    outcome, _ = measure(tmp_path, group("a", "chatty", "b"), listener=listener)
    assert outcome.interrupted
    assert names(read_records(tmp_path / "runs.jsonl")) == ["a"]
    assert listener.ended


def test_a_resumed_session_measures_only_what_is_missing(tmp_path):
    workloads = group("a", "b", "c")
    outcome, listener = measure(tmp_path, workloads, done=frozenset({workloads[1].key}))
    assert names(read_records(tmp_path / "runs.jsonl")) == ["a", "c"]
    assert outcome.measured == listener.total == 2


@pytest.mark.parametrize("worker", ["killed", "crashing"])
def test_a_reference_that_dies_leaves_the_rest_measured(tmp_path, worker):
    measure(tmp_path, group(worker, "a", "b"))
    records = read_records(tmp_path / "runs.jsonl")
    assert names(records) == ["a", "b"]
    assert len(records.skips) == 1


def test_a_worker_that_is_told_to_end_ends_the_session_and_says_nothing_of_its_point(tmp_path):
    outcome, listener = measure(tmp_path, group("a", "terminated", "b"))
    assert (outcome.measured, outcome.skipped, outcome.interrupted) == (1, 0, True)
    records = read_records(tmp_path / "runs.jsonl")
    assert names(records) == ["a"]
    assert not records.skips
    assert listener.ended
