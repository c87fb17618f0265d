import random
from collections import Counter
from dataclasses import replace
from math import exp, log
from pathlib import Path

import pytest

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.prediction.carry import carried_use
from pamprof.analysis.prediction.gpu import gpu_named
from pamprof.analysis.prediction.leave_out import leave_out, median_error
from pamprof.analysis.prediction.measured import measured_devices
from pamprof.analysis.prediction.predict import predict, predictions_on
from pamprof.analysis.prediction.published import beside_published
from pamprof.analysis.prediction.resources import MemoryFit, MemoryNeed
from pamprof.analysis.prediction.step import Method
from pamprof.errors import PredictionError
from pamprof.records import Execution, KernelClass, KernelUse, Phase, SessionKind, StepKernels
from pamprof.records.store import RecordFile, merged, read_records
from tests.analysis.prediction.test_carry import calibration, use
from tests.synthetic import synthetic_run, synthetic_session, synthetic_workload

REPORTS = Path(__file__).parents[3] / "reports"
SECONDS = (1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3, 9e-3)


def workloads(count):
    return [
        synthetic_workload(
            "transformer", execution=Execution.GRAPH, phase=Phase.DECODE, batch_size=batch, sequence_length=2048
        )
        for batch in range(1, count + 1)
    ]


def records(*devices, count=9, factor=1.0):
    """Decode steps of growing batch: on the first device as given, ``factor`` times as long on those after it."""
    runs = tuple(
        synthetic_run(
            workload,
            wall_time_seconds=(seconds * (factor if place else 1.0),) * 9,
            kernel_seconds=seconds * (factor if place else 1.0),
            reference=workload,
            device_name=device,
            session_id=f"session-{place}",
        )
        for place, device in enumerate(devices)
        for workload, seconds in zip(workloads(count), SECONDS, strict=False)
    )
    sessions = tuple(synthetic_session(session_id=f"session-{place}") for place in range(len(devices)))
    return RecordFile(sessions=sessions, runs=runs, skips=(), problems=())


def one_kernel():
    return StepKernels(uses=(use(1e-3),), execution=Execution.EAGER, busy_seconds=1e-3)


H200, H100, L40S = "NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA L40S"


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("X900", "no GPU that is listed"),
        ("MI300X", "AMD part"),
        ("A100-80GB-SXM MIG 1g.10gb", "part of a board"),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "part of a board"),
        ("RTX3090", "no dense peak and bandwidth are listed"),
        ("H100", "several forms"),
        ("AMD EPYC 9654", "a processor"),
    ],
)
def test_what_nothing_supports_is_refused_with_its_reason(word, reason):
    with pytest.raises(PredictionError, match=reason):
        gpu_named(word)


def test_fp8_is_refused_for_want_of_units_or_of_a_measured_step():
    with pytest.raises(PredictionError, match=r"A100-80GB-SXM \(compute capability 8.0\) has no listed matrix units"):
        gpu_named("A100-80GB-SXM", dtype="fp8")
    with pytest.raises(PredictionError, match="no step was measured in fp8"):
        gpu_named("H100-SXM", dtype="fp8")


@pytest.mark.parametrize(
    ("needed", "fit"), [(22.3, MemoryFit.YES), (22.4, MemoryFit.UNSURE), (23.9, MemoryFit.UNSURE), (24.1, MemoryFit.NO)]
)
def test_memory_fits_surely_only_below_what_every_board_lets_tensors_have(needed, fit):
    assert MemoryNeed(needed_bytes=round(needed * 2**30), available_bytes=24 * 2**30).fit is fit  # 0.931 x 24 = 22.34


def test_a_workload_too_large_has_no_time_and_says_so():
    run = synthetic_run(workloads(1)[0], reference=workloads(1)[0])
    large = replace(run, memory=replace(run.memory, peak_bytes=90 * 2**30))
    measured = measured_devices(replace(records(H200), runs=(large,)))
    (found,) = predict(measured, [gpu_named("H100-SXM")])
    assert found.step_seconds is None
    assert found.ratio is None
    assert found.basis_words.startswith("does not fit: needs 9")
    (fits,) = predict(measured, [gpu_named("B200")])
    assert fits.step_seconds is not None
    assert fits.basis is Basis.MODELLED


def test_left_out_errors_make_the_interval_where_nine_steps_have_them_and_published_ones_below():
    """The H100 is 1.5 times as slow as modelled or the H200 so much faster: nine scores of about log 1.5."""
    plain = {each.workload.key: each for each in predict(measured_devices(records(H200)), [gpu_named("H100-SXM")])}
    spread = {key: each.carried for key, each in plain.items()}
    assert all(log(each.step_seconds.median / each.step_seconds.low) >= -log(1 - 0.22) for each in plain.values())
    assert "22 %" in next(iter(plain.values())).basis_words

    slower = 1.5 * max(each.high for each in spread.values()) / min(SECONDS)
    few = measured_devices(records(H200, H100, count=8, factor=slower))
    many = measured_devices(records(H200, H100, count=9, factor=slower))
    target = gpu_named("H100-PCIe")
    assert "8 left-out errors are too few" in predict(few, [target])[0].basis_words
    found = predict(many, [target])[0]
    assert "9 steps" in found.basis_words
    largest = max(error.score for error in many.errors)
    assert found.step_seconds.high == pytest.approx(found.carried.high * exp(largest))


