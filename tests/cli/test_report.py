import csv

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.records.codec import encode
from tests.synthetic import synthetic_records

FEW = 6


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Run the command in a folder with two files of one comparison, drawing nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pamprof.render.write.draw_png", lambda chart: b"")
    monkeypatch.setattr("pamprof.render.write.render_html", lambda view: "")
    records = synthetic_records("cpu")
    header = b"".join(map(encode, records.sessions))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "runs.jsonl").write_bytes(header + b"".join(map(encode, records.runs[:FEW])))
    (tmp_path / "more.jsonl").write_bytes(header + b"".join(map(encode, records.runs[: FEW + 2])))

    def run(*arguments):
        return CliRunner().invoke(app, ["report", *arguments, "-o", "out"])

    return run


def rows(tmp_path):
    return list(csv.DictReader((tmp_path / "out" / "measurements.csv").open(encoding="utf-8", newline="")))


def test_a_file_given_twice_is_counted_once_and_said_so(report, tmp_path):
    once = report("a")
    assert once.stderr == ""
    content = (tmp_path / "out" / "summary.md").read_bytes()
    twice = report("a", "a/runs.jsonl")
    assert twice.exit_code == 0
    assert twice.stderr == f"pamprof: a/runs.jsonl repeats {FEW + 1} records; counted once\n"
    assert twice.stdout == once.stdout
    assert (tmp_path / "out" / "summary.md").read_bytes() == content
    assert report("a", "a", "--json").stdout == report("a", "--json").stdout


def test_only_the_records_that_an_earlier_file_lacks_are_added(report, tmp_path):
    result = report("a", "more.jsonl")
    assert result.stderr == f"pamprof: more.jsonl repeats {FEW + 1} records; counted once\n"
    assert len(rows(tmp_path)) == FEW + 2
