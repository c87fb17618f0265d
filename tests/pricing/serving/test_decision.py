from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.serving.crossover import (
    capacity_ratio,
    crossing,
    decode_ratio,
    lengths_of,
    request_ratio,
)
from pamprof.analysis.serving.terms import Traffic
from pamprof.errors import RecordError
from pamprof.pricing.serving.bill import deploy
from pamprof.pricing.serving.context_table import context_table
from pamprof.pricing.serving.decision import CostOutcome, Decision, decide, outcome_of
from pamprof.pricing.serving.study import Request, study
from pamprof.records import Dtype, Interval, Perplexity, Run
from pamprof.records.layers import facts_of_older_records
from tests.pricing.serving.formula_curves import CONTEXTS, FormulaCurve, decode_runs, pam_curve, transformer_curve
from tests.pricing.serving.test_bill import SLO, demand, rate
from tests.synthetic import synthetic_run, synthetic_workload

LENGTHS = (128, 256, 512, 1024, 2048, 4096, 8192)
DEVICE = "NVIDIA H200"
FACTS = {facts.layer: facts for facts in facts_of_older_records((("pam", "PAM"), ("transformer", "transformer")))}


def decision(subject: FormulaCurve, rival: FormulaCurve, prompt: int, tokens_per_day: float = 1e9) -> Decision:
    needed = replace(demand(tokens_per_day), input_tokens=prompt)
    arms = [deploy(curve, needed, SLO, (rate(),)) for curve in (subject, rival)]
    traffic = Traffic(input_tokens=needed.input_tokens, output_tokens=needed.output_tokens)
    return decide(arms[0], arms[1], crossing(request_ratio(subject, rival, traffic, SLO), LENGTHS))


def growing(seconds_per_context: float) -> FormulaCurve:
    """A cache whose step takes so much longer for each token of context; batches are bounded by memory."""
    return transformer_curve(step=lambda batch, context: batch * seconds_per_context * context, fits=lambda _: 8)


@settings(max_examples=20, deadline=None)
@given(st.floats(140.0, 8000.0))
def test_the_decision_flips_exactly_at_the_crossover(context: float) -> None:
    subject = pam_curve(step=lambda batch, _: batch * 1e-4, fits=lambda _: 8)
    rival = growing(1e-4 / context)
    found = decision(subject, rival, 1000).crossing
    assert found is not None
    if found.tokens is None:
        # The mean context is half the output longer than the prompt, so a short crossover lies before the first length.
        assert context - 150 < LENGTHS[0] + 1
        return
    first = int(found.tokens.median)
    assert first == pytest.approx(context - 150, abs=1.1)
    assert decision(subject, rival, first - 1).outcome is CostOutcome.MORE_EXPENSIVE
    assert decision(subject, rival, first).outcome in {CostOutcome.CHEAPER, CostOutcome.EQUAL}
    assert decision(subject, rival, first + 1).outcome is CostOutcome.CHEAPER


def test_the_sentence_names_the_crossover_the_cost_and_what_is_saved() -> None:
    found = decision(pam_curve(), transformer_curve(), 8192, tokens_per_day=1e12)
    assert found.outcome is CostOutcome.CHEAPER
    assert found.saved_replicas is not None
    assert found.saved_replicas > 0
    assert found.saved_usd_per_month == pytest.approx(found.saved_replicas * 292)
    assert "PAM planar · graph is cheaper than transformer · graph" in found.sentence
    assert f"PAM planar · graph saves {found.saved_replicas} replica" in found.sentence
    assert found.sentence.endswith(" a month against transformer · graph (measured).")


def test_a_small_demand_has_equal_bills_although_a_token_is_cheaper() -> None:
    found = decision(pam_curve(), transformer_curve(), 8192, tokens_per_day=1e6)
    assert (found.outcome, found.saved_replicas, found.saved_usd_per_month) == (CostOutcome.CHEAPER, 0, 0.0)
    assert (
        "PAM planar · graph and transformer · graph need 1 replica each, so their bills are equal, "
        "$292.00 a month (measured)" in found.sentence
    )


def test_a_more_expensive_arm_says_what_it_needs_more() -> None:
    found = decision(transformer_curve(), pam_curve(), 8192, tokens_per_day=1e12)
    assert found.outcome is CostOutcome.MORE_EXPENSIVE
    assert "transformer · graph needs another" in found.sentence
    assert found.sentence.endswith(" a month more than PAM planar · graph (measured).")


