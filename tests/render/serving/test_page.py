from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.cli import app
from pamprof.pricing.rates.catalogue import Catalogue, embedded_prices
from pamprof.pricing.rates.hourly_rates import UnknownRate
from pamprof.pricing.rates.price_choice import label_of, offered_rates
from pamprof.pricing.rates.processors import is_cpu_machine
from pamprof.pricing.serving.study import Request, study
from pamprof.records.codec import encode
from pamprof.render.charts import CurvePanel, TornadoPanel
from pamprof.render.serving.page import PAGE, render_cost_html, write_cost_page
from pamprof.render.serving.page_view import serving_page_view
from pamprof.render.serving.script_data import script_json
from tests.pricing.serving.test_bill import SLO, demand, rate
from tests.render.conftest import HOSTILE
from tests.render.serving.records import DEVICE, curves, made_study, sweep_records
from tests.render.test_html import outline, styled
from tests.synthetic import synthetic_environment


@pytest.fixture(scope="module")
def view():
    offered = {DEVICE: offered_rates(Catalogue(prices=embedded_prices(), origin="test"), synthetic_environment())}
    return serving_page_view(made_study(api=(0.02, 0.1)), curves(), offered=offered, alerts=("A rate is old.",))


@pytest.fixture(scope="module")
def page(view):
    return render_cost_html(view)


def chart(view, name):
    return next(found for found in view.charts if found.name == name)


def data_of(page):
    return json.loads(re.search(r"const costData = (.*);\n", page)[1])


def test_the_page_refers_to_nothing_outside_itself_and_is_small(page):
    for tag, attributes in outline(page).tags:
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest|import\(|localStorage", page)
    assert len(page.encode()) < 2_000_000


def test_no_element_of_the_page_carries_a_style(page):
    assert styled(page) == []


def test_tags_nest_ids_are_unique_and_there_is_one_script(page):
    parsed = outline(page)
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert parsed.open == []
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in parsed.tags if tag == "script"] == ["script"]


def test_every_input_has_a_label_and_a_place_for_its_fault(page):
    tags = outline(page).tags
    ids = {attributes.get("id") for _, attributes in tags}
    labelled = {attributes["for"] for tag, attributes in tags if tag == "label"}
    controls = [attributes for tag, attributes in tags if tag in {"input", "select"}]
    assert len(controls) == 18
    assert {control["id"] for control in controls} == labelled
    assert {control["aria-describedby"] for control in controls if "aria-describedby" in control} <= ids


def test_without_javascript_the_tables_stand_and_the_inputs_do_not(page):
    assert '<div id="cost-live" hidden>' in page
    assert 'id="cost-still"' in page
    text = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    for heading in ("Arms, ", "Monthly bills, ", "Crossover, ", "Crossover by bytes, ", "What moves the bill, "):
        assert f"<h3>{heading}" in text
    assert "is cheaper than transformer" in text


def test_hostile_titles_stay_text_in_markup_and_script():
    evil = tuple(
        replace(
            curve,
            title=f"{curve.title}{HOSTILE}</script><!--",
            environment=replace(curve.environment, cpu_name=HOSTILE),
        )
        for curve in curves()
    )
    made = study(evil, Request(demand=demand(1e11), limits=SLO), {DEVICE: (rate(3.5),)})
    page = render_cost_html(serving_page_view(made, evil))
    assert [tag for tag, _ in outline(page).tags if tag == "script"] == ["script"]
    assert "<script>alert" not in page
    assert page.count("</script>") == 1
    assert not {"\x1b", "\u202e"} & set(page)
    assert any("</script><!--" in arm["title"] for arm in data_of(page)["classes"][0]["arms"])


def test_json_in_a_script_cannot_end_it_and_says_the_same():
    value = {"a": "</script><!-- & \u2028 é", "b": [1.5e-300, None, True]}
    text = script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        script_json({"a": float("nan")})


def test_the_page_offers_every_provider_and_option_of_the_device_and_no_other(page):
    offered = offered_rates(Catalogue(prices=embedded_prices(), origin="test"), synthetic_environment())
    assert {found.quote.chosen.device_name for found in offered} == {"H200"}
    assert len({(found.quote.chosen.provider, found.option) for found in offered}) == len(offered) > 3
    assert offered[0].option == "on-demand"
    labels = [found["label"] for found in data_of(page)["classes"][0]["rates"]]
    assert labels[0] == "on-demand, $3.50"
    assert set(map(label_of, offered)) <= set(labels)
    on_cpu = offered_rates(Catalogue(prices=embedded_prices(), origin="test"), synthetic_environment("cpu"))
    assert all(is_cpu_machine(found.quote.chosen) for found in on_cpu)


def test_measured_and_modelled_differ_in_pictures_and_in_tables(view, page):
    panels = [panel for found in view.charts for panel in found.panels if isinstance(panel, CurvePanel)]
    drawn = [part for panel in panels for curve in panel.curves for part in (*curve.pieces, *curve.spots)]
    assert {part.basis for part in drawn} == {Basis.MEASURED, Basis.INTERPOLATED, Basis.MODELLED}
    assert '<tr class="interpolated">' in page
    assert '<tr class="modelled">' in page
    for word in ("Measured</strong>: filled", "Interpolated</strong>: half filled", "Modelled</strong>: hollow"):
        assert word in page
    assert any("off by up to" in cell for row in view.measured.rows for cell in row)


