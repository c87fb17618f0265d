"""The table of all layers: a row a layer, why a cell is empty, and several environments of one device model."""

import re
from dataclasses import replace

import pytest

from pamprof import units
from pamprof.analysis import analyse
from pamprof.records import Effort, Parallel, Phase, RankLayout, SkipKind, UnplannedLayer
from pamprof.records.store import RecordFile
from pamprof.render.arms import arm_key
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import family_markdown
from tests.synthetic import synthetic_records, synthetic_skip

PEERS = "2.13.0"  # the torch of layers that could not be installed beside the others


def three_states(runs):
    """The PAM runs again, twice as slow and with three states a head."""
    for run in runs:
        if run.workload.spec.layer == "pam":
            samples = tuple(2 * sample for sample in run.timing.wall_time_seconds)
            yield replace(
                run,
                workload=replace(run.workload, spec=replace(run.workload.spec, state_count=3)),
                timing=replace(run.timing, wall_time_seconds=samples),
            )


def changed(**fields) -> RecordFile:
    return replace(synthetic_records("cuda"), **fields)


def table_of(records):
    return build_view(records).family


def row_of(table, layer, state_count=1):
    return next(row for row in table.rows if (row.layer, row.state_count) == (layer, state_count))


def cell_of(table, layer, column, state_count=1):
    place = [each.name for each in table.columns].index(column)
    return row_of(table, layer, state_count).cells[place]


def test_columns_are_the_standard_places_that_were_measured_with_the_batch_of_most_layers():
    table = table_of(synthetic_records("cuda"))
    speeds = [(column.heading, column.unit) for column in table.columns[:-4]]
    assert speeds[0] == ("Training 2k", "tokens/s, batch 18")
    assert ("Decode 2k", "tokens/s, batch 1") in speeds
    assert ("Decode 2k", "tokens/s, batch 64") in speeds
    assert [column.heading for column in table.columns[-4:]] == ["Memory", "State", "$/M", "$/M"]
    assert [row.name for row in table.rows] == ["real twin", "PAM", "transformer"]


def test_effort_stands_beside_every_number_and_older_records_are_called_so():
    for effort, word in ((Effort.STANDARD, "standard"), (None, "older")):
        records = synthetic_records("cuda")
        table = table_of(
            replace(records, sessions=tuple(replace(session, effort=effort) for session in records.sessions))
        )
        cells = [cell for row in table.rows for cell in row.cells if not cell.reason]
        assert cells
        assert all(cell.detail.endswith(word) for cell in cells)
        assert any(note.startswith("“older”") for note in table.notes) is (effort is None)


def test_one_and_three_states_are_rows_of_their_own_and_arms_of_their_own_name():
    records = synthetic_records("cuda")
    both = replace(records, runs=(*records.runs, *three_states(records.runs)))
    table = table_of(both)
    assert [row.name for row in table.rows if row.layer == "pam"] == ["PAM", "PAM, 3 states"]
    one, three = (cell_of(table, "pam", "train-18-2048", count) for count in (1, 3))
    assert one.sort / three.sort == pytest.approx(2, rel=0.05)
    planar = [run.workload for run in both.runs if run.workload.implementation == "planar"]
    assert {"pam/planar", "pam/planar/k3"} <= {arm_key(workload) for workload in planar}
    view = build_view(both)
    labels = [arm.label for arm in view.arms]
    assert len(set(labels)) == len(labels)
    point = next(p for p in analyse(both).points if p.point.phase is Phase.TRAIN)
    best = analyse(both).story.best_arms(point)
    assert {s.workload.spec.state_count for s in best if s.workload.spec.layer == "pam"} == {1, 3}


