from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from pamprof.pricing.run_cost import cost_per_million_tokens
from pamprof.records import Ceilings, KernelShare, LayerFacts, LayerRole, Phase, Price, PriceQuote
from pamprof.render.comparison.view import build_view
from pamprof.render.text import clean, days
from tests.synthetic import synthetic_ceilings


def own_quote(rate: str) -> PriceQuote:
    price = Price(
        provider="user",
        instance="own rate",
        region="unspecified",
        purchase_option="user",
        device_name="H200",
        device_count=1,
        usd_per_hour=Decimal(rate),
        observed_on=date(2026, 11, 22),
        observed_text="2026-11-22",
        source="command line",
    )
    return PriceQuote(chosen=price, low=price, high=price, candidate_count=1)


def test_title_names_what_where_and_when(gpu_view):
    assert gpu_view.title == "PAM 100M against transformer 100M · NVIDIA H200 · 22 Nov 2026"


def test_four_tiles_carry_interval_and_basis(gpu_view):
    assert [tile.heading for tile in gpu_view.tiles] == [
        "Training cost",
        "Prefill cost",
        "Decode cost",
        "Decode crossover",
    ]
    for tile in gpu_view.tiles:
        assert tile.basis == ("interpolated" if tile.heading == "Decode crossover" else "measured")
        assert tile.interval.startswith("[")


def test_price_given_later_replaces_the_stored_one_and_scales_every_dollar(gpu_records, gpu_view):
    twice = build_view(gpu_records, quote=own_quote("7.00"))  # the records were priced at 3.50
    before = [cell.sort for row in gpu_view.cost.rows for cell in row.cells]
    after = [cell.sort for row in twice.cost.rows for cell in row.cells]
    assert after == pytest.approx([2 * value for value in before])
    assert "your own rate" in twice.price


def on_device(records, **changes):
    runs = tuple(replace(run, environment=replace(run.environment, **changes)) for run in records.runs)
    return replace(records, runs=runs)


def test_a_slice_pays_its_share_of_a_stored_rate_and_every_place_says_so(gpu_records, gpu_view):
    view = build_view(on_device(gpu_records, device_name="NVIDIA H200 MIG 1g.18gb", mig_enabled=True))
    assert "per hour of MIG 1g.18gb (1/7 of the H200)" in view.price
    whole, part = (found.cost.rows[0].cells[0].sort for found in (gpu_view, view))
    assert part == pytest.approx(whole / 7)
    assert any("1/7 of the compute and 1/8 of the memory of the H200" in str(fact.value) for fact in view.method)
    assert any("part of a board" in str(doubt) for doubt in view.doubts)


def test_a_slice_of_unknown_profile_has_no_dollars_in_records_that_hold_a_whole_boards_rate(gpu_records):
    view = build_view(on_device(gpu_records, mig_enabled=True))
    assert view.price.startswith("No dollars: NVIDIA H200 is divided by MIG")
    assert "the stored rate is that of the whole H200" in view.price


def test_dollars_are_those_of_the_pricing_module(gpu_records, gpu_view):
    row = gpu_view.rows[0]
    quote = gpu_records.sessions[0].quote
    from pamprof.analysis import analyse

    summary = next(
        s
        for s in analyse(gpu_records).points[0].summaries
        if s.workload.execution == row.execution and row.is_baseline and s.workload.spec.layer == "transformer"
    )
    expected = cost_per_million_tokens(quote, summary.tokens_per_second).usd_per_million_tokens.median
    assert row.cells[4].sort == expected


def test_without_a_price_costs_are_device_hours_and_say_why(cpu_view):
    assert cpu_view.cost.unit == "device-hours per million tokens"
    assert "--price" in cpu_view.price
    assert not any("$" in cell.text for row in cpu_view.rows for cell in row.cells)


def test_unreached_points_are_said_at_the_top(gpu_records):
    view = build_view(replace(gpu_records, runs=gpu_records.runs[:-3]))
    assert view.alerts[0].startswith("Incomplete: 3 of 135 planned points")


def test_complete_records_raise_no_alert(gpu_view):
    assert gpu_view.alerts == ()


def test_mixed_devices_are_said(gpu_records):
    first = gpu_records.runs[0]
    other = replace(first, environment=replace(first.environment, device_name="NVIDIA L4"))
    view = build_view(replace(gpu_records, runs=(other, *gpu_records.runs[1:])))
    assert any("NVIDIA L4" in alert for alert in view.alerts)


