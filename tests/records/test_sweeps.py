from __future__ import annotations

from dataclasses import replace

from pamprof.records import Phase
from pamprof.records.store import merged
from pamprof.records.sweeps import split_sweeps
from tests.render.serving.records import SWEEP_ID, sweep_records, sweep_session
from tests.synthetic import SESSION_ID, synthetic_records, synthetic_session


def test_a_sweep_is_kept_apart_from_the_comparison_beside_it():
    together = merged((synthetic_records("cuda"), sweep_records()))
    comparison, sweep = split_sweeps(together)
    assert comparison == synthetic_records("cuda")
    assert sweep == sweep_records()
    assert comparison.record_count + sweep.record_count == together.record_count


def test_where_nothing_but_a_sweep_was_measured_it_is_both():
    comparison, sweep = split_sweeps(sweep_records())
    assert comparison is sweep is sweep_records()


def test_a_comparison_holds_no_sweep():
    records = synthetic_records("cpu")
    comparison, sweep = split_sweeps(records)
    assert comparison is records
    assert sweep.record_count == 0


def test_a_sweep_that_was_resumed_is_one_and_a_comparison_in_its_session_is_none():
    first = sweep_records()
    again = replace(sweep_session(), started_at="2026-11-22T13:00:00+00:00")
    assert split_sweeps(replace(first, sessions=(*first.sessions, again)))[1].sessions == (*first.sessions, again)
    planned = replace(synthetic_session(planned=("a point",)), session_id=SWEEP_ID, phases=(Phase.DECODE,))
    assert split_sweeps(replace(first, sessions=(*first.sessions, planned)))[1].runs == ()


def test_runs_without_a_header_belong_to_the_comparison():
    orphans = replace(synthetic_records("cpu"), sessions=())
    comparison, sweep = split_sweeps(merged((orphans, sweep_records())))
    assert {run.session_id for run in comparison.runs} == {SESSION_ID}
    assert {run.session_id for run in sweep.runs} == {SWEEP_ID}
