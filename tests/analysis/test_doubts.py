from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.code_doubts import rises
from pamprof.analysis.comparison.doubts import doubts_of, noisy_machine, unsteady_reference
from pamprof.analysis.comparison.results import Doubt, DoubtKind
from pamprof.records import Execution, GraphBreaks, OperatorCount, RefusedClaim, Run, Series, StopReason
from tests.synthetic import synthetic_records, synthetic_run, synthetic_workload

QUIET = synthetic_run(synthetic_workload("pam", "planar", Execution.GRAPH))


def kinds(run: Run, busy: float | None = 0.97) -> list[DoubtKind]:
    return [doubt.kind for doubt in doubts_of(run, kernel_busy_ratio=busy)]


def only(run: Run, kind: DoubtKind, busy: float | None = 0.97) -> Doubt:
    (doubt,) = [doubt for doubt in doubts_of(run, kernel_busy_ratio=busy) if doubt.kind is kind]
    assert doubt.advice
    return doubt


def monitored(**changes: object) -> Run:
    assert QUIET.monitor is not None
    return replace(QUIET, monitor=replace(QUIET.monitor, **changes))  # type: ignore[arg-type]


def test_quiet_run_raises_no_doubt() -> None:
    assert kinds(QUIET) == []


def test_throttling_is_named_in_the_drivers_words() -> None:
    run = monitored(throttle_reasons=("sw power cap", "hw slowdown"))
    assert "sw power cap, hw slowdown" in only(run, DoubtKind.THROTTLED).observation


def test_other_processes_raise_a_doubt_and_an_unreadable_list_none() -> None:
    assert "2 other processes were" in only(monitored(other_process_count=2), DoubtKind.SHARED_DEVICE).observation
    assert kinds(monitored(other_process_count=None)) == []


def test_a_part_of_a_board_is_doubted_with_its_shares_or_the_reason_for_none() -> None:
    def on(**changes: object) -> Run:
        return replace(QUIET, environment=replace(QUIET.environment, **changes))  # type: ignore[arg-type]

    sliced = only(on(device_name="NVIDIA H200 MIG 1g.18gb", mig_enabled=True), DoubtKind.PART_OF_BOARD)
    assert sliced.observation == "measured on MIG 1g.18gb: 1/7 of the compute and 1/8 of the memory of the H200"
    unknown = only(on(mig_enabled=True), DoubtKind.PART_OF_BOARD)
    assert "does not tell the slice's profile" in unknown.observation
    assert "--price" in unknown.advice
    assert "virtual GPU" in only(on(gpu_virtualisation="vgpu"), DoubtKind.PART_OF_BOARD).observation


def test_slow_first_samples_are_seen() -> None:
    slow = synthetic_run(
        wall_time_seconds=(0.20, *[0.1, 0.101] * 8), reference_wall_time_seconds=tuple([0.1, 0.1005] * 8 + [0.1])
    )
    assert "slower than the rest" in only(slow, DoubtKind.FIRST_SAMPLES_SLOW).observation


def test_slow_sample_in_the_middle_is_not_a_slow_start() -> None:
    samples = [0.1, 0.101] * 8
    samples[7] = 0.2
    run = synthetic_run(wall_time_seconds=tuple(samples), reference_wall_time_seconds=tuple([0.1] * 16))
    assert DoubtKind.FIRST_SAMPLES_SLOW not in kinds(run)


def test_falling_clock_is_drift() -> None:
    times = tuple(float(index) for index in range(10))
    falling = Series(signal="sm_clock_hertz", source="nvml", times_seconds=times, values=(1.98e9,) * 5 + (1.5e9,) * 5)
    assert "1.98 GHz to 1.50 GHz" in only(monitored(series=(falling,)), DoubtKind.CLOCK_DRIFT).observation


def test_three_samples_are_too_few() -> None:
    run = synthetic_run(sample_count=3)
    interrupted = replace(run, timing=replace(run.timing, stop_reason=StopReason.INTERRUPTED))
    assert only(interrupted, DoubtKind.TOO_FEW_SAMPLES).observation == "3 samples only; sampling was interrupted"


