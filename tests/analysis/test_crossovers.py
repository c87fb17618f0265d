from __future__ import annotations

from dataclasses import replace

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.crossovers import STEADY_STEP, _locate, modelled_crossovers, steady_steps
from pamprof.analysis.comparison.names import layer_facts_of
from pamprof.analysis.comparison.results import Basis, Crossover, CrossoverQuantity
from pamprof.records import Dtype, Interval, Phase, Point, Scope
from tests.synthetic import synthetic_records, synthetic_session


def modelled(sessions):
    return modelled_crossovers(sessions, ("transformer",), layer_facts_of(sessions, ()))


def around(value: float, width: float = 0.01) -> Interval:
    return Interval(low=value * (1 - width), median=value, high=value * (1 + width), confidence=0.95)


def found(implementation: str, phase: Phase, batch_size: int) -> Crossover:
    (crossover,) = [
        c
        for c in analyse(synthetic_records()).crossovers
        if (c.subject_implementation, c.phase, c.batch_size, c.subject_layer)
        == (implementation, phase, batch_size, "pam")
    ]
    return crossover


def test_crossover_is_interpolated_in_the_logarithms() -> None:
    interval, direction, reason = _locate([(1000, around(2.0)), (4000, around(0.5))])
    assert interval is not None
    assert interval.median == pytest.approx(2000)
    assert interval.low < 2000 < interval.high
    assert direction == "cheaper above"
    assert "2.00×" in reason


def test_crossover_lies_in_the_bracket_that_holds_it() -> None:
    interval, _, _ = _locate([(512, around(3.0)), (1024, around(1.5)), (2048, around(0.75)), (4096, around(0.3))])
    assert interval is not None
    assert 1024 < interval.low < interval.median < interval.high < 2048


def test_interval_around_one_in_the_middle_widens_the_crossover() -> None:
    sharp, _, _ = _locate([(512, around(2.0)), (1024, around(0.99, 0.001)), (2048, around(0.5))])
    blunt, _, _ = _locate([(512, around(2.0)), (1024, around(0.99, 0.1)), (2048, around(0.5))])
    assert sharp is not None
    assert blunt is not None
    assert blunt.high - blunt.low > 5 * (sharp.high - sharp.low)


@pytest.mark.parametrize(
    ("ratios", "direction"),
    [
        ([0.5, 0.4], "always cheaper"),
        ([3.0, 2.0], "never cheaper"),
        ([2.0, 1.001], "undecided"),
        ([0.999, 0.5], "undecided"),
        ([0.5, 2.0], "undecided"),
        ([2.0, 0.5, 2.0, 0.5], "undecided"),
        ([0.5], "always cheaper"),
    ],
)
def test_nothing_is_extrapolated(ratios: list[float], direction: str) -> None:
    interval, said, reason = _locate([(1024 * 2**index, around(value)) for index, value in enumerate(ratios)])
    assert interval is None
    assert said == direction
    assert reason


def test_decode_crossover_of_a_comparison() -> None:
    single = found("planar", Phase.DECODE, 1)
    assert single.basis is Basis.MEASURED
    assert single.tokens is not None
    assert 2048 < single.tokens.low < single.tokens.high < 16384
    assert found("planar", Phase.DECODE, 64).direction == "always cheaper"
    assert found("published", Phase.DECODE, 1).direction == "never cheaper"


def test_prefill_of_two_lengths_has_a_crossover_and_training_of_one_has_none() -> None:
    crossovers = analyse(synthetic_records()).crossovers
    assert {c.phase for c in crossovers} == {Phase.PREFILL, Phase.DECODE}


def test_formula_gives_98_and_195_tokens_for_the_paper_pair() -> None:
    found = {c.quantity: c.tokens for c in modelled([synthetic_session()]) if c.subject_layer == "pam"}
    memory, traffic = found[CrossoverQuantity.MEMORY], found[CrossoverQuantity.DECODE_TRAFFIC]
    assert memory is not None
    assert traffic is not None
    assert round(memory.median) == 98
    assert round(traffic.median) == 195
    assert traffic.median == pytest.approx(2 * memory.median)


def test_formula_is_marked_as_a_model_and_needs_both_arms() -> None:
    session = synthetic_session()
    assert all(c.basis is Basis.MODEL for c in modelled([session]))
    alone = replace(session, arms=tuple(arm for arm in session.arms if arm.spec.layer != "transformer"))
    assert modelled([alone]) == ()


def trained(batch_size: int, sequence_length: int, phase: Phase = Phase.TRAIN, dtype: Dtype = Dtype.BFLOAT16) -> Point:
    return Point(phase=phase, scope=Scope.MODEL, batch_size=batch_size, sequence_length=sequence_length, dtype=dtype)


def test_training_steps_of_as_many_tokens_form_one_group_whatever_their_batch() -> None:
    long = [trained(18, 2048), trained(9, 4096), trained(4, 8192), trained(1, 32768)]
    others = [trained(3, 2048), trained(18, 2048, Phase.PREFILL), trained(9, 4096, dtype=Dtype.FLOAT32)]
    assert steady_steps([*others, *reversed(long)]) == (tuple(long),)


@pytest.mark.parametrize("points", [[(4, 2048), (2, 8192)], [(4, 2048)], [(3, 2048), (3, 2100)], []])
def test_steps_of_other_sizes_or_of_one_batch_or_length_form_no_group(points: list[tuple[int, int]]) -> None:
    assert steady_steps([trained(*point) for point in points]) == ()


def test_a_crossover_of_training_is_found_across_batches() -> None:
    records = synthetic_records()
    longer = []
    for run in records.runs:
        workload, timing = run.workload, run.timing
        if (workload.phase, workload.batch_size) == (Phase.TRAIN, 18):
            # The same step on half as many sequences of twice the length, in which PAM takes a hundredth of the time.
            share = 0.01 if workload.spec.layer == "pam" else 1.0
            samples = tuple(share * value for value in timing.wall_time_seconds)
            workload = replace(workload, batch_size=9, sequence_length=2 * workload.sequence_length)
            longer.append(replace(run, workload=workload, timing=replace(timing, wall_time_seconds=samples)))
    analysis = analyse(replace(records, runs=(*records.runs, *longer)))
    steady = [c for c in analysis.crossovers if c.batch_size == STEADY_STEP and c.subject_layer == "pam"]
    assert {c.phase for c in steady} == {Phase.TRAIN}
    place = next(c.tokens for c in steady if c.subject_implementation == "planar")
    assert place is not None
    assert 2048 < place.median < 4096
