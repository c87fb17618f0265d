from dataclasses import replace

import pytest

from pamprof.analysis.prediction.carry import KERNEL_START_SECONDS, LeastWork, carried, carried_use, work_of_use
from pamprof.analysis.prediction.gpu import MeasuredRates, calibrated, gpu_named
from pamprof.analysis.prediction.step import Method, carried_step
from pamprof.records import Calibration, Ceilings, Dtype, Execution, KernelClass, KernelUse, Phase, StepKernels
from tests.synthetic import synthetic_environment, synthetic_run, synthetic_workload

H200, H100, A100 = (gpu_named(name) for name in ("H200", "H100-SXM", "A100-80GB-SXM"))


def work(**known):
    nothing = {"matrix_flop_count": 0.0, "vector_flop_count": 0.0, "byte_count": 0.0, "kernel_count": 0}
    return LeastWork(**{**nothing, "dtype": Dtype.BFLOAT16, **known})


def ends(interval):
    return interval.low, interval.median, interval.high


def test_a_time_that_is_all_traffic_follows_bandwidth_and_one_that_is_all_products_the_peak():
    traffic, products = work(byte_count=4.8e9), work(matrix_flop_count=989e9)  # 1 ms each by the H200's sheet
    assert ends(carried(1e-3, traffic, H200, H100)) == pytest.approx((4.8e-3 / 3.35,) * 3)
    assert ends(carried(1e-3, products, H200, A100)) == pytest.approx((989e-3 / 312,) * 3)


def test_what_lies_above_the_bound_is_carried_half_by_it_and_half_by_multiprocessors_and_clock():
    # 1 ms of 2 is traffic. The H100 has the H200's multiprocessors and clock, so the rest takes 1 ms or 4.8/3.35.
    slower = 4.8 / 3.35
    found = carried(2e-3, work(byte_count=4.8e9), H200, H100)
    assert ends(found) == pytest.approx((1e-3 * (slower + 1), 1e-3 * (slower + (slower + 1) / 2), 2e-3 * slower))
    # 132 x 1980 MHz against 108 x 1410.
    chip, bound = 132 * 1980 / (108 * 1410), 4800 / 2039
    found = carried(2e-3, work(byte_count=4.8e9), H200, A100)
    assert (found.low, found.high) == pytest.approx((1e-3 * (bound + chip), 2e-3 * bound))


def test_a_kernel_has_the_longer_of_its_bounds_and_a_step_their_sum():
    both = work(byte_count=4.8e9, matrix_flop_count=989e9)
    assert carried(2e-3, replace(both, kernels_alternate=True), H200, H100).median == pytest.approx(
        1e-3 * (4.8 / 3.35 + 989 / 989.4)
    )
    assert carried(1e-3, both, H200, H100).median == pytest.approx(4.8e-3 / 3.35)


def test_starting_kernels_follows_the_clock():
    started = work(byte_count=1.0, kernel_count=10)
    found = carried(10 * KERNEL_START_SECONDS, started, H200, A100)
    assert found.median == pytest.approx(10 * KERNEL_START_SECONDS * 1980 / 1410)


def test_measured_ceilings_replace_the_listed_ones_where_both_gpus_have_them():
    traffic = work(byte_count=4e9)
    mine = replace(H200, rates=MeasuredRates(flops_per_second=780e12, bytes_per_second=4e12))
    other = replace(H100, rates=MeasuredRates(flops_per_second=780e12, bytes_per_second=2.5e12))
    assert carried(1e-3, traffic, mine, other).median == pytest.approx(1.6e-3)
    assert carried(4e9 / 4.8e12, traffic, mine, H100).median == pytest.approx(4e9 / 3.35e12)


def use(seconds, **known):
    nothing = {"operator": "aten::mm", "kernel": "gemm", "kernel_class": KernelClass.MATRIX_PRODUCT, "shapes": ((8,),),
               "dtype": "bfloat16", "call_count": 1, "kernel_count": 0, "matrix_flop_count": None,
               "elementwise_flop_count": None, "byte_count": None}  # fmt: skip
    return KernelUse(**{**nothing, **known}, seconds=seconds)


def test_a_kernel_of_unknown_work_lies_between_the_chip_and_the_slowest_figure():
    found = carried_use(use(1e-3), H200, A100)
    assert ends(found) == pytest.approx((1e-3 * 132 * 1980 / (108 * 1410), found.median, 1e-3 * 989 / 312))


