from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pamprof.analysis.serving.terms import Limits
from pamprof.analysis.simulation import engine
from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.metrics import Level, measure_load
from pamprof.analysis.simulation.prefixes import Prefix, share_prefix
from pamprof.analysis.simulation.server import MemoryPolicy, SequenceMemory
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from tests.analysis.simulation.servers import LinearTimes, requests, server

if TYPE_CHECKING:
    from pamprof.analysis.simulation.requests import Requests

LEVEL = Level(limits=Limits(seconds_per_output_token=0.05, seconds_to_first_token=2.0), percentile=95)
TOKENS = 10
CACHE = SequenceMemory(room_bytes=4_000.0, bytes_per_sequence=0.0, bytes_per_token=1.0)


def mean_wait(drawn: Requests, step_seconds: float) -> float:
    """Mean time in the queue of a server of one sequence, after the first fifth."""
    found = simulate(drawn, server(LinearTimes(base=step_seconds), largest_batch=1))
    return float((found.admitted_seconds - drawn.arrival_seconds)[drawn.measured_from :].mean())


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_sequence_of_fixed_length_waits_as_in_m_d_1(load: float) -> None:
    service = 0.2
    drawn = draw_requests(60_000, Arrivals(per_second=load / service), Lengths(mean=0), Lengths(mean=TOKENS), seed=3)
    assert mean_wait(drawn, service / TOKENS) == pytest.approx(load * service / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_one_sequence_of_log_normal_length_waits_as_pollaczek_and_khinchine_say(sigma: float) -> None:
    step, load = 1e-3, 0.5
    drawn = draw_requests(
        60_000, Arrivals(per_second=load / (step * 200)), Lengths(mean=0), Lengths(mean=200, sigma=sigma), seed=5
    )
    service = drawn.output_tokens * step
    rate = drawn.per_second
    expected = rate * float((service**2).mean()) / (2 * (1 - rate * float(service.mean())))
    assert mean_wait(drawn, step) == pytest.approx(expected, rel=0.08)


def test_one_sequence_of_exponential_length_waits_as_in_m_m_1() -> None:
    step, load = 1e-3, 0.6
    drawn = draw_requests(60_000, Arrivals(per_second=load / 1.0), Lengths(mean=0), Lengths(mean=1_000), seed=7)
    tokens = np.maximum(1, np.random.default_rng(1).exponential(1_000, len(drawn)).round()).astype(np.int64)
    assert mean_wait(replace(drawn, output_tokens=tokens), step) == pytest.approx(load / (1 - load), rel=0.08)


def test_the_number_in_the_server_is_rate_times_time_in_it() -> None:
    drawn = draw_requests(
        3_000, Arrivals(per_second=300), Lengths(mean=300, sigma=1.0), Lengths(mean=50, sigma=0.8), seed=1
    )
    found = simulate(
        drawn,
        server(LinearTimes(base=1e-3, each=1e-4, each_token=1e-7, prompt_token=1e-5), largest_batch=24),
        timeline=True,
    )
    inside = sum((moment.running + moment.reading) * moment.seconds for moment in found.timeline)
    assert inside == pytest.approx(float((found.finish_seconds - found.admitted_seconds).sum()), rel=1e-9)
    assert max(moment.running + moment.reading for moment in found.timeline) == 24


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    batch=st.integers(1, 40),
    chunk=st.sampled_from([16, 100, 2_048]),
    rate=st.sampled_from([5.0, 50.0, 500.0]),
)
def test_work_is_conserved_whatever_the_order(seed: int, batch: int, chunk: int, rate: float) -> None:
    drawn = draw_requests(
        120, Arrivals(per_second=rate), Lengths(mean=90, sigma=1.0), Lengths(mean=30, sigma=1.0), seed=seed
    )
    found = simulate(
        drawn, server(LinearTimes(each=1e-3, prompt_token=1e-5), largest_batch=batch, chunk_tokens=chunk), timeline=True
    )
    prompts, outputs = int(drawn.input_tokens.sum()), drawn.output_tokens
    assert found.decoded_tokens == int((outputs - 1).sum())
    assert found.busy_seconds == pytest.approx(prompts * 1e-5 + int((outputs - 1).sum()) * 1e-3)
    assert sum(moment.prompt_tokens for moment in found.timeline) == prompts
    assert np.all(found.admitted_seconds >= drawn.arrival_seconds)
    assert np.all(found.first_seconds > found.admitted_seconds)
    assert np.all(found.finish_seconds >= found.first_seconds)
    # It never rests while somebody is there: each stretch begins where one ended or where somebody arrives.
    ends = {moment.start_seconds + moment.seconds for moment in found.timeline} | set(drawn.arrival_seconds)
    assert all(moment.start_seconds in ends for moment in found.timeline)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**20), room=st.sampled_from([400.0, 1_000.0, 5_000.0]), policy=st.sampled_from(MemoryPolicy)
)
def test_steps_taken_together_are_the_steps_one_by_one(seed: int, room: float, policy: MemoryPolicy) -> None:
    drawn = draw_requests(
        60, Arrivals(per_second=60), Lengths(mean=60, sigma=0.7), Lengths(mean=40, sigma=0.7), seed=seed
    )
    memory = SequenceMemory(room_bytes=room, bytes_per_sequence=3.0, bytes_per_token=1.0)
    times = LinearTimes(base=1e-3, each=1e-4, each_token=1e-6, prompt_token=1e-5)
    together, single = (
        simulate(drawn, server(replace(times, stretch=stretch), memory=memory, policy=policy)) for stretch in (inf, 1)
    )
    np.testing.assert_allclose(together.finish_seconds, single.finish_seconds, rtol=1e-9)
    np.testing.assert_allclose(together.first_seconds, single.first_seconds, rtol=1e-9)
    assert together.preemptions == single.preemptions


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    room=st.sampled_from([400.0, 1_000.0, 5_000.0]),
    policy=st.sampled_from(MemoryPolicy),
    prompt=st.sampled_from([0, 60]),
    chunk=st.sampled_from([50, 64, 200]),
)
def test_equal_requests_served_together_are_the_requests_one_by_one(
    seed: int, room: float, policy: MemoryPolicy, prompt: int, chunk: int
) -> None:
    drawn = draw_requests(80, Arrivals(per_second=150), Lengths(mean=prompt), Lengths(mean=40), seed=seed)
    if prompt:
        drawn = share_prefix(drawn, Prefix(tokens=32, share=0.5, count=2), seed=seed)
    memory = SequenceMemory(room_bytes=room, bytes_per_sequence=3.0, bytes_per_token=1.0)
    run = server(
        LinearTimes(base=1e-3, each=1e-4, each_token=1e-6, prompt_token=1e-5),
        memory=memory, policy=policy, chunk_tokens=chunk,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "ends_of_equal_runs", lambda requests: list(range(1, len(requests) + 1)))
        single = simulate(drawn, run)
    together = simulate(drawn, run)
    for times in ("admitted_seconds", "first_seconds", "finish_seconds"):
        np.testing.assert_allclose(getattr(together, times), getattr(single, times), rtol=1e-9)
    assert together.preemptions == single.preemptions
    assert together.reused_tokens == single.reused_tokens