def carried(records, **facts):
    """``records`` in which PAM is a layer that a factory made, in place of one of the package."""
    given = LayerFacts(layer="pam", title="gru", role=LayerRole.SUBJECT, carrier="block", **facts)
    sessions = tuple(
        replace(session, layers=(*(layer for layer in session.layers if layer.layer != "pam"), given))
        for session in records.sessions
    )
    return replace(records, sessions=sessions)


def test_a_layer_without_decode_says_why_in_its_tiles_its_sizes_and_its_notes(cpu_records):
    records = carried(cpu_records, no_decode_reason="it has no step")
    kept = tuple(
        run for run in records.runs if run.workload.phase is not Phase.DECODE or run.workload.spec.layer != "pam"
    )
    view = build_view(replace(records, runs=kept))
    decode, crossover = view.tiles[2:]
    assert decode.reason == crossover.reason == "gru does not decode: it has no step"
    sizes = next(row for row in view.fairness.sizes if row[0] == "PAM")
    assert [sizes[place] for place in (3, 5, 7)] == ["–", "–", "–"]  # state, heads, inner width: nobody knows them
    notes = next(row[-1] for row in view.fairness.given if row[0].startswith("gru"))
    assert "the given module is a whole block" in notes
    assert "it does not decode: it has no step" in notes


def test_where_both_caches_grow_there_is_no_crossover_and_the_tile_says_so(cpu_records):
    runs = tuple(
        replace(run, memory=replace(run.memory, state_kind="kv-cache")) if run.memory.state_kind == "state" else run
        for run in cpu_records.runs
    )
    view = build_view(replace(carried(cpu_records, fixed_state=False), runs=runs))
    assert view.tiles[3].reason == "the cache of gru grows with the context as that of the transformer does"


def test_a_name_that_somebody_gave_keeps_its_small_letter(cpu_records):
    titles = [chart.title for chart in build_view(carried(cpu_records)).charts]
    assert any(title.startswith("gru ") and "trains on" in title for title in titles)


def test_what_a_checkpoint_computes_again_is_no_arithmetic_of_the_layer(cpu_records):
    def again(run):
        counted = 4 * run.flops.matrix_flop_count
        return replace(
            run, flops=replace(run.flops, matrix_flop_count=counted, recomputed_matrix_flop_count=counted // 2)
        )

    view = build_view(replace(cpu_records, runs=tuple(map(again, cpu_records.runs))))
    plain = build_view(cpu_records)
    cells = [
        (cell, old)
        for row, before in zip(view.rows, plain.rows, strict=True)
        for cell, old in zip(row.cells, before.cells, strict=True)
        if cell.name == "flops"
    ]
    assert all(cell.sort == 2 * old.sort and cell.detail.endswith("again") for cell, old in cells)
    assert cells


def test_skips_carry_kind_and_reason(gpu_view):
    assert {skip.kind for skip in gpu_view.skipped} == {"unsupported", "out of memory"}
    assert all(skip.reason for skip in gpu_view.skipped)


def test_a_skip_that_was_measured_later_is_no_skip(gpu_records):
    skip = replace(gpu_records.skips[0], workload=gpu_records.runs[0].workload)
    view = build_view(replace(gpu_records, skips=(skip,)))
    assert view.skipped == ()


def test_every_unknown_cell_has_a_reason(gpu_view, cpu_view):
    for view in (gpu_view, cpu_view):
        for row in view.rows:
            for cell in row.cells:
                assert (cell.text == "–") == bool(cell.reason), (row.arm.label, cell)


def test_perplexity_stands_beside_cost_for_the_layers_that_have_one(gpu_view):
    known = {arm.key: cell for arm, cell in zip(gpu_view.cost.arms, gpu_view.cost.perplexities, strict=True)}
    assert known["pam/published"].text == "30.0"
    assert known["transformer/sdpa"].text == "27.1"
    assert known["real_pam/planar"].reason


def test_bill_is_that_of_the_papers_run(gpu_view):
    assert len(gpu_view.cost.bill) == 5
    assert all("$" in line and "device-hours" in line for line in gpu_view.cost.bill)


def test_ladder_bars_chain_from_one_to_the_measured_end(gpu_view):
    for panel in gpu_view.chart("ladder").panels:
        assert panel.bars[0].cumulative.median == 1
        for before, bar in zip(panel.bars, panel.bars[1:], strict=False):
            assert bar.start == before.cumulative.median
            assert bar.start * bar.factor.median == pytest.approx(bar.cumulative.median, rel=1e-6)


def test_titles_state_findings_with_numbers(gpu_view):
    for chart in gpu_view.charts:
        assert any(character.isdigit() for character in chart.title), chart.title


def test_captions_name_samples_and_interval(gpu_view):
    for chart in gpu_view.charts:
        assert "interval" in chart.caption, chart.name


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("a\x1bb", "a\ufffdb"), ("a\nb", "a\ufffdb"), ("37 %", "37\u202f%"), ("8\u2009150", "8\u202f150")],
)
def test_clean_disarms(raw, shown):
    assert clean(raw) == shown


