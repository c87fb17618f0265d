from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.resources import memory_stack, utilisation
from pamprof.analysis.results import Basis
from pamprof.analysis.roofline import minimal_traffic_bytes, rooflines
from pamprof.analysis.summaries import summarise
from pamprof.records import Dtype, Memory, Phase, Unknown
from tests.synthetic import synthetic_records, synthetic_run, synthetic_workload

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
    roofs = {roof.dtype: roof for roof in rooflines(analyse(synthetic_records()))}
    assert set(roofs) == {Dtype.BFLOAT16, Dtype.FLOAT32}
    assert roofs[Dtype.BFLOAT16].peak_flops_per_second == pytest.approx(989e12)
    assert roofs[Dtype.BFLOAT16].bandwidth_bytes_per_second == pytest.approx(4.8e12)
    for roof in roofs.values():
        assert roof.points
        for point in roof.points:
            assert point.intensity_basis is Basis.MODEL
            assert point.bound_flops_per_second is not None
            assert point.flops_per_second.median < point.bound_flops_per_second


def test_decode_is_below_the_memory_roof_and_training_below_the_peak() -> None:
    (roof,) = [roof for roof in rooflines(analyse(synthetic_records())) if roof.dtype is Dtype.BFLOAT16]
    for point in roof.points:
        if point.workload.phase is Phase.TRAIN and point.workload.batch_size == 18:
            assert point.flops_per_byte > 50
        if point.workload.phase is Phase.DECODE and point.workload.batch_size == 1:
            assert point.bound_flops_per_second < 989e12 / 20  # type: ignore[operator]


def test_cpu_roofline_has_points_but_no_invented_ceiling() -> None:
    (roof,) = rooflines(analyse(synthetic_records("cpu")))
    assert roof.peak_flops_per_second is None
    assert roof.bandwidth_bytes_per_second is None
    assert "CPU" in (roof.unknown_reason or "")
    assert all(point.bound_flops_per_second is None for point in roof.points)


def test_memory_stack_adds_up_to_the_peak() -> None:
    for point in analyse(synthetic_records()).points:
        for summary in point.summaries:
            stack = memory_stack(summary)
            assert sum(size for _, size in stack.components) == stack.peak_bytes
            assert stack.unaccounted_bytes == 0


def test_state_and_cache_are_told_apart() -> None:
    def names(layer: str) -> list[str]:
        run = synthetic_run(synthetic_workload(layer, phase=Phase.DECODE))
        return [name for name, _ in memory_stack(summarise(run, "arm")).components]

    assert "recurrent state" in names("pam")
    assert "KV cache" in names("transformer")


def test_unknown_peak_keeps_its_reason_and_its_parts() -> None:
    run = synthetic_run()
    unknown = replace(
        run,
        memory=replace(run.memory, peak_bytes=None),
        unknowns=(Unknown(field="memory.peak_bytes", reason="no tracker"),),
    )
    stack = memory_stack(summarise(unknown, "arm"))
    assert (stack.peak_bytes, stack.peak_unknown_reason) == (None, "no tracker")
    assert "transient" not in [name for name, _ in stack.components]
    assert ("gradients", run.memory.gradient_bytes) in stack.components


def test_parts_beyond_the_peak_are_shown_as_unaccounted() -> None:
    run = synthetic_run()
    small = replace(run, memory=replace(run.memory, peak_bytes=run.memory.accounted_bytes - 5))
    assert memory_stack(summarise(small, "arm")).unaccounted_bytes == 5


def test_utilisation_is_the_mean_of_each_signal() -> None:
    use = utilisation(synthetic_run(step_seconds=0.13))
    assert use.power_watts is not None
    assert 200 < use.power_watts < 700
    assert use.gpu_busy_ratio is not None
    assert 0.9 < use.gpu_busy_ratio <= 1
    assert use.sm_activity_ratio is not None
    assert use.tensor_activity_ratio is not None
    assert use.cpu_busy_ratio is None


def test_unmeasured_signals_stay_unknown_with_the_reason() -> None:
    use = utilisation(synthetic_run(device="cpu"))
    assert use.gpu_busy_ratio is None
    assert use.cpu_busy_ratio is not None
    assert any("no energy counter" in reason for reason in use.unknown_reasons)
    assert utilisation(replace(synthetic_run(), monitor=None)).power_watts is None
