"""The ratio of costs against context: the analysis's own ratios and crossovers, nothing beyond what was measured."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest

from pamprof.render.comparison.view import build_view
from pamprof.render.plots.picture import draw_png
from tests.synthetic import with_fused


@pytest.fixture(scope="module")
def view(gpu_records):
    return build_view(with_fused(gpu_records))


@pytest.fixture(scope="module")
def chart(view):
    return view.chart("ratio-context")


def panel_of(chart, title):
    return next(panel for panel in chart.panels if panel.title == title)


def ratios(panel):
    return {c.label: [value.median for value in c.pieces[0].values] for c in panel.curves}


def test_one_line_each_for_published_planar_and_fused_in_phases_with_two_lengths(chart):
    assert [panel.title for panel in chart.panels] == ["Decode, batch 1", "Decode, batch 64", "Prefill, batch 1"]
    for panel in chart.panels:
        assert [curve.label for curve in panel.curves] == ["PAM published", "PAM planar", "PAM fused"]
        assert panel.level == 1.0


def test_lines_are_the_ratios_of_the_fastest_executions(chart):
    found = ratios(panel_of(chart, "Decode, batch 1"))
    # Seconds of the synthetic records: 4.2 ms, 650 us and half of that over 497 us at 2k and 744 us at 16k.
    assert found["PAM published"] == pytest.approx([4.2e-3 / 497e-6, 4.2e-3 / 744e-6], rel=0.01)
    assert found["PAM planar"] == pytest.approx([650e-6 / 497e-6, 650e-6 / 744e-6], rel=0.01)
    assert found["PAM fused"] == pytest.approx([325e-6 / 497e-6, 325e-6 / 744e-6], rel=0.01)


def test_a_crossover_is_interpolated_on_logarithms_and_named(chart):
    panel = panel_of(chart, "Decode, batch 1")
    (mark,) = panel.marks
    first, last = ratios(panel)["PAM planar"]
    share = log(first) / (log(first) - log(last))
    assert mark.x.median == pytest.approx(2048 * exp(share * log(8)), rel=0.02)
    assert mark.x.low < mark.x.median < mark.x.high
    assert mark.text.startswith("planar equal at ")
    assert panel.note == "published never cheaper; fused always cheaper"


def test_no_mark_lies_outside_the_measured_lengths(chart):
    for panel in chart.panels:
        xs = panel.curves[0].pieces[0].xs
        assert all(min(xs) <= mark.x.median <= max(xs) for mark in panel.marks)


def test_two_crossovers_of_one_panel_are_named_in_its_note(gpu_records):
    records = with_fused(gpu_records, 0.9)
    panel = panel_of(build_view(records).chart("ratio-context"), "Decode, batch 1")
    assert [mark.text for mark in panel.marks] == ["", ""]
    assert panel.note.startswith("planar equal at ")
    assert "; fused equal at " in panel.note


def test_one_length_gives_a_sentence_instead_of_a_picture(gpu_records):
    runs = tuple(run for run in gpu_records.runs if run.workload.sequence_length == 2048)
    chart = build_view(replace(gpu_records, runs=runs)).chart("ratio-context")
    assert chart.panels == ()
    assert "--sequence-length" in chart.reason


def test_without_pam_no_line_is_drawn_for_it(gpu_records):
    runs = tuple(run for run in gpu_records.runs if run.workload.spec.layer != "pam")
    chart = build_view(replace(gpu_records, runs=runs)).chart("ratio-context")
    labels = {curve.label for panel in chart.panels for curve in panel.curves}
    assert not any("PAM" in label for label in labels)


def test_picture_is_drawn_and_its_words_name_ends_and_crossovers(chart):
    assert draw_png(chart).startswith(b"\x89PNG")
    assert "planar equal at" in chart.alt
    assert "PAM fused 0.65" in chart.alt
    assert "time and for money" in chart.caption


def test_training_at_one_length_has_no_panel_and_prefill_is_read_along_its_length(chart):
    assert panel_of(chart, "Prefill, batch 1").x_label == "tokens per sequence (log)"
    assert not any(panel.title.startswith("Training") for panel in chart.panels)


def test_of_arms_that_are_always_cheaper_the_fastest_is_named(view):
    panel = panel_of(view.chart("cost-context"), "Decode, batch 64")
    assert panel.note == "no crossover with the transformer: PAM fused is always cheaper"
