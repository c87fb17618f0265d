from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.measure.validation import validate as validation
from pamprof.measure.validation.judge import judged, not_available
from pamprof.records.validation import Agreement, Validation, ValidationGroup, ValidationVerdict
from pamprof.render.validation import validation_view
from tests.synthetic import synthetic_environment

RUNNER = CliRunner()


def a_row(ours, **changes):
    return replace(
        judged(
            ValidationGroup.BYTES,
            "copy | of <1 GiB>",
            unit="B",
            ours=ours,
            ours_source="known size",
            witness=2.0**30,
            witness_source="ncu",
            tolerance=0.02,
        ),
        **changes,
    )


def invoke(*arguments):
    return RUNNER.invoke(app, ["validate", "--device", "cpu", *arguments])


@pytest.fixture
def found(monkeypatch):
    """What the measuring side returns; the groups it was asked for are kept."""
    asked = []

    def give(*rows):
        def run(**options):
            asked.append(options)
            return Validation(
                started_at="2026-11-22T23:00:00+00:00",
                command=options["command"],
                environment=synthetic_environment("cpu"),
                unknowns=(),
                rows=rows,
                seconds=2.5,
            )

        monkeypatch.setattr(validation, "validate", run)
        return asked

    return give


def test_a_cpu_says_what_it_cannot_compare_and_exits_0(tmp_path):
    result = invoke(
        "--only", "energy,bytes,utilisation", "--json", str(tmp_path / "v.json"), "--markdown", str(tmp_path / "v.md")
    )
    assert result.exit_code == 0, result.output
    assert "3 not available" in result.output
    document = json.loads((tmp_path / "v.json").read_text())
    assert [row["group"] for row in document["rows"]] == ["bytes", "energy", "utilisation"]
    assert {row["verdict"] for row in document["rows"]} == {"not available"}
    assert all(row["ours"] is None and "CPU" in row["note"] for row in document["rows"])
    assert document["command"] == "pamprof validate --device cpu --only energy,bytes,utilisation"
    assert str(tmp_path) not in (tmp_path / "v.json").read_text() + (tmp_path / "v.md").read_text()


def test_a_row_that_disagrees_exits_1_after_everything_was_written(found, tmp_path):
    found(a_row(2.0**30), a_row(2.0**29))
    result = invoke("--markdown", str(tmp_path / "v.md"))
    assert result.exit_code == 1
    assert "1 of 2 comparisons disagree" in result.output
    assert "−50.00\u202f%" in (tmp_path / "v.md").read_text()


def test_a_row_that_is_explained_exits_0(found):
    found(a_row(2.0**29, verdict=ValidationVerdict.EXPLAINED, note="whole tiles"))
    result = invoke()
    assert result.exit_code == 0
    assert "1: whole tiles." in result.output
    assert "Explained: outside the tolerance" in result.output


def test_only_names_the_groups(found):
    asked = found(a_row(2.0**30))
    assert invoke("--only", "flops,memory").exit_code == 0
    assert asked[0]["groups"] == {ValidationGroup.FLOPS, ValidationGroup.MEMORY}
    assert invoke().exit_code == 0
    assert asked[1]["groups"] == set(ValidationGroup)
    unknown = invoke("--only", "flops,speed")
    assert unknown.exit_code == 2
    assert "--only 'speed' is not known; use flops, bytes, memory, energy, utilisation" in unknown.output
    assert invoke("--only", ",").exit_code == 2


def test_a_file_that_cannot_be_written_is_one_sentence(found, tmp_path):
    found(a_row(2.0**30))
    result = invoke("--json", str(tmp_path / "no" / "v.json"))
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory; choose another file" in result.output


def test_what_breaks_becomes_a_row(monkeypatch, tmp_path):
    def break_down():
        raise RuntimeError("CUDA out of memory.\nand more")

    monkeypatch.setattr(validation, "closed_form_rows", break_down)
    result = invoke("--only", "flops", "--json", str(tmp_path / "v.json"))
    assert result.exit_code == 0
    rows = json.loads((tmp_path / "v.json").read_text())["rows"]
    assert [row["note"] for row in rows] == ["CUDA out of memory.", "the device is a CPU; its counters are not read"]


def test_the_table_states_units_tolerances_and_sources():
    rows = (
        a_row(2.0**30),
        a_row(2.0**20, agreement=Agreement.LOWER_BOUND),
        a_row(2.0**30, agreement=Agreement.UPPER_BOUND),
        judged(
            ValidationGroup.UTILISATION,
            "idle",
            unit="ratio",
            ours=0.012,
            ours_source="NVML",
            witness=0.0,
            witness_source="known load",
            tolerance=0.05,
            agreement=Agreement.ABSOLUTE,
        ),
        not_available(ValidationGroup.ENERGY, "idle\x1b[31m", unit="J", witness_source="power", reason="no sensor"),
    )
    view = validation_view(
        Validation(
            started_at="2026-11-22T23:00:00+00:00",
            command="pamprof validate",
            environment=synthetic_environment("cuda"),
            unknowns=(),
            rows=rows,
            seconds=2.5,
        )
    )
    assert [row[4] for row in view.rows] == ["±2\u202f%", "at most +2\u202f%", "at least −2\u202f%", "±5 points", "–"]
    assert view.rows[3][3] == "+1.20 points"
    assert view.rows[0][1] == "1.0000 GiB (known size)"
    assert view.rows[4][2] == "– (power)"
    assert "\x1b" not in view.rows[4][0]
    assert view.notes[0] == "1: no sensor."
    assert "driver" in view.summary
