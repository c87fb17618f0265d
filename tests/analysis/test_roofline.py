from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.results import CeilingKind, DoubtKind, Summary
from pamprof.analysis.comparison.roofline import LeastTraffic, fitting_ceiling, least_traffic
from pamprof.analysis.comparison.summaries import summarise
from pamprof.records import Dtype, Memory, Phase
from tests.synthetic import synthetic_ceilings, synthetic_records, synthetic_run, synthetic_workload

MEMORY = Memory(
    peak_bytes=1000,
    parameter_bytes=100,
    gradient_bytes=20,
    optimizer_bytes=30,
    saved_activation_bytes=40,
    state_bytes=7,
    state_kind="state",
    input_bytes=3,
    reserved_bytes=None,
    device_used_bytes=None,
    process_peak_bytes=None,
)


@pytest.mark.parametrize(
    ("phase", "kind", "read", "written"),
    [
        (Phase.TRAIN, None, 100 + 3 + (20 + 30 + 40), 100 + (20 + 30 + 40)),
        (Phase.PREFILL, "state", 100 + 3, 7),
        (Phase.DECODE, "state", 100 + 3 + 7, 7),
        (Phase.DECODE, "kv-cache", 100 + 3 + 7, 0),
    ],
)
def test_the_least_traffic_moves_each_byte_as_often_as_it_must(
    phase: Phase, kind: str | None, read: int, written: int
) -> None:
    assert least_traffic(replace(MEMORY, state_kind=kind), phase) == LeastTraffic(read_bytes=read, write_bytes=written)


@pytest.mark.parametrize(
    ("read", "written", "ceiling"),
    [
        (100, 0, CeilingKind.READ),
        (75, 25, CeilingKind.READ),
        (74, 26, CeilingKind.COPY),
        (26, 74, CeilingKind.COPY),
        (25, 75, CeilingKind.WRITE),
        (0, 100, CeilingKind.WRITE),
    ],
)
def test_traffic_has_the_ceiling_nearest_by_its_share_of_reads(read: int, written: int, ceiling: CeilingKind) -> None:
    assert fitting_ceiling(LeastTraffic(read_bytes=read, write_bytes=written)) is ceiling


def test_there_is_one_roof_for_each_dtype_and_no_point_above_it() -> None:
    analysis = analyse(synthetic_records())
    roofs = {roof.dtype: roof for roof in analysis.roofs}
    assert set(roofs) == {Dtype.BFLOAT16, Dtype.FLOAT32}
    assert roofs[Dtype.BFLOAT16].peak_flops_per_second == pytest.approx(989e12)
    (listed,) = roofs[Dtype.BFLOAT16].bandwidths
    assert (listed.kind, listed.bytes_per_second) == (CeilingKind.LISTED_BANDWIDTH, 4.8e12)
    for point in analysis.points:
        for summary in point.summaries:
            place = summary.roof
            assert place is not None
            assert place.bound_flops_per_second is not None
            assert place.share_ratio == summary.flops_per_second.median / place.bound_flops_per_second
            assert place.share_ratio < 1
            assert place.ceiling in {CeilingKind.LISTED_PEAK, CeilingKind.LISTED_BANDWIDTH}


def test_decode_is_below_the_memory_roof_and_training_below_the_peak() -> None:
    summaries = [s for point in analyse(synthetic_records()).points for s in point.summaries]
    for summary in summaries:
        workload, place = summary.workload, summary.roof
        assert place is not None
        if workload.dtype is not Dtype.BFLOAT16:
            continue
        if workload.phase is Phase.TRAIN and workload.batch_size == 18:
            assert place.flops_per_byte > 50
        if workload.phase is Phase.DECODE and workload.batch_size == 1:
            assert place.bound_flops_per_second < 989e12 / 20  # type: ignore[operator]


def test_without_ceilings_a_cpu_has_its_place_but_no_invented_roof() -> None:
    analysis = analyse(synthetic_records("cpu"))
    (roof,) = analysis.roofs
    assert (roof.peak_flops_per_second, roof.bandwidths, roof.source) == (None, (), None)
    assert "CPU" in (roof.unknown_reason or "")
    for point in analysis.points:
        for place in (summary.roof for summary in point.summaries):
            assert place is not None
            assert place.flops_per_byte > 0
            assert (place.ceiling, place.bound_flops_per_second, place.share_ratio) == (None, None, None)