def test_overlapping_intervals_are_no_difference() -> None:
    found = decision(
        pam_curve(width=0.03), pam_curve(width=0.03, step=lambda b, c: pam_curve().step(b, c) * 1.01), 2048
    )
    assert found.outcome is CostOutcome.EQUAL
    assert "no difference" in found.sentence


def test_a_single_sample_decides_nothing() -> None:
    assert outcome_of(Interval(low=0.5, median=0.5, high=0.5, confidence=0.0)) is CostOutcome.UNKNOWN
    assert outcome_of(Interval.exact(0.5)) is CostOutcome.CHEAPER
    assert outcome_of(Interval.exact(2.0)) is CostOutcome.MORE_EXPENSIVE
    assert outcome_of(Interval.exact(1.0)) is CostOutcome.EQUAL


def test_an_arm_without_an_operating_point_decides_as_infeasible_or_unknown() -> None:
    full = decision(pam_curve(), transformer_curve(fits=lambda _: 0), 2048)
    assert full.outcome is CostOutcome.INFEASIBLE
    assert "transformer · graph is infeasible: memory" in full.sentence
    assert full.saved_usd_per_month is None
    beyond = decision(pam_curve(), transformer_curve(longest=100), 2048)
    assert beyond.outcome is CostOutcome.UNKNOWN
    assert "unknown: context 2347 lies beyond the measured 100" in beyond.sentence


def test_the_interval_of_a_crossover_brackets_it_and_widens_with_the_noise() -> None:
    exact, wide = (
        crossing(
            decode_ratio(
                pam_curve(step=lambda b, _: b * 1e-4, width=width, fits=lambda _: 8),
                replace(growing(1e-7), width=width),
                SLO,
            ),
            LENGTHS,
        )
        for width in (0.0, 0.05)
    )
    assert exact.tokens is not None
    assert wide.tokens is not None
    assert exact.tokens.low == exact.tokens.median == exact.tokens.high == pytest.approx(1000, abs=1)
    assert wide.tokens.low == pytest.approx(1000 * 0.95 / 1.05, abs=1.5)
    assert wide.tokens.high == pytest.approx(1000 * 1.05 / 0.95, abs=1.5)


@pytest.mark.parametrize(
    ("ratio", "direction"),
    [
        (lambda length: 0.5, "always cheaper"),
        (lambda length: 2.0, "always more expensive"),
        (lambda length: length / 1000, "unknown"),
    ],
)
def test_without_a_fall_through_one_there_is_no_crossover(ratio: object, direction: str) -> None:
    found = crossing(lambda length: (Interval.exact(ratio(length)), Basis.MEASURED), LENGTHS)
    assert (found.tokens, found.direction) == (None, direction)


def test_lengths_nobody_can_tell_are_left_out_and_none_at_all_is_unknown() -> None:
    found = crossing(lambda length: None, LENGTHS)
    assert (found.tokens, found.direction, found.first) == (None, "unknown", None)
    assert found.sentence.startswith("unknown")


def test_equal_traffic_is_found_at_2_s_over_kappa_where_weights_are_as_heavy() -> None:
    limits = replace(SLO, seconds_per_output_token=10.0)
    same = 400_000_000
    from tests.pricing.serving.formula_curves import KAPPA, STATE_BYTES, roof

    subject = pam_curve(step=lambda b, _: roof(same, 2 * STATE_BYTES, 1.0).step_seconds(b), fits=lambda _: 64)
    rival = transformer_curve(step=lambda b, c: roof(same, KAPPA * c, 1.0).step_seconds(b), fits=lambda _: 64)
    found = crossing(decode_ratio(subject, rival, limits), LENGTHS)
    assert found.tokens is not None
    assert found.tokens.median == 196  # the first whole token above 2 S / kappa = 195.05


def test_capacity_crosses_at_s_over_kappa() -> None:
    lengths = (32, 64, 128, 256)
    found = crossing(capacity_ratio(pam_curve(), transformer_curve()), lengths)
    assert found.tokens is not None
    assert found.tokens.median == pytest.approx(98, abs=1)


def test_lengths_are_those_measured_with_steps_between() -> None:
    found = lengths_of(pam_curve(), transformer_curve())
    assert set(CONTEXTS) <= set(found)
    assert found == tuple(sorted(found))
    assert len(found) == 13


