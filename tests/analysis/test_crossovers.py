from __future__ import annotations

from dataclasses import replace
from math import log

import pytest

from pamprof.analysis import analyse
from pamprof.analysis.comparison.comparisons import common_reference
from pamprof.analysis.comparison.crossovers import (
    STEADY_STEP,
    CrossoverPlace,
    locate_crossover,
    modelled_crossovers,
    steady_steps,
)
from pamprof.analysis.comparison.names import layer_facts_of
from pamprof.analysis.comparison.results import Basis, Crossover, CrossoverQuantity
from pamprof.records import Dtype, Interval, Phase, Point, Scope
from pamprof.render.comparison.view import build_view
from tests.synthetic import synthetic_records, synthetic_session, with_references


def modelled(sessions):
    return modelled_crossovers(sessions, ("transformer",), layer_facts_of(sessions, ()))


def around(value: float, width: float = 0.01) -> Interval:
    return Interval(low=value * (1 - width), median=value, high=value * (1 + width), confidence=0.95)


def located(ratios, reference_seconds=None):
    """The crossover of ratios by length; the reference takes as long at all of them unless told otherwise."""
    seconds = reference_seconds or [1.0] * len(ratios)
    return locate_crossover(
        [
            CrossoverPlace(length=length, ratio=value, reference_seconds=took)
            for (length, value), took in zip(ratios, seconds, strict=True)
        ]
    )


def found(implementation: str, phase: Phase, batch_size: int) -> Crossover:
    (crossover,) = [
        c
        for c in analyse(synthetic_records()).crossovers
        if (c.subject_implementation, c.phase, c.batch_size, c.subject_layer)
        == (implementation, phase, batch_size, "pam")
    ]
    return crossover


def test_crossover_is_interpolated_in_the_logarithms() -> None:
    interval, direction, reason = located([(1000, around(2.0)), (4000, around(0.5))])
    assert interval is not None
    assert interval.median == pytest.approx(2000)
    assert interval.low < 2000 < interval.high
    assert direction == "cheaper above"
    assert "2.00×" in reason


def exact(value: float) -> Interval:
    return Interval(low=value, median=value, high=value, confidence=0.95)


@pytest.mark.parametrize(
    ("reference_seconds", "low", "high"),
    [
        # The ratio itself is linear: 1 above at 1000, 1/2 below at 4000, so 2/3 of the way.
        ([1.0, 1.0], 2000.0, 3000.0),
        # The reference takes 16 times as long at 4000: 1 s more at 1000, 8 s less at 4000, so a ninth of the way.
        ([1.0, 16.0], 1000 + 3000 / 9, 3000.0),
    ],
)
def test_the_interval_of_a_crossover_holds_affine_and_logarithmic_interpolation(
    reference_seconds: list[float], low: float, high: float
) -> None:
    interval, _, _ = located([(1000, exact(2.0)), (4000, exact(0.5))], reference_seconds)
    assert interval is not None
    assert (interval.low, interval.median, interval.high) == pytest.approx((low, 2000.0, high))
    # Each way with the ends of the ratios' own intervals: 2.2 and 0.55 are linear at 1000 + 1.2 / 1.65 x 3000.
    wide, _, _ = located([(1000, around(2.0, 0.1)), (4000, around(0.5, 0.1))])
    assert wide is not None
    assert wide.high == pytest.approx(1000 + 1.2 / 1.65 * 3000)


def test_a_reference_that_grows_like_its_cache_crosses_inside_the_interval() -> None:
    # A state takes 10 ms at any context, a cache 1 ms and 1 ms more every 500 tokens: equal at 4500.
    cache = {length: 1e-3 * (1 + length / 500) for length in (2048, 16384)}
    interval, _, _ = located([(length, exact(1e-2 / took)) for length, took in cache.items()], list(cache.values()))
    assert interval is not None
    assert interval.low < 4500 < interval.high
    assert interval.median == pytest.approx(2048 * 8 ** (log(10 / 5.096) / log(33.768 / 5.096)))


def test_crossover_lies_in_the_bracket_that_holds_it() -> None:
    interval, _, _ = located([(512, around(3.0)), (1024, around(1.5)), (2048, around(0.75)), (4096, around(0.3))])
    assert interval is not None
    assert 1024 < interval.low < interval.median < interval.high < 2048