def test_measured_ceilings_are_drawn_where_no_peak_is_listed(cpu_records):
    ceilings = Ceilings(
        session_id=cpu_records.sessions[0].session_id,
        started_at=cpu_records.sessions[0].started_at,
        environment=cpu_records.runs[0].environment,
        dtype=cpu_records.runs[0].workload.dtype,
        matrix_size=1024,
        matrix_flops_per_second=2e11,
        copy_bytes=2**28,
        copy_bytes_per_second=2e10,
    )
    view = build_view(replace(cpu_records, ceilings=(ceilings,)))
    chart = view.chart("roofline")
    assert [panel.ceiling for panel in chart.panels] == ["measured"] * 3
    assert [[slope.label for slope in panel.slopes] for panel in chart.panels] == [["copy"]] * 3
    assert "of the fastest matrix product measured here" in chart.title
    assert "stands in for reading and for writing alone" in chart.caption
    (fact,) = (fact for fact in view.method if fact.name == "Ceilings")
    assert fact.value.startswith("float32: product 200 GFLOP/s, copy 20.0 GB/s (measured on this device")


def test_each_phase_is_held_to_the_ceilings_its_traffic_has(gpu_records):
    chart = build_view(replace(gpu_records, ceilings=(synthetic_ceilings(gpu_records),))).chart("roofline")
    slopes = {panel.title: {slope.label: slope.bytes_per_second for slope in panel.slopes} for panel in chart.panels}
    assert slopes["Training"] == {"copy": 4.2e12}
    assert slopes["Decode"]["read"] == 4.6e12
    assert "reading it alone (Triton, 64 KiB a program)" in chart.caption


def test_no_share_above_the_roof_stands_without_a_doubt(gpu_records):
    slow = replace(synthetic_ceilings(gpu_records), read_bytes_per_second=2e10, copy_bytes_per_second=4e10)
    view = build_view(replace(gpu_records, ceilings=(slow,)))
    above = [row for row in view.rows if (row.cell("roof_share").sort or 0.0) > 1]
    assert 0 < len(above) < len(view.rows)
    for row in view.rows:
        doubtful = "above the roof" in {word.text for word in row.doubts}
        assert doubtful == (row in above)
        assert row.cell("roof_share").detail.endswith(", doubtful") == doubtful
    assert "(doubtful) of read" in view.roof_shares


def test_kernel_shares_are_told_apart_from_what_an_arm_was_given(gpu_records):
    share = KernelShare(kernel="elementwise_kernel", share_ratio=0.34)
    runs = tuple(replace(run, notes=("vocabulary padded",), kernel_shares=(share,)) for run in gpu_records.runs)
    view = build_view(replace(gpu_records, runs=runs))
    assert all("kernel time" not in line[-1] and "vocabulary padded" in line[-1] for line in view.fairness.given)
    assert {word.meaning for word in view.kernels} == {clean("34 % of kernel time in elementwise_kernel")}


def test_host_signals_stand_in_the_strip_only_without_a_gpu(gpu_view, cpu_view):
    def labels(view):
        return {signal.label for strip in view.chart("utilisation").panels for signal in strip.signals}

    assert "CPU busy" not in labels(gpu_view)
    assert {"GPU busy", "tensor activity", "power", "SM clock"} <= labels(gpu_view)
    assert "CPU busy" in labels(cpu_view)
    assert "resident memory" in labels(cpu_view)


def test_days_are_the_first_and_the_last_whatever_the_order_of_the_records():
    times = ["2026-11-24T01:00:00+00:00", "2026-11-22T23:00:00+00:00", "2026-11-23T12:00:00+00:00"]
    assert days(times) == "22 to 24 Nov 2026"
    assert days(times[:1]) == "24 Nov 2026"
    assert days(["2026-12-01", *times]) == "22 Nov to 1 Dec 2026"
    assert days(["2027-11-22", *times]) == "22 Nov 2026 to 22 Nov 2027"
    assert days(["no time at all", *times]) == "22 Nov 2026 to no time at all"