def test_an_empty_cell_says_out_of_memory_no_decode_refused_or_not_run():
    records = synthetic_records("cuda")
    (session,) = records.sessions
    gone = [run for run in records.runs if run.workload.spec.layer == "real_pam"]
    lost = next(run for run in gone if run.workload.phase is Phase.TRAIN and run.workload.batch_size == 18)
    skip = replace(
        records.skips[0] if records.skips else None,
        workload=lost.workload,
        kind=SkipKind.OUT_OF_MEMORY,
        reason="CUDA out of memory: 150 GiB of 140",
    )
    facts = tuple(
        replace(each, no_decode_reason="it has no step") if each.layer == "real_pam" else each
        for each in session.layers
    )
    refused = UnplannedLayer(layer="mamba", reason="mamba-ssm is not installed")
    made = RecordFile(
        sessions=(replace(session, layers=facts, unplanned_layers=(refused,)),),
        runs=tuple(
            run
            for run in records.runs
            if not (
                run.workload.spec.layer == "real_pam"
                and (run.workload.point == lost.workload.point or run.workload.phase is Phase.DECODE)
            )
        ),
        skips=(skip,),
        problems=(),
    )
    table = table_of(made)
    column = f"train-{lost.workload.batch_size}-{lost.workload.sequence_length}"
    cell = cell_of(table, "real_pam", column)
    assert (cell.text, cell.detail, cell.reason) == (units.UNKNOWN, "out of memory", skip.reason)
    cell = cell_of(table, "real_pam", "decode-1-2048")
    assert (cell.detail, cell.reason) == ("no decode", "no decode: it has no step")
    assert {(cell.detail, cell.reason) for cell in row_of(table, "mamba").cells} == {
        ("refused", "mamba-ssm is not installed")
    }
    assert row_of(table, "mamba").remark == "no number"
    without = [run for run in records.runs if run.workload.spec.layer != "pam" or run.workload.batch_size != 64]
    cell = cell_of(table_of(replace(records, runs=tuple(without))), "pam", "decode-64-2048")
    assert cell.detail == "not run"
    assert "not run here, but at 1 × 2,048 tokens" in cell.reason


def with_peers(records: RecordFile) -> RecordFile:
    """The records, and GLA with the times of PAM, in a torch where that and the transformer take 1.7 times as long."""
    (session,) = records.sessions
    named = {"session_id": "peers", "started_at": "2026-11-20T12:00:00+00:00"}
    runs = []
    for run in records.runs:
        if run.workload.spec.layer == "real_pam":
            continue
        layer = run.workload.spec.layer if run.workload.spec.layer == "transformer" else "gla"
        workload = replace(run.workload, spec=replace(run.workload.spec, layer=layer))
        environment = replace(run.environment, torch_version=PEERS)
        times = (run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds)
        samples, beside = (tuple(1.7 * sample for sample in each) for each in times)
        timing = replace(run.timing, wall_time_seconds=samples, reference_wall_time_seconds=beside)
        runs.append(replace(run, workload=workload, environment=environment, timing=timing, **named))
    arms = tuple(
        replace(arm, spec=replace(arm.spec, layer="gla")) if arm.spec.layer == "pam" else arm
        for arm in session.arms
        if arm.spec.layer != "real_pam"
    )
    facts = {each.layer: each for each in session.layers}
    layers = (replace(facts["pam"], layer="gla", title="GLA"), facts["transformer"])
    other = replace(session, arms=arms, layers=layers, planned=(), **named)
    return replace(records, sessions=(*records.sessions, other), runs=(*records.runs, *runs))


def test_a_layer_of_another_environment_is_a_row_of_its_own_there_and_one_of_another_device_is_none():
    records = synthetic_records("cuda")
    merged = with_peers(records)
    table = table_of(merged)
    assert [row.layer for row in table.rows] == ["real_pam", "pam", "transformer", "gla"]
    assert row_of(table, "gla").remark.endswith(f"torch {PEERS}")
    assert not row_of(table, "pam").remark.endswith(records.runs[0].environment.torch_version)
    here, there = (cell_of(table, layer, "train-18-2048") for layer in ("pam", "gla"))
    assert here.sort / there.sort == pytest.approx(1.7, rel=0.05)  # its own time, not the ratio times the time here
    assert here.detail == there.detail  # the ratio holds within each environment
    assert any(note.startswith("2 environments") for note in table.notes)
    elsewhere = tuple(
        replace(run, environment=replace(run.environment, device_name="NVIDIA L4"))
        if run.session_id == "peers"
        else run
        for run in merged.runs
    )
    table = table_of(replace(merged, runs=elsewhere))
    assert [row.layer for row in table.rows] == ["real_pam", "pam", "transformer"]


