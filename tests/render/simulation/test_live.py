"""The live inputs answer as Python does, whatever is typed."""

from __future__ import annotations

import json
from functools import cache
from math import ceil
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.measured_times import End
from pamprof.analysis.simulation.rate_grid import RateGrid, rate_grid
from pamprof.pricing.rates.currency import USD
from pamprof.render.simulation.live import COLUMNS, live_inputs, load_data
from pamprof.render.simulation.page import render_load_html
from pamprof.render.simulation.view import load_view
from tests.render.browser import BROWSER, asked
from tests.render.simulation.test_page import study
from tests.render.test_html import outline

if TYPE_CHECKING:
    from pathlib import Path


@cache
def page() -> str:
    return render_load_html(load_view(study(), USD, seed=1), (), live_inputs(study(), USD))


@cache
def grids() -> dict[str, RateGrid]:
    return {
        arm.title: grid
        for arm in study().arms
        if arm.loaded is not None and (grid := rate_grid(arm.loaded, arm.highest[End.MEDIAN], arm.metrics)) is not None
    }


def test_the_form_stands_in_the_page_with_its_own_script_alone() -> None:
    assert page().count("<script>") == 1
    for tag, attributes in outline(page()).tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
    for column in COLUMNS:
        assert f">{column}</th>" in page()
    assert "neighbours instead" in page()


def test_a_study_without_an_answer_has_no_form() -> None:
    assert live_inputs(study(1e-4), USD) is None
    assert "<script" not in render_load_html(load_view(study(1e-4), USD, seed=1), ())


def test_the_grid_reads_what_was_simulated_at_its_own_rates() -> None:
    for arm in study().arms:
        grid = grids()[arm.title]
        assert arm.loaded is not None
        rate = grid.rates[3]
        found = grid.at(grid.first, rate)
        assert found == pytest.approx(arm.loaded.metrics(rate).level_seconds_to_first_token)
        highest, _, _ = grid.highest_within(study().question.level.limits)
        assert highest == pytest.approx(arm.highest_per_second.median, rel=0.05)


def test_the_grid_says_what_the_page_says_at_the_pages_own_rate() -> None:
    for arm in study().arms:
        grid, found = grids()[arm.title], arm.metrics
        assert found is not None
        assert grid.each is not None
        rate = found.requests_per_second
        assert grid.at(grid.first, rate) == pytest.approx(found.level_seconds_to_first_token, rel=1e-9)
        assert grid.at(grid.each, rate) == pytest.approx(found.level_seconds_per_output_token, rel=1e-9)
        assert grid.error_at(grid.first, rate) == 0.0 < grid.error_at(grid.first, 1.001 * rate)


CASES = ((60.0, 2.0, 0.05), (700.0, 0.2, 0.02), (1.5, 0.05, 0.004), (60.0, 1e-6, 0.05), (60.0, 2.0, 1e-6))
OWN = (2.0, 0.05)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.browser
def test_the_script_answers_as_python_does(tmp_path: Path) -> None:
    data = json.dumps(load_data(study(), grids(), USD))
    cases = json.dumps([{"rate": rate, "first": first, "each": each} for rate, first, each in CASES])
    function = f"() => {cases}.map((numbers) => ({data}).arms.map((arm) => loadPage.answer(arm, numbers, {data})))"
    answers = asked(page(), function, tmp_path)
    for (rate, first, each), found in zip(CASES, answers, strict=True):
        for arm in found:
            grid = grids()[arm["title"]]
            highest, bound, error = grid.highest_within(
                Limits(seconds_to_first_token=first, seconds_per_output_token=each)
            )
            if (first, each) == OWN:
                own = next(told for told in study().arms if told.title == arm["title"]).highest[End.MEDIAN]
                highest, bound, error = own.requests_per_second, own.bound, 0.0
            assert arm["bound"] == bound
            if highest is None:
                assert arm["highest"] is None
                continue
            assert arm["highest"] == pytest.approx(highest)
            assert arm["highest_error"] == pytest.approx(error)
            replicas = max(1, ceil(rate / highest - 1e-9))
            assert arm["replicas"] == replicas
            assert arm["usd_per_month"] == pytest.approx(replicas * 2.0 * 730)
            assert grid.each is not None
            share = rate / replicas
            assert arm["first"] == pytest.approx(grid.at(grid.first, share))
            assert arm["each"] == pytest.approx(grid.at(grid.each, share))
            assert arm["error"] == pytest.approx(max(grid.error_at(line, share) for line in (grid.first, grid.each)))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.browser
def test_what_is_typed_is_answered_and_what_is_none_is_told(tmp_path: Path) -> None:
    shown = asked(
        page(),
        """() => {
          const at = (name) => document.getElementById("load-" + name);
          const type = (name, value) => {
            at("in-" + name).value = value;
            at("in-" + name).dispatchEvent(new Event("input", { bubbles: true }));
          };
          const words = (row) => [...row.cells].map((cell) => cell.textContent);
          const rows = () => [...at("arms").tBodies[0].rows].map(words);
          const first = rows();
          type("rate", "6000");
          const more = rows();
          type("first", "-1");
          const wrong = [at("answer").hidden, at("fault-first").textContent];
          at("form").reset();
          return { first, more, wrong, again: rows(), live: at("live").hidden, still: at("still").hidden };
        }""",
        tmp_path,
    )
    assert shown["first"] == shown["again"]
    assert [len(row) for row in shown["first"]] == [len(COLUMNS)] * len(study().arms)
    assert all(int(more[3]) > int(first[3]) for more, first in zip(shown["more"], shown["first"], strict=True))
    assert shown["wrong"] == [True, "more than 0, at most 1e9"]
    assert (shown["live"], shown["still"]) == (False, True)
