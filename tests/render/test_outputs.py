from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pamprof import units
from pamprof.analysis import analyse
from pamprof.errors import OutputError
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import for_spreadsheets, guard, measurements_csv
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.formats.markdown_table import escape
from pamprof.render.formats.progress import ProgressReporter
from pamprof.render.formats.terminal import render_terminal
from pamprof.render.formats.write import write_report
from pamprof.render.plots.picture import draw_png
from pamprof.render.text import clean
from tests.render.conftest import hostile
from tests.synthetic import synthetic_ceilings


def plain_console(width: int = 100) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, width=width, force_terminal=False), stream


def test_report_is_page_pictures_summary_and_measurements(gpu_report):
    names = {path.name for path in gpu_report.paths}
    pictures = {f"{chart.name}.png" for chart in gpu_report.view.charts}
    assert names == {"report.html", "summary.md", "measurements.csv"} | pictures
    assert pictures == {
        f"{n}.png"
        for n in ("ladder", "cost", "cost-context", "ratio-context", "throughput", "memory", "roofline", "utilisation")
    }
    assert not list(gpu_report.html.parent.glob(".*"))


def test_unwritable_folder_is_one_sentence(cpu_records, tmp_path, monkeypatch):
    occupied = tmp_path / "file"
    occupied.write_text("")
    monkeypatch.setattr("pamprof.render.formats.write.render_html", lambda view: "page")
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"")
    with pytest.raises(OutputError, match="--output-dir"):
        write_report(cpu_records, occupied / "report")


def test_png_is_two_thousand_pixels_wide_and_repeats_its_bytes(gpu_view):
    chart = gpu_view.chart("roofline")
    first = draw_png(chart)
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(first[16:20], "big") == 2000
    assert first == draw_png(chart)
    assert b"Software" not in first


def test_terminal_tells_the_story_in_25_lines_of_100_columns(gpu_view, cpu_view):
    for view in (gpu_view, cpu_view):
        console, stream = plain_console()
        render_terminal(view, console, report=Path("out/report.html"))
        lines = stream.getvalue().splitlines()
        assert len(lines) <= 25
        assert max(map(len, lines)) <= 100
        assert lines[0] == view.title
        assert lines[-1] == "Report: out/report.html"
        assert sum(line.startswith("transformer ·") for line in lines) == 3
        assert "\x1b" not in stream.getvalue()


def test_terminal_markdown_and_page_show_every_alert(cpu_view, undrawn):
    view = replace(cpu_view, alerts=("First doubt.", "Second doubt.", "Third doubt.", "Fourth doubt."))
    console, stream = plain_console()
    render_terminal(view, console)
    lines = stream.getvalue().splitlines()
    assert lines[1:5] == list(view.alerts)
    assert len(lines) <= 25
    assert [render_markdown(view).count(f"> **{alert}**") for alert in view.alerts] == [1] * 4
    assert [render_html(view).count(f'role="note">{alert}<') for alert in view.alerts] == [1] * 4


def test_lines_that_could_not_be_read_are_one_alert(cpu_records):
    problems = ("line 3: damaged", "line 4: damaged")
    alerts = build_view(replace(cpu_records, problems=problems)).alerts
    assert [alert for alert in alerts if "damaged" in alert] == [
        "2 lines could not be read: line 3: damaged; line 4: damaged. Any workload may be in them."
    ]


def test_noise_floor_and_its_samples_stand_in_terminal_and_method(gpu_view):
    console, stream = plain_console()
    render_terminal(gpu_view, console)
    told = re.search(r"Noise floor +±[\d.]+ % on this machine, \d+ samples", stream.getvalue())
    assert told is not None
    fact = next(fact for fact in gpu_view.method if fact.name == "Noise floor")
    assert fact.value.startswith(gpu_view.noise)
    assert "noisiest of" in fact.value


