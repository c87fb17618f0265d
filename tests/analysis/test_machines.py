"""Records of several machines: who is told of, and that no ratio is formed between two of them."""

from dataclasses import replace

from pamprof.analysis import analyse
from pamprof.analysis.comparison.machines import by_machine
from pamprof.records import Phase
from pamprof.records.store import merged
from tests.synthetic import synthetic_records

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


def test_every_machine_has_the_ratios_of_its_own_runs():
    first = synthetic_records()
    both = fleet(first, slower(first, device=OTHER, session_id="b", factor=2.0))
    parts = by_machine(both)
    assert list(parts) == [first.runs[0].environment.device_name, OTHER]
    for phase in (Phase.TRAIN, Phase.DECODE):
        assert best(parts[OTHER], phase) / best(first, phase) > 1.9
        assert best(parts[first.runs[0].environment.device_name], phase) == best(first, phase)