def test_a_calibration_narrows_the_interval_only_as_far_as_it_is_used():
    file = records(H200)
    with_kernels = replace(file, runs=tuple(replace(run, kernels=one_kernel()) for run in file.runs))
    session = calibration(gpu_named("H200")).ceilings  # what a session measured at best
    mine = calibration(gpu_named("H200"))
    cases = (  # records, target, calibration of the source too, error without a file and with one
        (file, "H100-SXM", False, 0.22, 0.22),  # nothing to hold the target's ceilings to
        (replace(file, ceilings=session), "H100-SXM", False, 0.22, 0.118),
        (replace(file, ceilings=session), "L40S", False, 0.5, 0.22),
        (replace(with_kernels, ceilings=session), "H100-SXM", False, 0.121, 0.121),
        (with_kernels, "H100-SXM", True, 0.121, 0.085),
        (with_kernels, "L40S", True, 0.5, 0.121),
    )
    for stored, name, both, error, narrow in cases:
        target = calibration(gpu_named(name))
        files = (target, mine) if both else (target,)
        plain = predict(measured_devices(stored), [gpu_named(name)])[0]
        known = predict(measured_devices(stored, files), [gpu_named(name)], files)[0]
        assert plain.margin.logarithm == pytest.approx(-log(1 - error)), (name, both)
        assert known.margin.logarithm == pytest.approx(-log(1 - narrow)), (name, both)


def test_errors_count_for_the_way_in_which_a_step_was_carried():
    file = records(H200, H100)
    runs = tuple(replace(run, kernels=one_kernel()) for run in file.runs[:9])  # those of the H200 alone
    methods = Counter(error.method for error in measured_devices(replace(file, runs=(*runs, *file.runs[9:]))).errors)
    assert methods == {Method.KERNELS: 9, Method.WHOLE_STEP: 9}
    assert Counter(error.method for error in measured_devices(file).errors) == {Method.WHOLE_STEP: 9}


def test_without_a_gpu_of_the_architecture_the_interval_says_so_and_reaches_half_and_twice():
    alike = measured_devices(records(H200, H100))  # nine left-out errors, all of one architecture
    file = records(H200, L40S)
    modelled = [each.step_seconds.median for each in predict(measured_devices(records(H200)), [gpu_named("L40S")])]
    exact = tuple(
        replace(run, timing=replace(run.timing, wall_time_seconds=(seconds,) * 9, kernel_time_seconds=seconds))
        for run, seconds in zip(file.runs[9:], modelled, strict=True)
    )
    unlike = measured_devices(replace(file, runs=(*file.runs[:9], *exact)))  # nine between two architectures, all small
    assert len(unlike.errors) == 9
    assert max(error.score for error in unlike.errors) < log(1.5)
    for measured in (alike, unlike):
        for gpu in ("A100-80GB-SXM", "B200"):
            for each in predict(measured, [gpu_named(gpu)]):
                assert each.step_seconds.low <= each.step_seconds.median / 2
                assert each.step_seconds.high >= each.step_seconds.median * 2
                assert "no measured device shares its architecture" in each.basis_words
                assert not each.same_architecture


def test_a_gpu_of_the_targets_architecture_is_carried_from_before_a_nearer_one_of_another():
    measured = measured_devices(records(H200, "NVIDIA A100-SXM4-80GB"))
    # The H100 card has a bandwidth like the A100's, 2000 and 2039 GB/s, and the architecture of the H200.
    assert {each.source for each in predict(measured, [gpu_named("H100-PCIe")])} == {"H200"}
    assert {each.source for each in predict(measured, [gpu_named("A100-40GB-SXM")])} == {"A100-80GB-SXM"}


def test_a_measured_gpu_keeps_its_measured_times():
    found = predict(measured_devices(records(H200)), [gpu_named("H200")])
    assert {each.basis for each in found} == {Basis.MEASURED}
    assert [each.step_seconds.median for each in found] == pytest.approx(SECONDS)


def test_power_is_the_measured_share_of_the_boards():
    run = synthetic_run(workloads(1)[0], reference=workloads(1)[0])
    series = tuple(
        replace(each, values=(350.0,) * len(each.values)) if each.signal == "power_watts" else each
        for each in run.monitor.series
    )
    half = replace(run, monitor=replace(run.monitor, series=series))  # 350 of 700 W
    (found,) = predict(measured_devices(replace(records(H200), runs=(half,))), [gpu_named("L40S")])
    assert (found.watts.low, found.watts.median, found.watts.high) == pytest.approx((140.0, 175.0, 218.75))
    assert found.joules_per_token.median == pytest.approx(found.step_seconds.median * 175.0)


