"""Servers whose step times are formulas."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

import numpy as np

from pamprof.analysis.simulation.requests import Requests
from pamprof.analysis.simulation.server import MemoryPolicy, SequenceMemory, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearTimes:
    """A step takes a base, a time for each sequence and one for each token of all contexts; a prompt one a token."""

    base: float = 0.0
    each: float = 0.0
    each_token: float = 0.0
    prompt_token: float = 0.0
    stretch: float = inf

    def decode(self, batch_size: int, context: float) -> tuple[float, float, float]:
        tokens = batch_size * self.each_token
        return self.base + batch_size * self.each + tokens * context, tokens, self.stretch

    def prompt(self, start: int, end: int) -> float:
        return (end - start) * self.prompt_token


ENDLESS = SequenceMemory(room_bytes=1e18, bytes_per_sequence=1.0, bytes_per_token=0.0)


def server(
    times: LinearTimes,
    *,
    largest_batch: int = 1_000,
    chunk_tokens: int = 2_048,
    memory: SequenceMemory = ENDLESS,
    policy: MemoryPolicy = MemoryPolicy.RECOMPUTE,
) -> Server:
    return Server(times=times, memory=memory, largest_batch=largest_batch, chunk_tokens=chunk_tokens, policy=policy)


def requests(arrivals: list[float], inputs: list[int], outputs: list[int]) -> Requests:
    return Requests(
        arrival_seconds=np.array(arrivals, dtype=float),
        input_tokens=np.array(inputs),
        output_tokens=np.array(outputs),
        per_second=len(arrivals) / max(1e-09, *arrivals),
    )
