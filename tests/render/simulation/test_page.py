from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.from_records import serving_curves
from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation.arm import ServerSettings
from pamprof.analysis.simulation.measured_elsewhere import curves_of, read_served_elsewhere
from pamprof.analysis.simulation.metrics import Level
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.pricing.rates.currency import USD
from pamprof.pricing.serving.load_study import LoadQuestion, LoadStudy, load_study
from pamprof.records.store import read_records
from pamprof.render.arms import Arm
from pamprof.render.charts import Chart, CurvePanel, ServingStrip
from pamprof.render.plots.marks import spread
from pamprof.render.plots.picture import draw_svg
from pamprof.render.simulation.charts import load_charts
from pamprof.render.simulation.page import render_load_html
from pamprof.render.simulation.view import FLEET_COLUMNS, TIME_COLUMNS, load_view
from tests.pricing.serving.test_bill import rate
from tests.render.test_html import outline

SWEEP = Path(__file__).parents[3] / "reports" / "2026-11-23-nvidia-h200-serving" / "1b" / "pam.jsonl"


@cache
def study(seconds_to_first_token: float = 2.0) -> LoadStudy:
    records = read_records(SWEEP)
    curves = serving_curves(records.runs, records.skips)
    arrivals = Arrivals(per_second=60.0, variation=3.0)
    question = LoadQuestion(
        requests=draw_requests(500, arrivals, Lengths(mean=1_500), Lengths(mean=300, sigma=0.5), seed=1),
        level=Level(
            limits=Limits(seconds_per_output_token=0.05, seconds_to_first_token=seconds_to_first_token), percentile=95
        ),
        settings=ServerSettings(largest_batch=64),
    )
    return load_study(curves, question, {curve.environment.device_name: (rate(2.0),) for curve in curves})


@pytest.fixture(scope="module")
def charts() -> tuple[Chart, ...]:
    return load_charts(study())


@pytest.fixture
def page(charts: tuple[Chart, ...], undrawn: None) -> str:
    return render_load_html(load_view(study(), USD, alerts=("A rate is old.",), seed=1), charts)


def test_the_page_stands_alone_and_has_every_picture_and_table(page: str, charts: tuple[Chart, ...]) -> None:
    for tag, attributes in outline(page).tags:
        assert "style" not in attributes, tag
        for name in ("src", "href", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"@import|url\((?!#)|<script", page)
    for chart in charts:
        assert f'<figure id="{chart.name}">' in page
    assert 'data-label="to first token p95"' in page
    assert 'data-label="end to end p99"' in page
    for column in (*TIME_COLUMNS, *FLEET_COLUMNS):
        assert f">{column}</th>" in page
    assert "A rate is old." in page


def test_the_curve_of_waiting_crosses_the_levels_share_at_the_tables_percentile(charts: tuple[Chart, ...]) -> None:
    (first, each) = (panel for panel in charts[0].panels if isinstance(panel, CurvePanel))
    assert first.level == each.level == pytest.approx(0.05)
    by_label = {arm.title.partition(" ·")[0]: arm for arm in study().arms}
    for panel, name in ((first, "level_seconds_to_first_token"), (each, "level_seconds_per_output_token")):
        for curve in panel.curves:
            (piece,) = curve.pieces
            metrics = by_label[curve.label].metrics
            assert metrics is not None
            slower = [x for x, value in zip(piece.xs, piece.values, strict=True) if value.median <= 0.05]
            assert slower[0] == pytest.approx(getattr(metrics, name), rel=0.1)
            medians = [value.median for value in piece.values]
            assert medians == sorted(medians, reverse=True)