def test_the_table_by_bytes_holds_the_published_crossovers_of_the_100m_pair() -> None:
    rows = {
        (row.state, row.cache): (round(row.memory_tokens), round(row.traffic_tokens))
        for row in context_table((pam_curve(), transformer_curve()), FACTS)
    }
    assert rows["PAM, float32 state, K = 1", "transformer, bfloat16 cache"] == (98, 195)
    assert rows["PAM, float32 state, K = 1", "transformer, fp8 cache"] == (195, 390)
    assert rows["PAM, bfloat16 state, K = 1", "transformer, bfloat16 cache"] == (49, 98)
    assert rows["PAM, float32 state, K = 3", "transformer, bfloat16 cache"] == (293, 585)
    assert len(rows) == 8
    assert context_table((pam_curve(),), FACTS) == ()


def request(**changes: object) -> Request:
    return Request(**{"demand": demand(), "limits": SLO, **changes})


def test_a_study_orders_arms_by_cost_and_decides_state_against_cache() -> None:
    dear = pam_curve(title="PAM published · graph", step=lambda b, c: 3 * pam_curve().step(b, c))
    refused = transformer_curve(title="transformer · eager", fits=lambda _: 0)
    found = study((refused, dear, transformer_curve(), pam_curve()), request(), {DEVICE: (rate(),)})
    (only,) = found.classes
    assert [arm.deployment.curve.title for arm in only.arms][-1] == "transformer · eager"
    assert only.decision is not None
    assert (only.decision.subject, only.decision.rival) == ("PAM planar · graph", "transformer · graph")
    assert only.crossings is not None
    assert only.arms[0].front


def test_pam_is_decided_about_even_where_another_fixed_state_is_cheaper() -> None:
    twin = pam_curve(
        title="real twin", runs=decode_runs("real_pam", "planar"), step=lambda b, c: pam_curve().step(b, c) / 2
    )
    (only,) = study((twin, pam_curve(), transformer_curve()), request(), {DEVICE: (rate(),)}).classes
    assert only.arms[0].deployment.curve.title == "real twin"
    assert only.decision is not None
    assert only.decision.subject == "PAM planar · graph"
    (alone,) = study((twin, transformer_curve()), request(), {DEVICE: (rate(),)}).classes
    assert alone.decision is not None
    assert alone.decision.subject == "real twin"


def test_arms_of_another_size_are_another_class() -> None:
    large = tuple(replace(run, parameter_count=1_000_000_000) for run in pam_curve().runs)
    curves = (pam_curve(), transformer_curve(), pam_curve(title="PAM 1b", runs=large))
    found = study(curves, request(), {DEVICE: (rate(),)})
    assert [len(members.arms) for members in found.classes] == [2, 1]
    assert found.classes[1].decision is None


def test_quality_stands_beside_cost_with_the_hours_of_training() -> None:
    figures = [Perplexity(layer="pam", value=30.0, source="a"), Perplexity(layer="transformer", value=27.1, source="a")]
    training = synthetic_run(synthetic_workload("pam", batch_size=18), step_seconds=0.140)
    curves = (pam_curve(), transformer_curve())
    found = study(curves, request(), {DEVICE: (rate(),)}, perplexities=figures, runs=(training,))
    pam, transformer = found.quality
    assert (pam.goal, transformer.goal) == (27.1, 27.1)
    assert pam.needed is not None
    assert transformer.needed is None
    assert pam.training_hours is not None
    assert pam.training_hours.median == pytest.approx(1_184_400_000 / (18 * 2048 / 0.140) / 3600, rel=0.01)
    assert transformer.training_hours is None


def test_no_curve_is_no_study() -> None:
    with pytest.raises(RecordError, match="serve-sweep"):
        study((), request(), {})


def test_a_state_kept_in_bfloat16_is_doubled_for_its_float32_variant() -> None:
    def halved(run: Run) -> Run:
        spec = replace(run.workload.spec, state_dtype=Dtype.BFLOAT16)
        memory = replace(run.memory, state_bytes=run.memory.state_bytes // 2)
        return replace(run, workload=replace(run.workload, spec=spec), memory=memory)

    half = pam_curve(title="PAM bfloat16 state", runs=tuple(map(halved, pam_curve().runs)))
    assert context_table((half, transformer_curve()), FACTS) == context_table((pam_curve(), transformer_curve()), FACTS)
