from dataclasses import replace
from math import log

import pytest

from pamprof.analysis.history.difference import Change, ComparedMetric, GateOutcome, RatioBasis, difference_between
from pamprof.records import Execution, SkipKind
from pamprof.records.run import Skip, Unknown
from pamprof.records.store import RecordFile
from tests.synthetic import synthetic_environment, synthetic_run, synthetic_workload

REFERENCE = synthetic_workload("transformer", execution=Execution.GRAPH)
ARMS = tuple(
    synthetic_workload("pam", implementation, execution)
    for implementation in ("published", "planar")
    for execution in (Execution.EAGER, Execution.GRAPH)
)


def measured(*, seed, slowdown=1.0, machine=1.0, reference=REFERENCE, arms=ARMS, reference_slowdown=1.0, **changes):
    """A file as one session writes it: the reference beside itself, then every arm beside the reference."""
    level = 0.085 * machine * reference_slowdown
    runs = [
        synthetic_run(
            workload,
            step_seconds=level if workload == reference else 0.140 * machine * slowdown,
            reference=reference,
            reference_step_seconds=level,
            seed=seed,
            group_id=f"group-{seed}",
            **changes,
        )
        for workload in (reference, *arms)
    ]
    return RecordFile(sessions=(), runs=tuple(runs), skips=(), problems=())


def rows(found):
    return {row.key: row for row in found.differences}


def with_environment(file, **changes):
    return replace(file, runs=tuple(replace(run, environment=replace(run.environment, **changes)) for run in file.runs))


def test_a_slowdown_of_ten_percent_is_found_and_fails_the_gate():
    found = difference_between(measured(seed=1), measured(seed=2, slowdown=1.10), fail_above=0.05)
    for arm in ARMS:
        row = rows(found)[arm.key]
        assert row.change is Change.SLOWER
        assert row.basis is RatioBasis.CHAINED
        assert row.outcome is GateOutcome.ABOVE
        assert row.ratio.low < 1.10 < row.ratio.high
        assert row.head_value > row.base_value
    assert found.count(GateOutcome.ABOVE) == len(ARMS)


def fleet(*devices, slowdown=1.0, seed=1):
    """A file of several devices in the order given, each ten times as slow as the one before in the alphabet."""
    files = [
        with_environment(measured(seed=seed, machine=10.0 ** sorted(devices).index(name), slowdown=slowdown),
                         device_name=name)
        for name in devices
    ]  # fmt: skip
    runs = tuple(replace(run, session_id=name) for name, file in zip(devices, files, strict=True) for run in file.runs)
    return RecordFile(sessions=(), runs=runs, skips=(), problems=())


@pytest.mark.parametrize("metric", list(ComparedMetric))
def test_each_device_of_a_fleet_is_compared_with_itself_whatever_their_order(metric):
    found = difference_between(fleet("H200", "A100"), fleet("A100", "H200", slowdown=1.10, seed=2), metric=metric)
    assert not found.differing
    assert not found.only_in_base
    assert not found.only_in_head
    assert [row.device_name for row in found.differences] == ["H200"] * 5 + ["A100"] * 5
    assert len({row.key for row in found.differences}) == 10
    assert not any("left out" in note for note in found.notes)
    if metric is ComparedMetric.TIME:
        for device in ("H200", "A100"):
            row = rows(found)[f"{ARMS[0].key} on {device}"]
            assert row.ratio.low < 1.10 < row.ratio.high
            assert row.basis is RatioBasis.CHAINED


def test_a_device_of_one_fleet_alone_is_unmatched_with_the_reason_of_its_own_session():
    skips = [
        Skip(session_id=device, started_at="2026-11-28T00:00:00+00:00", workload=ARMS[0], kind=kind, reason="why")
        for device, kind in (("A100", SkipKind.OUT_OF_MEMORY), ("H200", SkipKind.CRASHED))
    ]
    head = fleet("A100", "H200", seed=2)
    head = replace(head, runs=tuple(r for r in head.runs if r.workload != ARMS[0]), skips=tuple(skips))
    found = difference_between(fleet("H200", "A100", "L4"), head)
    reasons = {row.key: row.reason for row in found.only_in_base}
    assert reasons[f"{ARMS[0].key} on A100"] == "out-of-memory: why"
    assert reasons[f"{ARMS[0].key} on H200"] == "crashed: why"
    assert reasons[f"{ARMS[0].key} on L4"] is None
    assert len(reasons) == 5 + 2


