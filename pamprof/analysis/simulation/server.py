"""What a simulated server is: its step times, the memory of its sequences and how it admits them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pamprof.errors import UsageError

# What an admission leaves free of memory for the growth of those that run; vLLM's watermark (vllm/v1/core and
# block_space_manager, 0.01, read 2026-11-28).
ADMISSION_RESERVE_RATIO = 0.01


class StepTimes(Protocol):
    """Seconds of a server's steps."""

    def decode(self, batch_size: int, context: float) -> tuple[float, float, float]:
        """A step of ``batch_size`` sequences that hold ``context`` tokens on average.

        Returns:
            Seconds of the step, seconds by which each further step of the same batch is longer, its context being one
            token longer, and for how many tokens of context that is so; above 0, and infinite where it always is.
        """

    def prompt(self, start: int, end: int) -> float:
        """Seconds of reading a prompt's tokens from ``start`` to ``end``, those before having been read."""


class MemoryPolicy(StrEnum):
    """What keeps growing caches within the memory.

    RECOMPUTE admits a sequence when its tokens so far fit; where growth fills the memory, the sequence admitted last
    loses its cache, goes back to the front of the queue and is read again. RESERVE admits it when its last token will
    fit, too, so that nothing is ever lost; it presumes that a request says how much it will generate.
    """

    RECOMPUTE = "recompute"
    RESERVE = "reserve"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceMemory:
    """Bytes of sequences: a fixed state has ``bytes_per_token`` 0 and cannot grow.

    Attributes:
        room_bytes: What the device has for sequences, weights and workspace taken off.
        bytes_per_sequence: Of each sequence, whatever its context.
        bytes_per_token: Of each token held.
    """

    room_bytes: float
    bytes_per_sequence: float
    bytes_per_token: float

    def kept_bytes(self, context: int) -> float:
        """Of one sequence that holds ``context`` tokens, with room for the token a step adds."""
        return self.bytes_per_sequence + self.bytes_per_token * (context + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One device that serves.

    Attributes:
        times: Seconds of its steps.
        memory: What its sequences need.
        largest_batch: Sequences at once, prompts that are being read included.
        chunk_tokens: Prompt tokens that one step reads at most, of one or several requests.
        policy: What keeps caches within the memory.
    """

    times: StepTimes
    memory: SequenceMemory
    largest_batch: int
    chunk_tokens: int
    policy: MemoryPolicy = MemoryPolicy.RECOMPUTE

    def __post_init__(self) -> None:
        if self.largest_batch < 1 or self.chunk_tokens < 1:
            raise UsageError(
                f"a server of {self.largest_batch} sequences at once that reads {self.chunk_tokens} prompt tokens a "
                "step serves nothing; give 1 or more of both"
            )