def test_wide_interval_is_said_in_percent() -> None:
    assert "±" in only(synthetic_run(sigma=0.1), DoubtKind.WIDE_INTERVAL).observation


def test_uncounted_operators_are_listed() -> None:
    flops = replace(QUIET.flops, complete=False, uncounted_operators=(OperatorCount(operator="mylib::scan", count=16),))
    assert "mylib::scan (16×)" in only(replace(QUIET, flops=flops), DoubtKind.UNCOUNTED_OPERATORS).observation


def test_launch_bound_code_is_told_by_its_idle_gpu() -> None:
    run = synthetic_run(synthetic_workload("pam", "published"), operator_count=2400)
    observation = only(run, DoubtKind.LAUNCH_BOUND, busy=0.08).observation
    assert observation == "the GPU ran kernels for 8.0 % of the step; 2\u2009400 operators are dispatched one by one"


def test_launch_bound_code_is_told_by_its_busy_host_where_no_profiler_ran() -> None:
    run = synthetic_run(synthetic_workload("pam", "published"), operator_count=2400, kernel_seconds=0.01)
    assert "the host was busy for" in only(run, DoubtKind.LAUNCH_BOUND, busy=None).observation
    few = synthetic_run(synthetic_workload("transformer"), operator_count=150, kernel_seconds=0.01)
    assert kinds(few, busy=None) == []


def test_graph_with_gaps_gets_other_advice() -> None:
    assert "although a graph replays them" in only(QUIET, DoubtKind.LAUNCH_BOUND, busy=0.3).observation


def test_cpu_is_never_launch_bound() -> None:
    run = synthetic_run(synthetic_workload("pam", "published"), device="cpu", operator_count=20000)
    assert kinds(run, busy=None) == []


def test_reference_that_differs_from_itself_makes_the_machine_noisy() -> None:
    reference = synthetic_workload("transformer")
    quiet = synthetic_run(reference, reference=reference, step_seconds=0.085)
    biased = synthetic_run(reference, reference=reference, step_seconds=0.095)
    assert noisy_machine(quiet) is None
    doubt = noisy_machine(biased)
    assert doubt is not None
    assert "instead of 1" in doubt.observation
    assert noisy_machine(synthetic_run()) is None


def test_noise_casts_doubt_on_everything_beside_that_reference() -> None:
    records = synthetic_records("cpu")
    runs = tuple(
        synthetic_run(run.workload, reference=run.reference, device="cpu", sigma=0.2, group_id=run.group_id)
        if run.workload.key == run.reference.key
        else run
        for run in records.runs
    )
    for point in analyse(replace(records, runs=runs)).points:
        assert all(DoubtKind.NOISY_MACHINE in [d.kind for d in summary.doubts] for summary in point.summaries)


def test_a_reference_that_is_another_beside_an_arm_than_by_itself_makes_its_ratio_doubtful() -> None:
    reference = synthetic_workload("transformer")
    alone = synthetic_run(reference, reference=reference, step_seconds=0.1)
    steady = synthetic_run(reference=reference, reference_step_seconds=0.102)
    moved = synthetic_run(reference=reference, reference_step_seconds=0.09)
    assert unsteady_reference(alone, alone) is None
    assert unsteady_reference(steady, alone) is None
    doubt = unsteady_reference(moved, alone)
    assert doubt is not None
    assert doubt.kind is DoubtKind.UNSTEADY_REFERENCE
    assert "beside this arm the reference took 90" in doubt.observation
    assert "by itself 100" in doubt.observation