def test_the_bill_is_drawn_with_its_steps(view):
    (panel,) = chart(view, "serving-bill").panels
    for curve in panel.curves:
        bills = [value.median for value in curve.pieces[0].values]
        one_replica = 3.5 * 730
        assert bills == sorted(bills)
        assert all(bill / one_replica == pytest.approx(round(bill / one_replica)) for bill in bills)
        jumps = [after - before for before, after in pairwise(bills) if after > before]
        assert min(jumps) == pytest.approx(one_replica)


def test_costs_against_context_are_what_the_study_says_at_its_own_length(view):
    made = made_study(input_tokens=2048)
    panel = chart(serving_page_view(made, curves()), "serving-context").panels[1]
    found = made.classes[0].arms[0].deployment
    curve = next(one for one in panel.curves if "bfloat16" in one.label)
    value = next(spot.value for spot in curve.spots if spot.x == 2048)
    assert found.curve.title.startswith("PAM planar (bfloat16 state)")
    assert value.median == pytest.approx(found.bill.served.usage.blended_usd_per_million_tokens)
    assert value.low < value.median < value.high


def test_a_crossover_between_measured_lengths_is_called_interpolated():
    two = [curve for curve in curves() if curve.title in {"PAM planar · graph", "transformer · graph"}]
    made = study(two, Request(demand=demand(1e11), limits=SLO), {DEVICE: (rate(3.5),)})
    (mark,) = chart(serving_page_view(made, two), "serving-context").panels[0].marks
    assert mark.x.median == pytest.approx(2 * 3_145_728 / 32_256, rel=0.01)
    assert mark.x.low < mark.x.median < mark.x.high
    assert mark.basis is Basis.INTERPOLATED
    assert mark.text.endswith(" tokens (interpolated)")


def test_the_front_falls_to_the_right(view):
    (panel,) = chart(view, "serving-front").panels
    for curve in panel.curves:
        xs, values = [spot.x for spot in curve.spots], [spot.value.median for spot in curve.spots]
        assert xs == sorted(xs)
        assert values == sorted(values, reverse=True)


def test_the_tornado_has_the_largest_swing_on_top(view):
    bills, _ = chart(view, "serving-tornado").panels
    assert isinstance(bills, TornadoPanel)
    swings = [max(abs(end - bills.usual) for end in (bar.lower, bar.higher) if end) for bar in bills.bars]
    assert swings == sorted(swings, reverse=True)
    assert swings[0] > 0


def test_of_two_sizes_every_picture_and_every_decision_says_which():
    larger = [replace(run, parameter_count=10 * run.parameter_count) for run in sweep_records().runs]
    larger = [replace(run, workload=replace(run.workload, spec=replace(run.workload.spec, depth=40))) for run in larger]
    both = serving_curves([*sweep_records().runs, *larger])
    asked = made_study().request
    found = serving_page_view(study(both, asked, {DEVICE: (rate(3.5),)}), both)
    sizes = ("100M", "1.0G")
    for drawn in found.charts:
        assert drawn.panels, drawn.name
        assert {panel.title.split(" parameters: ")[0] for panel in drawn.panels} == set(sizes), drawn.name
    assert len({panel.title for panel in chart(found, "serving-tornado").panels}) == 4
    assert [decision.split(" parameters on ")[0] for decision in found.decisions] == list(sizes)


def test_a_study_without_a_rate_or_an_operating_point_says_why_there_are_no_pictures():
    unpriced = serving_page_view(made_study(UnknownRate(option="on-demand", reason="no row")), curves())
    assert {found.name for found in unpriced.charts if not found.panels} == {
        "serving-context", "serving-front", "serving-bill", "serving-tornado",
    }  # fmt: skip
    assert all(found.reason for found in unpriced.charts if not found.panels)
    assert "No picture: " in render_cost_html(unpriced)


@pytest.mark.usefixtures("drawn_anew")
def test_equal_views_give_equal_files(view, tmp_path):
    paths = write_cost_page(view, tmp_path)
    assert [path.name for path in paths] == [PAGE, *(f"{found.name}.png" for found in view.charts)]
    assert paths[0].read_text(encoding="utf-8") == render_cost_html(view)


def test_the_command_writes_the_page_beside_its_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    records = sweep_records()
    (tmp_path / "runs.jsonl").write_bytes(b"".join(map(encode, (*records.sessions, *records.runs, *records.skips))))
    arguments = ["cost", str(tmp_path), "--tokens-per-day", "1e11", "--json", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["bills"]
    page = Path(result.stderr.splitlines()[-1].removeprefix("Page: "))
    text = page.read_text(encoding="utf-8")
    assert "days ago, more than 90" in text
    assert len(data_of(text)["classes"][0]["rates"]) > 3
