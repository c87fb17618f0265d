import os
from dataclasses import replace

import pytest

from pamprof.errors import OutputError, RecordError
from pamprof.records import AssociativeMemory
from pamprof.records.codec import decode, encode
from pamprof.records.store import RecordFile, RunStore, merged, read_records, without_repeated
from tests.analysis.capacity.records import capacity_record, point
from tests.synthetic import serve_check, synthetic_records


@pytest.fixture
def runs():
    return synthetic_records("cpu").runs


def test_what_was_appended_is_read_back_in_order(tmp_path, runs):
    store = RunStore(tmp_path / "deep" / "runs.jsonl")
    for run in runs[:3]:
        store.append(run)
    store.close()
    assert read_records(tmp_path / "deep" / "runs.jsonl").runs == runs[:3]


def test_a_capacity_is_read_back_and_counted_once(tmp_path):
    record = capacity_record()
    (tmp_path / "runs.jsonl").write_bytes(encode(record) * 2)
    found = read_records(tmp_path / "runs.jsonl")
    assert found.capacities == (record, record)
    (once,) = without_repeated([found])
    assert (once.capacities, once.record_count, merged([once, once]).capacities) == ((record,), 1, (record, record))


def test_a_capacity_that_retrieved_more_than_was_written_is_refused():
    with pytest.raises(RecordError, match=r"capacity record cannot be true: 1 \+ points.associations - correct is -1"):
        decode(encode(capacity_record([point(AssociativeMemory.VECTOR, 4, 6)])))


def test_two_loads_that_began_in_the_same_second_are_two_records():
    checks = (serve_check("half"), serve_check("trace"), serve_check("half"))
    (once,) = without_repeated([RecordFile(sessions=(), runs=(), skips=(), problems=(), serve_checks=checks)])
    assert once.serve_checks == checks[:2]


@pytest.mark.parametrize("percentile", [100.1, 400])
def test_a_served_load_judged_at_a_percentile_above_100_is_refused(percentile):
    assert decode(encode(replace(serve_check(), percentile=100.0))).percentile == 100
    with pytest.raises(RecordError, match="serve-check record cannot be true: percentile, 1 if at most 100"):
        decode(encode(replace(serve_check(), percentile=percentile)))


def test_a_torn_last_line_hides_neither_the_lines_before_nor_those_after(tmp_path, runs):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(encode(runs[0]) + encode(runs[1])[:100])
    store = RunStore(path)
    store.append(runs[2])
    store.close()
    records = read_records(path)
    assert records.runs == (runs[0], runs[2])
    assert records.problems == ()  # the session went on without the torn line, and so do its readers


def test_a_file_without_one_record_is_an_error_that_says_why(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_bytes(b"hello\n")
    with pytest.raises(RecordError, match="no readable record"):
        read_records(path)


def test_a_missing_file_is_an_error_with_its_name(tmp_path):
    with pytest.raises(RecordError, match=r"absent\.jsonl"):
        read_records(tmp_path / "absent.jsonl")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_an_error_with_the_remedy(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="--output-dir"):
        RunStore(tmp_path / "runs.jsonl")


def test_a_folder_that_is_a_file_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="--output-dir"):
        RunStore(tmp_path / "taken" / "runs.jsonl")


def test_two_writers_of_one_file_are_refused(tmp_path):
    first = RunStore(tmp_path / "runs.jsonl")
    with pytest.raises(OutputError, match="another comparison"):
        RunStore(tmp_path / "runs.jsonl")
    first.close()
    RunStore(tmp_path / "runs.jsonl").close()


def test_a_file_given_twice_adds_nothing_the_second_time():
    records = replace(synthetic_records("cuda"), problems=("runs.jsonl line 3: damaged",))
    first, second = without_repeated([records, records])
    assert first == records
    assert second.record_count == 0
    assert second.problems == ()
    assert merged([first, second]) == records


def test_what_a_damaged_copy_lost_stays_told(runs):
    whole = RecordFile(sessions=(), runs=runs[:3], skips=(), problems=("runs.jsonl line 9: damaged",))
    copy = replace(whole, problems=(*whole.problems, "runs.jsonl line 4: damaged"))
    _, second = without_repeated([whole, copy])
    assert (second.record_count, second.problems) == (0, ("runs.jsonl line 4: damaged",))


def test_records_of_a_file_and_of_its_continuation_are_counted_once(runs):
    begun = RecordFile(sessions=(), runs=runs[:3], skips=(), problems=())
    continued = RecordFile(sessions=(), runs=runs[:5], skips=(), problems=("runs.jsonl line 9: torn",))
    first, second = without_repeated([begun, continued])
    assert first == begun
    assert second.runs == runs[3:5]
    assert second.problems == continued.problems


def test_the_same_workload_measured_again_is_another_record(runs):
    again = replace(runs[0], started_at="2026-11-23T12:00:00+00:00")
    elsewhere = replace(runs[0], group_id="another worker")
    both = RecordFile(sessions=(), runs=(runs[0], again, elsewhere, runs[0]), skips=(), problems=())
    (kept,) = without_repeated([both])
    assert kept.runs == (runs[0], again, elsewhere)