def test_the_rates_end_beyond_the_mark_and_the_line_is_the_limit(charts: tuple[Chart, ...]) -> None:
    limits = [panel.level for panel in charts[1].panels if isinstance(panel, CurvePanel)]
    assert limits == [2.0, 0.05]
    drawn = draw_svg(charts[1], narrow=True)
    assert all(f">{tick}<" in drawn for tick in ("100 ms", "1 s", "allowed")), re.findall(r">([^<>]+)</text", drawn)
    assert ">p95<" in draw_svg(charts[0], narrow=True)
    highest = {arm.title.partition(" ·")[0]: arm.highest_per_second for arm in study().arms}
    for panel in charts[1].panels:
        assert isinstance(panel, CurvePanel)
        for curve in panel.curves:
            ours = highest[curve.label]
            assert ours is not None
            assert [spot.x for spot in curve.spots] == [ours.median]
            assert curve.pieces[0].xs[0] < 0.06 * ours.median


def test_the_question_says_how_requests_come_and_how_their_lengths_vary() -> None:
    asked = load_view(study(), USD, seed=1).asked
    assert "60.0 requests a second in bursts (cv 3), of 1\u202f500 input and 300 output tokens in the mean, " in asked
    assert "prompts all alike, answers log-normal (sigma 0.5); at percentile 95" in asked


def test_a_level_that_nothing_holds_has_reasons_in_place_of_pictures() -> None:
    refused = study(1e-4)
    assert [chart.panels for chart in load_charts(refused)] == [(), (), ()]
    view = load_view(refused, USD, seed=1)
    assert all("infeasible: time to first token" in sentence for sentence in view.differences)


def test_requests_that_wait_are_counted_in_whole_numbers(charts: tuple[Chart, ...]) -> None:
    assert re.match(r"In the busiest minute at most [\d\u202f]+ requests? at once had no first", charts[2].title)
    for strip in charts[2].panels:
        assert isinstance(strip, ServingStrip)
        assert strip.most >= max(*strip.running, *strip.waiting)


def test_labels_of_two_lines_keep_clear_of_their_neighbours() -> None:
    heights = [0.1, 0.2, 0.1]
    low, middle, high = spread([0.5, 0.5, 0.5], heights, 0.0, 1.0)
    # Middles are half of both heights apart: 0.15 on either side.
    assert (middle - low, high - middle) == pytest.approx((0.15, 0.15), rel=0.01)


def test_a_strip_of_one_minute_is_drawn_wide_and_narrow() -> None:
    strip = ServingStrip(
        arm=Arm(key="pam/fused", label="PAM", role="kernels", marker="h"),
        title="PAM at 12 requests a second",
        seconds=60.0,
        reading=(0.2, 0.5),
        decoding=(0.8, 0.25),
        running=(3.0, 8.0),
        waiting=(0.0, 2.0),
        most=9,
    )
    chart = Chart(
        name="load-minute", kind="gantt", title="T", subtitle="", axis="seconds", caption="", source="", alt="T.",
        panels=(strip,),
    )  # fmt: skip
    wide, narrow = (draw_svg(chart, narrow=narrow) for narrow in (False, True))
    assert "PAM at 12 requests a second" in wide
    assert wide != narrow


def test_measured_serving_of_others_is_a_solid_curve_beside_the_simulated_ones() -> None:
    served = Path(__file__).parents[2] / "analysis" / "simulation" / "served"
    runs = [run for path in sorted(served.glob("vllm*.json")) for run in read_served_elsewhere(path, 95.0)]
    measured = curves_of(runs, 95.0)
    charts = load_charts(study(), measured=measured)
    (first, each) = (panel for panel in charts[1].panels if isinstance(panel, CurvePanel))
    for panel, values in ((first, (0.1, 0.2, 0.4)), (each, (0.01, 0.02, 0.04))):
        (piece,) = panel.curves[-1].pieces
        assert piece.basis is Basis.MEASURED
        assert piece.xs == (4.0, 8.0, 16.0)
        assert [value.median for value in piece.values] == pytest.approx(values)
    assert "measured of real servers" in charts[1].caption
    table = load_view(study(), USD, seed=1, measured=measured).tables[-1]
    assert len(table.rows) == 3
    assert {len(row) for row in table.rows} == {len(table.columns)}
