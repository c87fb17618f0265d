import csv
import io
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.records.codec import encode
from pamprof.records.store import read_records
from pamprof.render.capacity.view import capacity_view
from pamprof.units import significant
from tests.analysis.capacity.records import capacity_record
from tests.cli.answers import one_sentence
from tests.synthetic import synthetic_records

FIELDS = ["state", "head_dim", "associations", "accuracy", "low", "high"]
FEW = ("--head-dim", "8", "--associations", "4,16", "--seeds", "3", "--device", "cpu", "--time-budget", "30s")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "180")
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_json_has_rows_of_six_fields_and_a_summary(run):
    result = run("capacity", *FEW, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {"rows", "summary"}
    assert [list(row) for row in found["rows"]] == [FIELDS] * len(found["rows"])
    assert {row["state"] for row in found["rows"]} == {
        "vector", "pam-k1", "pam-k3", "real-matrix", "kv-cache", "pam-k1-forgetting", "pam-k3-forgetting",
    }  # fmt: skip
    assert all(0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1 for row in found["rows"])
    (cache,) = (held for held in found["summary"]["held"] if held["state"] == "kv-cache")
    assert (cache["associations_at_99_percent"], cache["is_bound"]) == (16, True)
    assert cache["associations_per_state_byte"] == 1 / (2 * 8 * 2)
    assert found["summary"]["seeds"] == 63  # of 16 pairs, for 1,000 retrievals


def test_csv_has_the_same_rows_and_a_rate_gives_dollars(run):
    few = (*FEW, "--state", "pam-k1,kv-cache")
    rows = list(csv.DictReader(io.StringIO(run("capacity", *few, "--csv").stdout)))
    assert list(rows[0]) == FIELDS
    assert [row["associations"] for row in rows if row["state"] == "kv-cache"] == ["4", "16"]
    told = run("capacity", *few, "--price", "2").stdout
    assert "your own rate" in told
    summary = json.loads(run("capacity", *few, "--price", "2", "--json").stdout)["summary"]
    assert summary["usd_per_state_byte_hour"] == summary["usd_per_gib_hour"] / 2**30
    assert f"${significant(1e9 * summary['usd_per_state_byte_hour'])} for a billion bytes of state" in told
    assert "per dollar-hour" in told


def test_a_folder_gets_record_page_pictures_and_csv(run, tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.capacity.page.draw_png", lambda chart: b"png")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    result = run("capacity", *FEW, "--state", "vector,pam-k1", "-o", "out")
    assert result.exit_code == 0, result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"runs.jsonl", "capacity.html", "capacity.csv", "capacity.png", "capacity-signal.png"}
    (record,) = read_records(tmp_path / "out" / "runs.jsonl").capacities
    assert {point.state for point in record.points} == {"vector", "pam-k1"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--state", "hopfield"), "--state 'hopfield' is not known; use vector, pam-k1"),
        (("--score", "cosine"), "--score 'cosine' is not known; use absolute-real, modulus"),
        (("--head-dim", "none"), "--head-dim"),
        (("--associations", "0"), "--associations"),
        (("--seeds", "1"), "--seeds 1 gives no interval; give 2 or more"),
        (("--time-budget", "soon"), "--time-budget 'soon' is no duration"),
        (("--json", "--csv"), "--json and --csv exclude each other"),
        (("--device", "tpu"), "tpu"),
    ],
)
def test_bad_input_is_one_sentence(run, arguments, sentence):
    assert sentence in one_sentence(run("capacity", *arguments), 2)


def test_a_report_has_a_section_on_the_capacity_among_its_records(run, tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"png")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    records = synthetic_records("cpu")
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, (*records.sessions, *records.runs[:6]))))
    later = replace(capacity_record(), session_id="cafe0002", started_at="2026-11-23T12:00:00+00:00", left_out=3)
    (tmp_path / "capacity.jsonl").write_bytes(encode(capacity_record()) + encode(later))
    result = run("report", "runs.jsonl", "capacity.jsonl", "-o", "out")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '<section id="capacity-section"' in page
    assert "left out 3 points" in page
    assert "1 earlier record of capacity among the inputs not shown" in page
    assert "pamprof capacity --device cuda" in page
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "## How many associations a memory holds" in summary
    assert (tmp_path / "out" / "capacity.png").read_bytes() == b"png"


def test_records_of_capacity_alone_become_their_own_page_at_the_rate_asked_for(run, tmp_path):
    (tmp_path / "capacity.jsonl").write_bytes(encode(capacity_record()))
    result = run("report", "capacity.jsonl", "-o", "out", "--price", "8", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["summary"]["memory_rent"]["usd_per_hour"] == 8.0
    page = (tmp_path / "out" / "capacity.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 * 2  # two pictures, wide and narrow
    assert "your own rate" in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<table") == page.count('<table class="reflow"')  # on a phone a row is a card, and nothing is cut
    assert 'data-label="per dollar-hour"' in page
    assert 'data-label="associations">16</th>' in page


def test_the_view_says_that_k_states_without_forgetting_hold_the_same():
    view = capacity_view(capacity_record())
    assert any("K = 3 retrieves what K = 1 does" in sentence for sentence in view.sentences)
    assert view.sentences[0].startswith("64 random associations at d = 64: vector state returns 12.5")
    assert view.charts[0].title == "With 64 channels 99 % are retrieved of up to 256 (PAM, K = 1) associations".replace(
        " %", "\u202f%"
    )


def test_what_is_held_at_least_is_compared_with_nothing(tmp_path):
    """Two pairs come back from every memory, which says nothing about which holds more."""
    said = CliRunner().invoke(app, ["capacity", "--associations", "1,2", "--seeds", "2"])
    assert said.exit_code == 0, said.output
    assert "at least 2" in said.stdout
    assert "holds fewer associations" not in said.stdout
    assert "in place of" not in said.stdout
