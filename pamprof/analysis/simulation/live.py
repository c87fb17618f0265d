"""The server of ``engine`` on a clock: the same decisions about the same requests, with steps that a device runs.

Requests come when the clock says so. Nothing of the scheduling is repeated here: admission, chunks of prompts,
preemption and who leaves are ``Batching``'s; this has its time from a clock and its steps from a device, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Protocol

from pamprof.analysis.simulation.engine import Batching
from pamprof.errors import UsageError

if TYPE_CHECKING:
    from pamprof.analysis.simulation.groups import Group
    from pamprof.analysis.simulation.outcome import Outcome
    from pamprof.analysis.simulation.requests import Requests
    from pamprof.analysis.simulation.server import Server


_ALL_AT_ONCE_PER_SECOND = 1e12


class ServingDevice(Protocol):
    """A device that runs steps of real sequences; a call returns when its tokens are known."""

    def read(self, request: int, start: int, end: int, *, last: bool) -> None:
        """Read tokens ``start`` to ``end`` of a request's prompt, and of what it had generated before it was preempted.

        With ``last`` that is all of it, and its next token is generated.
        """

    def join(self, request: int) -> None:
        """Let a sequence whose prompt was read decode from the next step on."""

    def decode(self) -> None:
        """Generate a token of every sequence that joined and did not leave."""

    def leave(self, request: int) -> None:
        """Forget a sequence, finished or preempted."""


class Clock(Protocol):
    """Seconds since serving began."""

    def now(self) -> float:
        """Seconds now."""

    def wait_until(self, seconds: float) -> None:
        """Come back as close after ``seconds`` as can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRequests:
    """What was served.

    Attributes:
        outcome: As of a simulation.
        steps: Of the server, those that only read prompts included.
        reads: Pieces of prompts that were read.
        device_seconds: Time in which steps ran; the rest of the busy time is the loop's own.
        expected_seconds: What the same steps take by the server's step times.
        interrupted: Whether it was stopped before all requests were served.
    """

    outcome: Outcome
    steps: int
    reads: int
    device_seconds: float
    expected_seconds: float
    interrupted: bool

    @property
    def host_seconds(self) -> float:
        """Busy time in which no step ran: admission, bookkeeping, finding out who leaves."""
        return self.outcome.busy_seconds - self.device_seconds


def serve(requests: Requests, server: Server, device: ServingDevice, clock: Clock) -> ServedRequests:
    """Serve all ``requests`` by the clock; what was served until an interruption is kept.

    Raises:
        UsageError: A request without a prompt, which no model can continue.
    """
    if int(requests.input_tokens.min()) < 1:
        raise UsageError("a model continues a prompt; give every request 1 or more input tokens")
    if requests.prefixes is not None:
        raise UsageError("this server keeps no prefixes of prompts; serve requests without shared ones")
    run = _Live(requests, server, device, clock)
    interrupted = False
    try:
        run.serve()
    except KeyboardInterrupt:
        interrupted = True
    return ServedRequests(
        outcome=run.outcome(),
        steps=run.steps,
        reads=run.reads,
        device_seconds=run.device_seconds,
        expected_seconds=run.expected_seconds(),
        interrupted=interrupted,
    )


class _Live(Batching):
    def __init__(self, requests: Requests, server: Server, device: ServingDevice, clock: Clock) -> None:
        super().__init__(requests, server, timeline=False)
        self.device = device
        self.clock = clock
        self.device_seconds = 0.0
        self.steps = 0
        self.decoded_batches: list[tuple[int, float]] = []  # sequences and their mean context, a step each
        self.pieces: list[tuple[int, int, int]] = []  # how many, from and to
        self.reads = 0

    def expected_seconds(self) -> float:
        """Worked out when all is served: nothing but the loop may take time before."""
        times = self.server.times
        decoding = sum(times.decode(batch, context)[0] for batch, context in self.decoded_batches)
        return decoding + sum(count * times.prompt(start, end) for count, start, end in self.pieces)

    def _await(self, seconds: float) -> None:
        self.clock.wait_until(seconds)
        self.now = max(seconds, self.clock.now())

    def _read(self, group: Group, count: int, end: int) -> float:
        begun = self.clock.now()
        for request in range(group.first, group.first + count):
            self.device.read(request, group.done, end, last=end == group.tokens)
        self.reads += count
        self.pieces.append((count, group.done, end))
        return self._since(begun)

    def _decode(self) -> float:
        begun = self.clock.now()
        self.device.decode()
        self.decoded_batches.append((self.running, self.offset_sum / self.running + self.step))
        return self._since(begun)

    def _decode_steps(self) -> None:
        self._pass(self._decode(), 1)

    def _since(self, begun: float) -> float:
        seconds = self.clock.now() - begun
        self.device_seconds += seconds
        return seconds

    def _pass(
        self, seconds: float, steps: int, *, reading: int = 0, prompt_tokens: int = 0, prompt_seconds: float = 0.0
    ) -> None:
        """As long as the clock says, which includes what the loop itself took."""
        del seconds
        self.steps += 1
        super()._pass(
            self.clock.now() - self.now,
            steps,
            reading=reading,
            prompt_tokens=prompt_tokens,
            prompt_seconds=prompt_seconds,
        )

    def _run(self, group: Group, context: int) -> None:
        super()._run(group, context)
        for request in range(group.first, group.first + group.count):
            self.device.join(request)

    def _finish(self, group: Group) -> None:
        finished = range(group.first, group.first + group.count)
        super()._finish(group)
        for request in finished:
            self.device.leave(request)

    def _put_back(self, request: int) -> None:
        super()._put_back(request)
        self.device.leave(request)


class WallClock:
    """The real time since it was made; the last milliseconds of a wait are spent looking at it."""

    _SPIN_SECONDS = 2e-3

    def __init__(self) -> None:
        self._begun = perf_counter()

    def now(self) -> float:
        """As ``Clock.now``."""
        return perf_counter() - self._begun

    def wait_until(self, seconds: float) -> None:
        """As ``Clock.wait_until``."""
        while (left := seconds - self.now()) > 0:
            if left > self._SPIN_SECONDS:
                sleep(left - self._SPIN_SECONDS)


class _NoDevice(WallClock):
    """Steps that take no time, and requests that need not be waited for."""

    def wait_until(self, seconds: float) -> None:
        """Go on at once."""

    def read(self, request: int, start: int, end: int, *, last: bool) -> None:
        """Nothing."""

    def join(self, request: int) -> None:
        """Nothing."""

    def decode(self) -> None:
        """Nothing."""

    def leave(self, request: int) -> None:
        """Nothing."""


def loop_seconds(requests: Requests, server: Server) -> float:
    """What the loop itself takes for each decode step and each piece of a prompt, found by running it on no device."""
    device = _NoDevice()
    served = serve(requests.at_rate(_ALL_AT_ONCE_PER_SECOND), server, device, device)
    return served.outcome.busy_seconds / max(1, served.outcome.decode_steps + served.reads)
