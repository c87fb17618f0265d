"""Records that do not store a fact are completed on reading; what they are completed with is what layers declare."""

from dataclasses import replace
from pathlib import Path

import pytest

from pamprof.analysis import analyse
from pamprof.records import KernelShare, LayerFacts, LayerRole, Phase, SessionKind
from pamprof.records.codec import decode, encode
from pamprof.records.layers import facts_of_older_records
from pamprof.records.store import read_records
from pamprof.workloads.base import layer_facts
from pamprof.workloads.registry import BUILT_IN_LAYERS, definition
from tests.synthetic import synthetic_records

RECORDS = synthetic_records("cpu")


def test_layers_without_stored_facts_receive_what_their_definitions_declare_today():
    declared = tuple(layer_facts(definition(name)) for name in BUILT_IN_LAYERS)
    assert facts_of_older_records((facts.layer, "") for facts in declared) == declared


def test_a_foreign_layer_without_stored_facts_is_a_subject_under_its_own_title():
    assert facts_of_older_records([("mamba", "Mamba-2")]) == (LayerFacts(layer="mamba", title="Mamba-2"),)
    assert LayerFacts(layer="mamba", title="Mamba-2").role is LayerRole.SUBJECT


def test_a_session_that_planned_nothing_and_did_not_train_is_a_sweep():
    comparison = replace(RECORDS.sessions[0], kind=None, layers=())
    sweep = replace(comparison, planned=(), phases=(Phase.PREFILL, Phase.DECODE))
    assert decode(encode(comparison)).kind is SessionKind.COMPARISON
    assert decode(encode(sweep)).kind is SessionKind.SWEEP
    assert [facts.title for facts in decode(encode(sweep)).layers] == [arm.title for arm in comparison.arms]


def test_kernel_shares_written_as_notes_are_read_as_data():
    old = replace(
        RECORDS.runs[0],
        notes=("9.8 % of kernel time in unrolled_elementwise_kernel", "attention backend: flash"),
        kernel_shares=None,
    )
    read = decode(encode(old))
    assert read.kernel_shares == (KernelShare(kernel="unrolled_elementwise_kernel", share_ratio=0.098),)
    assert read.notes == ("attention backend: flash",)


def test_a_session_without_an_effort_has_none_and_reads_whole():
    fixture = read_records(Path(__file__).parent / "fixtures" / "schema-1.jsonl")
    assert fixture.problems == ()
    assert {(session.effort, session.time_budget_seconds) for session in fixture.sessions} == {(None, None)}
    assert {run.elapsed_seconds for run in fixture.runs} == {None}


REPORTS = Path(__file__).parents[2] / "reports"
COMMITTED = sorted(REPORTS.rglob("*.jsonl"))


def test_there_are_committed_records_to_hold():
    assert len(COMMITTED) >= 10


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(REPORTS)))
def test_every_committed_record_file_reads_whole_and_complete(path):
    records = read_records(path)
    assert records.problems == ()
    assert records.record_count == sum(1 for line in path.read_bytes().splitlines() if line.strip())
    assert all(session.kind is not None and session.layers for session in records.sessions)
    assert all(run.kernel_shares is not None for run in records.runs)
    assert not any("of kernel time in" in note for run in records.runs for note in run.notes)
    joined = "processes of several commits"  # of a piece that was resumed after a mend
    assert not [problem for problem in analyse(records).problems if not problem.startswith(joined)]