def test_table_csv_and_terminal_name_the_ceiling_of_each_share(gpu_records):
    records = replace(gpu_records, ceilings=(synthetic_ceilings(gpu_records),))
    analysis = analyse(records)
    view = build_view(records, analysis=analysis)
    console, stream = plain_console()
    render_terminal(view, console)
    assert re.search(
        r"Roof +train [\d.]+ %, prefill [\d.]+ % of product, decode [\d.]+ % of read \(transf", stream.getvalue()
    )
    rows = list(csv.DictReader(io.StringIO(measurements_csv(records, analysis))))
    shown = {(cell.text, cell.detail) for row in view.rows for cell in (row.cell("roof_share"),)}
    bfloat16 = [row for row in rows if row["dtype"] == "bfloat16"]
    assert {"product", "read", "copy"} <= {row["roof_ceiling"] for row in bfloat16}
    for row in bfloat16:
        share = float(row["roof_share_ratio"])
        assert row["roof_missing_ceiling"] == ""
        assert (clean(units.percent(share, 3)), f"of {row['roof_ceiling']}") in shown
        if row["roof_ceiling"] == "read":
            moved = int(row["least_read_bytes_per_step"]) + int(row["least_write_bytes_per_step"])
            assert share == pytest.approx(moved / float(row["step_median_seconds"]) / 4.6e12, rel=1e-3)


def test_a_copy_that_stands_in_for_a_read_says_so_in_table_and_csv(gpu_records):
    older = replace(
        synthetic_ceilings(gpu_records), read_bytes_per_second=None, read_method=None,
        write_bytes_per_second=None, write_method=None,
    )  # fmt: skip
    records = replace(gpu_records, ceilings=(older,))
    analysis = analyse(records)
    view = build_view(records, analysis=analysis)
    assert "of copy in place of read" in {row.cell("roof_share").detail for row in view.rows}
    assert "of copy in place of read" in view.roof_shares
    rows = csv.DictReader(io.StringIO(measurements_csv(records, analysis)))
    assert ("copy", "read") in {(row["roof_ceiling"], row["roof_missing_ceiling"]) for row in rows}


def test_without_ceilings_terminal_and_csv_say_why_there_is_no_share(cpu_records):
    console, stream = plain_console()
    render_terminal(build_view(cpu_records), console)
    assert re.search(r"Roof +– \(.*CPU", stream.getvalue())
    row = next(csv.DictReader(io.StringIO(measurements_csv(cpu_records, analyse(cpu_records)))))
    assert (row["roof_ceiling"], row["roof_share_ratio"]) == ("", "")
    assert int(row["least_read_bytes_per_step"]) > 0


def test_terminal_says_why_there_is_no_noise_floor(gpu_records):
    runs = tuple(run for run in gpu_records.runs if run.workload.key != run.reference.key)
    console, stream = plain_console()
    render_terminal(build_view(replace(gpu_records, runs=runs)), console)
    assert re.search(r"Noise floor +– \(the reference was not paired with itself", stream.getvalue())


def test_terminal_without_colour_holds_no_escape_sequence(gpu_view, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    render_terminal(gpu_view, Console(file=stream, width=100, force_terminal=True))
    assert "\x1b[3" not in stream.getvalue()


def test_hostile_names_reach_neither_terminal_nor_markdown_nor_csv(gpu_records):
    records = hostile(gpu_records)
    view = build_view(records)
    console, stream = plain_console()
    render_terminal(view, console)
    markdown = render_markdown(view)
    table = measurements_csv(records, analyse(records))
    for text in (stream.getvalue(), markdown, table):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script>" not in markdown.split("```")[0]
    assert not re.search(r"(?<!\\)\]\(http", markdown.split("```")[0])


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_starts_a_formula(start):
    assert guard(f"{start}1+1").startswith("'")


def test_a_table_beyond_ascii_begins_with_the_mark_that_spreadsheets_need(cpu_records):
    assert for_spreadsheets("key,note\na,plain\n") == "key,note\na,plain\n"
    noted = replace(cpu_records, runs=(replace(cpu_records.runs[0], notes=("5 µs",)), *cpu_records.runs[1:]))
    table = measurements_csv(noted, analyse(noted))
    assert table.encode().startswith(b"\xef\xbb\xbfkey,")
    (row, *_) = csv.DictReader(io.StringIO(table.encode().decode("utf-8-sig")))
    assert row["notes"] == "5 µs"
    assert measurements_csv(cpu_records, analyse(cpu_records)).isascii()


def test_csv_has_a_row_a_run_and_units_in_its_names(gpu_records):
    rows = list(csv.DictReader(io.StringIO(measurements_csv(gpu_records, analyse(gpu_records)))))
    assert len(rows) == len(gpu_records.runs)
    first = rows[0]
    assert first["BillingCurrency"] == "USD"
    assert first["PricingCategory"] == "Standard"
    assert float(first["ListUnitPrice"]) == 3.5
    seconds = float(first["step_median_seconds"])
    rate = float(first["tokens_per_second_median"])
    tokens = int(first["batch_size"]) * int(first["sequence_length_tokens"])
    assert rate == pytest.approx(tokens / seconds, rel=1e-6)
    assert float(first["EffectiveCost"]) == pytest.approx(3.5 / 3600 / rate * 1e6, rel=1e-6)
    assert float(first["step_low_seconds"]) <= seconds <= float(first["step_high_seconds"])


def test_csv_without_a_price_leaves_cells_empty_and_says_why(cpu_records):
    row = next(csv.DictReader(io.StringIO(measurements_csv(cpu_records, analyse(cpu_records)))))
    assert row["EffectiveCost"] == ""
    assert "--price" in row["price_unknown_reason"]
    assert row["chunk_size_tokens"] in {"", "256"}


def test_markdown_holds_the_sentences_the_tiles_and_a_row_a_run(gpu_view):
    text = render_markdown(gpu_view)
    assert text.startswith("# PAM 100M against transformer 100M · NVIDIA H200 · 22 Nov 2026\n")
    assert f"| Training cost | {escape(gpu_view.tiles[0].value)}" in text
    assert text.count("| Training |") + text.count("| Prefill |") + text.count("| Decode |") == len(gpu_view.rows)
    assert "pamprof compare --preset 100m" in text


def test_markdown_escapes_markup():
    assert escape("a|b <i> [c](d) `e`") == r"a\|b \<i\> \[c\](d) \`e\`"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("- item", r"\- item"),
        ("+ item", r"\+ item"),
        ("12. item", r"12\. item"),
        ("3) item", r"3\) item"),
        ("---", r"\---"),
        ("===", r"\==="),
        ("    code", "code"),
        ("# heading", r"\# heading"),
        ("1.54× the transformer", "1.54× the transformer"),
        ("−0.3 %", "−0.3 %"),
        ("-dirty", "-dirty"),
    ],
)
def test_markdown_of_a_text_begins_no_block(text, escaped):
    assert escape(text) == escaped


