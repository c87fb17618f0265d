"""The table by machine of a report whose records are of several."""

from pamprof.analysis import analyse
from pamprof.records import Phase
from pamprof.render.comparison.charts.common import panel_title
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import render_markdown
from tests.analysis.test_machines import OTHER, fleet, slower
from tests.synthetic import synthetic_records


def test_a_report_has_a_table_by_machine_only_where_there_are_several(undrawn):
    first = synthetic_records()
    some = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    view = build_view(fleet(first, some))
    table = view.machines
    assert table.machines == (first.runs[0].environment.device_name, OTHER)
    by_point = {row.point: row.cells for row in table.rows}
    told = analyse(first).story.phase(Phase.TRAIN)
    trained = by_point[panel_title(told.point)]
    assert trained[0].text.startswith(f"{told.best.time_ratio.median:.3g}×")
    assert trained[1].reason == "not measured on this machine"
    assert f"| {OTHER} |" in render_markdown(view)
    assert OTHER in render_html(view)
    assert build_view(first).machines is None


def test_the_csv_has_the_rows_of_every_machine_each_with_the_ratio_formed_there():
    first = synthetic_records()
    some = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    both = fleet(first, some)
    frame = measurements(both, analyse(both))
    counts = frame["device_name"].value_counts()
    assert counts[OTHER] == len(some.runs)
    assert counts[first.runs[0].environment.device_name] == len(first.runs)
    alone = measurements(some, analyse(some))
    columns = [name for name in frame.columns if name.startswith("cost_against_baseline") or name == "key"]
    assert len(columns) > 1
    mine = frame[frame["device_name"] == OTHER][columns].reset_index(drop=True)
    assert mine.equals(alone[columns].reset_index(drop=True))