def decoded(
    *, state_kind: str = "kv-cache", state_bytes: int = 10**9, rate: float = 1.0, **ceilings: object
) -> Summary:
    """A decode step that moves its least traffic at ``rate`` bytes per second under measured ceilings."""
    run = synthetic_run(synthetic_workload("transformer", "sdpa", phase=Phase.DECODE, batch_size=64))
    memory = replace(run.memory, state_kind=state_kind, state_bytes=state_bytes)
    seconds = (least_traffic(memory, Phase.DECODE).total_bytes / rate,) * 8
    timing = replace(run.timing, wall_time_seconds=seconds, reference_wall_time_seconds=seconds)
    run = replace(run, memory=memory, timing=timing)
    records = synthetic_records()
    made = replace(synthetic_ceilings(records), **ceilings)
    (point,) = analyse(replace(records, runs=(run,), ceilings=(made,))).points
    return point.summaries[0]


def test_a_decode_that_reads_reaches_a_share_of_the_read_ceiling() -> None:
    summary = decoded(rate=4.3e12)
    assert summary.roof is not None
    assert summary.roof.ceiling is CeilingKind.READ
    assert summary.roof.missing_ceiling is None
    assert summary.roof.share_ratio == pytest.approx(4.3 / 4.6)
    assert DoubtKind.ABOVE_ROOF not in {doubt.kind for doubt in summary.doubts}


def test_a_decode_that_writes_its_state_back_reaches_a_share_of_the_copy_ceiling() -> None:
    summary = decoded(state_kind="state", state_bytes=10**11, rate=2.1e12)
    assert summary.roof is not None
    assert (summary.roof.ceiling, summary.roof.missing_ceiling) == (CeilingKind.COPY, None)
    assert summary.roof.share_ratio == pytest.approx(2.1 / 4.2)


def test_without_a_read_ceiling_the_copy_stands_in_and_both_share_and_doubt_say_so() -> None:
    summary = decoded(rate=4.5e12, read_bytes_per_second=None, read_method=None)
    assert summary.roof is not None
    assert (summary.roof.ceiling, summary.roof.missing_ceiling) == (CeilingKind.COPY, CeilingKind.READ)
    assert summary.roof.share_ratio == pytest.approx(4.5 / 4.2)
    (doubt,) = [doubt for doubt in summary.doubts if doubt.kind is DoubtKind.ABOVE_ROOF]
    assert "107 % of the copy ceiling, which stands in for the read ceiling" in doubt.observation
    assert "a new measurement has that ceiling" in doubt.advice
    assert doubt.shift_ratio == 0.0


def test_memory_faster_than_its_own_ceiling_is_a_doubt_that_names_the_cache() -> None:
    (doubt,) = [doubt for doubt in decoded(rate=5.06e12).doubts if doubt.kind is DoubtKind.ABOVE_ROOF]
    assert doubt.observation == "5.06 TB/s at the least traffic, 110 % of the read ceiling"
    assert "--cold-cache" in doubt.advice


def test_a_product_faster_than_the_measured_one_is_a_doubt_without_a_cache() -> None:
    summary = decoded(rate=4e12, matrix_flops_per_second=1e9)
    assert summary.roof is not None
    assert summary.roof.ceiling is CeilingKind.PRODUCT
    (doubt,) = [doubt for doubt in summary.doubts if doubt.kind is DoubtKind.ABOVE_ROOF]
    assert "of the product ceiling" in doubt.observation
    assert "cache" not in doubt.advice


def test_a_run_summarised_without_a_roof_has_no_place() -> None:
    run = synthetic_run()
    assert summarise(run, "arm", run).roof is None


def test_the_latest_ceilings_of_the_runs_own_machine_count() -> None:
    records = synthetic_records()
    first = synthetic_ceilings(records)
    later = replace(first, started_at="2026-11-29T00:00:00+00:00", read_bytes_per_second=4.5e12)
    other = replace(later, environment=replace(first.environment, device_name="NVIDIA H100 80GB HBM3"))
    (roof, *_) = analyse(replace(records, ceilings=(first, later, other))).roofs
    read = roof.bandwidth(CeilingKind.READ)
    assert read is not None
    assert read.bytes_per_second == 4.5e12
    assert "Triton, 64 KiB a program" in (roof.source or "")
