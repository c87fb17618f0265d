from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pamprof.analysis.serving.memory import StateBytes
from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.prefixes import Prefix, kept_prefix_bytes, share_prefix
from pamprof.analysis.simulation.server import MemoryPolicy, SequenceMemory
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from tests.analysis.simulation.servers import LinearTimes, requests, server

if TYPE_CHECKING:
    from pamprof.analysis.simulation.requests import Requests


def begun_alike(
    prefixes: list[int], tokens: int, arrivals: list[float], inputs: list[int], outputs: list[int]
) -> Requests:
    return replace(requests(arrivals, inputs, outputs), prefixes=np.array(prefixes), prefix_tokens=tokens)


def test_a_kept_prefix_is_not_read_again_and_the_first_prompt_with_it_is_read_whole() -> None:
    drawn = begun_alike([0, 0, -1, 0], 80, [0.0, 10.0, 20.0, 30.0], [100, 100, 100, 90], [1, 1, 1, 1])
    found = simulate(drawn, server(LinearTimes(prompt_token=0.01)))
    waits = found.first_seconds - drawn.arrival_seconds
    np.testing.assert_allclose(waits, [1.0, 0.2, 1.0, 0.1])
    assert found.reused_tokens == 160
    assert found.prompt_seconds == pytest.approx(2.3)


def test_prompts_that_come_before_the_prefix_is_read_read_it_themselves() -> None:
    drawn = begun_alike([0, 0, 0], 80, [0.0, 0.0, 0.5], [100, 100, 100], [1, 1, 1])
    found = simulate(drawn, server(LinearTimes(prompt_token=0.01)))
    # Two prompts in one step of 2 s; the third comes in it and begins with what they left.
    np.testing.assert_allclose(found.first_seconds, [2.0, 2.0, 2.2])


@pytest.mark.parametrize("policy", MemoryPolicy)
def test_caches_share_the_pages_of_a_prefix_and_states_share_no_bytes(policy: MemoryPolicy) -> None:
    drawn = begun_alike([0] * 9, 80, [0.0] + [10.0] * 8, [100] * 9, [1] + [11] * 8)
    times = LinearTimes(base=1.0)
    cache = SequenceMemory(room_bytes=250.0, bytes_per_sequence=0.0, bytes_per_token=1.0)
    shared = simulate(drawn, server(times, memory=cache, policy=policy), timeline=True)
    apart = simulate(replace(drawn, prefixes=None), server(times, memory=cache, policy=policy), timeline=True)
    # At the end a sequence holds 110 tokens of its own, or 30 beside the 80 that all share: 2 and 8 fit 250 bytes.
    assert max(moment.running for moment in shared.timeline) == 8
    assert max(moment.running for moment in apart.timeline) == 2
    state = SequenceMemory(room_bytes=250.0, bytes_per_sequence=100.0, bytes_per_token=0.0)
    fixed = simulate(drawn, server(times, memory=state, policy=policy), timeline=True)
    assert max(moment.running for moment in fixed.timeline) == 2


def test_a_sequence_that_lost_its_cache_begins_again_behind_the_prefix() -> None:
    drawn = begun_alike([0] * 4, 80, [0.0] + [10.0] * 3, [100] * 4, [1] + [60] * 3)
    memory = SequenceMemory(room_bytes=161.0, bytes_per_sequence=0.0, bytes_per_token=1.0)
    found = simulate(drawn, server(LinearTimes(base=1.0, prompt_token=0.01), memory=memory), timeline=True)
    # Three hold 21 bytes of their own each and one more a step: 162 after 33 steps, when the last one has 34 tokens.
    assert found.preemptions == 1
    assert [moment.prompt_tokens for moment in found.timeline if moment.prompt_tokens] == [100, 60, 20 + 34]
    assert found.reused_tokens == 4 * 80


def test_a_share_of_the_prompts_begins_alike_and_short_ones_share_nothing() -> None:
    drawn = draw_requests(20_000, Arrivals(per_second=9), Lengths(mean=1_500, sigma=1.0), Lengths(mean=300), seed=1)
    found = share_prefix(drawn, Prefix(tokens=1_000, share=0.5, count=8), seed=1)
    assert found.prefixes is not None
    long = drawn.input_tokens > 1_000
    assert np.all(found.prefixes[~long] == -1)
    assert (found.prefixes[long] >= 0).mean() == pytest.approx(0.5, abs=0.02)
    assert set(found.prefixes) == set(range(-1, 8))
    np.testing.assert_array_equal(found.input_tokens, drawn.input_tokens)
    again = share_prefix(drawn, Prefix(tokens=1_000, share=0.5, count=8), seed=1)
    np.testing.assert_array_equal(again.prefixes, found.prefixes)
    # Eight states, or eight times the pages of 1,000 tokens.
    assert kept_prefix_bytes(found, StateBytes(fixed_bytes=3e6, bytes_per_token=0.0)) == 24e6
    assert kept_prefix_bytes(found, StateBytes(fixed_bytes=0.0, bytes_per_token=7_680.0)) == 8 * 1_000 * 7_680
    assert kept_prefix_bytes(drawn, StateBytes(fixed_bytes=3e6, bytes_per_token=0.0)) == 0
