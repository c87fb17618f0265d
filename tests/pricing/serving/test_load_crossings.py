from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pamprof.analysis.comparison.results import Basis
from pamprof.analysis.simulation.arm import ServerSettings
from pamprof.analysis.simulation.metrics import Level
from pamprof.analysis.simulation.prefixes import Prefix, share_prefix
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.pricing.serving.defaults import default_limits
from pamprof.pricing.serving.load_crossings import (
    LoadCrossing,
    load_crossings,
    prompt_crossings,
    replica_steps,
)
from pamprof.pricing.serving.load_study import LoadQuestion, load_study
from tests.render.serving.records import DEVICE, curves, sweep_session


def test_twelve_replicas_are_the_last_that_524_and_482_a_second_share() -> None:
    # 12 x 482 = 5,784 a second need 12 of both, since 11 x 524 = 5,764 lie below; 12 x 524 lie above 13 x 482.
    assert replica_steps(524.0, 482.0, 1) == (482.0, 12 * 482.0)
    assert replica_steps(524.0, 482.0, 3) == (3 * 482.0, 12 * 482.0)
    # What holds more than twice as much is ahead from its rival's second replica on.
    assert replica_steps(482.0, 189.0, 1) == (189.0, 189.0)
    assert replica_steps(10.0, 9.99, 2_000) == (2_000 * 9.99, 2_000 * 9.99)


@given(most=st.floats(1.0, 100.0), share=st.floats(0.3, 0.98), minimum=st.integers(1, 5), load=st.floats(0.1, 10_000.0))
def test_above_the_lasting_rate_replicas_are_always_fewer_and_below_the_first_never(
    most: float, share: float, minimum: int, load: float
) -> None:
    least = most * share
    first, lasting = replica_steps(most, least, minimum)
    ours, theirs = (max(minimum, ceil(load / held)) for held in (most, least))
    if load > lasting * (1 + 1e-9):
        assert ours < theirs
    if load <= first * (1 - 1e-9):
        assert ours == theirs == minimum
    at_lasting = [max(minimum, ceil(round(lasting / held, 9))) for held in (most, least)]
    assert at_lasting[0] == at_lasting[1]


def crossing(prompt: int, ours: float, theirs: float) -> LoadCrossing:
    first, lasting = replica_steps(max(ours, theirs), min(ours, theirs), 1)
    return LoadCrossing(
        subject="PAM", rival="Llama", input_tokens=prompt, subject_per_second=ours, rival_per_second=theirs,
        first_per_second=first, lasting_per_second=lasting, basis=Basis.MEASURED,
    )  # fmt: skip


def test_the_lead_changes_where_the_ratio_is_one_in_equal_ratios() -> None:
    # The ratio doubles from 1/sqrt(2) to sqrt(2) while the prompt grows fourfold: equal in the middle, at twice.
    (found,) = prompt_crossings([crossing(1_000, 100.0, 2**0.5 * 100), crossing(4_000, 2**0.5 * 50, 50.0)])
    assert found.tokens == pytest.approx(2_000.0)
    assert (found.low, found.high, found.fewer_above) == (1_000, 4_000, "PAM")
    assert prompt_crossings([crossing(1_000, 3.0, 2.0), crossing(4_000, 3.0, 1.0)]) == ()


def test_prompts_that_shrink_below_their_prefix_share_nothing() -> None:
    drawn = draw_requests(50, Arrivals(per_second=1), Lengths(mean=100), Lengths(mean=5), seed=1)
    shared = share_prefix(drawn, Prefix(tokens=60), seed=1)
    half, twice = shared.with_prompts(0.5), shared.with_prompts(2.0)
    assert half.prefixes is not None
    assert twice.prefixes is not None
    assert (set(half.input_tokens), set(half.prefixes)) == ({50}, {-1})
    assert (set(twice.input_tokens), set(twice.prefixes)) == ({200}, {0})
    assert list(drawn.with_prompts(0.001).input_tokens) == [1] * 50


def test_a_fixed_state_meets_each_layers_cache_at_every_length_that_is_known() -> None:
    state, cache = curves()[1], curves()[0]
    drawn = draw_requests(400, Arrivals(per_second=50.0), Lengths(mean=1500.0), Lengths(mean=300.0), seed=0)
    settings = ServerSettings(largest_batch=64)
    question = LoadQuestion(requests=drawn, level=Level(limits=default_limits(), percentile=95), settings=settings)
    study = load_study([state, cache], question, {DEVICE: ()})
    found = load_crossings(study, sweep_session().layers, factors=(4.0,))
    assert [row.input_tokens for row in found] == [1_500, 6_000]
    assert {(row.subject, row.rival) for row in found} == {(state.title, cache.title)}
    held = {arm.title: arm.highest_per_second for arm in study.arms}
    for arm, rate in ((state.title, found[0].subject_per_second), (cache.title, found[0].rival_per_second)):
        known = held[arm]
        assert known is not None
        assert rate == known.median
    # Longer prompts cost both, and a cache more than a fixed state.
    assert found[1].subject_per_second < found[0].subject_per_second
    assert found[1].ratio > found[0].ratio
    assert np.isfinite([row.subject_per_second for row in found]).all()