def test_sweeps_and_superseded_runs_are_left_out_with_a_sentence():
    compared, sweep = records(H200), records(H100)
    renamed = tuple(replace(run, session_id="sweep") for run in sweep.runs)
    header = replace(compared.sessions[0], session_id="sweep", kind=SessionKind.SWEEP)
    twice = tuple(replace(run, started_at="2026-11-21T00:00:00+00:00") for run in compared.runs[:2])
    every = replace(compared, sessions=(*compared.sessions, header), runs=(*twice, *compared.runs, *renamed))
    measured = measured_devices(every)
    assert [device.gpu.name for device in measured.devices] == ["H200"]
    assert measured.left_out == (
        "points of serving sweeps left out: 9, which are not paired with a reference",
        "superseded runs on the H200 left out: 2, measured again since or more carefully",
    )
    with pytest.raises(PredictionError, match="all of the 9 runs are points of serving sweeps"):
        measured_devices(replace(every, sessions=(header,), runs=renamed))


def test_runs_on_a_cpu_are_left_out_and_alone_are_refused():
    run = synthetic_run(device="cpu")
    with pytest.raises(PredictionError, match="on a CPU, a part of a board or a GPU without listed peaks"):
        measured_devices(RecordFile(sessions=(synthetic_session("cpu"),), runs=(run,), skips=(), problems=()))


def kernels_of(rng, here, there, seconds):
    """Sixty uses of one workload on both GPUs; the second's scatter around what is carried."""
    mine, theirs = [], []
    for number in range(60):
        moved = round(10 ** rng.uniform(6, 9))
        made = KernelUse(
            operator="aten::add", kernel="add", kernel_class=KernelClass.ELEMENTWISE, shapes=((number, moved),),
            dtype="bfloat16", call_count=1, kernel_count=1, matrix_flop_count=None, elementwise_flop_count=None,
            byte_count=moved, seconds=moved / 4e12 + 2e-6,
        )  # fmt: skip
        mine.append(made)
        theirs.append(replace(made, seconds=carried_use(made, here, there).median * exp(rng.gauss(0, 0.1))))
    return [StepKernels(uses=tuple(uses), execution=Execution.EAGER, busy_seconds=seconds) for uses in (mine, theirs)]


def test_nine_of_ten_left_out_kernels_lie_in_their_intervals():
    rng = random.Random(0)
    here, there = gpu_named("H200"), gpu_named("H100-SXM")
    file = records(H200, H100, count=6)
    runs = list(file.runs)
    for number in range(6):
        mine, theirs = kernels_of(rng, here, there, SECONDS[number])
        runs[number], runs[number + 6] = replace(runs[number], kernels=mine), replace(runs[number + 6], kernels=theirs)
    found = leave_out(measured_devices(replace(file, runs=tuple(runs))))
    assert len(found.kernels) == 2 * 6 * 60
    assert 0.85 <= found.kernel_coverage <= 0.95
    assert 0.03 < median_error([kernel.error_ratio for kernel in found.kernels]) < 0.12
    alone = leave_out(measured_devices(replace(file, runs=(runs[0], runs[6]))))  # no other workload to learn from
    assert len(alone.kernels) == 2 * 60
    assert alone.kernel_coverage is None


@pytest.fixture(scope="module")
def committed():
    files = [
        read_records(REPORTS / folder / "runs.jsonl")
        for folder in (
            "2026-11-23-nvidia-h200-fused",
            "2026-11-28-nvidia-h200-reference",
            "2026-11-28-nvidia-h100-quick",
        )
    ]
    return merged(files)


def test_h100_steps_predicted_from_h200_records_and_the_reverse_lie_in_their_intervals(committed):
    found = leave_out(measured_devices(committed))
    assert {step.prediction.gpu for step in found.steps} == {"H200", "H100-SXM"}
    assert len(found.steps) >= 18
    assert found.step_coverage == 1
    assert median_error([step.error_ratio for step in found.steps]) < 0.06
    assert median_error([step.ratio_error_ratio for step in found.steps]) < 0.05


def test_leaving_a_gpu_out_uses_nothing_that_was_measured_on_it(committed):
    alone = replace(committed, runs=tuple(run for run in committed.runs if run.environment.device_name == H200))
    alone = replace(alone, ceilings=tuple(c for c in alone.ceilings if c.environment.device_name == H200))
    expected = {each.workload.key: each for each in predictions_on(gpu_named("H100-SXM"), measured_devices(alone))}
    for step in leave_out(measured_devices(committed)).steps:
        if step.prediction.gpu == "H100-SXM":
            assert step.prediction.step_seconds == expected[step.prediction.workload.key].step_seconds


def test_published_speeds_stand_beside_predictions_for_the_same_layer_chunk_and_length(committed):
    found = beside_published(measured_devices(committed))
    assert {each.published.gpu for each in found} == {"RTX4090", "RTXPRO6000"}
    assert {each.prediction.workload.spec.layer for each in found} == {"transformer"}  # PAM as published is not in them
    assert all(each.is_inside for each in found)
