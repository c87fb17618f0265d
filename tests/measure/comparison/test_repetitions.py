from dataclasses import replace

from pamprof.measure.comparison.repetitions import missing_repetitions
from pamprof.records import Effort, Skip, SkipKind
from tests.synthetic import synthetic_records, synthetic_run, synthetic_workload

SHORT = synthetic_workload()
LONG = replace(SHORT, sequence_length=2 * SHORT.sequence_length)
ARM = replace(SHORT, implementation="arm")


def groups(*visits, earlier=None, processes=3, seed=0):
    return missing_repetitions(visits, earlier, processes=processes, effort=Effort.REFERENCE, seed=seed)


def session_with(runs, skips=(), effort=Effort.REFERENCE):
    records = synthetic_records()
    session = replace(records.sessions[0], session_id="s", effort=effort)
    return replace(records, sessions=(session,), runs=tuple(runs), skips=tuple(skips))


def run_of(workload):
    return replace(synthetic_run(), workload=workload, session_id="s")


def test_every_point_comes_once_for_each_process_with_its_arms_together():
    found = groups(SHORT, ARM, LONG)
    assert sorted(found, key=len) == [(LONG,)] * 3 + [(SHORT, ARM)] * 3


def test_the_order_is_random_and_another_one_when_a_session_goes_on():
    points = [replace(SHORT, sequence_length=length) for length in range(64, 128)]
    first = groups(*points, processes=1)
    assert first == groups(*points, processes=1)
    assert first != tuple((point,) for point in points)
    assert first != groups(*points, processes=1, earlier=session_with([]))


def test_what_earlier_processes_measured_is_not_measured_again_but_for_what_it_is_paired_with():
    earlier = session_with([run_of(SHORT), run_of(ARM), run_of(SHORT), run_of(SHORT)])
    assert groups(SHORT, ARM, earlier=earlier) == ((SHORT, ARM),) * 2  # the arm has one process only
    other = replace(SHORT, implementation="other")
    earlier = session_with([run_of(SHORT)] * 3 + [run_of(ARM)] * 3 + [run_of(other)] * 2)
    assert groups(SHORT, ARM, other, earlier=earlier) == ((SHORT, other),)


def test_runs_of_another_effort_do_not_count():
    earlier = session_with([run_of(SHORT)] * 3, effort=Effort.QUICK)
    assert len(groups(SHORT, earlier=earlier)) == 3


def test_an_arm_that_cannot_be_measured_is_left_out_and_one_that_crashed_is_tried_in_the_other_processes():
    def skip(workload, kind):
        return Skip(session_id="s", started_at="2026-11-28T00:00:00+00:00", workload=workload, kind=kind, reason="why")

    never = session_with([run_of(SHORT)], [skip(ARM, SkipKind.UNSUPPORTED)])
    assert groups(SHORT, ARM, earlier=never) == ((SHORT,),) * 2
    again = session_with([run_of(SHORT)], [skip(ARM, SkipKind.CRASHED)])
    assert groups(SHORT, ARM, earlier=again) == ((SHORT, ARM),) * 2
    ended = session_with([run_of(SHORT)] * 3, [skip(ARM, SkipKind.CRASHED)] * 3)
    assert groups(SHORT, ARM, earlier=ended) == ()
    late = session_with([run_of(SHORT)] * 3, [skip(ARM, SkipKind.INTERRUPTED)] * 3)
    assert groups(SHORT, ARM, earlier=late) == ((SHORT, ARM),) * 3