def test_a_request_alone_takes_its_prompt_in_chunks_and_a_step_a_token() -> None:
    times = LinearTimes(base=1.0, each_token=0.01, prompt_token=0.001)
    found = simulate(requests([5.0], [100], [4]), server(times, chunk_tokens=60), timeline=True)
    assert [moment.prompt_tokens for moment in found.timeline] == [60, 40, 0]
    assert found.first_seconds[0] == pytest.approx(5.0 + 0.1)
    # Three steps after the prompt's own token, at 100, 101 and 102 tokens of context.
    assert found.finish_seconds[0] == pytest.approx(5.1 + 3 * 1.0 + 0.01 * (100 + 101 + 102))


def test_who_arrives_in_a_step_joins_at_its_end() -> None:
    found = simulate(requests([0.0, 1.5], [0, 0], [4, 1]), server(LinearTimes(base=1.0)))
    assert list(found.admitted_seconds) == [0.0, 2.0]
    assert list(found.first_seconds) == [1.0, 3.0]
    assert list(found.finish_seconds) == [4.0, 3.0]


def test_a_cache_that_outgrows_the_memory_is_read_again() -> None:
    # Both hold 5 tokens; 14 bytes end when both hold 7, so the second loses its place after two steps and 3 tokens.
    memory = SequenceMemory(room_bytes=14.0, bytes_per_sequence=0.0, bytes_per_token=1.0)
    times = LinearTimes(base=1.0, prompt_token=0.0)
    found = simulate(requests([0.0, 0.0], [5, 5], [9, 9]), server(times, memory=memory), timeline=True)
    assert found.preemptions == 1
    # The first decodes 8 steps; the second waits from step 2 on, is read again with 5 + 3 tokens, and lacks 5 more.
    assert list(found.finish_seconds) == [8.0, 8.0 + 5.0]
    assert [moment.prompt_tokens for moment in found.timeline if moment.prompt_tokens] == [10, 8]
    reserved = simulate(requests([0.0, 0.0], [5, 5], [9, 9]), server(times, memory=memory, policy=MemoryPolicy.RESERVE))
    assert (reserved.preemptions, list(reserved.finish_seconds)) == (0, [8.0, 16.0])


