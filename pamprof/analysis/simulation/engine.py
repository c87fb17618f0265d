"""Continuous batching with chunked prefill, event by event.

A server repeats steps. At the beginning of each it admits those who wait, first come first served, while batch and
memory allow; the step then reads up to ``chunk_tokens`` of admitted prompts and decodes one token of every running
sequence, one after the other, so that it takes the sum of both times. A prompt that has been read ends its step with
its first token.

While nobody joins, leaves or runs out of memory, the batch stays as it is and only contexts grow, by one token a step:
such steps are taken together, in closed form. Requests of equal lengths that follow each other and join at one step are
served alike until they leave, so that they are one ``Group``. So a request costs a handful of events whatever it
generates, in place of one event a token; a general event queue (simpy) would switch between processes for each of
those, and the server, the only process here, decides alone what comes next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from heapq import heappop, heappush
from math import ceil, floor, inf, sqrt
from typing import TYPE_CHECKING

from pamprof.analysis.simulation.groups import Group, PromptQueue, ends_of_equal_runs
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
        self.prefixes: list[int] | None = None if requests.prefixes is None else requests.prefixes.tolist()
        self.equal_until = ends_of_equal_runs(requests)
        count = len(self.arrivals)
        self.generated: dict[int, int] = {}  # of those that lost their place
        self.admitted_seconds = [inf] * count
        self.first_seconds = [inf] * count
        self.finish_seconds = [inf] * count
        self.now = 0.0
        self.arrived = 0
        self.waiting: deque[tuple[int, int]] = deque()  # first request and how many of equal lengths
        self.waiting_count = 0
        self.prompts = PromptQueue()
        self.ends: list[tuple[int, int, Group]] = []
        self.running = 0
        self.offset_sum = 0
        self.shared_sum = 0
        self.step = 0
        self.turn = 0
        self.fresh: list[Group] = []  # running without a first token: requests without a prompt
        self.latest: list[tuple[int, Group]] = []  # running, for the one admitted last
        self.held_bytes = 0.0  # of prompts being read; under RESERVE of all sequences
        self.reserves = server.policy is MemoryPolicy.RESERVE or server.memory.bytes_per_token == 0
        self.kept: set[int] = set()  # prefixes that were read
        self.reused_tokens = 0
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
        while self.arrived < count or self.waiting or self.prompts.count or self.running:
            self._arrive()
            self._admit()
            if not self.prompts.count and not self.running:
                if self.arrived < count:
                    self._await(self.arrivals[self.arrived])
                continue
            if not self.reserves:
                self._make_room()
            if self.prompts.count:
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
            reused_tokens=self.reused_tokens,
            timeline=tuple(self.timeline or ()),
        )

    def _await(self, seconds: float) -> None:
        """Let nothing happen until the next arrival."""
        self.now = max(self.now, seconds)

    def _read(self, group: Group, count: int, end: int) -> float:
        """Read the prompts of the first ``count`` of a group up to ``end``; the seconds it took."""
        return count * self.server.times.prompt(group.done, end)

    def _decode(self) -> float:
        """One token of everyone who runs; the seconds it took."""
        return self.server.times.decode(self.running, self.offset_sum / self.running + self.step)[0]

    def _used_bytes(self) -> float:
        if self.reserves:
            return self.held_bytes
        memory = self.server.memory
        own = self.offset_sum + self.running * (self.step + 1) - self.shared_sum
        return self.held_bytes + self.running * memory.bytes_per_sequence + memory.bytes_per_token * own

    def _arrive(self) -> None:
        """Put everyone who has come by now into the queue."""
        arrivals, memory = self.arrivals, self.server.memory
        while self.arrived < len(arrivals) and arrivals[self.arrived] <= self.now:
            first = self.arrived
            equal = self.equal_until[first]
            self.arrived = end = equal if equal == first + 1 else bisect_right(arrivals, self.now, first, equal)
            if memory.kept_bytes(self.inputs[first] + self.outputs[first] - 1) > memory.room_bytes:
                self.refused += end - first
            else:
                self.waiting.append((first, end - first))
                self.waiting_count += end - first

    def _admit(self) -> None:
        """Take in those who wait and for whom there is a place, in order."""
        memory = self.server.memory
        while self.waiting:
            first, count = self.waiting[0]
            again = self.generated.get(first, 0) if count == 1 else 0
            prefix = -1 if self.prefixes is None else self.prefixes[first]
            shared = self.requests.prefix_tokens if prefix in self.kept else 0
            tokens = self.inputs[first] + again
            needed = memory.kept_bytes(tokens + (self.outputs[first] - 1 - again if self.reserves else 0) - shared)
            taken = min(count, self._places(needed))
            if not taken:
                return
            if taken == count:
                self.waiting.popleft()
            else:
                self.waiting[0] = (first + taken, count - taken)
            self.waiting_count -= taken
            if count == 1:
                self.admitted_seconds[first] = min(self.admitted_seconds[first], self.now)
            else:
                self.admitted_seconds[first : first + taken] = [self.now] * taken
            self.turn += taken
            group = Group(
                first=first, count=taken, turn=self.turn, tokens=tokens, done=shared, shared=shared, prefix=prefix,
                generated=again, held_bytes=needed,
            )  # fmt: skip
            self.reused_tokens += taken * shared
            if tokens:
                self.held_bytes += taken * needed
                self.prompts.append(group)
            else:
                self.held_bytes += taken * needed if self.reserves else 0.0
                self.fresh.append(group)
                self._run(group, 0)

    def _places(self, needed: float) -> int:
        """How many more sequences of ``needed`` bytes batch and memory allow; one at least where there is nobody."""
        memory, present = self.server.memory, self.running + self.prompts.count
        spare = 0.0 if self.reserves else ADMISSION_RESERVE_RATIO * memory.room_bytes
        fits = floor((memory.room_bytes - self._used_bytes() - spare) / needed) if needed > 0 else len(self.arrivals)
        return min(self.server.largest_batch - present, max(fits, 0 if present else 1, 0))

    def _run(self, group: Group, context: int) -> None:
        """Let sequences that hold ``context`` tokens decode from the next step on."""
        group.end = self.step + self.outputs[group.first] - group.generated
        heappush(self.ends, (group.end, group.turn, group))
        group.offset = context - self.step
        if not self.reserves:
            heappush(self.latest, (-group.turn, group))
        self._count(group, group.count)

    def _count(self, group: Group, change: int) -> None:
        """More or fewer running sequences of a group."""
        self.running += change
        self.offset_sum += change * group.offset
        self.shared_sum += change * group.shared

    def _finish(self, group: Group) -> None:
        group.tell(self.finish_seconds, self.now)
        if self.reserves:
            self.held_bytes -= group.count * group.held_bytes
        group.count = 0

    def _make_room(self) -> None:
        """Put back those admitted last until the step that comes fits."""
        while self.running + self.prompts.count > 1 and self._used_bytes() > self.server.memory.room_bytes:
            while self.latest and not self.latest[0][1].count:  # they have left
                heappop(self.latest)
            group = self.prompts.last
            if group is None or (self.latest and self.latest[0][1].turn > group.turn):
                group = self.latest[0][1]
                request = group.drop_last()
                self.generated[request] = self.outputs[request] - (group.end - self.step)
                self._count(group, -1)
            else:
                request = self.prompts.drop_last()
                self.held_bytes -= group.held_bytes
            self._put_back(request)

    def _put_back(self, request: int) -> None:
        """Let one that lost its place wait before all others."""
        self.preemptions += 1
        self.waiting.appendleft((request, 1))
        self.waiting_count += 1

    def _mixed_step(self) -> None:
        """Read a chunk of prompts and decode one token of everyone who runs."""
        present, batch = self.prompts.count, self.running
        decoding = self._decode() if batch else 0.0
        reading, tokens, done = self.prompts.read(self.server.chunk_tokens, self._read)
        self.prompt_seconds += reading
        self._pass(reading + decoding, 1 if batch else 0, reading=present, prompt_tokens=tokens, prompt_seconds=reading)
        for group in done:
            if group.prefix >= 0:
                self.kept.add(group.prefix)
            if not self.reserves:
                self.held_bytes -= group.count * group.held_bytes
            group.tell(self.first_seconds, self.now)
            group.generated += 1
            if group.generated == self.outputs[group.first]:
                self._finish(group)
            else:
                self._run(group, group.tokens)

    def _decode_steps(self) -> None:
        """Decode as many steps as the batch stays what it is."""
        memory, batch = self.server.memory, self.running
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

    def _pass(
        self, seconds: float, steps: int, *, reading: int = 0, prompt_tokens: int = 0, prompt_seconds: float = 0.0
    ) -> None:
        """Let time pass, give tokens out and let those leave who have all of theirs."""
        batch = self.running
        if self.timeline is not None:
            self.timeline.append(
                Stretch(
                    start_seconds=self.now, seconds=seconds, running=batch, reading=reading,
                    waiting=self.waiting_count, prompt_tokens=prompt_tokens, prompt_seconds=prompt_seconds,
                )
            )  # fmt: skip
        self.now += seconds
        self.busy_seconds += seconds
        self.step += steps
        self.decode_steps += steps
        self.decoded += batch * steps
        if steps and self.fresh:
            for group in self.fresh:
                group.tell(self.first_seconds, self.now)
            self.fresh.clear()
        while self.ends and self.ends[0][0] <= self.step:
            group = heappop(self.ends)[2]
            if group.count:
                self._count(group, -group.count)
                self._finish(group)


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