def test_a_step_with_kernels_is_carried_kernel_by_kernel_and_keeps_its_gaps():
    workload = synthetic_workload("transformer", execution=Execution.GRAPH, phase=Phase.DECODE, batch_size=1)
    run = synthetic_run(workload, wall_time_seconds=(4e-3,) * 9, kernel_seconds=3e-3)
    uses = (use(1e-3, byte_count=round(4.8e9)), use(2e-3, matrix_flop_count=round(2 * 989e9)))
    kernels = StepKernels(uses=uses, execution=Execution.EAGER, busy_seconds=3e-3)
    found = carried_step(replace(run, kernels=kernels), H200, A100)
    assert found.method is Method.KERNELS
    assert found.seconds.median == pytest.approx(1e-3 * 4800 / 2039 + 2e-3 * 989 / 312 + 1e-3)
    assert carried_step(run, H200, A100).method is Method.WHOLE_STEP


def test_a_step_that_waited_for_the_host_takes_what_the_host_takes():
    workload = synthetic_workload("transformer", execution=Execution.EAGER, phase=Phase.DECODE, batch_size=1)
    run = synthetic_run(workload, wall_time_seconds=(4e-3,) * 9, kernel_seconds=0.5e-3)
    found = carried_step(run, H200, H100)
    assert found.method is Method.HOST
    assert ends(found.seconds) == pytest.approx((4e-3,) * 3)
    unprofiled = replace(run, timing=replace(run.timing, kernel_time_seconds=None, host_time_seconds=(3.9e-3,) * 9))
    assert ends(carried_step(unprofiled, H200, H100).seconds)[:2] == pytest.approx((4e-3, 4e-3))


def calibration(gpu, *kernels, matrix=800e12, copy=3e12):
    """A calibration of ``gpu`` whose kernels take what is given."""
    environment = synthetic_environment(device_name=gpu.device.reported_names[0])
    ceilings = Ceilings(
        session_id="", started_at="", environment=environment, dtype=Dtype.BFLOAT16, matrix_size=8192,
        matrix_flops_per_second=matrix, copy_bytes=2**31, copy_bytes_per_second=copy,
    )  # fmt: skip
    return Calibration(
        version=1, started_at="", environment=environment, ceilings=(ceilings,), kernels=kernels, launch_seconds=5e-6,
        graph_launch_seconds=6e-6, graph_kernel_seconds=1.5e-6, left_out=(), unknowns=(), time_budget_seconds=120.0,
        seconds=100.0,
    )  # fmt: skip


def test_where_both_gpus_were_calibrated_the_nearest_kernel_of_the_class_carries_a_use():
    small, large = (
        use(seconds, shapes=((size,),), matrix_flop_count=size, byte_count=size)
        for seconds, size in ((2e-6, 10**6), (1e-3, 10**9))
    )
    here = calibrated(H200, [calibration(H200, small, large)])
    there = calibrated(A100, [calibration(A100, replace(small, seconds=3e-6), replace(large, seconds=4e-3))])
    asked = use(7e-3, call_count=7, matrix_flop_count=7 * 2 * 10**9, byte_count=7 * 2 * 10**9)  # 7 of twice it
    assert ends(carried_use(asked, here, there)) == pytest.approx((28e-3,) * 3)
    assert carried_use(
        replace(asked, matrix_flop_count=7 * 2 * 10**6, byte_count=7 * 2 * 10**6), here, there
    ).median == (pytest.approx(7e-3 * 1.5))
    far = replace(asked, matrix_flop_count=7 * 10**12, byte_count=7 * 10**12)  # e^2 times as large is the farthest
    other_class = replace(asked, kernel_class=KernelClass.ATTENTION)
    for unlike in (far, other_class, replace(asked, dtype="float32")):
        assert carried_use(unlike, here, there) == carried(unlike.seconds, work_of_use(unlike, tf32=False), here, there)


def test_a_calibration_brings_its_ceilings_to_its_own_gpu_alone():
    file = calibration(H100, matrix=700e12, copy=2.5e12)
    assert calibrated(H100, [file]).rates == MeasuredRates(flops_per_second=700e12, bytes_per_second=2.5e12)
    assert calibrated(H200, [file]) == H200
