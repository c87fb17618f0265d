from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.roofline import minimal_traffic_bytes
from pamprof.records import Dtype, Memory, Phase
from tests.synthetic import synthetic_records

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
    ("phase", "kind", "expected"),
    [
        (Phase.TRAIN, "state", 100 + 3 + 100 + 2 * (20 + 30 + 40)),
        (Phase.PREFILL, "state", 100 + 3 + 7),
        (Phase.DECODE, "state", 100 + 3 + 14),
        (Phase.DECODE, "kv-cache", 100 + 3 + 7),
    ],
)
def test_minimal_traffic_moves_each_byte_as_often_as_it_must(phase: Phase, kind: str, expected: int) -> None:
    assert minimal_traffic_bytes(replace(MEMORY, state_kind=kind), phase) == expected


def test_roofline_has_one_roof_for_each_dtype_and_no_point_above_it() -> None:
    roofs = {roof.dtype: roof for roof in analyse(synthetic_records()).rooflines}
    assert set(roofs) == {Dtype.BFLOAT16, Dtype.FLOAT32}
    assert roofs[Dtype.BFLOAT16].peak_flops_per_second == pytest.approx(989e12)
    assert roofs[Dtype.BFLOAT16].bandwidth_bytes_per_second == pytest.approx(4.8e12)
    for roof in roofs.values():
        assert roof.points
        for point in roof.points:
            bound = min(roof.peak_flops_per_second, roof.bandwidth_bytes_per_second * point.flops_per_byte)
            assert point.flops_per_second.median < bound


def test_decode_is_below_the_memory_roof_and_training_below_the_peak() -> None:
    (roof,) = [roof for roof in analyse(synthetic_records()).rooflines if roof.dtype is Dtype.BFLOAT16]
    for point in roof.points:
        if point.workload.phase is Phase.TRAIN and point.workload.batch_size == 18:
            assert point.flops_per_byte > 50
        if point.workload.phase is Phase.DECODE and point.workload.batch_size == 1:
            assert roof.bandwidth_bytes_per_second * point.flops_per_byte < 989e12 / 20


def test_cpu_roofline_has_points_but_no_invented_ceiling() -> None:
    (roof,) = analyse(synthetic_records("cpu")).rooflines
    assert roof.peak_flops_per_second is None
    assert roof.bandwidth_bytes_per_second is None
    assert "CPU" in (roof.unknown_reason or "")
    assert roof.points