def test_a_layer_refused_here_and_measured_in_another_environment_is_a_row_of_that_one():
    records = with_peers(synthetic_records("cuda"))
    here, there = records.sessions
    refused = UnplannedLayer(layer="gla", reason="fla is not installed")
    table = table_of(replace(records, sessions=(replace(here, unplanned_layers=(refused,)), there)))
    assert not cell_of(table, "gla", "train-18-2048").reason
    assert row_of(table, "gla").remark.endswith(f"torch {PEERS}")


def test_an_equal_torch_names_the_driver_that_differs():
    records = with_peers(synthetic_records("cuda"))
    version = records.runs[0].environment.torch_version
    runs = tuple(
        replace(r, environment=replace(r.environment, torch_version=version, driver_version="600.1"))
        if r.session_id == "peers"
        else r
        for r in records.runs
    )
    remark = row_of(table_of(replace(records, runs=runs)), "gla").remark
    assert remark.endswith(f"torch {version}, driver 600.1")


def test_an_empty_cell_has_no_reason_of_another_machine_or_environment_or_of_ranks():
    records = synthetic_records("cuda")
    runs = [run for run in records.runs if run.workload.phase is not Phase.TRAIN or run.workload.batch_size == 18]
    twins = [r for r in runs if r.workload.spec.layer == "real_pam" and r.workload.phase is Phase.TRAIN]
    kept, lost = tuple(run for run in runs if run not in twins), twins[0].workload
    column, skip = "train-18-2048", synthetic_skip(lost, SkipKind.OUT_OF_MEMORY, "24 GiB")
    assert cell_of(table_of(replace(records, runs=kept, skips=(skip,))), "real_pam", column).detail == "out of memory"
    ranks = replace(skip, workload=replace(lost, layout=RankLayout(parallel=Parallel.DDP, ranks=2)))
    assert cell_of(table_of(replace(records, runs=kept, skips=(ranks,))), "real_pam", column).detail == "not run"
    (session,) = records.sessions
    small = replace(
        kept[0],
        session_id="small",
        started_at="2026-01-01T00:00:00+00:00",
        environment=replace(kept[0].environment, device_name="NVIDIA L4"),
    )
    mixed = replace(
        records,
        sessions=(session, replace(session, session_id="small", started_at=small.started_at)),
        runs=(*kept, small),
        skips=(replace(skip, session_id="small"),),
    )
    assert cell_of(table_of(mixed), "real_pam", column).detail == "not run"


def test_two_layers_have_no_table():
    records = synthetic_records("cuda")
    (session,) = records.sessions
    kept = replace(session, arms=tuple(arm for arm in session.arms if arm.spec.layer != "real_pam"))
    runs = tuple(run for run in records.runs if run.workload.spec.layer != "real_pam")
    skips = tuple(skip for skip in records.skips if skip.workload.spec.layer != "real_pam")
    assert table_of(replace(records, sessions=(kept,), runs=runs, skips=skips)) is None


def test_markdown_has_every_cell_with_its_reason():
    table = table_of(synthetic_records("cuda"))
    lines = family_markdown(table)
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(table.rows)
    assert table.rows[0].cells[0].text in lines[2]


def test_on_a_narrow_page_every_cell_of_a_row_says_what_it_is(undrawn):
    view = build_view(synthetic_records("cuda"))
    table = render_html(view).split('id="all-layers"')[1].split("</table>")[0]
    labels = [re.search(r'data-label="([^"]*)"', cell) for cell in re.findall(r"<td[^>]*>", table)]
    assert all(labels)
    columns = view.family.columns
    assert [label[1] for label in labels[: len(columns) + 1]] == [
        *(f"{column.heading}, {column.unit}" for column in columns),
        "Code",
    ]
