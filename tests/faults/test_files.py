"""Disks that fill up, folders that cannot be written, torn lines, clocks that step back: sentences, nothing lost."""

import datetime
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pamprof.analysis import analyse
from pamprof.errors import OutputError, RecordError, UsageError
from pamprof.measure.comparison.request import COMPARISON, CompareRequest
from pamprof.measure.session import run, runner as session_runner
from pamprof.measure.session.process import WorkerProcess
from pamprof.measure.session.runner import SessionRunner
from pamprof.measure.session.settings import Settings
from pamprof.records import Effort, Phase, Scope
from pamprof.records.codec import encode
from pamprof.records.store import RunStore, is_only_begun, read_records
from tests.faults.session_process import Teller, workloads
from tests.synthetic import synthetic_records, synthetic_session

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS = synthetic_records("cpu").runs


def request(folder, *, resume):
    return CompareRequest(
        command="pamprof compare", output_dir=folder, resume=resume, device="cpu", preset=None, sizes={},
        layers=("pam",), implementations=(), executions=(), phases=(), scope=Scope.MODEL, batch_sizes={},
        sequence_lengths={}, dtype=None, match_axis="parameters", perplexities=(), settings={},
        effort=Effort.QUICK, time_budget_seconds=None,
    )  # fmt: skip


def no_price(kind, name, processor, part):
    return None, "nobody asked"


