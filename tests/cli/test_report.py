import csv
import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pamprof.cli import app
from pamprof.records import StepTrace, Unknown
from pamprof.records.codec import decode, encode
from tests.analysis.capacity.records import capacity_record
from tests.cli.answers import damage_last_line
from tests.render.serving.records import sweep_records
from tests.render.serving.test_page import data_of
from tests.synthetic import serve_check, synthetic_records, training_profile

FEW = 6


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Run the command in a folder with two files of one comparison, drawing nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"")
    monkeypatch.setattr("pamprof.render.formats.write.render_html", lambda view: "")
    records = synthetic_records("cpu")
    header = b"".join(map(encode, records.sessions))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "runs.jsonl").write_bytes(header + b"".join(map(encode, records.runs[:FEW])))
    (tmp_path / "more.jsonl").write_bytes(header + b"".join(map(encode, records.runs[: FEW + 2])))

    def run(*arguments):
        return CliRunner().invoke(app, ["report", *arguments, "-o", "out"])

    return run


def rows(tmp_path):
    with (tmp_path / "out" / "measurements.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


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


def dollars(tmp_path):
    """Prices of the rows, as the CSV and as the Markdown table of every workload write them."""
    text = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8").partition("## Every workload")[2]
    in_table = [
        float(found.replace("\u2009", "").replace("\u202f", "")) for found in re.findall(r"\| \$([0-9.]+)", text)
    ]
    return [float(row["EffectiveCost"]) for row in rows(tmp_path)], in_table


@pytest.mark.parametrize(
    ("arguments", "rate", "where", "choice"),
    [
        (("--provider", "aws"), "0.08925", "hour of 2 vCPUs (as on aws c7i.large by vCPU, 2 of 2", "family"),
        (("--provider", "oci"), "0.037", "hour of 2 vCPUs (as on oci VM.Standard.E4.Flex", "architecture"),
        (("--instance", "c7a.8xlarge"), "0.10264", "hour of 2 vCPUs (as on aws c7a.8xlarge by vCPU, 2 of 32", "named"),
        (("--price", "0.05"), "0.05", "device-hour (your own rate", ""),
    ],
)
def test_a_cpu_record_is_priced_again_as_it_is_asked(report, arguments, rate, where, choice):
    tmp_path = Path.cwd()
    told = report("a", *arguments)
    assert told.exit_code == 0, told.output
    words = f"Priced at ${rate} per {where}"
    assert words in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert words[:90] in told.stdout
    in_csv, in_table = dollars(tmp_path)
    assert sorted(in_table) == pytest.approx(sorted(in_csv), rel=0.01)
    assert {(row["ListUnitPrice"], row["machine_choice"]) for row in rows(tmp_path)} == {(rate, choice)}


def test_the_price_of_a_cpu_record_stays_the_one_stored_with_it_where_none_is_asked_for(report, tmp_path):
    assert report("a").exit_code == 0
    assert "No dollars: no price is known for this CPU" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--gpu", "H100-SXM"), "name the machine it is priced as with --instance"),
        (("--purchase-option", "spot"), "no spot rate of a CPU machine .* choose on-demand"),
        (("--instance", "c7g.2xlarge"), "says nothing about them"),
        (("--price", "1", "--instance", "c7i.large"), "leave out the instance, or --price"),
    ],
)
def test_a_price_that_cannot_be_a_processors_is_refused_in_one_sentence(report, arguments, words):
    told = report("a", *arguments)
    assert told.exit_code == 1
    (line,) = told.stderr.splitlines()
    assert re.search(words, line)