@pytest.mark.parametrize("policy", MemoryPolicy)
def test_fixed_states_never_lose_their_place_and_caches_do(policy: MemoryPolicy) -> None:
    drawn = draw_requests(
        400, Arrivals(per_second=100), Lengths(mean=200, sigma=0.8), Lengths(mean=100, sigma=0.8), seed=2
    )
    times = LinearTimes(base=1e-2)
    state = SequenceMemory(room_bytes=4_000.0, bytes_per_sequence=250.0, bytes_per_token=0.0)
    fixed = simulate(drawn, server(times, memory=state, policy=policy), timeline=True)
    assert fixed.preemptions == 0
    assert max(moment.running + moment.reading for moment in fixed.timeline) == 16
    cached = simulate(drawn, server(times, memory=CACHE, policy=policy))
    assert (cached.preemptions > 0) == (policy is MemoryPolicy.RECOMPUTE)


def test_a_request_too_long_for_the_memory_is_refused_and_misses_the_level() -> None:
    found = simulate(requests([0.0, 1.0], [5_000, 10], [10, 10]), server(LinearTimes(base=1e-3), memory=CACHE))
    assert found.refused == 1
    assert list(np.isinf(found.finish_seconds)) == [True, False]
    metrics = measure_load(found, LEVEL)
    assert (metrics.holds, metrics.good_ratio) == (False, 0.5)


def test_the_same_seed_gives_the_same_times_and_another_seed_others() -> None:
    def finish(seed: int) -> list[float]:
        drawn = draw_requests(200, Arrivals(per_second=9), Lengths(mean=50, sigma=1), Lengths(mean=9), seed=seed)
        return list(simulate(drawn, server(LinearTimes(base=1e-2, prompt_token=1e-4))).finish_seconds)

    assert finish(1) == finish(1)
    assert finish(1) != finish(2)


def test_metrics_are_those_of_the_requests_counted_by_hand() -> None:
    # First tokens after 1, 1, 1 and 1 s; then a step a second: 1 s a token, and nothing after a single token.
    drawn = requests([0.0, 10.0, 20.0, 30.0], [0, 0, 0, 0], [1, 2, 3, 4])
    found = measure_load(
        simulate(drawn, server(LinearTimes(base=1.0))),
        Level(limits=Limits(seconds_per_output_token=1.0, seconds_to_first_token=0.5), percentile=50),
    )
    assert found.seconds_to_first_token.p50 == found.seconds_to_first_token.p99 == 1.0
    assert found.seconds_per_output_token.p99 == 1.0
    assert (found.end_to_end_seconds.p50, found.end_to_end_seconds.p99) == (2.0, 4.0)
    assert (found.holds, found.good_ratio, found.mean_batch) == (False, 0.0, 1.0)
    assert found.busy_ratio == pytest.approx(10 / 34)