@contextmanager
def largest_file(size_bytes):
    """Limits the files this process writes; Python ignores the signal, so the write fails as on a full disk.

    Held for the one write alone: the test runner's own output may well go to a larger file.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_a_sentence_and_what_was_written_before_is_safe(tmp_path):
    path = tmp_path / "runs.jsonl"
    store = RunStore(path)
    store.append(RUNS[0])
    before = path.read_bytes()
    with largest_file(len(before) + 1000), pytest.raises(OutputError, match="what was written before is safe"):
        store.append(RUNS[1])
    store.close()
    assert path.read_bytes() == before
    assert read_records(path).runs == RUNS[:1]


def test_a_comparison_goes_on_after_the_disk_has_room_again(tmp_path):
    path = tmp_path / "runs.jsonl"
    store = RunStore(path)
    store.append(RUNS[0])
    with largest_file(path.stat().st_size + 1000), pytest.raises(OutputError):
        store.append(RUNS[1])
    store.close()
    store = RunStore(path)
    store.append(RUNS[1])
    store.close()
    assert read_records(path).runs == RUNS[:2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_device_without_room_is_a_sentence():
    store = RunStore(Path("/dev/full"))
    with pytest.raises(OutputError, match="No space left"):
        store.append(RUNS[0])
    store.close()


def test_a_session_ends_its_worker_when_the_disk_is_full(tmp_path):
    spawned = []

    def spawn():
        spawned.append(WorkerProcess("tests.measure.session.fake_worker"))
        return spawned[-1]

    path = tmp_path / "runs.jsonl"
    store = RunStore(path)
    runner = SessionRunner(
        session_id="s", device="cpu", settings=Settings(), store=store, reporter=Teller(), spawn=spawn
    )
    with largest_file(25_000), pytest.raises(OutputError, match="safe"):
        runner.run([workloads(["a", "b", "c", "hanging"])], frozenset())
    store.close()
    assert len(spawned) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(spawned[0].pid, 0)
    names = [run.workload.implementation for run in read_records(path).runs]
    assert names == ["a", "b", "c"][: len(names)]
    assert names


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "WorkerProcess", lambda _: pytest.fail("a worker was started"))
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="--output-dir"):
        run.run_session(request(tmp_path / "out", resume=False), COMPARISON, reporter=Teller(), price=no_price)


def test_a_read_only_file_system_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(run, "WorkerProcess", lambda _: pytest.fail("a worker was started"))
    monkeypatch.setattr("pamprof.records.store.os.open", refuse)
    with pytest.raises(OutputError, match="Read-only file system; choose another folder with --output-dir"):
        run.run_session(request(tmp_path / "out", resume=False), COMPARISON, reporter=Teller(), price=no_price)


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_comparison_into_one_folder_is_refused_and_harms_no_record(tmp_path, monkeypatch, resume):
    monkeypatch.setattr(run, "WorkerProcess", lambda _: pytest.fail("a worker was started"))
    path = tmp_path / "runs.jsonl"
    first = RunStore(path)
    first.append(RUNS[0])
    error = OutputError if resume else UsageError
    with pytest.raises(error, match="another comparison is writing" if resume else "choose another --output-dir"):
        run.run_session(request(tmp_path, resume=resume), COMPARISON, reporter=Teller(), price=no_price)
    first.append(RUNS[1])
    first.close()
    assert read_records(path).runs == RUNS[:2]


def test_two_comparisons_begun_at_once_leave_one_that_writes(tmp_path):
    path = tmp_path / "out" / "runs.jsonl"
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults.session_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        )
        for _ in range(2)
    ]  # fmt: skip
    for each in both:
        assert each.stdout.readline() == "ready\n"
    for each in both:
        each.stdin.write(f"{path} a b c d\n")
        each.stdin.flush()
    errors = sorted(each.communicate(timeout=60)[1] for each in both)
    assert sorted(each.returncode for each in both) == [0, 1]
    assert errors[0] == ""
    assert "another comparison is writing" in errors[1]
    assert [run.workload.implementation for run in read_records(path).runs] == ["a", "b", "c", "d"]


def test_a_last_line_torn_at_any_byte_costs_that_line_alone(tmp_path):
    path = tmp_path / "runs.jsonl"
    first, last = encode(RUNS[0]), encode(RUNS[1])
    for cut in {0, 1, 2, len(last) - 2, *range(3, len(last) - 1, 97)}:
        path.write_bytes(first + last[:cut])
        torn = read_records(path)
        assert torn.runs == RUNS[:1]
        assert len(torn.problems) == (cut > 0)
        assert all("line 2: cut off" in problem for problem in torn.problems)
        store = RunStore(path)
        store.append(RUNS[2])
        store.close()
        assert path.read_bytes() == first + encode(RUNS[2])


def test_a_record_that_lacks_only_its_newline_is_whole(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(encode(RUNS[0]) + encode(RUNS[1])[:-1])
    RunStore(path).close()
    records = read_records(path)
    assert records.runs == RUNS[:2]
    assert records.problems == ()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("length", [0, 1, 10, 25, 400])
def test_a_comparison_killed_before_its_header_was_whole_can_be_begun_again(tmp_path, monkeypatch, length, resume):
    class ReachedError(Exception):
        pass

    def reached(path):
        raise ReachedError

    (tmp_path / "runs.jsonl").write_bytes(encode(synthetic_session())[:length])
    monkeypatch.setattr(run, "RunStore", reached)
    with pytest.raises(ReachedError):
        run.run_session(request(tmp_path, resume=resume), COMPARISON, reporter=Teller(), price=no_price)


@pytest.mark.parametrize("content", [b"my notes", b"{}", b'{"schema_version":1}\n', b"\n"])
def test_a_file_that_no_comparison_began_is_not_taken_for_one(tmp_path, content):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(content)
    assert not is_only_begun(path)
    with pytest.raises(RecordError, match="no readable record"):
        run.run_session(request(tmp_path, resume=True), COMPARISON, reporter=Teller(), price=no_price)
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_records_is_a_sentence(tmp_path):
    (tmp_path / "runs.jsonl").mkdir()
    with pytest.raises(RecordError, match="cannot read"):
        run.run_session(request(tmp_path, resume=False), COMPARISON, reporter=Teller(), price=no_price)


@pytest.mark.parametrize("length", [1, 10, 25, 400])
def test_the_torn_beginning_of_a_file_is_gone_when_it_is_begun_again(tmp_path, length):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(encode(synthetic_session())[:length])
    RunStore(path).close()  # killed again, or refused for another reason, before the header was written
    assert is_only_begun(path)
    store = RunStore(path)
    store.append(RUNS[0])
    store.close()
    assert path.read_bytes() == encode(RUNS[0])


def test_one_whole_record_without_newline_is_more_than_a_beginning(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(encode(RUNS[0])[:-1])
    assert not is_only_begun(path)
    RunStore(path).close()
    assert read_records(path).runs == RUNS[:1]


class BackwardClock(datetime.datetime):
    """Each look shows an hour less."""

    looks = 0

    @classmethod
    def now(cls, tz=None):
        BackwardClock.looks += 1
        return datetime.datetime(2026, 11, 22, 12, tzinfo=tz) - datetime.timedelta(hours=cls.looks)


def test_a_clock_that_goes_back_moves_no_measurement(tmp_path, monkeypatch):
    epoch = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(epoch)))
    monkeypatch.setattr(session_runner, "datetime", BackwardClock)
    path = tmp_path / "runs.jsonl"
    store = RunStore(path)
    runner = SessionRunner(
        session_id="s", device="cpu", settings=Settings(point_timeout_seconds=30.0), store=store, reporter=Teller(),
        spawn=lambda: WorkerProcess("tests.measure.session.fake_worker"),
    )  # fmt: skip
    runner.run([workloads(["a", "crashing"]), workloads(["killed", "b"])], frozenset())
    store.close()
    records = read_records(path)
    assert [run.workload.implementation for run in records.runs] == ["a", "b"]
    assert len(records.skips) == 2
    assert records.skips[0].started_at > records.skips[1].started_at
    assert all(run.timing == records.runs[0].timing for run in records.runs)


def test_of_two_runs_of_one_workload_a_clock_that_went_back_leaves_one_whole_run():
    first = RUNS[0]
    again = replace(first, started_at="2026-11-22T11:00:00+00:00", group_id="later-in-the-file")
    conclusions = analyse(replace(synthetic_records("cpu"), runs=(*RUNS, again)))
    mine = [
        summary.run
        for point in conclusions.points
        for summary in point.summaries
        if summary.run.workload.key == first.workload.key
    ]
    assert mine == [first]


def test_going_on_tells_what_could_not_be_read_and_measures_it_again(tmp_path):
    first = replace(request(tmp_path, resume=False), phases=(Phase.DECODE,))
    planned = run.plan_session(first, COMPARISON, no_price)[0].pending
    whole = [encode(replace(RUNS[0], workload=workload)) for workload in planned]
    (tmp_path / "runs.jsonl").write_bytes(whole[0] + whole[1].replace(b"2026", b"2027") + b"".join(whole[2:]))
    plan, *_ = run.plan_session(replace(first, resume=True), COMPARISON, no_price)
    assert plan.pending == planned[1:2]
    assert plan.remarks[0].startswith("1 line could not be read: runs.jsonl line 2: the record does not match")