def test_only_the_reference_of_the_same_process_is_asked_about_itself() -> None:
    reference = synthetic_workload("transformer")
    alone = synthetic_run(reference, reference=reference, step_seconds=0.1, group_id="first")
    for group, doubtful in (("first", True), ("second", False)):
        moved = synthetic_run(reference=reference, reference_step_seconds=0.08, group_id=group)
        (point,) = analyse(replace(synthetic_records("cpu"), runs=(alone, moved))).points
        kinds = [doubt.kind for doubt in point.summaries[1].doubts]
        assert (DoubtKind.UNSTEADY_REFERENCE in kinds) == doubtful


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_published_eager_is_launch_bound_on_the_gpu_alone(device: str) -> None:
    points = analyse(synthetic_records(device)).points  # type: ignore[arg-type]
    for point in points:
        published = [s for s in point.summaries if s.label == "PAM published · eager"]
        for summary in published:
            bound = DoubtKind.LAUNCH_BOUND in [doubt.kind for doubt in summary.doubts]
            assert bound == (device == "cuda")


def test_a_time_that_rises_with_every_step_beside_a_steady_reference_slows_down() -> None:
    rising = tuple(1.04e-3 + 0.079e-3 * step for step in range(11))  # 1.04 to 1.83 ms
    run = synthetic_run(wall_time_seconds=rising, reference_wall_time_seconds=(1e-3,) * 11)
    doubt = only(run, DoubtKind.SLOWS)
    # The medians of the first and the last three of eleven: 1.119 and 1.751 ms.
    assert doubt.shift_ratio == pytest.approx(1.751 / 1.119 - 1)
    assert "its ratio rose by 56" in doubt.observation
    assert "1.04 ms to 1.83 ms" in doubt.observation


def test_five_samples_show_growth_only_when_all_rise() -> None:
    assert rises((1.0, 1.1, 1.2, 1.3, 1.4)) == pytest.approx(0.4)
    assert rises((1.0, 1.1, 1.3, 1.2, 1.4)) is None
    assert rises((1.0, 1.1, 1.2, 1.3)) is None
    assert rises((1.0, 1.001, 1.002, 1.003, 1.004)) is None


def test_what_arm_and_reference_share_is_no_growth_and_noise_is_none() -> None:
    rising = tuple(1e-3 + 0.1e-3 * step for step in range(11))
    shared = synthetic_run(wall_time_seconds=rising, reference_wall_time_seconds=rising)
    assert not {DoubtKind.GROWS, DoubtKind.SLOWS} & set(kinds(shared))
    assert sum(rises([random.Random(seed).gauss(1, 0.1) for _ in range(12)]) is not None for seed in range(100)) <= 2


def test_bytes_that_stay_after_every_sample_are_growth_and_a_single_buffer_on_a_gpu_is_none() -> None:
    timing = QUIET.timing
    samples = len(timing.wall_time_seconds)
    grown = replace(QUIET, timing=replace(timing, grown_bytes=samples * 1024))
    assert f"more after {samples} samples than before" in only(grown, DoubtKind.GROWS).observation
    assert kinds(replace(QUIET, timing=replace(timing, grown_bytes=512))) == []


def test_graph_breaks_and_refused_closed_forms_are_said_with_their_numbers() -> None:
    breaks = GraphBreaks(count=3, first_reason="data-dependent jump (gated.py, line 12)")
    claim = RefusedClaim(quantity="matrix_flop_count", claimed="-7, less than 1", counted=1234)
    run = replace(QUIET, graph_breaks=breaks, refused_claims=(claim,))
    assert only(run, DoubtKind.GRAPH_BREAKS).observation == (
        "torch.compile met 3 graph breaks, the first: data-dependent jump (gated.py, line 12)"
    )
    assert only(run, DoubtKind.CLOSED_FORM).observation == (
        "the layer's formula for matrix FLOPs gives -7, less than 1; counted were 1234"
    )
    assert kinds(replace(QUIET, graph_breaks=replace(breaks, count=0))) == []


def test_samples_that_hold_the_compiler_are_counted_on_both_sides() -> None:
    timing = replace(
        QUIET.timing, recompilation_count=4, graph_break_count=0, recompiled_samples=(1, 2),
        reference_recompiled_samples=(0,),
    )  # fmt: skip
    assert "compiled 4×" in (said := only(replace(QUIET, timing=timing), DoubtKind.RECOMPILED).observation)
    assert said.endswith(f"inside 2 of {len(timing.wall_time_seconds)} samples and 1 of the reference's")
