"""The live inputs as a reader uses them, on the cost page and in a report: link, faults, keyboard, narrow windows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.pricing.rates.hourly_rates import Owned, UnknownRate, owned_rate
from pamprof.pricing.serving.defaults import default_limits
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.serving.form import FIELDS
from pamprof.render.serving.page import render_cost_html
from pamprof.render.serving.page_view import serving_page_view
from pamprof.render.text import clean
from pamprof.units import whole
from tests.pricing.serving.test_bill import rate
from tests.render.browser import asked, needs_browser
from tests.render.serving.records import curves, made_study

pytestmark = needs_browser

OWNED = Owned(
    capital_usd=31_000, life_years=4.0, usd_per_kilowatt_hour=0.1, power_usage_effectiveness=1.2, watts=700,
    watts_source="given by the user",
)  # fmt: skip

# Sets controls as a reader would, waits for the answer, and reads the page.
_TOOLS = """
  const at = (name) => document.getElementById("cost-" + name);
  const set = (name, value) => {
    at("in-" + name).value = value;
    at("in-" + name).dispatchEvent(new Event("input", { bubbles: true }));
  };
  const settled = () => new Promise((done) => setTimeout(done, 300));
  const shown = () => ({
    sentence: at("sentence").textContent, hash: location.hash, hidden: at("answer").hidden,
    rows: [...at("arms").tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
    facts: at("facts").textContent, pay: at("in-pay").value, price: at("in-price").value,
    bounds: costConstants.fields.map(({ name }) => ["min", "max", "step"].map((bound) => at("in-" + name)[bound])),
    owned: !at("owned").hidden, tokens: at("in-tokens_per_day").value,
    faults: [...document.querySelectorAll(".fault")].map((fault) => fault.textContent).filter(Boolean),
    invalid: [...document.querySelectorAll("[aria-invalid=true]")].map((input) => input.id),
  });
"""


@pytest.fixture(scope="module")
def cost_page():
    return render_cost_html(serving_page_view(made_study(), curves()))


@pytest.fixture(scope="module")
def report(cpu_records):
    return render_html(build_view(cpu_records, serving=serving_page_view(made_study(), curves())))


@pytest.fixture(params=["cost.html", "report.html"])
def page(request):
    return request.getfixturevalue("cost_page" if request.param == "cost.html" else "report")


def use(page, folder, steps="", fragment=""):
    return asked(
        page, f"async () => {{ {_TOOLS} await settled(); {steps} return shown(); }}", folder, fragment=fragment
    )


def test_the_page_begins_with_the_answer_that_the_command_gave(page, tmp_path):
    seen = use(page, tmp_path)
    decided = made_study().classes[0]
    assert seen["sentence"] == clean(decided.decision.sentence)
    assert [row[0] for row in seen["rows"]] == [clean(arm.deployment.curve.title) for arm in decided.arms]
    assert seen["rows"][0][1] == clean(whole(decided.arms[0].deployment.point.batch_size))
    assert (seen["pay"], seen["price"], seen["owned"], seen["faults"], seen["hash"]) == ("0", "3.5", False, [], "")
    assert [(float(low), float(high)) for low, high, _ in seen["bounds"]] == [(f.least, f.most) for f in FIELDS]
    assert [step for *_, step in seen["bounds"]] == ["1" if field.whole else "any" for field in FIELDS]


def test_a_changed_scenario_is_answered_and_travels_in_the_link(page, tmp_path):
    steps = "set('tokens_per_day', '2e12'); set('input_tokens', '8000'); set('milliseconds_per_output_token', '20');"
    steps += "set('api_input', '0.02'); set('api_output', '0.3'); await settled();"
    seen = use(page, tmp_path, steps)
    expected = made_study(
        limits=replace(default_limits(), seconds_per_output_token=0.02),
        api=(0.02, 0.3),
        tokens_per_day=2e12,
        input_tokens=8000,
    )
    assert seen["sentence"] == clean(expected.classes[0].decision.sentence)
    assert "against the API" in seen["facts"]
    assert "input_tokens=8000" in seen["hash"]
    assert use(page, tmp_path, fragment=seen["hash"]) == seen


def test_hardware_of_ones_own_is_asked_about_and_priced(cost_page, tmp_path):
    steps = (
        "set('pay', 'owned'); set('capex', '31000'); set('life', '4'); set('electricity', '0.1'); set('pue', '1.2');"
    )
    steps += "set('watts', '700'); await settled();"
    seen = use(cost_page, tmp_path, steps)
    expected = made_study(owned_rate(OWNED), owned=OWNED)
    assert seen["owned"] is True
    assert seen["sentence"] == clean(expected.classes[0].decision.sentence)
    assert use(cost_page, tmp_path, fragment=seen["hash"]) == seen


def test_a_rate_of_ones_own_has_no_market_around_it(cost_page, tmp_path):
    seen = use(cost_page, tmp_path, "set('price', '2'); await settled();")
    assert (seen["pay"], "over the market" in seen["facts"]) == ("own", False)
    assert seen["sentence"] == clean(made_study(rate(2.0)).classes[0].decision.sentence)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("tokens_per_day", "", "Give a number of 1 or more."),
        ("peak", "0.5", "Give a number of 1 or more."),
        ("duty", "0", "Give a number above 0, at most 100."),
        ("output_tokens", "1.5", "Give a whole number."),
        ("price", "-1", "Give a number above 0."),
    ],
)
def test_an_input_that_cannot_be_is_marked_and_nothing_is_answered(cost_page, tmp_path, name, value, fault):
    seen = use(cost_page, tmp_path, f"set('{name}', '{value}'); await settled();")
    assert (seen["faults"], seen["invalid"], seen["hidden"]) == ([fault], [f"cost-in-{name}"], True)
    assert seen["sentence"].startswith("No answer")


def test_reset_brings_back_the_pages_own_numbers(cost_page, tmp_path):
    steps = "set('tokens_per_day', '5'); set('pay', 'own'); await settled();"
    steps += "document.querySelector('[type=reset]').click(); await settled();"
    seen = use(cost_page, tmp_path, steps)
    assert {**seen, "hash": ""} == use(cost_page, tmp_path)
    assert "scenario" not in seen["hash"]


@pytest.mark.parametrize(
    "fragment",
    [
        "#scenario&tokens_per_day=%3Cimg%20src=x%20onerror=alert(1)%3E",
        "#scenario&pay=length&measured=99&%E0%A4%A",
        "#scenario&",
    ],
)
def test_a_broken_link_is_told_and_never_run(cost_page, tmp_path, fragment):
    seen = use(cost_page, tmp_path, fragment=fragment)
    assert seen["faults"]
    assert seen["hidden"] is True


def test_an_infeasible_limit_names_what_binds(cost_page, tmp_path):
    seen = use(cost_page, tmp_path, "set('seconds_to_first_token', '0.0001'); await settled();")
    assert all(row[2] == "infeasible: time to first token" for row in seen["rows"])
    assert "infeasible: time to first token, " in seen["sentence"]


def test_every_control_is_reached_in_order_and_nothing_sticks_out_of_a_phone(page, tmp_path):
    (tmp_path / "inner.html").write_text(page, encoding="utf-8")
    frame = (
        '<!doctype html><html><body style="margin:0">'
        '<iframe id="f" src="inner.html" style="border:0;width:WIDTHpx;height:900px"></iframe></body></html>'
    )
    function = """async () => {
      const page = document.getElementById("f").contentDocument;
      await new Promise((done) => setTimeout(done, 500));
      const width = page.documentElement.clientWidth;
      const out = [...page.querySelectorAll("main *")].filter((e) =>
        !e.closest(".scroll") && !e.closest("svg") && e.getBoundingClientRect().width &&
        e.getBoundingClientRect().right > width + 1).map((e) => e.tagName + "." + e.className + "#" + e.id);
      const controls = [...page.querySelectorAll("#cost-form input, #cost-form select, #cost-form button")]
        .filter((e) => e.offsetWidth && !e.disabled);
      const focused = controls.filter((e) => { e.focus(); return page.activeElement === e; }).length;
      return { width, out, controls: controls.length, focused, scroll: page.documentElement.scrollWidth,
        positive: controls.filter((e) => e.tabIndex !== 0).length };
    }"""
    for width in (390, 1280):
        seen = asked(frame.replace("WIDTH", str(width)), function, tmp_path, width=1400)
        assert seen["width"] == width
        assert seen["out"] == []
        assert seen["scroll"] <= width
        assert seen["controls"] == seen["focused"] == 15
        assert seen["positive"] == 0


def test_a_link_turns_a_report_to_its_scenario_and_nothing_else_does(report, tmp_path):
    function = """async () => {
      await new Promise((done) => setTimeout(done, 300));
      const top = Math.round(document.getElementById("cost-live-section").getBoundingClientRect().top);
      const before = { top, y: Math.round(scrollY) };
      location.hash = "#table-section";
      await new Promise((done) => setTimeout(done, 300));
      const kept = document.getElementById("cost-in-tokens_per_day").value;
      location.hash = "#scenario&tokens_per_day=7e9";
      await new Promise((done) => setTimeout(done, 300));
      const after = Math.round(document.getElementById("cost-live-section").getBoundingClientRect().top);
      return { ...before, kept, after, tokens: document.getElementById("cost-in-tokens_per_day").value };
    }"""
    sent = asked(report, function, tmp_path, fragment="#scenario&measured=0&pay=own&tokens_per_day=2e12&price=2")
    assert abs(sent["top"]) <= 40  # where the page is scrolled to, with the padding it keeps above
    assert sent["y"] > 1000
    assert (sent["kept"], sent["tokens"]) == ("2e12", "7e9")
    assert abs(sent["after"]) <= 40
    assert asked(report, function, tmp_path)["y"] == 0


def test_a_report_asks_nothing_of_the_network_and_no_id_stands_twice_in_it(report, tmp_path):
    function = f"""async () => {{
      {_TOOLS} await settled(); set("tokens_per_day", "2e12"); set("pay", "owned"); await settled();
      const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
      document.querySelectorAll("#every-workload th [role=button]")[3].click();
      return {{
        asked: performance.getEntriesByType("resource").map((entry) => entry.name),
        twice: ids.filter((id, place) => ids.indexOf(id) !== place),
        sorted: document.querySelector("#every-workload th[aria-sort]") !== null,
      }};
    }}"""
    assert asked(report, function, tmp_path) == {"asked": [], "twice": [], "sorted": True}


def test_without_a_rate_one_is_asked_for_and_then_answered(tmp_path, monkeypatch):
    monkeypatch.setattr("pamprof.render.formats.html.draw_svg", lambda chart, narrow: "")
    unpriced = serving_page_view(made_study(UnknownRate(option="on-demand", reason="no row")), curves())
    page = render_cost_html(unpriced)
    first = use(page, tmp_path)
    assert first["sentence"] == "No answer yet: give the rate of a device-hour, which is marked above."
    assert (first["hidden"], first["pay"]) == (True, "own")
    given = use(page, tmp_path, "set('price', '2'); await settled();")
    assert given["sentence"] == clean(made_study(rate(2.0)).classes[0].decision.sentence)
