"""The part of a session that ranks measure: who is the one device after a death, and where the time budget ends."""

import os
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from pamprof.api.compare import compare
from pamprof.errors import PamprofError
from pamprof.measure.ranks.plan import RankPlan
from pamprof.measure.ranks.rank import RankLines, _Groups
from pamprof.measure.ranks.session import run_shared
from pamprof.measure.session.groups import GroupsTask
from pamprof.measure.session.runner import SessionOutcome
from pamprof.measure.session.settings import Settings
from pamprof.measure.session.wire import Event, GroupRequest, encode_event
from pamprof.records import Parallel, RankLayout, SkipKind
from pamprof.records.codec import encode
from pamprof.records.store import RunStore, read_records
from tests.measure.session.test_runner import Listener
from tests.synthetic import ranked_run, synthetic_run, synthetic_session, synthetic_workload


@dataclass
class Ranks:
    """Stands in for the process of all ranks: as many lives as ``deaths`` end before a word, all later ones measure."""

    deaths: int = 0
    requests: list = field(default_factory=list)

    def send(self, request, *, last):
        self.requests.append(request)

    def lines(self, patience):
        if len(self.requests) <= self.deaths:
            return
        alone, *shared = self.requests[-1].workloads
        for workload in shared:
            if workload.key not in self.requests[-1].done:
                yield encode_event(Event(event="started", key=workload.key))
                yield encode(replace(ranked_run(), session_id="s", workload=workload, alone=alone))
        yield encode_event(Event(event="finished"))

    def kill(self):
        pass

    def close(self):
        return 1, "rank 0 of 2 ended: the store was not reached"


def shared(folder, monkeypatch, ranks, parallel=Parallel.DDP, *, budget=None, listener=None):
    monkeypatch.setattr("pamprof.measure.ranks.session.WorkerProcess", lambda module: ranks)
    store = RunStore(folder / "runs.jsonl")
    workload = synthetic_workload(batch_size=4)
    store.append(synthetic_session())
    store.append(synthetic_run(workload))
    plan = RankPlan(layout=RankLayout(parallel=parallel, ranks=2), refusals={})
    task = GroupsTask(session_id="s", device="cpu", groups=(), settings=Settings(), expected_seconds={})
    outcome = run_shared(
        plan, task, store=store, reporter=listener or Listener(), path=store.path, time_budget_seconds=budget
    )
    store.close()
    return outcome, read_records(store.path)


def asked(ranks):
    return [[(w.batch_size, w.layout and w.layout.ranks) for w in request.workloads] for request in ranks.requests]


class TestADeathBeforeTheFirstPoint:
    def test_costs_the_next_point_and_leaves_the_one_device_what_it_is(self, tmp_path, monkeypatch):
        ranks = Ranks(deaths=1)
        outcome, records = shared(tmp_path, monkeypatch, ranks)
        assert asked(ranks) == [[(4, None), (8, 2), (4, 2)], [(4, None), (4, 2)]]
        (skip,), (run,) = records.skips, records.ranked
        assert (skip.workload.batch_size, skip.kind) == (8, SkipKind.CRASHED)
        assert skip.reason.endswith("the store was not reached")
        assert (run.workload.batch_size, run.alone.batch_size, run.alone.layout) == (4, 4, None)
        assert (outcome.measured, outcome.skipped) == (1, 1)

    def test_is_never_silent(self, tmp_path, monkeypatch):
        outcome, records = shared(tmp_path, monkeypatch, Ranks(deaths=1), Parallel.TP)
        assert (outcome.measured, outcome.skipped, len(records.skips)) == (0, 1, 1)

    def test_ranks_refuse_a_group_that_begins_with_all_of_them(self):
        workload = replace(synthetic_workload(), layout=RankLayout(parallel=Parallel.DDP, ranks=2))
        request = GroupRequest(
            session_id="s", group_id="g", origin_seconds=0.0, device="cpu", workloads=(workload, workload), done=(),
            settings=Settings(), ceilings=False,
        )  # fmt: skip
        lines = RankLines(launcher=None, answers=os.dup(2), requests=0, token=0)
        with pytest.raises(PamprofError, match="begins with a workload of 2 ranks"):
            _Groups(None, SimpleNamespace(rank=1), lines, 1.0).run(request)
        os.close(lines.answers)


class TestBudget:
    @pytest.mark.parametrize("budget", [300, None])
    def test_ranks_have_what_the_first_part_left_of_a_named_one(self, tmp_path, monkeypatch, budget):
        class ToldError(Exception):
            pass

        def spends_a_minute(task, *, pace, **_):
            pace._begun -= 60
            return SessionOutcome(measured=1, skipped=0, interrupted=False)

        def tells(*_, time_budget_seconds, **__):
            raise ToldError(time_budget_seconds)

        monkeypatch.setattr("pamprof.measure.session.run.measure_groups", spends_a_minute)
        monkeypatch.setattr("pamprof.measure.session.run.run_shared", tells)
        with pytest.raises(ToldError) as told:
            compare(
                preset="tiny", device="cpu", phases="train", layers=["transformer", "pam"], batch_size=2,
                sequence_length=16, ranks=2, time_budget=budget, output_dir=tmp_path / "out", progress=False,
            )  # fmt: skip
        (left,) = told.value.args
        assert left is None if budget is None else 0 < left <= 240

    def test_nothing_begins_after_its_end_and_the_rest_is_counted_and_told(self, tmp_path, monkeypatch):
        ranks = Ranks()
        outcome, records = shared(tmp_path, monkeypatch, ranks, budget=0.0)
        assert not ranks.requests
        assert (outcome.measured, outcome.skipped, outcome.left_out) == (0, 0, 2)
        assert [(skip.kind, skip.workload.batch_size) for skip in records.skips] == [
            (SkipKind.INTERRUPTED, 8),
            (SkipKind.INTERRUPTED, 4),
        ]

    def test_what_an_interruption_left_out_is_recorded_and_measured_by_going_on(self, tmp_path, monkeypatch):
        outcome, records = shared(tmp_path, monkeypatch, Ranks(), listener=Listener(interrupt_at=" 4 × "))
        assert (outcome.measured, outcome.interrupted) == (1, True)
        (skip,) = records.skips
        assert (skip.kind, skip.workload.batch_size) == (SkipKind.INTERRUPTED, 4)
        ranks = Ranks()
        outcome, records = shared(tmp_path, monkeypatch, ranks)
        assert asked(ranks) == [[(4, None), (8, 2), (4, 2)]]
        assert (outcome.measured, len(records.ranked)) == (1, 2)