def test_the_same_code_measured_again_never_fails_the_gate():
    outcomes = [
        row.outcome
        for seed in range(40)
        for row in difference_between(measured(seed=2 * seed), measured(seed=2 * seed + 1), fail_above=0.05).differences
    ]
    assert GateOutcome.ABOVE not in outcomes
    assert outcomes.count(GateOutcome.WITHIN) > 0.9 * len(outcomes)


def test_a_slower_machine_cancels_through_the_reference_and_is_noted():
    found = difference_between(measured(seed=1), measured(seed=2, machine=1.08), fail_above=0.05)
    for arm in ARMS:
        assert rows(found)[arm.key].outcome is GateOutcome.WITHIN
        assert rows(found)[arm.key].ratio.median == pytest.approx(1.0, abs=0.02)
    assert len(found.notes) == 1
    assert REFERENCE.key in found.notes[0]
    assert "drifted" in found.notes[0]


def test_a_slower_reference_shows_in_its_own_unpaired_row():
    found = difference_between(measured(seed=1), measured(seed=2, reference_slowdown=1.10), fail_above=0.05)
    row = rows(found)[REFERENCE.key]
    assert row.basis is RatioBasis.UNPAIRED
    assert row.change is Change.SLOWER
    assert row.outcome is GateOutcome.ABOVE
    assert row.ratio.median == pytest.approx(1.10, abs=0.02)
    assert row.ratio.median == pytest.approx(row.head_value / row.base_value, rel=0.001)


def test_the_interval_of_the_reference_holds_the_wandering_within_a_session():
    def wandering(seed):
        runs = [
            synthetic_run(
                workload,
                step_seconds=0.140 * level,
                reference=REFERENCE,
                reference_step_seconds=0.085 * level,
                seed=seed,
            )
            for workload, level in zip((REFERENCE, *ARMS), (1.0, 1.09, 0.94, 1.12, 0.91), strict=True)
        ]
        return RecordFile(sessions=(), runs=tuple(runs), skips=(), problems=())

    steady = rows(difference_between(measured(seed=1), measured(seed=2)))[REFERENCE.key].ratio
    restless = rows(difference_between(wandering(1), wandering(2)))[REFERENCE.key].ratio
    assert restless.high - restless.low > 3 * (steady.high - steady.low)


def test_runs_beside_different_references_are_compared_unpaired():
    other = synthetic_workload("transformer", execution=Execution.EAGER)
    found = difference_between(measured(seed=1), measured(seed=2, reference=other))
    row = rows(found)[ARMS[0].key]
    assert row.basis is RatioBasis.UNPAIRED
    assert REFERENCE.key in row.reason
    assert other.key in row.reason


def test_workloads_match_by_their_full_key():
    deeper = replace(ARMS[0], spec=replace(ARMS[0].spec, depth=ARMS[0].spec.depth + 1))
    found = difference_between(measured(seed=1), measured(seed=2, arms=(deeper, *ARMS[1:])))
    assert [one.key for one in found.only_in_base] == [ARMS[0].key]
    assert [one.key for one in found.only_in_head] == [deeper.key]
    assert len(found.differences) == len(ARMS)


def test_a_workload_that_head_skipped_is_listed_with_the_reason():
    skip = Skip(session_id="a", started_at="", workload=ARMS[0], kind=SkipKind.OUT_OF_MEMORY, reason="90 GiB asked")
    head = replace(measured(seed=2, arms=ARMS[1:]), skips=(skip,))
    (missing,) = difference_between(measured(seed=1), head).only_in_base
    assert missing.reason == "out-of-memory: 90 GiB asked"


def test_the_latest_run_counts_and_those_of_earlier_code_are_noted():
    old = with_environment(
        measured(seed=1, slowdown=2.0, started_at="2026-11-21T12:00:00+00:00"), git_commit="an earlier one"
    )
    new = measured(seed=2)
    both = replace(old, runs=(*new.runs, *old.runs))
    found = difference_between(measured(seed=3), both)
    assert rows(found)[ARMS[0].key].ratio.median == pytest.approx(1.0, abs=0.02)
    assert found.notes == ("HEAD: 5 earlier runs of workloads measured again left out",)


