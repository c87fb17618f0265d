import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.records.codec import encode
from tests.analysis.history.test_difference import ARMS, measured, with_environment
from tests.analysis.history.test_trend import exact, on
from tests.cli.answers import damage_last_line, one_sentence

BAD = "evil\x1b[2J\u202e|<img src=x>\n# head"


def write(path, file):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, file.runs)))


@pytest.fixture
def trend(tmp_path, monkeypatch):
    """Run the command in a folder of measurements: three that agree, one that does not, one that lacks an arm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for day, ratio in ((1, 2.0), (2, 2.008), (3, 2.012), (4, 2.5)):
        write(tmp_path / f"day{day}" / "runs.jsonl", exact(ratios=(ratio, 3.0), day=day))
    write(tmp_path / "fewer" / "runs.jsonl", exact(ratios=(2.0,), day=5))
    write(tmp_path / "other" / "runs.jsonl", with_environment(exact(ratios=(2.0, 3.0), day=6), torch_version="9"))

    def run(*arguments):
        return CliRunner().invoke(app, ["trend", *arguments])

    return run


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["day1", "day2", "day3"], 0),
        (["day1", "day2", "day3", "--within", "1%"], 0),
        (["day1", "day2", "day3", "--within", "0.5%"], 1),
        (["day1", "day2", "day3", "day4"], 0),
        (["day1", "day2", "day3", "day4", "--within", "1%"], 1),
        (["day1", "day4", "--within", "25%"], 0),
        (["day1", "fewer", "--within", "1%"], 3),
        (["day4", "fewer", "--within", "1%"], 1),
        (["day1", "other", "--within", "1%"], 0),
    ],
)
def test_exit_status(trend, arguments, status):
    result = trend(*arguments)
    assert result.exit_code == status, result.output
    assert bool(result.stderr) == (status != 0)


def test_one_run_is_told_plainly_that_it_is_no_trend(trend):
    assert one_sentence(trend("day1"), 2).startswith("pamprof: day1 is one run, and a trend needs two or more")


def test_a_file_given_twice_is_one_run_and_said_so(trend):
    first, second = trend("day1", "day1/runs.jsonl").stderr.splitlines()
    assert first == "pamprof: day1/runs.jsonl repeats 3 records; counted once"
    assert "one run" in second
    result = trend("day1", "day2", "day1", "--within", "1%")
    assert result.exit_code == 0
    assert "pamprof trend: 2 runs, all 2 workloads agree within 1 %" in result.stdout.replace("\u202f", " ")


def test_the_table_has_a_row_a_workload_with_ratios_spread_and_verdict(trend):
    lines = trend("day2", "day3", "day1", "--within", "1%").stdout.replace("\u202f", " ").splitlines()
    header = next(line for line in lines if line.startswith("workload"))
    assert header.split()[:5] == ["workload", "where", "run", "1", "run"]
    (row,) = [line for line in lines if line.startswith("PAM published · eager")]
    assert row.split("bfloat16")[1].split() == ["2.000×", "2.008×", "2.012×", "0.60", "%", "±0", "%", "within"]


def test_the_runs_are_listed_with_date_and_commit(trend):
    out = trend("day2", "day1").stdout
    assert "Run 1: day1, 1 Nov 2026 12:00, commit 0123456, 3 workloads." in out
    assert out.index("Run 1: day1") < out.index("Run 2: day2")


def test_a_changed_environment_is_named(trend):
    assert "Before run 2: torch 2.11.0+cu130 → 9." in trend("day1", "other").stdout


def test_markdown_is_a_table(trend):
    lines = trend("day1", "day2", "day3", "--markdown", "--within", "1%").stdout.splitlines()
    assert lines[0].startswith("## pamprof trend: 3 runs, all 2 workloads agree within 1")
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 2
    assert {line.count("|") for line in table} == {9}


def test_json_holds_every_value(trend):
    found = json.loads(trend("day1", "day4", "--json", "--within", "1%").stdout)
    assert [run["name"] for run in found["runs"]] == ["day1", "day4"]
    (row,) = [row for row in found["series"] if row["key"] == ARMS[0].key]
    assert row["spread"] == pytest.approx(0.25)
    assert row["agreement"] == "outside"
    assert [value["ratio"]["median"] for value in row["values"]] == pytest.approx([2.0, 2.5])


def test_pictures_and_page_are_written_on_request_only(trend, tmp_path):
    before = set(tmp_path.iterdir())
    trend("day1", "day2")
    assert set(tmp_path.iterdir()) == before
    result = trend("day1", "day2", "--output-dir", "out")
    assert result.stdout.splitlines()[-1] == "Trend: out/trend.html"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["trend-train-model-b3-t2048-bfloat16.png", "trend.html"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["day1", "missing"], "cannot read missing"),
        (["day1", "empty"], "no readable record"),
        (["day1", "day2", "--within", "1"], "--within '1' is not of the form"),
        (["day1", "day2", "--within", "-1%"], "--within"),
        (["day1", "day2", "--json", "--markdown"], "--markdown"),
        (["day1", "day2", "-o", "day1/runs.jsonl"], "--output-dir"),
    ],
)
def test_bad_input_is_one_sentence(trend, tmp_path, arguments, words):
    (tmp_path / "empty").write_text("{}\n")
    assert words in one_sentence(trend(*arguments), 1 if "-o" in arguments else 2)


def test_names_from_records_cannot_act_in_any_output(trend, tmp_path):
    arm = replace(ARMS[0], implementation=BAD)
    for day, device in ((11, "NVIDIA H200"), (12, BAD)):
        file = on(day, with_environment(measured(seed=day, arms=(arm, ARMS[1])), device_name=device, git_commit=BAD))
        write(tmp_path / f"bad{day}" / "runs.jsonl", file)
    for more in ((), ("--markdown",), ("--json",), ("-o", "out")):
        result = trend("bad11", "bad12", *more)
        assert result.exit_code == 0, result.output
        assert "evil" in result.output
        for acting in ("\x1b", "\u202e", "\\u001b", "\n# head"):
            assert acting not in result.output
        if more == ("--markdown",):
            assert "<img" not in result.output.replace("\\<img", "")
            assert "evil|" not in result.output.replace("\\|", "")
    page = (tmp_path / "out" / "trend.html").read_text(encoding="utf-8")
    assert "evil" in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_needs_no_torch(trend):
    code = (
        "import sys; sys.modules['torch'] = None; from pamprof.cli import app;"
        "app(['trend', 'day1', 'day4', '--markdown', '--within', '1%', '-o', 'out'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "1 of 2 workloads lie further apart than --within 1%" in result.stderr


def test_a_trend_over_damaged_records_is_refused_unless_asked_to_do_without(trend, tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.history.trend_files.draw_png", lambda chart: b"")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    line = damage_last_line(tmp_path / "day2" / "runs.jsonl")
    refused = one_sentence(trend("day1", "day2", "--within", "1%"), 2)
    assert f"1 line could not be read: {line}: " in refused
    assert "--skip-damaged" in refused
    told = trend("day1", "day2", "--skip-damaged", "-o", "out")
    words = f"day2: 1 line could not be read: {line}: "
    assert told.exit_code == 0
    assert words in told.stdout
    assert f'<p class="alert" role="note">{words}' in (tmp_path / "out" / "trend.html").read_text(encoding="utf-8")
    assert any(words in note for note in json.loads(trend("day1", "day2", "--skip-damaged", "--json").stdout)["notes"])
