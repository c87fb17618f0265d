from dataclasses import replace

import pytest

from pamprof.analysis.history.trend import trend_of
from pamprof.analysis.history.trend_results import RunAgreement
from pamprof.records import Execution, SkipKind
from pamprof.records.run import Skip
from pamprof.records.store import RecordFile
from pamprof.render.history.trend import trend_view
from pamprof.statistics import ratio_interval
from tests.analysis.history.test_difference import ARMS, REFERENCE, fleet, measured, with_environment
from tests.synthetic import synthetic_workload


def on(day, file):
    started_at = f"2026-11-{day:02d}T12:00:00+00:00"
    return replace(file, runs=tuple(replace(run, started_at=started_at) for run in file.runs))


def exact(*, ratios, day, reference_seconds=0.1):
    """A file whose arms have exactly these median ratios to the reference."""
    file = measured(seed=day, arms=ARMS[: len(ratios)])
    runs = []
    for run, ratio in zip(file.runs, (1.0, *ratios), strict=True):
        timing = replace(
            run.timing,
            wall_time_seconds=(ratio * reference_seconds,) * 24,
            reference_wall_time_seconds=(reference_seconds,) * 24,
        )
        runs.append(replace(run, timing=timing))
    return on(day, replace(file, runs=tuple(runs)))


def series(trend, workload):
    return next(one for one in trend.series if one.key == workload.key)


def test_the_ratio_of_each_run_is_the_paired_one_of_its_own_samples():
    files = [on(day, measured(seed=day)) for day in (1, 2, 3)]
    trend = trend_of([(f"run{number}", file) for number, file in enumerate(files)])
    for arm in ARMS:
        for value, file in zip(series(trend, arm).values, files, strict=True):
            (run,) = [run for run in file.runs if run.workload == arm]
            assert value.ratio == ratio_interval(run.timing.wall_time_seconds, run.timing.reference_wall_time_seconds)


def test_each_device_of_a_fleet_is_a_series_of_its_own():
    trend = trend_of([
        ("first", on(1, fleet("H200", "A100"))), ("second", on(2, fleet("A100", "H200", slowdown=1.10, seed=2))),
    ])  # fmt: skip
    assert [one.device_name for one in trend.series if one.workload == ARMS[0]] == ["H200", "A100"]
    assert len({one.key for one in trend.series}) == 2 * len(ARMS)
    assert all(one.spread == pytest.approx(0.10, abs=0.02) for one in trend.series)
    assert not any(run.changes for run in trend.runs)
    table = trend_view(trend).table
    assert sorted(row[1].rsplit(", ", 1)[-1] for row in table.rows) == ["A100"] * len(ARMS) + ["H200"] * len(ARMS)


def test_runs_are_put_in_order_of_time_whatever_the_order_given():
    files = [("third", exact(ratios=(3.0,), day=9)), ("first", exact(ratios=(1.0,), day=1))]
    trend = trend_of([*files, ("second", exact(ratios=(2.0,), day=5))])
    assert [run.name for run in trend.runs] == ["first", "second", "third"]
    assert [value.ratio.median for value in trend.series[0].values] == pytest.approx([1.0, 2.0, 3.0])


def test_spread_is_the_largest_median_over_the_smallest_less_one():
    files = [(str(day), exact(ratios=(ratio,), day=day)) for day, ratio in ((1, 2.00), (2, 2.03), (3, 2.01))]
    assert trend_of(files).series[0].spread == pytest.approx(0.015)


@pytest.mark.parametrize(
    ("ratios", "agreement"),
    [((2.0, 2.019), RunAgreement.WITHIN), ((2.0, 2.021), RunAgreement.OUTSIDE), ((2.021, 2.0), RunAgreement.OUTSIDE)],
)
def test_agreement_is_judged_against_the_limit(ratios, agreement):
    files = [(str(day), exact(ratios=(ratio,), day=day)) for day, ratio in enumerate(ratios, start=1)]
    trend = trend_of(files, within=0.01)
    assert trend.series[0].agreement is agreement
    assert trend.count(agreement) == 1
    assert trend_of(files).series[0].agreement is None


def test_a_machine_that_slowed_down_moves_no_ratio_and_is_noted():
    files = [
        ("old", exact(ratios=(2.0,), day=1)),
        ("new", exact(ratios=(2.0,), day=2, reference_seconds=0.13)),
    ]
    trend = trend_of(files, within=0.01)
    assert trend.series[0].spread == pytest.approx(0.0)
    (note,) = trend.notes
    assert note.startswith(f"new over old as BASE: the reference {REFERENCE.key} itself took 1.30×")


def test_the_reference_itself_is_no_series_but_gives_the_noise():
    trend = trend_of([("a", on(1, measured(seed=1))), ("b", on(2, measured(seed=2, sigma=0.03)))])
    assert {one.key for one in trend.series} == {arm.key for arm in ARMS}
    quiet, loud = (value.noise_half_width for value in trend.series[0].values)
    assert 0 < quiet < loud
    assert trend.series[0].noise_half_width == loud


def test_noise_is_unknown_where_the_reference_was_not_measured_against_itself():
    file = measured(seed=1)
    trend = trend_of([("a", on(1, replace(file, runs=file.runs[1:]))), ("b", on(2, measured(seed=2)))])
    assert trend.series[0].values[0].noise_half_width is None
    assert trend.series[0].values[1].noise_half_width > 0


