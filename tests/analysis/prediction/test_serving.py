from dataclasses import replace

import pytest

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.gpu import gpu_named, measured_gpu
from pamprof.analysis.prediction.serving import carried_curves
from pamprof.analysis.prediction.step import carried_step
from pamprof.errors import PredictionError
from tests.render.serving.records import curves, sweep_records


@pytest.fixture(scope="module")
def carried():
    return carried_curves(curves(), sweep_records(), [gpu_named("L40S")])


def test_every_arm_has_a_curve_there_that_is_modelled_all_over(carried):
    assert [curve.title for curve in carried] == [f"{curve.title}, L40S modelled from H200" for curve in curves()]
    for here, there in zip(curves(), carried, strict=True):
        place = there.runs[0].workload
        (run,) = [run for run in here.runs if run.workload == place]
        found = there.decode_seconds(place.batch_size, place.sequence_length)
        step = carried_step(run, measured_gpu(run.environment, sweep_records().ceilings), gpu_named("L40S"))
        assert found.basis is Basis.MODELLED
        assert found.value == pytest.approx(step.seconds.median, rel=0.02)  # a fixed state's contexts are one line
        assert found.interval.low <= found.value / 2
        assert found.interval.high >= found.value * 2
        assert there.prefill_seconds(1000).basis is Basis.MODELLED
        assert there.environment.device_name == "NVIDIA L40S"


def test_memory_ends_where_the_gpus_own_does(carried):
    for here, there in zip(curves(), carried, strict=True):
        assert there.limits == ()
        assert there.memory.capacity_bytes <= 48 * 2**30
        assert there.maximum_batch(8192).value < here.maximum_batch(8192).value / 2
        assert all(run.memory.peak_bytes < 48 * 2**30 for run in there.runs)


def test_beyond_the_steps_the_interval_is_at_least_as_wide_as_the_widest_of_them(carried):
    curve = carried[0]
    (line,) = [line for line in curve.decode_lines if line.context == 32768]
    found = curve.decode_seconds(line.points[0][0], 60_000)
    assert found.interval.low / found.value <= curve.carried.low_ratio <= 0.5
    assert found.interval.high / found.value >= curve.carried.high_ratio >= 2


def test_a_swept_gpu_stays_measured_and_other_devices_lend_nothing():
    assert carried_curves(curves(), sweep_records(), [gpu_named("H200")]) == ()
    on_cpu = tuple(replace(curve, environment=replace(curve.environment, device_kind="cpu")) for curve in curves())
    with pytest.raises(PredictionError, match="no curve is of a whole GPU"):
        carried_curves(on_cpu, sweep_records(), [gpu_named("L40S")])
