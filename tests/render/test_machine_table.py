"""The table by machine of a report whose records are of several."""

from dataclasses import replace
from decimal import Decimal

from pamprof.analysis import analyse
from pamprof.pricing.rates.rate_words import USER
from pamprof.records import Parallel, Phase, RankLayout, SkipKind
from pamprof.render.comparison.charts.common import panel_title
from pamprof.render.comparison.view import build_view
from pamprof.render.formats.csv import measurements
from pamprof.render.formats.html import render_html
from pamprof.render.formats.markdown import render_markdown
from tests.analysis.test_machines import OTHER, fleet, slower
from tests.render.test_family import PEERS, with_peers
from tests.synthetic import synthetic_quote, synthetic_records, synthetic_skip


def price_of(usd, provider):
    quote = synthetic_quote()
    rate = replace(quote.chosen, provider=provider, usd_per_hour=Decimal(usd))
    return replace(quote, chosen=rate, low=rate, high=rate)


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


def test_a_run_that_joins_by_its_ratio_is_one_row_of_the_csv():
    records = with_peers(synthetic_records())
    frame = measurements(records, analyse(records))
    assert not frame.duplicated(["session_id", "group_id", "started_at", "key"]).any()
    assert len(frame) == len(records.runs)  # those of the reference there included
    joined = frame[frame["layer"] == "gla"]
    assert set(joined["torch_version"]) == {PEERS}
    pam = frame[(frame["layer"] == "pam") & (frame["phase"] == "train") & (frame["batch_size"] == 18)]
    gla = joined[(joined["phase"] == "train") & (joined["batch_size"] == 18)]
    assert abs(gla["step_median_seconds"].min() / pam["step_median_seconds"].min() - 1) < 0.05  # the ratio, times here


def test_a_price_that_was_asked_for_reaches_every_row_it_holds_for(undrawn):
    first = synthetic_records()
    own = float(first.sessions[0].quote.chosen.usd_per_device_hour)
    some = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    across, within = fleet(first, some), with_peers(first)
    concluded = analyse(across)
    for quote, others in ((price_of("100", USER), 100.0), (price_of("100", "aws"), own)):
        frame = measurements(across, concluded, quote=quote)
        prices = frame.groupby("device_name")["ListUnitPrice"].unique().map(list).to_dict()
        assert prices == {first.runs[0].environment.device_name: [100.0], OTHER: [others]}
    before, after = (
        next(
            row.cells[1]
            for row in build_view(across, quote=quote, analysis=concluded).machines.rows
            if not row.cells[1].reason
        )
        for quote in (None, price_of("100", USER))
    )
    dollars = [float(cell.detail.split("$")[1].split()[0]) for cell in (before, after)]
    assert abs(dollars[1] / dollars[0] / (100 / own) - 1) < 0.02
    assert measurements(across, concluded)["ListUnitPrice"].unique().tolist() == [own]
    frame = measurements(within, analyse(within), quote=price_of("100", "aws"))
    assert frame["torch_version"].nunique() == 2
    assert set(frame["ListUnitPrice"]) == {100.0}  # one device model


def test_planned_points_without_a_number_are_those_of_the_reports_machine(undrawn):
    first = synthetic_records()
    (lost, *_) = [run.workload for run in first.runs if run.workload.phase is Phase.DECODE]
    other = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    there = replace(lost, batch_size=999)
    other = replace(other, skips=(replace(synthetic_skip(there, SkipKind.OUT_OF_MEMORY, "on A100"), session_id="b"),))
    here = replace(
        first,
        runs=tuple(run for run in first.runs if run.workload != lost),
        skips=(synthetic_skip(lost, SkipKind.OUT_OF_MEMORY, "on H200"),),
    )
    reasons = [skip.reason for skip in build_view(fleet(here, other)).skipped]
    assert reasons == ["on H200"]  # though the other machine ran it


def test_what_a_peer_of_another_environment_lacks_is_listed_beside_its_joined_rows(undrawn):
    records = with_peers(synthetic_records())
    gla = next(run for run in records.runs if run.workload.spec.layer == "gla")
    skip = synthetic_skip(replace(gla.workload, batch_size=999), SkipKind.OUT_OF_MEMORY, "150 GiB")
    records = replace(records, skips=(replace(skip, session_id=gla.session_id),))
    assert [skip.reason for skip in build_view(records).skipped] == ["150 GiB"]


def test_a_skip_of_ranks_is_in_the_section_on_them_and_is_none_of_one_device(undrawn):
    first = synthetic_records()
    workload = replace(first.runs[0].workload, layout=RankLayout(parallel=Parallel.DDP, ranks=2))
    skip = synthetic_skip(workload, SkipKind.CRASHED, "rank 1 of 2 ended with exit code 1")
    view = build_view(replace(first, skips=(skip,)))
    assert view.skipped == ()
    (table,) = view.scaling.tables
    ((*_, ranks, kind, reason),) = table.rows
    assert (ranks, kind, reason) == ("data parallel × 2", "crashed", skip.reason)
    assert skip.reason in render_markdown(view)
    assert skip.reason in render_html(view)
