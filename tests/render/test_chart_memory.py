from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.render.comparison.view import build_view
from pamprof.render.plots.memory import COMPONENTS
from pamprof.render.plots.picture import draw_svg
from pamprof.render.plots.style import DARK, LIGHT


@pytest.fixture(scope="module")
def taken_apart(cpu_records):
    """Records in which a tenth of what was the rest is unaccounted for."""
    runs = tuple(
        replace(
            run,
            memory=replace(run.memory, short_lived_bytes=run.memory.transient_bytes - run.memory.transient_bytes // 10),
        )
        for run in cpu_records.runs
    )
    return replace(cpu_records, runs=runs)


def bars(view):
    return [bar for panel in view.chart("memory").panels for bar in panel.bars]


def test_parts_with_the_unaccounted_are_the_measured_peak(taken_apart):
    found = bars(build_view(taken_apart))
    assert found
    for bar in found:
        parts = dict(bar.parts)
        assert sum(parts.values()) == bar.total_bytes
        assert parts["unaccounted"] == pytest.approx(parts["transient"] / 9, abs=1)


def test_what_is_unaccounted_for_has_a_colour_of_its_own_and_a_share_in_the_caption(taken_apart):
    chart = build_view(taken_apart).chart("memory")
    assert "unaccounted for" in draw_svg(chart, narrow=False)
    assert "--unaccounted" in draw_svg(chart, narrow=False)
    for theme in (LIGHT, DARK):
        assert len({theme[name] for name, _ in COMPONENTS}) == len(COMPONENTS)
    assert "What no part explains is at most" in chart.caption


def test_records_that_cannot_tell_show_the_rest_as_one_and_say_so(cpu_view):
    chart = cpu_view.chart("memory")
    assert all(dict(bar.parts)["unaccounted"] == 0 for bar in bars(cpu_view))
    assert all(sum(size for _, size in bar.parts) == bar.total_bytes for bar in bars(cpu_view))
    assert "unaccounted for" not in draw_svg(chart, narrow=False)
    assert "they are the rest of the peak" in chart.caption
