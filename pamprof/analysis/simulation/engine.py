"""Continuous batching with chunked prefill, event by event.

A server repeats steps. At the beginning of each it admits those who wait, first come first served, while batch and
memory allow; the step then reads up to ``chunk_tokens`` of admitted prompts and decodes one token of every running
sequence, one after the other, so that it takes the sum of both times. A prompt that has been read ends its step with
its first token.

While nobody joins, leaves or runs out of memory, the batch stays as it is and only contexts grow, by one token a step:
such steps are taken together, in closed form. So a request costs a handful of events whatever it generates, in place
of one event a token; a general event queue (simpy) would switch between processes for each of those, and the server,
the only process here, decides alone what comes next.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from math import ceil, floor, inf, sqrt
from typing import TYPE_CHECKING

from pamprof.analysis.simulation.outcome import Outcome, Stretch
from pamprof.analysis.simulation.server import ADMISSION_RESERVE_RATIO, MemoryPolicy

if TYPE_CHECKING:
    from pamprof.analysis.simulation.requests import Requests
    from pamprof.analysis.simulation.server import Server


def simulate(requests: Requests, server: Server, *, timeline: bool = False) -> Outcome:
    """Serve all ``requests``; with ``timeline`` the outcome tells what the device did at every moment."""
    run = Batching(requests, server, timeline=timeline)
    run.serve()
    return run.outcome()


@dataclass(slots=True)
class Prompt:
    """A prompt that is being read: the request, its tokens and how many of them are done."""

    request: int
    tokens: int
    done: int = 0


class Batching:
    """The state of one server and all its decisions; sequences are numbers of requests.

    Time comes from ``_await``, ``_read``, ``_decode`` and ``_decode_steps`` alone: ``live`` has them from a clock.
    """

    def __init__(self, requests: Requests, server: Server, *, timeline: bool) -> None:
        self.requests = requests
        self.server = server
        self.arrivals: list[float] = requests.arrival_seconds.tolist()
        self.inputs: list[int] = requests.input_tokens.tolist()
        self.outputs: list[int] = requests.output_tokens.tolist()
        count = len(self.arrivals)
        self.generated = [0] * count
        self.admitted_seconds = [inf] * count
        self.first_seconds = [inf] * count
        self.finish_seconds = [inf] * count
        self.now = 0.0
        self.arrived = 0
        self.waiting: deque[int] = deque()
        self.prompts: deque[Prompt] = deque()
        # Of a running sequence: the step that ends it, and its context less the steps taken, which stays as it is.
        self.ends: list[tuple[int, int]] = []
        self.end_of = [0] * count
        self.offset = [0] * count
        self.running = 0
        self.offset_sum = 0
        self.step = 0
        self.fresh: list[int] = []  # running without a first token: requests without a prompt
        self.admitted: list[int] = []  # for the one admitted last
        self.held_bytes = 0.0  # of prompts being read; under RESERVE of all sequences
        self.reserves = server.policy is MemoryPolicy.RESERVE or server.memory.bytes_per_token == 0
        self.busy_seconds = 0.0
        self.prompt_seconds = 0.0
        self.decoded = 0
        self.decode_steps = 0
        self.preemptions = 0
        self.refused = 0
        self.timeline: list[Stretch] | None = [] if timeline else None

    def serve(self) -> None:
        """Serve everything."""
        count = len(self.arrivals)
        while self.arrived < count or self.waiting or self.prompts or self.running:
            self._admit()
            if not self.prompts and not self.running:
                if self.arrived < count:
                    self._await(self.arrivals[self.arrived])
                continue
            if not self.reserves:
                self._make_room()
            if self.prompts:
                self._mixed_step()
            else:
                self._decode_steps()

    def outcome(self) -> Outcome:
        """What was served so far."""
        import numpy as np

        return Outcome(
            requests=self.requests,
            admitted_seconds=np.array(self.admitted_seconds),
            first_seconds=np.array(self.first_seconds),
            finish_seconds=np.array(self.finish_seconds),
            busy_seconds=self.busy_seconds,
            prompt_seconds=self.prompt_seconds,
            decoded_tokens=self.decoded,
            decode_steps=self.decode_steps,
            preemptions=self.preemptions,
            refused=self.refused,
            timeline=tuple(self.timeline or ()),
        )

    def _await(self, seconds: float) -> None:
        """Let nothing happen until the next arrival."""
        self.now = max(self.now, seconds)

    def _read(self, prompt: Prompt, take: int) -> float:
        """Read ``take`` more tokens of a prompt; the seconds it took."""
        return self.server.times.prompt(prompt.done, prompt.done + take)

    def _decode(self) -> float:
        """One token of everyone who runs; the seconds it took."""
        return self.server.times.decode(self.running, self.offset_sum / self.running + self.step)[0]

    def _used_bytes(self) -> float:
        if self.reserves:
            return self.held_bytes
        memory = self.server.memory
        contexts = self.offset_sum + self.running * (self.step + 1)
        return self.held_bytes + self.running * memory.bytes_per_sequence + memory.bytes_per_token * contexts

    def _needed_bytes(self, request: int) -> float:
        context = self.inputs[request] + (self.outputs[request] - 1 if self.reserves else self.generated[request])
        return self.server.memory.kept_bytes(context)

    def _admit(self) -> None:
        """Take in who has arrived, then those for whom there is a place, in order."""
        arrivals, memory = self.arrivals, self.server.memory
        while self.arrived < len(arrivals) and arrivals[self.arrived] <= self.now:
            request = self.arrived
            self.arrived += 1
            if memory.kept_bytes(self.inputs[request] + self.outputs[request] - 1) > memory.room_bytes:
                self.refused += 1
            else:
                self.waiting.append(request)
        while self.waiting and self.running + len(self.prompts) < self.server.largest_batch:
            request = self.waiting[0]
            needed = self._needed_bytes(request)
            alone = not self.running and not self.prompts
            spare = 0.0 if self.reserves or alone else ADMISSION_RESERVE_RATIO * memory.room_bytes
            if self._used_bytes() + needed + spare > memory.room_bytes and not alone:
                return
            self.waiting.popleft()
            self.admitted_seconds[request] = min(self.admitted_seconds[request], self.now)
            if not self.reserves:
                self.admitted.append(request)
            tokens = self.inputs[request] + self.generated[request]
            if tokens:
                self.held_bytes += needed
                self.prompts.append(Prompt(request, tokens))
            else:
                self.held_bytes += needed if self.reserves else 0.0
                self.fresh.append(request)
                self._run(request, 0)

    def _run(self, request: int, context: int) -> None:
        """Let a sequence that holds ``context`` tokens decode from the next step on."""
        end = self.step + self.outputs[request] - self.generated[request]
        heappush(self.ends, (end, request))
        self.end_of[request] = end
        self.offset[request] = context - self.step
        self.offset_sum += context - self.step
        self.running += 1

    def _leave(self, request: int) -> None:
        self.offset_sum -= self.offset[request]
        self.running -= 1
        self.end_of[request] = 0

    def _finish(self, request: int) -> None:
        self.finish_seconds[request] = self.now
        self.generated[request] = self.outputs[request]
        if self.reserves:
            self.held_bytes -= self._needed_bytes(request)

    def _make_room(self) -> None:
        """Put back those admitted last until the step that comes fits."""
        while self.running + len(self.prompts) > 1 and self._used_bytes() > self.server.memory.room_bytes:
            request = self.admitted.pop()
            if self.prompts and self.prompts[-1].request == request:
                self.held_bytes -= self._needed_bytes(request)
                self.prompts.pop()
            elif self.end_of[request]:
                self.generated[request] = self.outputs[request] - (self.end_of[request] - self.step)
                self._leave(request)
                if request in self.fresh:
                    self.fresh.remove(request)
            else:
                continue  # it has finished
            self.preemptions += 1
            self.waiting.appendleft(request)

    def _mixed_step(self) -> None:
        """Read a chunk of prompts and decode one token of everyone who runs."""
        batch = self.running
        decoding = self._decode() if batch else 0.0
        left, seconds, tokens, done = self.server.chunk_tokens, 0.0, 0, []
        for prompt in self.prompts:
            if not left:
                break
            take = min(left, prompt.tokens - prompt.done)
            seconds += self._read(prompt, take)
            prompt.done += take
            tokens += take
            left -= take
            if prompt.done == prompt.tokens:
                done.append(prompt.request)
        self.prompt_seconds += seconds
        self._pass(seconds + decoding, 1 if batch else 0, tokens, seconds)
        for request in done:
            self.prompts.popleft()
            context = self.inputs[request] + self.generated[request]
            if not self.reserves:
                self.held_bytes -= self._needed_bytes(request)
            self.generated[request] += 1
            self.first_seconds[request] = min(self.first_seconds[request], self.now)
            if self.generated[request] == self.outputs[request]:
                self._finish(request)
            else:
                self._run(request, context)

    def _decode_steps(self) -> None:
        """As many steps of the batch as it is, until somebody leaves, may join, or the memory is full."""
        while self.ends[0][0] != self.end_of[self.ends[0][1]]:
            heappop(self.ends)  # preempted since
        batch, memory = self.running, self.server.memory
        context = self.offset_sum / batch + self.step
        seconds, growth, stretch = self.server.times.decode(batch, context)
        steps = 1 if self.fresh else min(self.ends[0][0] - self.step, max(1, ceil(min(stretch, 1e9))))
        if not self.reserves and batch > 1:
            free = memory.room_bytes - self._used_bytes()
            steps = min(steps, floor(free / (memory.bytes_per_token * batch)) + 1)
        # Whoever waits now waits for a place, so that arrivals change nothing before somebody leaves.
        if not self.waiting and self.arrived < len(self.arrivals):
            steps = _steps_until(self.arrivals[self.arrived] - self.now, seconds, growth, steps)
        self._pass(steps * seconds + growth * (steps * (steps - 1) / 2), steps)

    def _pass(self, seconds: float, steps: int, prompt_tokens: int = 0, prompt_seconds: float = 0.0) -> None:
        """Let time pass, give tokens out and let those leave who have all of theirs."""
        batch = self.running
        if self.timeline is not None:
            self.timeline.append(
                Stretch(
                    start_seconds=self.now,
                    seconds=seconds,
                    running=batch,
                    reading=len(self.prompts),
                    waiting=len(self.waiting),
                    prompt_tokens=prompt_tokens,
                    prompt_seconds=prompt_seconds,
                )
            )
        self.now += seconds
        self.busy_seconds += seconds
        self.step += steps
        self.decode_steps += steps
        self.decoded += batch * steps
        if steps and self.fresh:
            for request in self.fresh:
                self.first_seconds[request] = min(self.first_seconds[request], self.now)
            self.fresh.clear()
        while self.ends and self.ends[0][0] <= self.step:
            end, request = heappop(self.ends)
            if end == self.end_of[request]:
                self._leave(request)
                self._finish(request)


def _steps_until(gap: float, seconds: float, growth: float, most: int) -> int:
    """The fewest steps, 1 to ``most``, that take ``gap`` seconds or more when each is ``growth`` longer."""
    if growth > 0:
        base = seconds - growth / 2
        found = (sqrt(base * base + 2 * growth * max(0.0, gap)) - base) / growth
    else:
        found = gap / seconds if seconds > 0 else inf
    if found >= most:
        return most
    return max(1, ceil(found))
