"""The report's section on serving, with and without a sweep among the records."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from pamprof.pricing.rates.catalogue import Catalogue, embedded_prices
from pamprof.pricing.rates.hourly_rates import rate_of
from pamprof.pricing.rates.price_choice import PriceChoice, label_of
from pamprof.pricing.rates.quote import quote
from pamprof.pricing.serving.defaults import default_demand, default_limits
from pamprof.records.store import merged
from pamprof.render.charts import CurvePanel
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import render_markdown
from pamprof.render.formats.write import write_report
from pamprof.render.serving.section import serving_section
from pamprof.render.serving.view import serving_view
from tests.render.serving.records import curves, made_study, sweep_records, thin_records
from tests.render.serving.test_page import data_of
from tests.render.test_html import outline, styled
from tests.synthetic import synthetic_quote, synthetic_records

CATALOGUE = Catalogue(prices=embedded_prices(), origin="test")
HOW_TO = "<code>pamprof serve-sweep -o SWEEP</code> measures it"


def own_price(usd_per_hour):
    return quote(CATALOGUE, "NVIDIA H200", usd_per_hour=Decimal(usd_per_hour), device_kind="cuda")


@pytest.fixture(scope="module")
def together(gpu_records):
    return merged((gpu_records, sweep_records()))


@pytest.fixture(scope="module")
def section(gpu_records):
    return serving_section(gpu_records, sweep_records(), choice=PriceChoice(catalogue=CATALOGUE))


@pytest.fixture(scope="module")
def written(together, tmp_path_factory):
    """The report of a comparison and a sweep, its single pictures left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pamprof.render.formats.write.draw_png", lambda chart: chart.name.encode())
        choice = PriceChoice(catalogue=CATALOGUE)
        return write_report(together, tmp_path_factory.mktemp("together"), choice=choice)


