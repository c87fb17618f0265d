"""Records of several machines: who is told of, and that no ratio is formed between two of them."""

from dataclasses import replace

from pamprof.analysis import analyse
from pamprof.analysis.comparison.machines import by_machine, told_part
from pamprof.records import Parallel, Phase, RankLayout, SkipKind
from pamprof.records.store import merged
from tests.synthetic import synthetic_records, synthetic_skip

OTHER = "NVIDIA A100-SXM4-80GB"


def slower(records, *, device, session_id, factor, keep=lambda run: True):
    """The records as another device would have measured them, ``factor`` times as slow in every arm of the subject."""

    def on_it(run):
        times = factor if run.workload.spec.layer == "pam" else 1.0
        timing = replace(run.timing, wall_time_seconds=tuple(times * t for t in run.timing.wall_time_seconds))
        environment = replace(run.environment, device_name=device)
        return replace(run, session_id=session_id, environment=environment, timing=timing)

    return replace(
        records,
        sessions=tuple(replace(session, session_id=session_id) for session in records.sessions),
        runs=tuple(on_it(run) for run in records.runs if keep(run)),
        skips=(),
        ceilings=(),
    )


def fleet(*files):
    joined = merged(files)
    return replace(joined, sessions=tuple(replace(session, fleet="f") for session in joined.sessions))


def best(records, phase):
    return analyse(records).story.phase(phase).best.time_ratio.median


def test_the_machine_with_most_runs_of_a_fleet_is_told_of_whoever_came_last():
    first = synthetic_records()
    later = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    later = replace(later, runs=tuple(replace(run, started_at="2099-01-01T00:00:00+00:00") for run in later.runs))
    told = analyse(fleet(first, later))
    assert {summary.run.environment.device_name for p in told.points for summary in p.summaries} == {
        first.runs[0].environment.device_name
    }
    assert any("most of the fleet's runs" in problem and OTHER in problem for problem in told.problems)
    alone = analyse(merged((first, later)))  # no fleet: the latest run decides
    assert {s.run.environment.device_name for p in alone.points for s in p.summaries} == {OTHER}


def test_runs_of_another_machine_are_named_with_where_they_stand():
    first = synthetic_records()
    later = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    for records in (fleet(first, later), merged((later, first))):
        (problem,) = analyse(records).problems
        assert problem.endswith("; they are in the table by machine")


def without_twin(records):
    """The records without the twin in training at batch 18, and the workload that is gone."""
    lost = next(
        run.workload
        for run in records.runs
        if run.workload.spec.layer == "real_pam" and (run.workload.phase, run.workload.batch_size) == ("train", 18)
    )
    runs = tuple(run for run in records.runs if run.workload != lost)
    runs = tuple(r for r in runs if r.workload.spec.layer != "real_pam" or r.workload.point != lost.point)
    return replace(records, runs=runs, skips=()), lost


def missing_steps(records, point):
    return next(p for p in analyse(records).points if p.point == point).ladder.missing


def test_the_ladder_names_the_skip_of_its_own_machine_and_of_one_device():
    records, lost = without_twin(synthetic_records())
    skip = synthetic_skip(lost, SkipKind.OUT_OF_MEMORY, "24 GiB wanted")
    why, *_ = missing_steps(replace(records, skips=(skip,)), lost.point)
    assert "measured here (out-of-memory: 24 GiB wanted), so" in why
    of_ranks = replace(lost, layout=RankLayout(parallel=Parallel.DDP, ranks=2))
    why, *_ = missing_steps(replace(records, skips=(replace(skip, workload=of_ranks),)), lost.point)
    assert "measured here, so" in why
    other = slower(records, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    other = replace(other, skips=(replace(skip, session_id="b"),))
    why, *_ = missing_steps(fleet(records, other), lost.point)
    assert "measured here, so" in why


def test_a_session_without_runs_counts_as_the_machines_that_is_told_of():
    first = synthetic_records()
    other = slower(first, device=OTHER, session_id="b", factor=2.0, keep=lambda run: run.workload.phase == "decode")
    skip = replace(synthetic_skip(first.runs[0].workload, SkipKind.TIMEOUT, "300 s"), session_id="empty")
    empty = replace(first, sessions=(replace(first.sessions[0], session_id="empty"),), runs=(), skips=(skip,))
    part = told_part(fleet(first, other, empty))
    assert {session.session_id for session in part.sessions} == {first.sessions[0].session_id, "empty"}
    assert part.skips == (*first.skips, skip)
    assert part.runs == first.runs


def test_every_machine_has_the_ratios_of_its_own_runs():
    first = synthetic_records()
    both = fleet(first, slower(first, device=OTHER, session_id="b", factor=2.0))
    parts = by_machine(both)
    assert list(parts) == [first.runs[0].environment.device_name, OTHER]
    for phase in (Phase.TRAIN, Phase.DECODE):
        assert best(parts[OTHER], phase) / best(first, phase) > 1.9
        assert best(parts[first.runs[0].environment.device_name], phase) == best(first, phase)