@pytest.fixture
def serving(tmp_path, monkeypatch):
    """Run the command on a comparison and a sweep of one device, drawing nothing; what it wrote as the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    comparison, sweep = synthetic_records("cuda"), sweep_records()
    few = (*comparison.sessions, *comparison.runs[:FEW])
    (tmp_path / "compared.jsonl").write_bytes(b"".join(map(encode, few)))
    (tmp_path / "swept.jsonl").write_bytes(b"".join(map(encode, (*sweep.sessions, *sweep.runs, *sweep.skips))))

    def run(*arguments):
        result = CliRunner().invoke(app, ["report", *arguments, "-o", "out"])
        assert result.exit_code == 0, result.output
        return (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    return run


def section_price(page):
    return re.search(r"This is for .*? (At \$.*?|No rate.*?)</p>", page, re.DOTALL)[1]


def offered(page):
    return [found["label"] for found in data_of(page)["classes"][0]["rates"]]


def test_comparison_and_sweep_make_one_page_with_the_comparisons_own_table(serving, tmp_path):
    page = serving("compared.jsonl", "swept.jsonl")
    assert 'id="cost-form"' in page
    assert len(rows(tmp_path)) == FEW
    assert serving("swept.jsonl", "compared.jsonl") == page
    assert 'id="cost-form"' not in serving("compared.jsonl")


def test_the_records_price_is_the_sections_and_the_list_offers_the_others(serving):
    page = serving("compared.jsonl", "swept.jsonl")
    assert section_price(page).startswith("At $3.50 per device-hour (example-cloud")
    assert offered(page)[0] == "example-cloud on-demand, $3.50"
    assert any("spot" in label for label in offered(page))


def test_a_price_that_was_asked_for_is_the_sections_too(serving):
    page = serving("compared.jsonl", "swept.jsonl", "--price", "2")
    assert "Priced at $2.00 per device-hour" in page
    assert section_price(page).startswith("At $2.00 per device-hour (given by the user)")
    assert offered(page)[0] == "user, $2.00"


def test_a_provider_and_an_option_that_were_asked_for_are_the_sections_too(serving):
    page = serving("compared.jsonl", "swept.jsonl", "--provider", "nebius", "--purchase-option", "spot")
    assert "(nebius, " in page
    assert section_price(page).split("(")[1].startswith("nebius ")
    assert offered(page)[0].startswith("nebius spot, ")


def test_a_price_list_of_ones_own_offers_its_own_rates_alone(serving, tmp_path):
    (tmp_path / "own.csv").write_text(
        "provider,instance,region,purchase_option,device_name,device_count,usd_per_hour,source,observed_on\n"
        "acme,big,eu-1,on-demand,H200,8,16.00,contract 7,2026-11-20\n"
        "acme,big,eu-1,committed-1yr,H200,8,12.00,contract 7,2026-11-20\n"
    )
    page = serving("compared.jsonl", "swept.jsonl", "--prices", "own.csv")
    assert offered(page) == ["acme on-demand, $2.00", "acme committed-1yr, $1.50"]


def test_the_section_says_what_the_cost_command_says(serving, tmp_path):
    page = serving("compared.jsonl", "swept.jsonl", "--price", "2")
    told = CliRunner().invoke(app, ["cost", "swept.jsonl", "--tokens-per-day", "1e9", "--price", "2", "-o", "cost"])
    assert told.exit_code == 0, told.output
    cost_page = (tmp_path / "cost" / "cost.html").read_text(encoding="utf-8")
    assert data_of(page) == data_of(cost_page)
    body = re.compile(r'<div class="answer decisions">\n(<p>.*?)</div>', re.DOTALL)
    assert body.search(page)[1] == body.search(cost_page)[1]


def test_a_report_of_damaged_records_says_so_in_terminal_summary_and_table(report, tmp_path):
    line = damage_last_line(tmp_path / "a" / "runs.jsonl")
    told = report("a")
    words = f"1 line could not be read: {line}: the record does not match its checksum"
    assert told.exit_code == 0
    assert told.stderr.startswith(f"pamprof: warning: a/runs.jsonl: {words}")
    assert words in " ".join(told.stdout.split())
    assert (tmp_path / "out" / "summary.md").read_text(encoding="utf-8").count(words) == 1
    assert [row["unreadable_line_count"] for row in rows(tmp_path)] == ["1"] * (FEW - 1)


def test_a_copy_of_damaged_records_does_not_read_as_whole(report, tmp_path):
    line = damage_last_line(tmp_path / "a" / "runs.jsonl")
    (tmp_path / "copy.jsonl").write_text(report("a", "--json").stdout, encoding="utf-8")
    told = report("copy.jsonl")
    assert f"copy.jsonl line {FEW + 1}: lost when the file was copied: " in told.stderr
    assert f"{line}: the record does not match its checksum" in told.stderr


def test_a_marked_file_keeps_header_and_dollars_and_a_packed_folder_reads_alike(serving, tmp_path):
    plain = serving("compared.jsonl", "swept.jsonl")
    for name in ("compared.jsonl", "swept.jsonl"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert serving("compared.jsonl", "swept.jsonl") == plain
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "runs.jsonl.gz").write_bytes(gzip.compress((tmp_path / "compared.jsonl").read_bytes()))
    assert serving("packed", "swept.jsonl") == plain


def test_traces_come_along_and_are_linked_and_one_that_failed_is_told(report, tmp_path):
    records = synthetic_records("cpu")
    first, second, third = records.runs[:3]
    runs = (
        replace(first, trace=StepTrace(file="traces/a.json.gz", byte_count=2048)),
        replace(second, unknowns=(*second.unknowns, Unknown(field="trace", reason="it could not be written: no room"))),
        replace(third, trace=StepTrace(file="../outside.json.gz", byte_count=1)),
    )
    (tmp_path / "a" / "runs.jsonl").write_bytes(b"".join(map(encode, [*records.sessions, *runs])))
    (tmp_path / "a" / "traces").mkdir()
    (tmp_path / "a" / "traces" / "a.json.gz").write_bytes(b"trace")
    (tmp_path / "outside.json.gz").write_bytes(b"private")
    found = report("a")
    assert found.exit_code == 0, found.stderr
    assert (tmp_path / "out" / "traces" / "a.json.gz").read_bytes() == b"trace"
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.gz")) == ["a.json.gz"]
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "](traces/a.json.gz): traces/a.json.gz, 2.00 KiB" in summary
    assert ": it could not be written: no room" in summary
    assert "](../outside" not in summary
    said = "Traces of single steps: 1 in traces/, for ui.perfetto.dev; 2 could not be written, the report says why"
    assert said in found.stdout


def test_training_loops_are_reported_and_priced_and_neither_compared_nor_gated(report, tmp_path):
    profile = training_profile(synthetic_records("cpu"))
    (tmp_path / "loops.jsonl").write_bytes(encode(profile))
    said = report("loops.jsonl", "--price", "7.2")
    assert said.exit_code == 0, said.output
    assert "Tokens per second" in said.stdout
    (row,) = csv.DictReader((tmp_path / "out" / "training.csv").read_text(encoding="utf-8-sig").splitlines())
    assert float(row["usd_per_step"]) == pytest.approx(0.5 * 7.2 / 3600)
    assert float(row["tokens_per_second_median"]) == pytest.approx(200)
    line = report("loops.jsonl", "--json").stdout
    assert decode(line.encode()) == profile
    both = report("loops.jsonl", "a")
    assert both.exit_code == 0, both.output
    assert both.stdout.count("Training loop ·") == 1
    for command in ("diff", "trend"):
        refused = CliRunner().invoke(app, [command, "loops.jsonl", "a"])
        assert refused.exit_code == 2
        assert "its training loops are shown by pamprof report" in refused.stderr


def test_served_loads_alone_are_printed_as_they_are_stored(report, tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.simulation.check_page.draw_png", lambda chart: b"")
    content = encode(serve_check("half")) + encode(serve_check("trace"))
    (tmp_path / "checks.jsonl").write_bytes(content)
    found = report("checks.jsonl", "--json")
    assert found.exit_code == 0, found.stderr
    assert found.stdout.encode() == content
    assert found.stderr == "Page: out/serve-check.html\n"
    assert report("checks.jsonl").stdout == "Page: out/serve-check.html\n"


def test_served_loads_beside_a_capacity_and_beside_runs_are_printed_once(report, tmp_path, monkeypatch):
    for page in ("simulation.check_page", "capacity.page"):
        monkeypatch.setattr(f"pamprof.render.{page}.draw_png", lambda chart: b"")
    (tmp_path / "more-kinds.jsonl").write_bytes(encode(capacity_record()) + encode(serve_check()))
    lines = (tmp_path / "more-kinds.jsonl").read_text().splitlines()
    assert report("more-kinds.jsonl", "--json").stdout.splitlines() == lines
    assert set(lines) < set(report("a", "more-kinds.jsonl", "--json").stdout.splitlines())
