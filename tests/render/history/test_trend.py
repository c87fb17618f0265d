import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from pamprof.analysis.history.trend import trend_of
from pamprof.render.history.trend import trend_view
from pamprof.render.history.trend_charts import run_labels, short_commit
from pamprof.render.history.trend_files import render_trend_html
from pamprof.render.plots.picture import draw_png, draw_svg
from tests.analysis.history.test_difference import ARMS, REFERENCE, measured, with_environment
from tests.analysis.history.test_trend import exact, on
from tests.render.conftest import HOSTILE
from tests.render.test_html import styled
from tests.synthetic import synthetic_session


@pytest.fixture(scope="module")
def trend():
    """Three runs: torch changed before the second, the first arm got 10 % slower in the third."""
    files = [
        ("a", exact(ratios=(2.0, 3.0), day=1)),
        ("b", with_environment(exact(ratios=(2.0, 3.0), day=2), torch_version="2.13.0", git_commit="fedcba9876-dirty")),
        ("c", with_environment(exact(ratios=(2.2, 3.0), day=3), torch_version="2.13.0")),
    ]
    return trend_of(files, within=0.01)


@pytest.fixture(scope="module")
def view(trend):
    return trend_view(trend, (synthetic_session("cuda"),))


@pytest.fixture(scope="module")
def page(view):
    return render_trend_html(view)


def test_no_element_of_the_page_carries_a_style(page):
    assert styled(page) == []


def plain(text):
    return text.replace("\u202f", " ")


def test_a_panel_a_workload_with_its_ratios_and_its_changes(view):
    (chart,) = view.charts
    assert chart.name == "trend-train-model-b3-t2048-bfloat16"
    assert [panel.title for panel in chart.panels] == ["PAM published · eager", "PAM published · graph"]
    first = chart.panels[0]
    assert [value.median for value in first.values] == pytest.approx([2.0, 2.0, 2.2])
    assert first.changes == ((1, "torch"),)
    assert plain(first.text) == "10 %"
    assert first.noise == pytest.approx((2.0, 2.0))


def test_the_title_states_the_largest_spread(view):
    (chart,) = view.charts
    assert plain(chart.title) == (
        "Training, batch 3 × 2k tokens, bfloat16: ratios lie at most 10 % apart (PAM published · eager)"
    )
    assert "Before run 2: torch 2.11.0+cu130 → 2.13.0." in chart.caption
    assert "Before run 2" in chart.alt
    assert "0123456" in chart.source
    assert "fedcba9+" in chart.source


def test_the_table_says_what_lies_apart(view):
    assert plain(view.table.title) == "pamprof trend: 3 runs, 1 of 2 workloads apart by more than 1 %"
    assert [row[-1] for row in view.table.rows] == ["outside", "within"]
    assert any(plain(note).startswith("Further apart than 1 %: PAM published · eager") for note in view.table.notes)
    assert [row[0] for row in view.runs] == ["1", "2", "3"]
    assert [row[-1] for row in view.runs] == ["–", "torch 2.11.0+cu130 → 2.13.0", "nothing"]


def test_a_run_on_a_day_of_its_own_is_called_by_the_day_others_by_the_time_too(trend):
    first, second, third = trend.runs
    assert run_labels((first, second)) == (("1 Nov", "0123456"), ("2 Nov", "fedcba9+"))
    same_day = replace(third, started_at="2026-11-02T18:30:00+00:00", commits=())
    assert run_labels((second, same_day)) == (("2 Nov", "12:00", "fedcba9+"), ("2 Nov", "18:30"))
    later = replace(third, started_at="2027-01-02T18:30:00+00:00", commits=())
    assert run_labels((first, later)) == (("1 Nov 2026", "0123456"), ("2 Jan 2027",))


def test_a_commit_is_short_and_says_whether_it_had_changes():
    assert short_commit("0123456789abcdef") == "0123456"
    assert short_commit("0123456789abcdef-dirty") == "0123456+"


def test_workloads_without_two_ratios_have_no_panel_and_are_named():
    files = [("a", on(1, measured(seed=1, arms=ARMS[:2]))), ("b", on(2, measured(seed=2, arms=ARMS[1:2])))]
    view = trend_view(trend_of(files))
    assert [panel.title for panel in view.charts[0].panels] == ["PAM published · graph"]
    assert any(note.startswith("Without two ratios to compare: PAM published · eager") for note in view.table.notes)


def test_nothing_in_common_is_a_page_without_a_picture():
    files = [("a", on(1, measured(seed=1, arms=ARMS[:1]))), ("b", on(2, measured(seed=2, arms=ARMS[1:2])))]
    view = trend_view(trend_of(files))
    assert view.charts == ()
    assert "No picture: no workload has a ratio in two runs." in render_trend_html(view)


def test_many_runs_fold_into_columns_of_extremes():
    files = [(str(day), exact(ratios=(2.0 + day / 100,), day=day)) for day in range(1, 13)]
    view = trend_view(trend_of(files))
    assert view.table.columns[2:7] == ("first", "lowest", "middle", "highest", "last")
    (row,) = view.table.rows
    assert row[2] == row[3] == "2.010×"
    assert row[5] == row[6] == "2.120×"
    assert len(view.table.columns) == len(row)
    assert len(view.charts[0].panels[0].runs) == 12


def test_a_different_reference_is_told_instead_of_a_spread():
    other = replace(REFERENCE, implementation="naive")
    files = [("a", on(1, measured(seed=1))), ("b", on(2, measured(seed=2, reference=other)))]
    view = trend_view(trend_of(files, within=0.01))
    assert "different references" in view.charts[0].title
    assert {panel.text for panel in view.charts[0].panels} == {"–"}
    assert {row[-1] for row in view.table.rows} == {"undecided"}


def test_the_page_is_whole_and_needs_no_other_file(view, page):
    class Reader(HTMLParser):
        stack, seen = [], []

        def handle_starttag(self, tag, attrs):
            self.seen.append((tag, dict(attrs)))

    reader = Reader()
    reader.feed(page)
    tags = [tag for tag, _ in reader.seen]
    assert tags.count("figure") == len(view.charts)
    assert tags.count("table") == 2
    assert "script" not in tags
    assert not [attrs for _, attrs in reader.seen if "src" in attrs]
    links = [attrs["href"] for _, attrs in reader.seen if "href" in attrs]
    identities = [attrs["id"] for _, attrs in reader.seen if "id" in attrs]
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(identities)
    assert len(identities) == len(set(identities))
    pictures = [attrs for _, attrs in reader.seen if attrs.get("role") == "img"]
    assert all("Training" in attrs["aria-label"] for attrs in pictures)
    assert page == render_trend_html(view)


def test_the_picture_alone_is_two_thousand_pixels_wide(view):
    png = draw_png(view.charts[0])
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == 2000


def test_the_picture_shows_the_changed_condition_and_every_run(view):
    text = draw_svg(view.charts[0], narrow=False)
    shown = re.findall(r">([^<>]+)<", text)
    assert shown.count("torch") == 2
    assert shown.count("fedcba9+") == 2


def test_hostile_names_act_in_no_part_of_the_page():
    arm = replace(ARMS[0], implementation=HOSTILE)
    files = [
        (HOSTILE, on(day, with_environment(measured(seed=day, arms=(arm,)), device_name=name, git_commit=HOSTILE)))
        for day, name in ((1, "NVIDIA H200"), (2, HOSTILE))
    ]
    page = render_trend_html(trend_view(trend_of(files, within=0.01)))
    assert "alert(1)" in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert 'href="http' not in page