def test_a_process_that_measured_a_workload_twice_counts_once():
    old = measured(seed=2, slowdown=2.0, started_at="2026-11-21T12:00:00+00:00")
    new = measured(seed=2)
    row = rows(difference_between(measured(seed=3), replace(old, runs=(*new.runs, *old.runs))))[ARMS[0].key]
    assert row.head_process_count == 1
    assert row.ratio.median == pytest.approx(1.0, abs=0.02)


def exact(*slowdowns):
    """A file of one process for each slowdown, whose samples have no noise."""
    runs = [
        synthetic_run(
            workload,
            wall_time_seconds=(0.085 if workload == REFERENCE else 0.140 * slowdown,) * 12,
            reference=REFERENCE,
            reference_wall_time_seconds=(0.085,) * 12,
            group_id=f"process-{slowdown}",
        )
        for slowdown in slowdowns
        for workload in (REFERENCE, *ARMS)
    ]
    return RecordFile(sessions=(), runs=tuple(runs), skips=(), problems=())


def test_one_process_a_side_is_given_the_presumed_spread_of_a_gpu():
    row = rows(difference_between(exact(1.0), exact(1.02)))[ARMS[0].key]
    assert (row.base_process_count, row.head_process_count) == (1, 1)
    assert (row.process_spread_ratio, row.process_spread_measured) == (0.01, False)
    # ln 1.02 ± 1.96 x sqrt(2) x 1 %
    assert (log(row.ratio.low), log(row.ratio.high)) == pytest.approx((-0.00792, 0.04752), abs=1e-4)
    assert row.change is Change.INCONCLUSIVE
    # ln 1.02 - ln 1.01 = 0.00985. With 11 processes t is 2.086 and the reach 2.086 x 1 % x sqrt(2 / 11) = 0.0089; with
    # 10 it is 2.101 x 1 % x sqrt(2 / 10) = 0.0094, with 9 it is 2.120 x 1 % x sqrt(2 / 9) = 0.00999.
    assert row.repeats_to_settle == 10


def test_several_processes_a_side_show_their_spread_themselves():
    row = rows(difference_between(exact(0.999, 1.0, 1.001), exact(1.019, 1.02, 1.021)))[ARMS[0].key]
    assert (row.base_process_count, row.head_process_count) == (3, 3)
    assert row.process_spread_measured
    assert row.process_spread_ratio == pytest.approx(0.00099, abs=1e-5)
    # ln 1.02 ± 2.776 x 0.099 % x sqrt(2 / 3)
    assert log(row.ratio.high) - log(row.ratio.low) == pytest.approx(2 * 0.00224, rel=0.01)
    assert row.change is Change.SLOWER
    assert row.repeats_to_settle is None


def test_processes_that_scatter_decide_nothing_however_narrow_their_samples():
    row = rows(difference_between(exact(0.9, 1.0, 1.1), exact(1.0, 1.1, 1.2)))[ARMS[0].key]
    assert row.ratio.low < 1 < row.ratio.high
    assert row.change is Change.INCONCLUSIVE
    assert row.repeats_to_settle > 3


def test_two_sessions_of_a_cpu_that_moved_by_a_seventh_get_no_verdict():
    base, head = (
        replace(file, runs=tuple(replace(run, environment=synthetic_environment("cpu")) for run in file.runs))
        for file in (exact(1.0), exact(1.157))
    )
    row = rows(difference_between(base, head))[ARMS[0].key]
    assert row.process_spread_ratio == 0.07
    # ln 1.157 = 0.1458 ± 1.96 x sqrt(2) x 7 %
    assert log(row.ratio.low) == pytest.approx(0.1458 - 0.1940, abs=1e-3)
    assert row.change is Change.INCONCLUSIVE
    # The band ends at 0.00995. With 3 processes t is 2.776 and the reach 0.159, with 4 it is 2.447 and 0.121.
    assert row.repeats_to_settle == 4


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("device_name", "NVIDIA H100", "device"),
        ("driver_version", "570.1", "driver"),
        ("cuda_version", None, "CUDA"),
        ("torch_version", "2.13.0", "torch"),
        ("cpu_thread_count", 3, "threads"),
        ("tf32_allowed", True, "TF32"),
        ("float32_matmul_precision", "high", "float32 matmul precision"),
        ("sdpa_backends", (), "SDPA backends"),
        ("power_limit_watts", 500.0, "power limit"),
        ("mig_enabled", True, "MIG"),
    ],
)
def test_a_differing_condition_is_named_and_takes_the_pairing_away(field, value, name):
    head = with_environment(measured(seed=2), **{field: value})
    found = difference_between(measured(seed=1), head)
    assert [condition.name for condition in found.differing] == [name]
    assert {row.basis for row in found.differences} == {RatioBasis.UNPAIRED}


