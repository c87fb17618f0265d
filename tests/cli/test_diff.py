import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.records.codec import encode
from pamprof.records.store import RecordFile
from tests.analysis.history.test_difference import ARMS, measured, with_environment
from tests.cli.answers import damage_last_line, one_sentence
from tests.synthetic import synthetic_workload


def write(path, file: RecordFile):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, file.runs)))


@pytest.fixture
def diff(tmp_path, monkeypatch):
    """Run the command in a folder of measurements: same code twice, slower, faster, borderline, another machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write(tmp_path / "base" / "runs.jsonl", measured(seed=1, sigma=0.002))
    write(tmp_path / "same" / "runs.jsonl", measured(seed=2, sigma=0.002))
    write(tmp_path / "slow" / "runs.jsonl", measured(seed=3, slowdown=1.10))
    write(tmp_path / "border" / "runs.jsonl", measured(seed=4, slowdown=1.04, sigma=0.02))
    write(tmp_path / "other" / "runs.jsonl", with_environment(measured(seed=5), driver_version="1", torch_version="2"))

    def run(*arguments):
        return CliRunner().invoke(app, ["diff", *arguments])

    return run


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["base", "same"], 0),
        (["base", "slow"], 0),
        (["base", "same", "--fail-above", "5%"], 0),
        (["base", "same", "--fail-above", "5%", "--strict"], 0),
        (["base", "slow", "--fail-above", "5%"], 1),
        (["base", "slow", "--fail-above", "5 %", "--strict"], 1),
        (["base", "slow", "--fail-above", "20%", "--strict"], 0),
        (["slow", "base", "--fail-above", "5%"], 0),
        (["base", "border", "--fail-above", "5%"], 0),
        (["base", "border", "--fail-above", "5%", "--strict"], 3),
        (["base", "slow", "--fail-above", "5%", "--metric", "memory", "--strict"], 0),
        (["base", "slow", "same", "--fail-above", "5%"], 0),
        (["base", "same", "slow", "--fail-above", "5%"], 1),
        (["base", "other"], 2),
        (["base", "other", "--allow-mixed-environments", "--fail-above", "5%"], 0),
    ],
)
def test_exit_status(diff, arguments, status):
    result = diff(*arguments)
    assert result.exit_code == status, result.output
    assert bool(result.stderr) == (status != 0)


def test_a_file_and_its_folder_are_the_same_to_the_command(diff):
    assert diff("base", "same", "--json").stdout == diff("base/runs.jsonl", "same/runs.jsonl", "--json").stdout.replace(
        "/runs.jsonl", ""
    )


def test_the_table_shows_ratio_interval_verdict_and_basis(diff):
    result = diff("base", "slow", "--fail-above", "5%")
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("PAM planar · graph")]
    assert all(word in row for word in ("1.1", "[", "slower", "chained", "above", "Training, batch 3 × 2k tokens"))
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("transformer · graph")]
    assert "unpaired" in row
    assert "so does a change of the reference itself" in result.stdout


def test_mixed_environments_are_refused_in_one_sentence_that_names_the_fields(diff):
    sentence = one_sentence(diff("base", "other"), 2)
    assert "driver (580.159.03, 1) and torch (2.11.0+cu130, 2)" in sentence
    assert "--allow-mixed-environments" in sentence


def test_mixed_environments_compared_on_request_are_unpaired_and_named(diff):
    result = diff("base", "other", "--allow-mixed-environments")
    assert "driver (580.159.03, 1)" in result.stdout
    assert "chained" not in result.stdout.lower()


def test_several_files_are_columns_against_the_first(diff):
    result = diff("base", "same", "slow", "border")
    assert result.exit_code == 0
    header = next(line for line in result.stdout.splitlines() if line.startswith("workload"))
    assert header.split() == ["workload", "where", "base", "same", "slow", "border"]
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("PAM planar · graph")]
    assert row.count("×") == 4  # the batch and three ratios
    assert "slower" in row
    assert "inconclusive" in row
    assert "equivalent" not in row  # one process a side does not show it


def test_json_holds_keys_intervals_and_outcomes(diff):
    (found,) = json.loads(diff("base", "slow", "--json", "--fail-above", "5%").stdout)
    assert found["fail_above"] == 0.05
    (row,) = [row for row in found["differences"] if row["key"] == ARMS[0].key]
    assert row["outcome"] == "above"
    assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]


def test_markdown_is_a_table_with_the_gate(diff):
    lines = diff("base", "slow", "--markdown", "--fail-above", "5%").stdout.splitlines()
    assert lines[0].startswith("## pamprof diff: step time, slow over base")
    assert "4 above" in lines[2]
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + 1 + len(ARMS)
    assert {line.count("|") for line in table} == {10}


def test_a_workload_on_one_side_is_listed(diff, tmp_path):
    write(tmp_path / "fewer" / "runs.jsonl", measured(seed=6, arms=ARMS[1:]))
    assert f"Only in base: {ARMS[0].key}" in diff("base", "fewer").stdout
    assert f"Only in base: {ARMS[0].key}" in diff("fewer", "base", "--markdown").stdout.replace("\\", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["base"], "BASE and HEAD"),
        (["base", "missing"], "cannot read missing"),
        (["base", "empty"], "no readable record"),
        (["base", "stranger"], "no workload in common"),
        (["base", "same", "--fail-above", "5"], "5%"),
        (["base", "same", "--fail-above", "-5%"], "5%"),
        (["base", "same", "--fail-above", "nan%"], "5%"),
        (["base", "same", "--metric", "dollars"], "time, memory"),
        (["base", "same", "--json", "--markdown"], "--markdown"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(diff, tmp_path, arguments, words):
    (tmp_path / "empty").write_text("{}\n")
    lone = synthetic_workload("real_pam")
    write(tmp_path / "stranger", measured(seed=1, reference=lone, arms=()))
    assert words in one_sentence(diff(*arguments), 2)


def test_names_from_records_cannot_act_in_any_output(diff, tmp_path):
    bad = "evil\x1b[2J\u202e|<img src=x>\n# head"
    arm = replace(ARMS[0], implementation=bad)
    for name, seed in (("one", 1), ("two", 2)):
        write(tmp_path / name, measured(seed=seed, arms=(arm, ARMS[1])))
    write(tmp_path / "three", measured(seed=3))
    renamed = with_environment(measured(seed=4, arms=(arm,)), device_name=bad)
    write(tmp_path / "four", renamed)
    for arguments in (
        ["one", "two"],
        ["one", "two", "three"],
        ["one", "three"],
        ["one", "two", "--markdown"],
        ["one", "three", "--markdown"],
        ["one", "two", "--json"],
        ["one", "four"],
        ["one", "four", "--allow-mixed-environments", "--markdown"],
    ):
        result = diff(*arguments)
        assert "evil" in result.output
        assert "\x1b" not in result.output
        assert "\u202e" not in result.output
        assert "\\u001b" not in result.output
        assert "\n# head" not in result.output
        if "--markdown" in arguments:
            assert "<img" not in result.output.replace("\\<img", "")
            assert "evil|" not in result.output.replace("\\|", "")


def test_needs_no_torch(diff):
    code = (
        "import sys; sys.modules['torch'] = None; from pamprof.cli import app;"
        "app(['diff', 'base', 'slow', '--markdown', '--fail-above', '5%'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "above" in result.stdout


def test_the_table_says_how_many_repeats_would_decide_a_row_and_what_is_presumed(diff):
    out = diff("base", "border", "--fail-above", "5%").stdout
    assert "repeats to settle" in out
    assert "presumed as 1.0\u202f% (standard deviation)" in out
    found = json.loads(diff("base", "border", "--fail-above", "5%", "--json").stdout)[0]["differences"]
    assert any(row["outcome"] == "inconclusive" and row["repeats_to_settle"] >= 3 for row in found)
    assert "repeats to settle" not in diff("base", "border", "--metric", "memory").stdout


def test_a_gate_on_damaged_records_is_refused_unless_asked_to_do_without(diff, tmp_path):
    line = damage_last_line(tmp_path / "slow" / "runs.jsonl")
    refused = one_sentence(diff("base", "slow", "--fail-above", "5%"), 2)
    assert f"1 line could not be read: {line}: " in refused
    assert "--skip-damaged" in refused
    told = diff("base", "slow", "--skip-damaged")
    assert told.exit_code == 0
    assert f"slow: 1 line could not be read: {line}: " in told.stdout
    (found,) = json.loads(diff("base", "slow", "--skip-damaged", "--json").stdout)
    assert any(f"could not be read: {line}" in note for note in found["notes"])
    assert f"could not be read: {line}" in diff("base", "slow", "--skip-damaged", "--markdown").stdout
