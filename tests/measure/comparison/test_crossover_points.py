"""The third length that a comparison measures near a crossover; places are worked out by hand."""

from dataclasses import replace
from math import log

import pytest

from pamprof.measure.comparison.crossover_points import brackets, third_length
from pamprof.records import Effort, Phase
from pamprof.records.store import RecordFile
from tests.measure.comparison.test_request import plan
from tests.synthetic import synthetic_run, synthetic_session, synthetic_workload


@pytest.mark.parametrize(
    ("lengths", "ratios", "found"),
    [
        ((2048, 16384), (1.2, 0.54), 4096),  # equal at 3,290
        ((256, 32768), (4.0, 0.5), 8192),  # two thirds of the seven doublings, 6,500
        ((256, 32768), (0.5, 4.0), 1024),  # the other way round, a third of them: 1,290
        ((2048, 4096), (1.5, 1 / 1.5), 2880),  # 2,896 is near no power of two inside: 45 chunks of 64
        ((2048, 16384), (1.01, 0.3), None),  # beside 2,048, which is measured
        ((2048, 16384), (1.5, 1.1), None),
        ((2048, 16384), (0.5, 0.1), None),
    ],
)
def test_the_third_length_is_a_power_of_two_or_a_number_of_chunks_near_the_crossover(lengths, ratios, found):
    assert third_length(lengths, tuple(map(log, ratios)), 64) == found


def group(length, batch=1, phase=Phase.DECODE):
    return (synthetic_workload(phase=phase, batch_size=batch, sequence_length=length),)


def test_only_neighbours_of_one_phase_and_batch_with_room_between_them_bracket_a_length():
    groups = (group(16384), group(2048), group(2560), group(4096, batch=64), group(8192, phase=Phase.PREFILL))
    assert [found.lengths for found in brackets(groups)] == [(2560, 16384)]


LENGTHS = {None: (64, 1024)}


def arms_at(length, **changes):
    """The reference and the best PAM of a plan at a length."""
    workloads = [w for (w,) in plan(sequence_lengths={None: (length,)}, **changes).groups]
    reference = next(w for w in workloads if w.spec.layer == "transformer")
    return reference, next(w for w in workloads if w.spec.layer == "pam" and w.implementation == "planar")


def measured(ratios, extra=(), effort=Effort.QUICK):
    """Records in which PAM takes ``ratios`` of the reference's time, by length."""
    runs = []
    for length, value in ratios.items():
        reference, arm = arms_at(length)
        for workload, took in ((reference, 1e-3), (arm, value * 1e-3)):
            samples = {"wall_time_seconds": (took,) * 9, "reference_wall_time_seconds": (1e-3,) * 9}
            runs.append(synthetic_run(workload, reference=reference, device="cpu", session_id="first", **samples))
    session = replace(synthetic_session("cpu", session_id="first"), effort=effort)
    return RecordFile(sessions=(session,), runs=(*runs, *extra), skips=(), problems=())


def lengths_of(found):
    return sorted({w.sequence_length for w in found.pending})


def test_a_session_adds_the_length_once_the_first_numbers_show_the_crossover():
    further = plan(sequence_lengths=LENGTHS).further
    runs = measured({64: 2.0, 1024: 0.5}).runs
    assert further.may_add() == "decode 1 × 64 to 1k"
    assert further.after(runs[:3]) == ()
    (added,) = further.after(runs)
    assert added.workloads == arms_at(256)  # the middle of four doublings
    assert set(added.expected_seconds) == set(added.monitor_seconds) == {w.key for w in added.workloads}
    assert added.reason == "decode at batch 1 crosses between 64 and 1k tokens: 256 is measured, too"
    assert further.after(runs) == ()
    assert further.may_add() == ""


def test_no_length_is_added_without_a_crossover_or_a_fixed_state_beside_a_cache():
    assert plan(sequence_lengths=LENGTHS).further.after(measured({64: 2.0, 1024: 1.5}).runs) == ()
    alone = plan(sequence_lengths=LENGTHS, layers=("transformer", "llama")).further
    assert alone.may_add() == ""
    assert alone.after(measured({64: 2.0, 1024: 0.5}).runs) == ()
    assert plan().further.may_add() == ""


def test_a_session_that_goes_on_plans_the_same_length_from_the_records():
    ends = {64: 2.0, 1024: 0.5}
    first = plan(sequence_lengths=LENGTHS, earlier=measured(ends))
    assert {w.key for w in arms_at(256)} <= set(first.planned)
    assert [w for w in first.pending if w.sequence_length == 256] == list(arms_at(256))
    assert first.further.may_add() == ""
    # Once it is measured it stays, though later numbers move the crossover to another power of two.
    moved = measured({**ends, 64: 9.0, 256: 1.5})
    again = plan(sequence_lengths=LENGTHS, earlier=moved)
    assert {w.key for w in arms_at(256)} <= again.done
    assert lengths_of(again) == [64, 1024]


def test_with_fresh_processes_the_added_length_comes_as_often_as_the_others():
    known = measured({64: 2.0, 1024: 0.5}, effort=Effort.REFERENCE)
    found = plan(sequence_lengths=LENGTHS, earlier=known, effort=Effort.REFERENCE)
    assert [group for group in found.groups if group[0].sequence_length == 256] == [arms_at(256)] * 3