def test_a_new_commit_is_no_other_environment():
    head = with_environment(measured(seed=2), git_commit="fedcba", pamprof_version="9.9")
    assert difference_between(measured(seed=1), head).differing == ()


def test_a_cold_cache_is_not_compared_with_a_warm_one_unnoticed():
    head = measured(seed=2)
    head = replace(head, runs=tuple(replace(run, timing=replace(run.timing, cold_cache=True)) for run in head.runs))
    assert [condition.name for condition in difference_between(measured(seed=1), head).differing] == ["cold cache"]


def test_an_interval_around_the_threshold_is_inconclusive():
    found = difference_between(measured(seed=1), measured(seed=2, slowdown=1.05), fail_above=0.05)
    assert rows(found)[ARMS[0].key].outcome is GateOutcome.INCONCLUSIVE


def test_a_lone_sample_decides_nothing_however_slow():
    slow = measured(seed=2, slowdown=5.0, sample_count=1)
    found = difference_between(measured(seed=1, sample_count=1), slow, fail_above=0.05)
    for arm in ARMS:
        assert rows(found)[arm.key].ratio.median > 4
        assert rows(found)[arm.key].outcome is GateOutcome.INCONCLUSIVE
        assert rows(found)[arm.key].change is Change.INCONCLUSIVE


@pytest.mark.parametrize(
    ("samples", "words"),
    [((0.0,) * 24, "positive"), ((1e-300, 1e300) * 12, "too far apart"), ((0.1,) * 3, "equal counts"), ((), "pairs")],
)
def test_samples_that_are_no_times_give_a_reason_instead_of_a_ratio(samples, words):
    head = measured(seed=2)
    broken = replace(head.runs[1].timing, wall_time_seconds=samples)
    head = replace(head, runs=(head.runs[0], replace(head.runs[1], timing=broken), *head.runs[2:]))
    row = rows(difference_between(measured(seed=1), head))[ARMS[0].key]
    assert row.ratio is None
    assert words in row.reason
    assert row.outcome is GateOutcome.INCONCLUSIVE


def with_peaks(file, peak_bytes, unknowns=()):
    return replace(
        file,
        runs=tuple(
            replace(run, memory=replace(run.memory, peak_bytes=peak_bytes), unknowns=unknowns) for run in file.runs
        ),
    )


@pytest.mark.parametrize(
    ("head_bytes", "change", "outcome"),
    [
        (1000, Change.EQUAL, GateOutcome.WITHIN),
        (1001, Change.MORE, GateOutcome.WITHIN),
        (1050, Change.MORE, GateOutcome.WITHIN),
        (1051, Change.MORE, GateOutcome.ABOVE),
        (999, Change.LESS, GateOutcome.WITHIN),
        (None, Change.INCONCLUSIVE, GateOutcome.INCONCLUSIVE),
        (0, Change.INCONCLUSIVE, GateOutcome.INCONCLUSIVE),
    ],
)
def test_memory_is_compared_to_the_byte(head_bytes, change, outcome):
    base, head = with_peaks(measured(seed=1), 1000), with_peaks(measured(seed=1, slowdown=3.0), head_bytes)
    found = difference_between(base, head, metric=ComparedMetric.MEMORY, fail_above=0.05)
    assert {(row.change, row.outcome) for row in found.differences} == {(change, outcome)}


def test_an_unknown_peak_carries_the_reason_of_the_record():
    unknown = Unknown(field="memory.peak_bytes", reason="the allocator was replaced")
    head = with_peaks(measured(seed=1), None, unknowns=(unknown,))
    (row, *_) = difference_between(measured(seed=1), head, metric=ComparedMetric.MEMORY).differences
    assert row.reason == "the peak is not known in HEAD: the allocator was replaced"


def test_unreadable_lines_are_noted():
    head = replace(measured(seed=2), problems=("runs.jsonl line 3: damaged", "runs.jsonl line 4: damaged"))
    (note,) = difference_between(measured(seed=1), head, head_name="new").notes
    assert note == "new: 2 lines could not be read: runs.jsonl line 3: damaged; runs.jsonl line 4: damaged"
