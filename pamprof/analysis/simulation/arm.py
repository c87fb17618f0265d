"""One arm under load: its server as ``pamprof cost`` would run it, the highest rate it holds, its times at any rate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import TYPE_CHECKING

from pamprof.analysis.serving.operating_point import (
    TIME_PER_OUTPUT_TOKEN,
    TIME_TO_FIRST_TOKEN,
    OperatingPoint,
    Refusal,
    operating_point,
)
from pamprof.analysis.serving.terms import Traffic
from pamprof.analysis.simulation.engine import simulate
from pamprof.analysis.simulation.highest_rate import HighestRate, highest_rate
from pamprof.analysis.simulation.measured_times import CurveTable, End, MeasuredTimes, sequence_memory
from pamprof.analysis.simulation.metrics import measure_load
from pamprof.analysis.simulation.prefixes import kept_prefix_bytes
from pamprof.analysis.simulation.server import MemoryPolicy, Server

if TYPE_CHECKING:
    from pamprof.analysis.serving.curve import ServingCurve
    from pamprof.analysis.serving.terms import Limits
    from pamprof.analysis.simulation.metrics import Level, LoadMetrics
    from pamprof.analysis.simulation.outcome import Outcome
    from pamprof.analysis.simulation.requests import Requests

# vLLM's default of max_num_batched_tokens for online serving (docs.vllm.ai, optimization, read 2026-11-28).
LEAST_CHUNK_TOKENS = 2048
# A batch that has been filled so often hardly shows that it began empty.
_FILLS = 10
# Beyond any rate: all requests are there at once.
_OVERLOAD_FACTOR = 1e6
# Of a limit that the request of mean lengths misses, to find a batch: a thousand times is no service.
_DOUBLINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How servers are run.

    Attributes:
        largest_batch: Sequences at once; None for the batch that ``pamprof cost`` chooses.
        chunk_tokens: Prompt tokens a step reads at most; None for what joins at each step of that batch, at least
            ``LEAST_CHUNK_TOKENS``.
        policy: What keeps caches within the memory.
    """

    largest_batch: int | None = None
    chunk_tokens: int | None = None
    policy: MemoryPolicy = MemoryPolicy.RECOMPUTE


def mean_traffic(requests: Requests) -> Traffic:
    """The request of mean lengths, the one a steady answer is asked for."""
    return Traffic(
        input_tokens=round(requests.mean_input_tokens), output_tokens=max(1, round(requests.mean_output_tokens))
    )


@dataclass(slots=True, kw_only=True)
class LoadedArm:
    """An arm that serves requests.

    Attributes:
        curve: Its measured times.
        point: The steady operating point it is run at.
        requests: What arrives, at any rate; every arm and rate gets the same.
        level: What is asked of it.
        largest_batch, chunk_tokens, policy: As it is run.
        table: The curve's answers.
    """

    curve: ServingCurve
    point: OperatingPoint
    requests: Requests
    level: Level
    largest_batch: int
    chunk_tokens: int
    policy: MemoryPolicy
    table: CurveTable
    _servers: dict[End, Server] = field(default_factory=dict)

    def server(self, end: End) -> Server:
        """The server whose times are all at one end of their intervals."""
        if end not in self._servers:
            self._servers[end] = Server(
                times=MeasuredTimes(self.table, end),
                memory=sequence_memory(self.curve, self.prefix_bytes),
                largest_batch=self.largest_batch,
                chunk_tokens=self.chunk_tokens,
                policy=self.policy,
            )
        return self._servers[end]

    @property
    def prefix_bytes(self) -> float:
        """Set aside for prefixes that prompts have in common."""
        return kept_prefix_bytes(self.requests, self.curve.memory.state)

    def served(self, per_second: float, end: End = End.MEDIAN, *, timeline: bool = False) -> Outcome:
        """The requests at a rate."""
        return simulate(self.requests.at_rate(per_second), self.server(end), timeline=timeline)

    def metrics(self, per_second: float, end: End = End.MEDIAN) -> LoadMetrics:
        """What users and owner see at a rate."""
        return measure_load(self.served(per_second, end), self.level)

    def highest_rate(self, end: End = End.MEDIAN, near: float | None = None) -> HighestRate:
        """The highest rate that holds the level, by enough requests to fill the batch several times over."""
        requests = self.requests.at_least(_FILLS * self.largest_batch, measured_from=self.largest_batch)
        return highest_rate(
            lambda rate: simulate(requests.at_rate(rate), self.server(end)),
            lambda outcome: measure_load(outcome, self.level),
            self.level,
            overload_per_second=_OVERLOAD_FACTOR / self.point.device_seconds.median,
            near=near,
        )


def server_point(curve: ServingCurve, traffic: Traffic, limits: Limits) -> OperatingPoint | Refusal:
    """The operating point that a server is run at.

    Where the request of mean lengths misses a limit, a percentile of the requests may still hold it: then the point of
    the least doubling of that limit, or of half the lengths, as often as it takes.
    """
    found = operating_point(curve, traffic, limits)
    for _ in range(_DOUBLINGS):
        if isinstance(found, OperatingPoint) or found.limit is None:
            break
        if found.limit == TIME_TO_FIRST_TOKEN:
            limits = replace(limits, seconds_to_first_token=2 * limits.seconds_to_first_token)
        elif found.limit == TIME_PER_OUTPUT_TOKEN:
            limits = replace(limits, seconds_per_output_token=2 * limits.seconds_per_output_token)
        else:
            traffic = Traffic(input_tokens=traffic.input_tokens // 2, output_tokens=max(1, traffic.output_tokens // 2))
        found = operating_point(curve, traffic, limits)
    return found


def loaded_arm(
    curve: ServingCurve, point: OperatingPoint, requests: Requests, level: Level, settings: ServerSettings
) -> LoadedArm:
    """The arm with the settings that were asked for, the others as the steady answer has them.

    Raises:
        UnsupportedError: Times or memory of it are not known.
        UsageError: Settings that serve nothing.
    """
    joining = point.batch_size / requests.mean_output_tokens * requests.mean_input_tokens
    return LoadedArm(
        curve=curve,
        point=point,
        requests=requests,
        level=level,
        largest_batch=point.batch_size if settings.largest_batch is None else settings.largest_batch,
        chunk_tokens=max(LEAST_CHUNK_TOKENS, ceil(joining)) if settings.chunk_tokens is None else settings.chunk_tokens,
        policy=settings.policy,
        table=CurveTable(curve=curve, longest_context=requests.longest_tokens),
    )
