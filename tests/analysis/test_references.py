"""Several references compete: the fastest of each point is the baseline, the session's own stays named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.narrative import headline
from pamprof.analysis.comparison.results import CeilingKind, CrossoverQuantity, DoubtKind
from pamprof.records import Execution, Phase, Run
from pamprof.render.comparison.view import build_view
from tests.synthetic import REFERENCE_FACTORS, synthetic_ceilings, synthetic_records, with_fused, with_references

if TYPE_CHECKING:
    from pamprof.analysis.comparison.results import PointAnalysis
    from pamprof.analysis.comparison.story import Analysis
    from pamprof.records.store import RecordFile

FASTEST = {Phase.TRAIN: "wide_head_transformer", Phase.PREFILL: "wide_head_transformer", Phase.DECODE: "llama"}


@pytest.fixture(scope="module")
def records() -> RecordFile:
    return with_references(with_fused(synthetic_records()))


def only(records: RecordFile, *layers: str) -> RecordFile:
    return replace(records, runs=tuple(run for run in records.runs if run.workload.spec.layer in layers), skips=())


def test_the_fastest_reference_of_each_point_is_its_baseline(records: RecordFile) -> None:
    analysis = analyse(records)
    for point in analysis.points:
        assert point.baseline.workload.spec.layer == FASTEST[point.point.phase]
        references = [s for s in point.summaries if s.workload.spec.layer in analysis.story.roles.references]
        assert point.baseline.step_seconds.median == min(s.step_seconds.median for s in references)


def test_every_declared_reference_is_one_and_no_subject(records: RecordFile) -> None:
    roles = analyse(records).story.roles
    assert roles.references == ("transformer", "wide_head_transformer", "llama")
    assert (roles.reference, roles.subject, roles.twin, roles.other_subjects) == ("transformer", "pam", "real_pam", ())


def test_of_references_alone_the_second_is_the_subject(records: RecordFile) -> None:
    story = analyse(only(records, "transformer", "llama")).story
    assert (story.roles.references, story.roles.subject) == (("transformer",), "llama")
    assert {point.baseline.workload.spec.layer for point in story.points} == {"transformer"}
    assert all(told.best is not None for told in story.phases)


def test_beside_a_twin_alone_the_second_reference_is_still_the_subject(records: RecordFile) -> None:
    roles = analyse(only(records, "transformer", "llama", "real_pam")).story.roles
    assert (roles.references, roles.subject, roles.other_subjects) == (("transformer",), "llama", ("real_pam",))


def test_code_as_published_is_compared_to_the_sessions_own_reference_at_equal_execution(records: RecordFile) -> None:
    one, several = analyse(with_fused(synthetic_records())).story, analyse(records).story
    for phase in Phase:
        before, now = one.phase(phase), several.phase(phase)
        assert before is not None
        assert now is not None
        assert now.published == before.published
        assert now.published is not None
        assert now.published.baseline.spec.layer == "transformer"
        assert now.published.baseline.execution is now.published.subject.execution


def test_the_best_code_is_told_against_both_the_best_and_the_sessions_own_reference(records: RecordFile) -> None:
    before, now = (analyse(found).story.phase(Phase.TRAIN) for found in (with_fused(synthetic_records()), records))
    assert before is not None
    assert now is not None
    assert before.best is not None
    assert now.best is not None
    assert now.own_reference == before.best
    assert before.own_reference is None
    assert now.best.time_ratio.median == pytest.approx(before.best.time_ratio.median / 0.8)
    opening = headline(analyse(records).story)[0]
    assert "the wide-head transformer (graph)" in opening
    assert "That is the fastest of 3 references; against the transformer (graph) it is " in opening
    assert "PAM as published costs" in opening
    assert " the transformer at equal execution (" in opening
    assert "Decode with the best PAM code against the Llama: " in opening


def test_where_the_sessions_own_reference_is_the_fastest_nothing_more_is_said(records: RecordFile) -> None:
    slow = dict.fromkeys(Phase, 1.5)
    story = analyse(with_references(synthetic_records(), {"wide_head_transformer": slow, "llama": slow})).story
    assert all(told.own_reference is None for told in story.phases)
    assert story.reference_title == "transformer"
    assert "references" not in headline(story)[0]


def test_bytes_alone_are_those_of_the_reference_that_decodes_fastest(records: RecordFile) -> None:
    one, several = analyse(synthetic_records()).story, analyse(records).story
    for quantity in CrossoverQuantity:
        before, now = one.modelled_crossover(quantity), several.modelled_crossover(quantity)
        if before is None or before.tokens is None:
            continue
        assert now is not None
        assert now.tokens is not None
        assert now.tokens.median == pytest.approx(4 * before.tokens.median, rel=0.01)
        assert "a cache of the Llama of κ" in now.reason


def test_bytes_alone_are_ranked_where_every_reference_decoded() -> None:
    """At 16k only the transformer is left: the Llama, faster at 2k where all three are, keeps its place."""
    whole = with_references(synthetic_records())
    kept = tuple(
        run
        for run in whole.runs
        if run.workload.phase is not Phase.DECODE
        or run.workload.sequence_length != 16384
        or run.workload.spec.layer not in REFERENCE_FACTORS
    )
    records = replace(whole, runs=kept)
    found = {c.quantity: c for c in analyse(records).story.modelled}
    # PAM reads and writes 195 tokens' worth of the transformer's cache; the Llama's is a quarter of it a token.
    assert found[CrossoverQuantity.DECODE_TRAFFIC].tokens.median == pytest.approx(4 * 195, rel=0.01)
    assert {c.reference_layers for c in found.values()} == {("llama",)}
    (tile,) = [tile for tile in build_view(records).tiles if tile.heading == "Decode crossover"]
    assert "decode moves as much as with the cache of the Llama at 780 tokens" in tile.second


def test_without_a_decode_point_of_every_reference_bytes_are_those_of_the_headlines() -> None:
    """Each context of decode lacks one reference; the headline is at 2k, where the Llama is the fastest."""
    whole = with_references(synthetic_records())
    lacking = {2048: "transformer", 16384: "llama"}
    kept = tuple(
        run
        for run in whole.runs
        if run.workload.phase is not Phase.DECODE or lacking[run.workload.sequence_length] != run.workload.spec.layer
    )
    story = analyse(replace(whole, runs=kept)).story
    told = story.phase(Phase.DECODE)
    assert told is not None
    assert (told.point.point.sequence_length, told.point.baseline.workload.spec.layer) == (2048, "llama")
    assert {c.reference_layers for c in story.modelled} == {("llama",)}


def test_bytes_alone_are_of_the_decode_reference_whichever_session_comes_first(records: RecordFile) -> None:
    """A session of prompts alone, the latest, has no Llama; what decodes was measured beside one."""
    (session,) = records.sessions
    kept = [arm for arm in session.arms if arm.spec.layer != "llama"]
    later = replace(session, session_id="later", started_at="2027-01-01T00:00:00+00:00", arms=tuple(kept))
    prompts = {run.workload.key: replace(run, session_id="later") for run in records.runs if without_llama(run)}
    both = tuple(prompts.get(run.workload.key, run) for run in records.runs)
    for sessions in ((session, later), (later, session)):
        found = analyse(replace(records, sessions=sessions, runs=both)).story.modelled
        assert {crossover.reference_layers for crossover in found} == {("llama",)}


def without_llama(run: Run) -> bool:
    return run.workload.phase is Phase.PREFILL and run.workload.spec.layer != "llama"


def decode_of(analysis: Analysis, batch_size: int = 1) -> PointAnalysis:
    return next(p for p in analysis.points if (p.point.phase, p.point.batch_size) == (Phase.DECODE, batch_size))


def with_ceilings(records: RecordFile, **changes: object) -> RecordFile:
    return replace(records, ceilings=(replace(synthetic_ceilings(records), **changes),))


def test_the_floor_is_what_a_reference_must_read_over_the_read_ceiling(records: RecordFile) -> None:
    point = decode_of(analyse(with_ceilings(records)))
    llama = next(s for s in point.summaries if s.workload.spec.layer == "llama")
    memory = llama.run.memory
    moved = memory.parameter_bytes + memory.state_bytes + memory.input_bytes
    assert llama.floor is not None
    assert llama.floor.moved_bytes == moved
    assert llama.floor.seconds == pytest.approx(moved / 4.6e12)
    assert (llama.floor.ceiling, llama.floor.missing_ceiling) == (CeilingKind.READ, None)
    assert point.reference_floor is not None
    assert (point.reference_floor.workload.spec.layer, point.reference_floor) == ("llama", llama.floor)


def test_arms_of_one_layer_have_the_floor_of_the_one_that_keeps_the_fewest_bytes(records: RecordFile) -> None:
    """One execution of the Llama keeps a copy of 100 MB besides: that is no bound of the layer."""

    def fatter(run: Run) -> Run:
        if (run.workload.spec.layer, run.workload.execution) != ("llama", Execution.GRAPH):
            return run
        return replace(run, memory=replace(run.memory, parameter_bytes=run.memory.parameter_bytes + 10**8))

    lean, fat = (
        decode_of(analyse(with_ceilings(replace(records, runs=tuple(map(change, records.runs))))))
        for change in (lambda run: run, fatter)
    )
    floors = [{s.floor for s in point.summaries if s.workload.spec.layer == "llama"} for point in (lean, fat)]
    assert [len(found) for found in floors] == [1, 1]
    (before,), (after,) = floors
    assert (after.seconds, after.moved_bytes) == (before.seconds, before.moved_bytes)
    assert after.workload.execution is not Execution.GRAPH
    assert fat.reference_floor == after


def test_without_a_read_ceiling_the_copy_stands_in_and_is_named(records: RecordFile) -> None:
    found = with_ceilings(records, read_bytes_per_second=None, read_method=None)
    floor = decode_of(analyse(found)).reference_floor
    assert (floor.ceiling, floor.missing_ceiling) == (CeilingKind.COPY, CeilingKind.READ)


def test_no_floor_is_given_outside_decode_nor_without_a_bandwidth(records: RecordFile) -> None:
    for point in analyse(with_ceilings(records)).points:
        for summary in point.summaries:
            assert (summary.floor is not None) is (point.point.phase is Phase.DECODE)
    for point in analyse(with_references(synthetic_records("cpu"))).points:
        assert point.reference_floor is None
        assert all(summary.floor is None for summary in point.summaries)


def test_decode_reads_one_row_of_a_table_of_learned_positions(records: RecordFile) -> None:
    def changed(run: Run) -> Run:
        return replace(run, position_parameter_count=2049 * run.workload.spec.model_dim)

    with_tables = replace(with_ceilings(records), runs=tuple(changed(run) for run in records.runs))
    for layer in ("transformer", "llama"):
        floors = [
            next(s for s in decode_of(analyse(found)).summaries if s.workload.spec.layer == layer).floor
            for found in (with_ceilings(records), with_tables)
        ]
        assert floors[0].moved_bytes - floors[1].moved_bytes == 2 * 2048 * 672


def test_hand_written_decode_beside_compiled_code_is_doubted_by_as_much_as_the_floor_allows(
    records: RecordFile,
) -> None:
    for point in analyse(with_ceilings(records)).points:
        for summary in point.summaries:
            doubts = [d for d in summary.doubts if d.kind is DoubtKind.HAND_WRITTEN]
            expected = point.point.phase is Phase.DECODE and summary.workload.implementation == "fused"
            assert bool(doubts) is expected
            if doubts:
                within = point.baseline.step_seconds.median / point.reference_floor.seconds - 1
                assert doubts[0].shift_ratio == pytest.approx(max(0.0, within))
                assert point.baseline.label in doubts[0].observation


def test_without_a_floor_nothing_bounds_the_doubt() -> None:
    point = decode_of(analyse(with_fused(synthetic_records("cpu"))))
    (doubt,) = {
        d for s in point.summaries if s.workload.implementation == "fused" for d in s.doubts
        if d.kind is DoubtKind.HAND_WRITTEN
    }  # fmt: skip
    assert doubt.shift_ratio is None


def test_the_opening_holds_decode_of_batch_1_to_the_floor(records: RecordFile) -> None:
    analysis = analyse(with_ceilings(records))
    point = decode_of(analysis)
    best = analysis.story.best_of_subject(point)
    assert best is not None
    assert best.subject.implementation == "fused"
    opening = headline(analysis.story)[0]
    share = point.summary_of(best.subject).step_seconds.median / point.reference_floor.seconds
    assert "batch 1: hand-written kernels face compiled code; the references' floor is" in opening
    assert " keeps at the read ceiling" in opening
    assert f"PAM fused (graph) takes {share:.3g}× " in opening
    plain = replace(records, runs=tuple(r for r in records.runs if r.workload.implementation != "fused"))
    assert "floor" not in headline(analyse(with_ceilings(plain)).story)[0]


def test_executions_of_several_references_stay_apart(records: RecordFile) -> None:
    graphs = only(records, "transformer", "llama", "pam")
    kept = tuple(
        run for run in graphs.runs if run.workload.spec.layer != "llama" or run.workload.execution is Execution.EAGER
    )
    point = next(p for p in analyse(replace(graphs, runs=kept)).points if p.point.phase is Phase.TRAIN)
    assert {c.baseline.spec.layer for c in point.same_execution} == {"transformer"}


def test_another_length_names_its_reference_where_that_is_not_the_headlines(records: RecordFile) -> None:
    def at(run: Run) -> Run:
        if (run.workload.spec.layer, run.workload.sequence_length) != ("llama", 16384):
            return run
        seconds = tuple(0.3 * each for each in run.timing.wall_time_seconds)
        return replace(run, timing=replace(run.timing, wall_time_seconds=seconds))

    prompts = tuple(at(run) for run in records.runs if run.workload.phase is Phase.PREFILL)
    opening = headline(analyse(replace(records, runs=prompts)).story)[0]
    assert "at 16k against the Llama." in opening
    assert "at 16k against" not in headline(analyse(records).story)[0]