def test_a_workload_that_one_run_lacks_is_undecided_with_the_reason_of_its_skip():
    skip = Skip(session_id="a", started_at="", workload=ARMS[0], kind=SkipKind.OUT_OF_MEMORY, reason="90 GiB asked")
    files = [
        ("a", on(1, measured(seed=1))),
        ("b", replace(on(2, measured(seed=2, arms=ARMS[1:])), skips=(skip,))),
        ("c", on(3, measured(seed=3))),
    ]
    trend = trend_of(files, within=0.5)
    lacking = series(trend, ARMS[0])
    assert lacking.agreement is RunAgreement.UNDECIDED
    assert lacking.reason == "no ratio in 1 of 3 runs (out-of-memory: 90 GiB asked)"
    assert lacking.values[1].ratio is None
    assert lacking.spread > 0
    assert trend.count(RunAgreement.WITHIN) == len(ARMS) - 1


def test_a_run_apart_is_outside_even_where_another_lacks_the_workload():
    files = [
        ("a", exact(ratios=(2.0, 3.0), day=1)),
        ("b", exact(ratios=(2.5, 3.0), day=2)),
        ("c", on(3, measured(seed=3, arms=ARMS[1:2]))),
    ]
    assert series(trend_of(files, within=0.01), ARMS[0]).agreement is RunAgreement.OUTSIDE


def test_ratios_to_different_references_are_never_compared():
    other = synthetic_workload("transformer", execution=Execution.EAGER)
    files = [("a", on(1, measured(seed=1))), ("b", on(2, measured(seed=2, reference=other)))]
    one = series(trend_of(files, within=0.5), ARMS[0])
    assert one.spread is None
    assert one.agreement is RunAgreement.UNDECIDED
    assert one.reason == "the runs paired it with different references"
    (change,) = one.values[1].changes
    assert (change.name, change.base, change.head) == ("reference", REFERENCE.key, other.key)


def test_a_condition_that_changed_is_marked_at_the_run_it_changed_before():
    files = [
        ("a", on(1, measured(seed=1))),
        ("b", on(2, measured(seed=2))),
        ("c", on(3, with_environment(measured(seed=3), torch_version="2.13.0", git_commit="fedcba"))),
        ("d", on(4, with_environment(measured(seed=4), torch_version="2.13.0"))),
    ]
    trend = trend_of(files)
    assert [[change.name for change in run.changes] for run in trend.runs] == [[], [], ["torch"], []]
    assert [bool(value.changes) for value in trend.series[0].values] == [False, False, True, False]
    assert trend.runs[2].commits == ("fedcba",)


def test_a_file_of_several_commits_names_them_all_in_the_order_they_were_measured():
    later = on(2, with_environment(measured(seed=2, arms=ARMS[1:]), git_commit="fedcba"))
    earlier = on(1, with_environment(measured(seed=1, arms=ARMS[:1]), git_commit="012345"))
    mixed = replace(later, runs=(*later.runs, *earlier.runs))
    trend = trend_of([("a", mixed), ("b", on(3, measured(seed=3)))])
    assert trend.runs[0].commits == ("012345", "fedcba")


def test_a_change_across_a_run_that_lacks_the_workload_is_marked_where_it_is_seen():
    files = [
        ("a", on(1, measured(seed=1))),
        ("b", on(2, measured(seed=2, arms=ARMS[1:]))),
        ("c", on(3, with_environment(measured(seed=3), torch_version="2.13.0"))),
    ]
    assert [bool(value.changes) for value in series(trend_of(files), ARMS[0]).values] == [False, False, True]


def test_the_latest_measurement_of_a_workload_in_one_run_counts_and_is_noted():
    early, late = exact(ratios=(2.0,), day=1), exact(ratios=(3.0,), day=2)
    both = replace(late, runs=(*late.runs, *early.runs))
    trend = trend_of([("both", both), ("next", exact(ratios=(3.0,), day=3))], within=0.01)
    assert trend.series[0].agreement is RunAgreement.WITHIN
    assert trend.notes == ("both: 2 earlier runs of workloads measured again left out",)


@pytest.mark.parametrize(
    ("samples", "words"), [((0.0,) * 24, "positive"), ((1e-300, 1e300) * 12, "too far apart"), ((), "pairs")]
)
def test_samples_that_are_no_times_give_a_reason_instead_of_a_ratio(samples, words):
    good, bad = exact(ratios=(2.0,), day=1), exact(ratios=(2.0,), day=2)
    timing = replace(bad.runs[1].timing, wall_time_seconds=samples)
    bad = replace(bad, runs=(bad.runs[0], replace(bad.runs[1], timing=timing)))
    one = trend_of([("good", good), ("bad", bad)], within=0.01).series[0]
    assert one.values[1].ratio is None
    assert words in one.values[1].reason
    assert one.agreement is RunAgreement.UNDECIDED


def test_unreadable_lines_are_noted():
    torn = replace(exact(ratios=(2.0,), day=2), problems=("runs.jsonl line 3: damaged",))
    trend = trend_of([("a", exact(ratios=(2.0,), day=1)), ("b", torn)])
    assert trend.notes == ("b: 1 line could not be read: runs.jsonl line 3: damaged",)


def test_workloads_of_one_point_stay_together():
    elsewhere = tuple(replace(arm, batch_size=18) for arm in ARMS)
    first = measured(seed=1, arms=ARMS[:1])
    file = RecordFile(
        sessions=(),
        runs=(
            *first.runs,
            *measured(seed=2, arms=elsewhere, reference=replace(REFERENCE, batch_size=18)).runs,
            *measured(seed=3, arms=ARMS[1:]).runs[1:],
        ),
        skips=(),
        problems=(),
    )
    keys = [one.workload.batch_size for one in trend_of([("a", on(1, file)), ("b", on(2, file))]).series]
    assert keys == [3] * 4 + [18] * 4