@pytest.fixture(scope="module")
def page(written):
    return written.html.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def alone(gpu_view):
    """The page of the comparison without a sweep, without its pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
        return render_html(gpu_view)


def rates_of(view):
    return [found["label"] for found in data_of(render_data(view))["classes"][0]["rates"]]


def render_data(view):
    return f"const costData = {view.data};\n"


def test_it_answers_as_the_command_does_for_the_usual_demand(section):
    demand = default_demand()
    asked = {name: getattr(demand, name) for name in ("tokens_per_day", "input_tokens", "output_tokens", "peak_factor")}
    told = serving_view(made_study(rate_of(synthetic_quote()), limits=default_limits(), percentile=95.0, **asked))
    assert section.decisions == told.decisions
    assert section.asked == told.asked
    assert demand.tokens_per_day == 1e9


def test_a_comparison_alone_gets_one_sentence_and_no_form(alone, gpu_records):
    assert serving_section(gpu_records, replace(gpu_records, runs=(), skips=())) is None
    assert alone.count(HOW_TO) == 1
    for absent in ("<form", "cost-live", "serving-section", "costData", "cost-still"):
        assert absent not in alone
    assert outline(alone).open == []


def test_a_sweep_changes_nothing_in_the_rest_of_the_report(written, gpu_view, page):
    assert replace(written.view, serving=None) == gpu_view
    assert HOW_TO not in page
    text = (written.html.parent / "measurements.csv").read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1 + len(gpu_view.rows)


def test_the_page_holds_every_part_of_the_section_in_order(page, section):
    wanted = [
        'href="#serving-section">Serving</a>',
        'id="cost-heading"',
        'id="serving-heading"',
        'id="cost-live-section"',
        'id="cost-form"',
        'id="cost-still"',
        *(f'<figure id="{chart.name}">' for chart in section.charts),
        "What was measured, what is modelled",
        "Measured</strong>: filled marks and solid lines",
        "<summary>Tables for this demand</summary>",
        "<h4>Monthly bills, ",
        "How it was worked out",
        'id="throughput-heading"',
    ]
    places = [page.index(mark) for mark in wanted]
    assert places == sorted(places)
    assert len(section.charts) == 5


def test_no_id_stands_twice_tags_nest_and_nothing_outside_is_asked_for(page):
    parsed = outline(page)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert parsed.open == []
    assert len(ids) == len(set(ids))
    assert {value[1:] for _, a in parsed.tags if (value := a.get("href") or "").startswith("#")} <= set(ids)
    assert [tag for tag, _ in parsed.tags if tag == "script"] == ["script"]
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(|localStorage", page)
    assert styled(page) == []
    assert len(page.encode()) < 2_000_000


def test_the_sections_style_is_its_own(page, alone):
    style = re.compile(r"<style>(.*?)</style>", re.DOTALL)
    ours, without = style.search(page)[1], style.search(alone)[1]
    added = ours.replace(without.rstrip(), "", 1)
    assert ".inputs fieldset" in added
    # Classes and elements that the rest of the report is made of are not styled anew.
    for selector in re.findall(r"^([^@{}\n]+) \{", added, re.MULTILINE):
        last = selector.split(",")[0].split()[0]
        assert not re.fullmatch(r"\.(answer|block|quiet|price|tiles|scroll|facts|plain)|p|h[123]|table|section", last)


def test_pictures_and_the_summary_hold_it_too(written, section):
    names = {path.name for path in written.paths}
    assert {f"{chart.name}.png" for chart in section.charts} <= names
    assert "## What serving costs" in (written.html.parent / "summary.md").read_text(encoding="utf-8")
    assert "What serving costs" not in render_markdown(replace(written.view, serving=None))


def test_equal_records_give_equal_bytes(written, gpu_records, monkeypatch):
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: repr(chart))
    again = serving_section(gpu_records, sweep_records(), choice=PriceChoice(catalogue=CATALOGUE))
    beside = [run.workload for run in sweep_records().runs]
    assert render_html(build_view(gpu_records, serving=again, beside=beside)) == render_html(written.view)


def test_the_reports_own_price_is_used_and_the_lists_other_options_are_offered(section, gpu_view):
    assert "$3.50 per device-hour" in gpu_view.price
    assert section.price.startswith("At $3.50 per device-hour (example-cloud")
    first, *others = rates_of(section)
    assert first == label_of(rate_of(synthetic_quote()))
    assert {label.split(", ")[0].split(" ")[-1] for label in others} >= {"on-demand", "spot"}


def test_without_a_list_the_records_price_stands_alone(gpu_records):
    assert rates_of(serving_section(gpu_records, sweep_records())) == [label_of(rate_of(synthetic_quote()))]


def test_a_price_that_was_asked_for_is_used(gpu_records):
    choice = PriceChoice(catalogue=CATALOGUE, quotes={"NVIDIA H200": own_price("2.00")})
    found = serving_section(gpu_records, sweep_records(), choice=choice)
    assert found.price == "At $2.00 per device-hour (given by the user)."
    assert rates_of(found)[0] == "user, $2.00"
    bills = next(table for table in found.tables if table.title.startswith("Monthly bills"))
    assert {row[1] for row in bills.rows} == {"user"}


def test_the_sweeps_own_price_is_used_where_the_comparison_was_made_elsewhere(cpu_records):
    assert serving_section(cpu_records, sweep_records()).price.startswith("At $3.50 per device-hour")


def unpriced(records, reason):
    sessions = (replace(each, quote=None, quote_unknown_reason=reason) for each in records.sessions)
    return replace(records, sessions=tuple(sessions))


def test_a_price_that_only_the_sweep_was_given_is_used(gpu_records):
    found = serving_section(unpriced(gpu_records, "no row"), sweep_records())
    assert found.price.startswith("At $3.50 per device-hour")


def test_without_a_rate_the_section_says_why_once_and_draws_no_dollars(gpu_records):
    sweep = unpriced(sweep_records(), "another reason")
    found = serving_section(
        unpriced(gpu_records, "no row; give --price"), sweep, choice=PriceChoice(catalogue=CATALOGUE)
    )
    assert found.price == "No rate is known: no row; give --price."
    assert ": cheaper (interpolated)" in found.decisions[0]
    assert [chart.name for chart in found.charts] == ["serving-capacity"]


def test_a_sweep_alone_is_reported_with_its_section(tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.formats.write.draw_png", lambda chart: b"")
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    found = write_report(sweep_records(), tmp_path)
    assert len(found.view.rows) == len(sweep_records().runs)
    assert 'id="cost-form"' in found.html.read_text(encoding="utf-8")


def test_a_sweep_of_prompts_alone_makes_no_section(gpu_records):
    prompts = replace(thin_records(), runs=tuple(run for run in thin_records().runs if run.workload.phase == "prefill"))
    assert prompts.runs
    assert serving_section(gpu_records, prompts) is None


def test_arms_of_the_section_never_look_like_others_of_the_comparison(gpu_records):
    def spare(workload):
        # An implementation without a look of its own, which takes the first spare colour.
        return replace(workload, implementation="quaint") if workload.implementation == "gauss" else workload

    odd = replace(gpu_records, runs=tuple(replace(run, workload=spare(run.workload)) for run in gpu_records.runs))
    beside = [run.workload for run in sweep_records().runs]
    section = serving_section(odd, sweep_records())
    own = {arm.key: arm.role for arm in build_view(odd, beside=beside).arms}
    panels = [panel for chart in section.charts for panel in chart.panels if isinstance(panel, CurvePanel)]
    drawn = {curve.arm.key: curve.arm.role for panel in panels for curve in panel.curves}
    assert own["pam/quaint"] not in drawn.values()
    assert "pam/planar/bfloat16" in drawn
    assert all(own[key] == drawn[key] for key in own.keys() & drawn.keys())


def test_the_section_reads_the_sweep_alone(section):
    """Steps of a comparison at other places do not move the curves, so that the command gives the same answer."""
    arms = data_of(render_data(section))["classes"][0]["arms"]
    assert {arm["title"] for arm in arms} == {curve.title for curve in curves()}
    records = synthetic_records("cuda")
    assert any(run.workload.sequence_length == 16384 for run in records.runs)
    assert all(16384 not in arm["contexts"] for arm in arms)


def test_a_count_beyond_every_machine_s_integers_still_makes_a_section(gpu_records):
    first, *others = sweep_records().runs
    absurd = replace(first, flops=replace(first.flops, matrix_flop_count=2**70))
    found = serving_section(gpu_records, replace(sweep_records(), runs=(absurd, *others)))
    assert found.decisions