def test_interval_around_one_in_the_middle_widens_the_crossover() -> None:
    sharp, _, _ = located([(512, around(2.0)), (1024, around(0.99, 0.001)), (2048, around(0.5))])
    blunt, _, _ = located([(512, around(2.0)), (1024, around(0.99, 0.1)), (2048, around(0.5))])
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
    interval, said, reason = located([(1024 * 2**index, around(value)) for index, value in enumerate(ratios)])
    assert interval is None
    assert said == direction
    assert reason


def test_decode_crossover_of_a_comparison() -> None:
    single = found("planar", Phase.DECODE, 1)
    assert single.basis is Basis.INTERPOLATED
    assert found("planar", Phase.DECODE, 64).basis is Basis.MEASURED  # at the contexts measured there is none
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
    assert all(c.basis is Basis.MODELLED for c in modelled([session]))
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


def without(records, layers: set[str], sequence_length: int):
    """The records with ``layers`` never decoded at a length."""
    kept = [
        run
        for run in records.runs
        if run.workload.phase is not Phase.DECODE
        or run.workload.spec.layer not in layers
        or run.workload.sequence_length != sequence_length
    ]
    return replace(records, runs=tuple(kept))


def decoded(records) -> dict[tuple[str, int], Crossover]:
    return {
        (c.subject_implementation, c.batch_size): c
        for c in analyse(records).crossovers
        if c.basis is not Basis.MODELLED and c.phase is Phase.DECODE and c.subject_layer == "pam"
    }


def test_a_crossover_joins_ratios_to_references_that_all_its_contexts_have() -> None:
    alone = decoded(synthetic_records())
    # The Llama takes half the time at every context: against all three references each ratio is twice as high.
    everywhere = decoded(with_references(synthetic_records()))
    # Where the Llama and the wide-head transformer lack one context, nothing but the transformer is common.
    once = decoded(without(with_references(synthetic_records()), {"llama", "wide_head_transformer"}, 16384))
    assert alone.keys() == everywhere.keys() == once.keys()
    for arm, crossover in alone.items():
        assert (crossover.contexts, crossover.reference_layers) == ((2048, 16384), ("transformer",))
        assert everywhere[arm].reference_layers == ("llama",)
        for mine, theirs in zip(crossover.ratios, everywhere[arm].ratios, strict=True):
            assert theirs.median == pytest.approx(2 * mine.median)
        assert once[arm] == crossover


def test_headline_tile_and_chart_name_the_common_reference() -> None:
    records = without(with_references(synthetic_records()), {"llama", "wide_head_transformer"}, 16384)
    view = build_view(records, analysis=analyse(records))
    (tile,) = [tile for tile in view.tiles if tile.heading == "Decode crossover"]
    chart = view.chart("ratio-context")
    assert "Decode with the best PAM code against the transformer: " in view.sentences[0]
    assert "cheaper than the transformer, batch 1" in tile.subject
    assert chart.title.endswith("the cost of the transformer")
    assert {panel.title for panel in chart.panels} >= {"Decode, batch 64, over transformer"}
    # A curve of the panel begins with the ratio to the transformer, although the Llama was measured there.
    ratios = decoded(records)["planar", 64].ratios
    (panel,) = [panel for panel in chart.panels if panel.title.startswith("Decode, batch 64")]
    assert ratios in [curve.pieces[0].values for curve in panel.curves]


def test_without_a_common_reference_the_one_at_most_contexts_counts_at_these_alone() -> None:
    records = with_references(synthetic_records())
    found = {}
    for length, layers in ((512, {"llama"}), (2048, {"llama", "transformer"}), (8192, {"transformer"})):
        found[trained(1, length, Phase.DECODE)] = [
            run
            for run in records.runs
            if run.workload.spec.layer in layers
            and (run.workload.phase, run.workload.batch_size, run.workload.sequence_length) == (Phase.DECODE, 1, 2048)
        ]
    baselines = {point: runs[0] for point, runs in found.items()}
    # Both are at two of three contexts: the session's own comes first.
    common = common_reference(found, baselines, ("transformer", "llama"))
    assert common.layers == ("transformer",)
    assert [point.sequence_length for point in common.baselines] == [2048, 8192]
    assert {run.workload.spec.layer for run in common.baselines.values()} == {"transformer"}
    fewer = {point: runs for point, runs in found.items() if point.sequence_length < 8192}
    assert common_reference(fewer, baselines, ("transformer", "llama")).layers == ("llama",)
