"""``pamprof merge``: what is joined, what is named, and what is refused."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.records.codec import encode
from pamprof.records.store import read_records
from tests.analysis.capacity.records import capacity_record
from tests.analysis.test_machines import OTHER, slower
from tests.cli.answers import damage_last_line, one_sentence
from tests.synthetic import ranked_run, synthetic_records

FIRST = synthetic_records("cpu")
SECOND = slower(FIRST, device=OTHER, session_id="b", factor=2.0)


def write(path, file):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, file.records)))
    return path


def on_torch(file, version):
    return replace(
        file, runs=tuple(replace(run, environment=replace(run.environment, torch_version=version)) for run in file.runs)
    )


@pytest.fixture
def merge(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "first" / "runs.jsonl", FIRST)
    write(tmp_path / "second.jsonl", SECOND)

    def run(*arguments):
        return CliRunner().invoke(app, ["merge", *map(str, arguments)])

    return run


def test_every_record_is_kept_once_and_in_its_session(merge, tmp_path):
    copy = write(tmp_path / "copy.jsonl", replace(FIRST, runs=FIRST.runs[:3]))
    answer = merge("first", "second.jsonl", copy, "-o", "all")
    assert answer.exit_code == 0, answer.output
    found = read_records(tmp_path / "all" / "runs.jsonl")
    assert found.runs == (*FIRST.runs, *SECOND.runs)
    assert found.sessions == (*FIRST.sessions, *SECOND.sessions)
    assert len({run.session_id for run in found.runs}) == 2
    repeated = copy.read_bytes().count(b"\n")
    assert f"repeats {repeated} records; counted once" in answer.stderr
    assert OTHER in answer.stderr
    assert answer.stdout.startswith("all/runs.jsonl: 2 sessions")


def test_what_is_superseded_and_what_another_version_measured_is_named(merge, tmp_path):
    device = FIRST.runs[0].environment.device_name
    decode = slower(FIRST, device=device, session_id="c", factor=1.0, keep=lambda run: run.workload.phase == "decode")
    again = on_torch(decode, "9.9")
    write(tmp_path / "again.jsonl", again)
    answer = merge("first", "again.jsonl", "--output", "all.jsonl")
    assert answer.exit_code == 0, answer.output
    assert f"{len(again.runs)} runs superseded by a later one" in answer.stderr
    assert f"measured with torch {FIRST.runs[0].environment.torch_version} and 9.9" in answer.stderr
    assert len(read_records(tmp_path / "all.jsonl").runs) == len(FIRST.runs) + len(again.runs)


def test_records_of_every_kind_are_counted_and_their_devices_told(merge, tmp_path):
    here = capacity_record()
    elsewhere = replace(here, session_id="b", environment=replace(here.environment, device_name=OTHER))
    for name, each in (("here", here), ("elsewhere", elsewhere)):
        (tmp_path / f"{name}.jsonl").write_bytes(encode(each))
    answer = merge("here.jsonl", "elsewhere.jsonl", "-o", "all.jsonl")
    assert answer.stdout == "all.jsonl: 2 capacities\n"
    assert f"measured on {here.environment.device_name} (1 capacity), {OTHER} (1 capacity): " in answer.stderr
    answer = merge("first", "here.jsonl", "-o", "both.jsonl")
    assert answer.stdout.startswith(f"both.jsonl: 1 session, {len(FIRST.runs)} runs, ")
    assert answer.stdout.endswith(", 1 capacity\n")


def test_records_of_ranks_without_a_header_are_told(merge, tmp_path):
    (tmp_path / "ranked.jsonl").write_bytes(encode(replace(ranked_run(), session_id="lost")))
    answer = merge("ranked.jsonl", "-o", "all")
    assert "1 run of ranks of sessions without a header" in answer.stderr


def test_what_does_not_go_together_is_refused_and_nothing_written(merge, tmp_path):
    session = replace(SECOND.sessions[0], session_id=FIRST.sessions[0].session_id, preset="1b")
    write(tmp_path / "other.jsonl", replace(SECOND, sessions=(session,)))
    edited = replace(FIRST, runs=(replace(FIRST.runs[0], parameter_count=7), *FIRST.runs[1:]))
    write(tmp_path / "edited.jsonl", edited)
    (tmp_path / "page.jsonl").write_text("<html>not found</html>")
    for names, said in (
        (("first", "other.jsonl"), "could not be told apart"),
        (("first", "edited.jsonl"), "differ in the same record"),
        (("first", "page.jsonl"), "HTML"),
        (("first", "nowhere"), "cannot read"),
        (("first", "first/runs.jsonl"), "named twice"),
    ):
        answer = merge(*names, "-o", "all")
        assert said in one_sentence(answer, 2 if "twice" in said else 1)
        assert not (tmp_path / "all").exists()


def test_a_damaged_line_is_refused_unless_asked(merge, tmp_path):
    damage_last_line(tmp_path / "second.jsonl")
    answer = merge("first", "second.jsonl", "-o", "all")
    assert "could not be read" in one_sentence(answer, 1)
    assert merge("first", "second.jsonl", "-o", "all", "--skip-damaged").exit_code == 0


def test_no_file_is_written_over(merge):
    assert merge("first", "-o", "all").exit_code == 0
    answer = merge("first", "-o", "all")
    assert "choose another file" in one_sentence(answer, 1)
