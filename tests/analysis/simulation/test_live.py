"""The loop on a clock decides what the simulation decides: with steps that take what it assumes, all times agree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.live import serve
from pamprof.analysis.simulation.server import MemoryPolicy, SequenceMemory
from pamprof.analysis.simulation.workload import Arrivals, Lengths, draw_requests
from pamprof.errors import UsageError
from tests.analysis.simulation.servers import LinearTimes, requests, server

TIMES = LinearTimes(base=4e-3, each=1e-4, each_token=2e-7, prompt_token=3e-5)


@dataclass(kw_only=True)
class VirtualDevice:
    """Takes what a formula says by a clock of its own, and refuses what no device could do."""

    times: LinearTimes = TIMES
    host_seconds: float = 0.0
    interrupt_after: int = 10**9
    seconds: float = 0.0
    contexts: dict[int, int] = field(default_factory=dict)
    read_to: dict[int, int] = field(default_factory=dict)
    tokens: dict[int, int] = field(default_factory=dict)
    steps: int = 0
    most: int = 0

    def now(self) -> float:
        return self.seconds

    def wait_until(self, seconds: float) -> None:
        assert not self.contexts  # nobody waits while there is work
        self.seconds = max(self.seconds, seconds)

    def read(self, request: int, start: int, end: int, *, last: bool) -> None:
        assert start in (0, self.read_to.get(request, 0))
        assert request not in self.contexts
        self.seconds += self.times.prompt(start, end)
        self.read_to[request] = end
        if last:
            self.tokens[request] = self.tokens.get(request, 0) + 1

    def join(self, request: int) -> None:
        self.contexts[request] = self.read_to[request]
        self.most = max(self.most, len(self.contexts))

    def decode(self) -> None:
        self.steps += 1
        if self.steps > self.interrupt_after:
            raise KeyboardInterrupt
        batch = len(self.contexts)
        self.seconds += self.times.decode(batch, sum(self.contexts.values()) / batch)[0] + self.host_seconds
        for request in self.contexts:
            self.contexts[request] += 1
            self.tokens[request] += 1

    def leave(self, request: int) -> None:
        self.contexts.pop(request, None)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    rate=st.floats(2.0, 60.0),
    sizes=st.tuples(
        st.integers(1, 12), st.integers(20, 400), st.sampled_from([900.0, 3_000.0, 1e9]), st.sampled_from([0.0, 0.7])
    ),
    policy=st.sampled_from(MemoryPolicy),
    grows=st.booleans(),
)
def test_the_loop_serves_as_the_simulation_says(seed, rate, sizes, policy, grows):
    batch, chunk, room, sigma = sizes
    drawn = draw_requests(
        80,
        Arrivals(per_second=rate, variation=1.5),
        Lengths(mean=120, sigma=sigma),
        Lengths(mean=12, sigma=sigma),
        seed=seed,
    )
    memory = SequenceMemory(room_bytes=room, bytes_per_sequence=100.0, bytes_per_token=float(grows))
    asked = server(TIMES, largest_batch=batch, chunk_tokens=chunk, memory=memory, policy=policy)
    expected, device = simulate(drawn, asked), VirtualDevice()
    served = serve(drawn, asked, device, device)
    found = served.outcome
    assert np.allclose(found.first_seconds, expected.first_seconds, rtol=1e-9)
    assert np.allclose(found.finish_seconds, expected.finish_seconds, rtol=1e-9)
    assert found.busy_seconds == pytest.approx(expected.busy_seconds)
    assert (found.preemptions, found.refused) == (expected.preemptions, expected.refused)
    assert (found.decoded_tokens, found.decode_steps) == (expected.decoded_tokens, expected.decode_steps)
    served_requests = np.isfinite(found.finish_seconds)
    assert device.tokens == {int(r): int(drawn.output_tokens[r]) for r in np.flatnonzero(served_requests)}
    assert device.most <= batch
    assert served.device_seconds == pytest.approx(found.busy_seconds)
    assert served.expected_seconds == pytest.approx(found.busy_seconds)
    assert not device.contexts


def test_what_the_loop_itself_takes_is_told_apart():
    class Slow(VirtualDevice):
        def leave(self, request: int) -> None:
            super().leave(request)
            self.seconds += 1e-3

    device = Slow()
    served = serve(requests([0.0, 0.0], [10, 10], [3, 5]), server(TIMES), device, device)
    assert served.host_seconds == pytest.approx(1e-3)  # the first leaves; after the second nothing follows
    assert (served.steps, served.reads) == (5, 2)


def test_what_steps_should_take_does_not_depend_on_what_they_took():
    drawn, slow = requests([0.0, 0.0], [10, 10], [3, 5]), VirtualDevice(host_seconds=1.0)
    served = serve(drawn, server(TIMES), slow, slow)
    assert served.expected_seconds == pytest.approx(simulate(drawn, server(TIMES)).busy_seconds)
    assert served.device_seconds == pytest.approx(served.expected_seconds + 4.0)  # four decode steps


def test_what_was_served_before_an_interruption_is_kept():
    drawn = requests([0.0, 0.0, 0.0], [10, 10, 10], [2, 3, 50])
    device = VirtualDevice(interrupt_after=4)
    served = serve(drawn, server(TIMES), device, device)
    assert served.interrupted
    assert np.isfinite(served.outcome.finish_seconds).tolist() == [True, True, False]


def test_what_no_model_can_serve_is_refused():
    device = VirtualDevice()
    shared = replace(requests([0.0, 1.0], [5, 3], [1, 1]), prefixes=np.array([0, -1]), prefix_tokens=2)
    with pytest.raises(UsageError, match="keeps no prefixes"):
        serve(shared, server(TIMES), device, device)
    with pytest.raises(UsageError, match="1 or more input tokens"):
        serve(requests([0.0, 1.0], [0, 3], [1, 1]), server(TIMES), device, device)