def test_command_with_a_fence_stays_inside_its_fence(gpu_view):
    text = render_markdown(replace(gpu_view, command="```\n# not a heading"))
    assert "````\n```\n# not a heading\n````" in text


def test_progress_without_a_terminal_is_a_plain_line_a_point():
    console, stream = plain_console()
    reporter = ProgressReporter(console)
    reporter.begin(2)
    reporter.point_started("[red]pam[/red]")
    reporter.point_finished("[red]pam[/red]", "1.2 ms\x1b[2J")
    reporter.message("warming up")
    reporter.end()
    reporter.end()
    assert stream.getvalue() == "[1/2] [red]pam[/red]: 1.2 ms\ufffd[2J\nwarming up\n"


def test_progress_on_a_terminal_draws_a_bar_and_keeps_the_lines():
    stream = io.StringIO()
    reporter = ProgressReporter(Console(file=stream, width=80, force_terminal=True, color_system=None))
    reporter.begin(1)
    reporter.point_started("pam [bold]")
    reporter.point_finished("pam [bold]", "done")
    reporter.end()
    assert "[1/1] pam [bold]: done" in stream.getvalue()
    assert "1/1" in stream.getvalue()


def test_arms_without_flops_have_their_rows_with_time_memory_and_price(gpu_records, undrawn):
    runs = tuple(
        replace(run, flops=replace(run.flops, matrix_flop_count=0, matrix_dense_flop_count=0))
        if run.workload.spec.layer == "pam"
        else run
        for run in gpu_records.runs
    )
    records = replace(gpu_records, runs=runs)
    analysis = analyse(records)
    view = build_view(records, analysis=analysis)
    console, stream = plain_console()
    render_terminal(view, console)
    assert "PAM" in stream.getvalue()
    assert "no matrix FLOPs were counted" in render_html(view)
    assert draw_png(view.chart("roofline"))
    rows = [row for row in csv.DictReader(io.StringIO(measurements_csv(records, analysis))) if row["layer"] == "pam"]
    assert len(rows) == sum(run.workload.spec.layer == "pam" for run in runs)
    for row in rows:
        assert float(row["tokens_per_second_median"]) > 0
        assert float(row["cost_against_baseline_median_ratio"]) > 0
        assert float(row["peak_memory_bytes"]) > 0
        assert row["matrix_flop_count_per_step"] == "0"
        assert row["flops_against_baseline_ratio"] == row["roof_share_ratio"] == ""
